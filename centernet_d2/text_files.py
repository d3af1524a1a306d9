"""Text files of users, in the encodings that editors on all systems write."""

from __future__ import annotations

import codecs

from detectron2.utils.file_io import PathManager

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class TextFileError(ValueError):
    """A file is no text; the message names it and the cure."""


def read_text(path: str) -> str:
    r"""Return the text of a file in UTF-8, with or without byte order mark, or UTF-16 with one.

    Line ends come as "\n". Windows editors and PowerShell's redirections write the marks.

    Raises:
        FileNotFoundError: there is no such file.
        TextFileError: it is neither; the message says at which byte.
    """
    with PathManager.open(path, "rb") as file:
        content = file.read()
    try:
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextFileError(
            f"'{path}' is no text in UTF-8 (byte {error.start}: {error.reason}): save it as UTF-8, "
            "or copy it again if it is another kind of file"
        ) from error
    if "\r" not in text:  # found at once, in the 450 MB of COCO's annotations too
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n")
