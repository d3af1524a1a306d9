"""Bytes that somebody has sent -> pixels, as the package reads files; and pixels with boxes."""

import colorsys
import io
from contextlib import suppress

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, WebPImagePlugin
from starlette.exceptions import HTTPException

from ..detections import Detections

# No other reader sees what comes from outside.
_FORMATS = ("JPEG", "PNG", "BMP", WebPImagePlugin.WebPImageFile.format)


def opened(content: bytes, most: int, name: str) -> Image.Image:
    """Read the header of a picture of at most `most` pixels; HTTPException, which `name` begins."""
    if not content:
        raise HTTPException(400, f"{name} is empty: send bytes (curl --data-binary @photo.jpg)")
    large = f"{name} has more pixels than the {most} that are taken: scale it down"
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise HTTPException(413, large) from None
    except Exception:  # Pillow reports damage by many kinds
        cure = "save it as JPEG, PNG, WebP or BMP, and send the file's bytes"
        raise HTTPException(415, f"{name} is no picture that is read here: {cure}") from None
    if image.width * image.height > most:
        raise HTTPException(413, large)
    if getattr(image, "is_animated", False) and image.format != "MPO":  # of telephones
        raise HTTPException(415, f"{name} is an animation: send its frames as pictures")
    if image.mode.startswith("I") or (image.format == "PNG" and content[24] == 16):
        raise HTTPException(415, f"{name} has 16 bits per channel: save it with 8")
    return image


def decoded(image: Image.Image, name: str) -> np.ndarray:
    """Return (H, W, 3) uint8, channels B, G, R, turned by EXIF; transparency is dropped."""
    try:
        image.load()
        with suppress(Exception):  # damaged EXIF says nothing about the pixels
            image = ImageOps.exif_transpose(image)
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    except Exception as error:
        raise HTTPException(422, f"{name} is truncated or damaged: send a whole copy") from error


def drawn(picture: np.ndarray, found: Detections, form: str) -> bytes:
    """Draw boxes with class and score, and joints, the best on top; a file of a `form`, "PNG".

    `picture` is (H, W, 3) uint8, channels B, G, R. Joints that score less than 0.1 are rings.
    """
    image, file = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1])), io.BytesIO()
    pen, side = ImageDraw.Draw(image), max(image.size)
    width, font = max(1, side // 300), ImageFont.load_default(max(10, side // 50))
    colors = [colorsys.hsv_to_rgb(k * 0.618 % 1, 0.65, 1) for k in found.classes.tolist()]
    fills = [tuple(round(255 * part) for part in color) for color in colors]
    rows = found.rows()[::-1]
    for row, fill in zip(rows, fills[::-1], strict=True):
        for x, y, score in row.get("keypoints", ()):
            disk = (x - width - 1, y - width - 1, x + width + 1, y + width + 1)
            if score > 0:
                pen.ellipse(disk, fill if score >= 0.1 else None, "white")
        if "box" in row:
            ends = np.sort(np.reshape(row["box"], (2, 2)), 0)
            pen.rectangle(ends.flatten().tolist(), None, fill, width)
    for row, fill in zip(rows, fills[::-1], strict=True):  # after lines, which would cross it
        x, y = np.clip(row.get("box", (0, 0))[:2], 0, None).tolist()
        text, anchor = f"{row['class_name']} {row['score']:.2f}", "lb" if y > side // 40 else "lt"
        pen.rectangle(pen.textbbox((x, y), text, font, anchor), fill)
        pen.text((x, y), text, "black", font, anchor)
    image.save(file, form)
    return file.getvalue()
