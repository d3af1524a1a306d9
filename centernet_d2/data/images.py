"""Reading an image file as 8-bit BGR, whatever it was saved as."""

import math
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import cv2
import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import ExifTags, Image, ImageOps

from ..progress import say

# First bytes of files that are often taken for images, what they are, and what to do.
_OTHER_FILES = (
    (rb"(?s)....ftyp(hei|hev|mif|msf)", "a HEIC photo", "save it as JPEG"),
    (rb"(?s)....ftypavi", "an AVIF image that this Pillow cannot read", "save it as PNG or JPEG"),
    (
        rb"(?s)....(ftyp|moov|mdat|wide|free)|RIFF....AVI |\x1a\x45\xdf\xa3|\x00\x00\x01[\xb3\xba]"
        rb"|FLV\x01|\x30\x26\xb2\x75|G.{187}G",
        "a video",
        "save its frames as images, such as by 'ffmpeg -i <video> <folder>/%06d.jpg'",
    ),
    (rb"(?si)\s*(<(\?xml|!--|!doctype).*)?<svg", "an SVG drawing", "save it as PNG"),
    (rb"(?si)\s*(<!doctype html|<html|<head)", "a web page", "download the image itself"),
    (rb"version https://git-lfs", "a pointer of Git LFS", "get the file itself by 'git lfs pull'"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive", "unpack it"),
    (rb"%PDF", "a PDF", "save its pages as images"),
    (rb"\x93NUMPY", "an array of NumPy", "save it as PNG"),
    (rb"\Z", "empty", "copy or download it again"),
    (rb"[\t\n\r\x20-\x7e\x80-\xff]{8,}\Z", "text", "name the image file itself"),
)
# Of Pillow's readers, for files whose bytes were changed at random.
_ALSO_DAMAGED = (IndexError, KeyError, TypeError, OverflowError, struct.error)
_EXCHANGED = (5, 6, 7, 8)  # EXIF orientations that turn by a quarter


class ImageFileError(ValueError):
    """An image file is there but cannot be used; the message names the file and the cure."""


def read_image(file_name: str, *, upright: bool = True) -> np.ndarray:
    """Read a file as (H, W, 3) uint8, channels B, G, R, upright.

    The EXIF orientation is applied as detectron2 does it, unless `upright` is False. Grayscale is
    repeated over the channels, a palette is looked up, alpha is dropped, and of 16 bits the upper 8
    are kept (detectron2's own reader clips them to white), of a camera's 12 in 16 those of the 12.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: it is empty, truncated, no image, without pixels, or of a depth with no
            defined range.
    """
    with _opened(file_name, "cannot be read", "truncated, damaged or no image") as image:
        decode(image, file_name)
        format_name = image.format or ""  # the upright copy no longer knows it
        if upright:
            with suppress(Exception):  # damaged EXIF raises many things, none about the pixels
                if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                    image = ImageOps.exif_transpose(image)
        image = eight_bit(image, format_name, file_name)
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if pixels.size == 0:
        told = f"image file '{file_name}' has no pixels (size {pixels.shape}): save it anew"
        raise ImageFileError(told)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)


def read_image_size(file_name: str, *, upright: bool = False) -> tuple[int, int]:
    """Read (width, height) from a file's header; as stored, or as its EXIF orientation turns it.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: it is no image.
    """
    with _opened(file_name, "has no readable header", "damaged or no image") as image:
        # Without EXIF in its header a PNG would be decoded for it.
        known = upright and "exif" in image.info
        turned = known and image.getexif().get(ExifTags.Base.Orientation) in _EXCHANGED
        return image.size[::-1] if turned else image.size


def image_sizes(files: Mapping[str, bool]) -> dict[str, tuple[int, int]]:
    """(width, height), upright or as stored; the others' median of one that is no image.

    So its labels are read, and what looks at files names it. ImageFileError where none is one.
    """
    found = dict[str, tuple[int, int]]()
    for file, upright in files.items():
        with suppress(ImageFileError):
            found[file] = read_image_size(file, upright=upright)
    if not found:
        return {file: read_image_size(file) for file in files}  # raises
    width, height = np.median([*found.values()], axis=0).astype(int).tolist()
    return dict.fromkeys(files, (width, height)) | found


