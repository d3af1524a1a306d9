"""Detections drawn on their picture, by Pillow."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..detections import Detections


def drawn(picture: np.ndarray, found: Detections) -> Image.Image:
    """Draw boxes with class and score, and joints, the best on top.

    `picture` is (H, W, 3) uint8, channels B, G, R. Joints that score less than 0.1 are rings.
    """
    image = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
    pen, side = ImageDraw.Draw(image), max(image.size)
    width, font = max(1, side // 300), ImageFont.load_default(max(10, side // 50))
    colors = [colorsys.hsv_to_rgb(k * 0.618 % 1, 0.65, 1) for k in found.classes.tolist()]
    fills = [tuple(round(255 * part) for part in color) for color in colors]
    boxes = np.zeros((len(found), 4)) if found.boxes is None else found.boxes
    joints = np.zeros((len(found), 0, 3)) if found.keypoints is None else found.keypoints
    corners = np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4).tolist()
    texts = [
        f"{name} {score:.2f}" for name, score in zip(found.labels(), found.scores, strict=True)
    ]
    rows = range(len(found))[::-1]
    for row in rows:
        pen.rectangle(corners[row], None, fills[row], width)
        for x, y, score in joints[row].tolist():
            disk = (x - width - 1, y - width - 1, x + width + 1, y + width + 1)
            if score > 0:
                pen.ellipse(disk, fills[row] if score >= 0.1 else None, "white")
    for row in rows:  # after all lines, which would cross the text
        x, y = (max(0.0, place) for place in corners[row][:2])
        anchor = "lb" if y > side // 40 else "lt"
        pen.rectangle(pen.textbbox((x, y), texts[row], font, anchor), fills[row])
        pen.text((x, y), texts[row], "black", font, anchor)
    return image
