"""Users' files: paths as a shell takes them, text in the encodings that all editors write."""

import argparse
import codecs
import os
import re
from pathlib import Path

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HOME = re.compile(r"(?:^|(?<=:))~[^/\\:]*")  # also after a prefix: "published:~/a.pth"
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


class PathError(ValueError, argparse.ArgumentTypeError):
    """A path cannot be meant; the message names it and the cure."""


class TextFileError(ValueError):
    """A file is no text; the message names it and the cure."""


def read_text(path: str) -> str:
    r"""Return the text of a file in UTF-8 or UTF-16 with a mark; line ends come as "\n".

    Raises:
        FileNotFoundError: there is no such file.
        TextFileError: it is neither; the message says at which byte.
    """
    from detectron2.utils.file_io import PathManager  # not for those who expand paths

    with PathManager.open(path, "rb") as file:
        content = file.read()
    try:
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextFileError(
            f"'{path}' is no text in UTF-8 (byte {error.start}: {error.reason}): save it as UTF-8, "
            "or copy it again if it is another kind of file"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def expanded(path: str | os.PathLike[str]) -> str:
    """Return what a path means that is not there as it stands: "~" and "$NAME" are filled in."""
    path = os.fspath(path)
    if os.path.exists(path):
        return path
    return os.path.expandvars(_HOME.sub(lambda home: os.path.expanduser(home[0]), path))


def expanded_output(path: str, source: str = "") -> str:
    """Return `expanded` of a place to write to; PathError where it is empty or a "~" or "$" stays.

    Also a `type` of a command line's argument; `source` comes before the error.
    """
    if not path.strip():
        raise PathError(f"{source}{path!r} names no place: give a path, '.' for this folder.")
    found = expanded(path)
    left = _HOME.search(found) or _VARIABLE.search(found)
    if left and not os.path.exists(found) and "://" not in found:
        raise PathError(
            f"{source}{path!r} has {left[0]!r}, which is no user or variable here: correct or set "
            "it, or make the folder first if that is its name."
        )
    return found


def output_folder(path: str, source: str = "") -> str:
    """Return `expanded_output` of a folder, there or not; PathError where a file has its place."""
    found = expanded_output(path, source)
    if file := next(filter(os.path.isfile, (found, *map(str, Path(found).parents))), ""):
        raise PathError(f"{source}'{file}' is a file: give a folder, which may be a new one.")
    return found


def output_file(path: str) -> str:
    """Return `expanded_output` of a file, there or not; PathError where it is a folder."""
    found = expanded_output(path)
    if os.path.isdir(found):
        raise PathError(f"'{found}' is a folder: give the name of a file in it.")
    return found
