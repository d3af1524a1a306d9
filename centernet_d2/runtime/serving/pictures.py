"""Bytes that somebody has sent -> pixels, as the package reads files: by Pillow, upright."""

import io
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps, WebPImagePlugin  # noqa: F401 - which registers its format

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")  # no other reader sees what comes from outside


class Refused(Exception):  # noqa: N818 - no error of this program
    """What is not done: a status of HTTP, and a sentence that says how to do better."""

    def __init__(self, status: int, told: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(told)
        self.status, self.headers = status, headers


def opened(content: bytes, most: int, name: str) -> Image.Image:
    """Read the header of a picture of at most `most` pixels; `name` begins what is Refused."""
    if not content:
        raise Refused(400, f"{name} is empty: send bytes (curl --data-binary @photo.jpg)")
    large = f"{name} has more pixels than the {most} that are taken: scale it down"
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise Refused(413, large) from None
    except Exception:  # Pillow reports damage by many kinds
        cure = "save it as JPEG, PNG, WebP or BMP, and send the file's bytes"
        raise Refused(415, f"{name} is no picture that is read here: {cure}") from None
    if image.width * image.height > most:
        raise Refused(413, large)
    if getattr(image, "is_animated", False) and image.format != "MPO":  # of telephones
        raise Refused(415, f"{name} is an animation: send its frames as pictures")
    if image.mode.startswith("I") or (image.format == "PNG" and content[24] == 16):
        raise Refused(415, f"{name} has 16 bits per channel: save it with 8")
    return image


def decoded(image: Image.Image, name: str) -> np.ndarray:
    """Return (H, W, 3) uint8, channels B, G, R, turned by EXIF; transparency is dropped."""
    try:
        image.load()
        with suppress(Exception):  # damaged EXIF says nothing about the pixels
            image = ImageOps.exif_transpose(image)
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    except Exception as error:
        raise Refused(422, f"{name} is truncated or damaged: send a whole copy") from error