def exif_turns(file_name: str) -> bool:
    """Whether an image file has an EXIF orientation that exchanges width and height."""
    with suppress(Exception), _opened(file_name, "", "") as image:
        image.load()  # of a PNG, it may stand behind the pixels
        return image.getexif().get(ExifTags.Base.Orientation) in _EXCHANGED
    return False


@contextmanager
def _opened(file_name: str, what: str, cause: str) -> Iterator[Image.Image]:
    if not PathManager.isfile(file_name):
        told = f"image file '{file_name}' does not exist: check its name and folder"
        raise FileNotFoundError(told)
    try:
        with PathManager.open(file_name, "rb") as file, Image.open(file) as image:
            yield image
    except ImageFileError:
        raise
    except Image.DecompressionBombError as error:
        pixels = int(re.findall(r"\d+", str(error))[0])
        raise ImageFileError(
            f"image file '{file_name}' has {pixels:,} pixels, more than the "
            f"{2 * (Image.MAX_IMAGE_PIXELS or 0):,} that are read: scale it down or cut it into "
            "tiles, or set INPUT.MAX_PIXELS to more"
        ) from error
    # Pillow reports damaged files by all of these, depending on the format.
    except (OSError, SyntaxError, ValueError, EOFError, *_ALSO_DAMAGED) as error:
        with PathManager.open(file_name, "rb") as file:
            start = file.read(512)
        known = (told for signs, *told in _OTHER_FILES if re.match(signs, start))
        kind, cure = next(known, (cause, "copy or download it again"))
        raise ImageFileError(
            f"image file '{file_name}' {what} ({type(error).__name__}: {error}): it is {kind}; "
            f"{cure}"
        ) from error


def limit_pixels(most: int) -> None:
    """Refuse image files of more pixels from now on, in this process; 0: leave Pillow's limit."""
    if most:
        Image.MAX_IMAGE_PIXELS = math.ceil(most / 2)  # Pillow warns from there on


def eight_bit(image: Image.Image, format_name: str, file_name: str) -> Image.Image:
    """Bring 16-bit grayscale down to 8 bits; Pillow's own conversion would clip at 255."""
    # Older Pillow opens 16-bit PNG and PGM files as 32-bit integers.
    if image.mode.startswith("I;16") or (image.mode == "I" and format_name in ("PNG", "PPM")):
        return Image.fromarray(_upper_8(np.asarray(image)))
    if image.mode in ("I", "F"):
        raise ImageFileError(
            f"image file '{file_name}' holds 32-bit values (mode {image.mode}), whose range is not "
            "known: save it with 8 or 16 bits per channel"
        )
    return image


def _upper_8(values: np.ndarray) -> np.ndarray:
    """The upper 8 of 16 bits; where none of the upper 4 or 8 is used, of 12 or 8 bits, as is said.

    Cameras of 12 bits save them so, and as 16 bits their pictures would be black.
    """
    bits = next((bits for bits in (8, 12) if 0 < values.max(initial=0) < 2**bits), 16)
    if bits < 16:
        say(f"16-bit pictures without a value above {2**bits - 1} are taken for {bits}-bit ones.")
    return (values.astype(np.int64) >> (bits - 8)).clip(0, 255).astype(np.uint8)


def decode(image: Image.Image, file_name: str) -> None:
    """Load an opened file's pixels, of 16-bit RGB the lower bits where the upper are black."""
    is_deep = any(re.search("16|65535", str(tile[3])) for tile in image.tile)
    image.load()
    is_deep &= image.mode in ("RGB", "RGBA")  # of which Pillow drops the lower bits
    if is_deep and np.asarray(image.convert("RGB")).max(initial=0) < 16:
        with PathManager.open(file_name, "rb") as file:
            content = np.frombuffer(file.read(), dtype=np.uint8)
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        if (values := cv2.imdecode(content, flags)) is not None:
            image.paste(Image.fromarray(_upper_8(values[:, :, ::-1])))
