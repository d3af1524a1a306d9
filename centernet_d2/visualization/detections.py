"""Pictures of boxes with class and score, on images of any size; nothing opens a window.

Images are (H, W, 3) uint8, channels B, G, R. Boxes are XYXY in the image's pixels.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.structures import Boxes, Instances

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def class_color(index: int) -> tuple[int, int, int]:
    """Return the color (B, G, R) of a class; neighbours differ clearly, no two are equal.

    Hues go round in steps of the golden ratio, with three levels of saturation and brightness.
    """
    hue = (index * 0.618034) % 1.0
    saturation, brightness = ((0.95, 1.0), (0.6, 1.0), (0.95, 0.75))[index % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, brightness)
    return round(255 * blue), round(255 * green), round(255 * red)


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, classes: Sequence[int], captions: Sequence[str]
) -> np.ndarray:
    """Draw boxes with captions on a copy of the image, the last box on top.

    Each outline has a dark rim, so that it shows on any background; thickness and text follow the
    image's size.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4); they may reach out of the image.
        classes: N class indices, for the colors.
        captions: N texts; "" draws none.
    """
    picture = np.ascontiguousarray(image).copy()
    thickness = line_thickness(picture)
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    # Far outside, cv2's integer coordinates would overflow.
    corners = np.clip(np.round(boxes), -30000, 30000).astype(int).tolist()
    colors = [class_color(int(index)) for index in classes]
    for (left, top, right, bottom), color in zip(corners, colors, strict=True):
        cv2.rectangle(picture, (left, top), (right, bottom), BLACK, thickness + 2)
        cv2.rectangle(picture, (left, top), (right, bottom), color, thickness)
    for (left, top, _, _), color, caption in zip(corners, colors, captions, strict=True):
        if caption:  # after all outlines, which would cross the text
            _draw_caption(picture, caption, left, top, color)
    return picture


def draw_detections(
    image: np.ndarray,
    instances: Instances,
    class_names: Sequence[str] = (),
    threshold: float = 0.3,
    *,
    keypoints: bool = False,
) -> np.ndarray:
    """Draw the detections that score `threshold` or more on a copy of the image, the best on top.

    Args:
        image: (H, W, 3) uint8 BGR.
        instances: `pred_boxes` in the image's pixels, `scores`, `pred_classes`.
        class_names: names by class index; a class without one is drawn as "class 7".
        threshold: lowest score drawn (0.3: the published demo's value).
        keypoints: mark what a box was made from, as far as the detector says it: both corners
            (`corner_scores` (N, 2)) by squares, the center (`pred_centers` (N, 2)) by a disk.
    """
    scores = instances.scores.detach().cpu().numpy()
    order = np.argsort(scores, kind="stable")
    order = order[scores[order] >= threshold]
    boxes = instances.pred_boxes.tensor.detach().cpu().numpy()[order]
    classes = instances.pred_classes.cpu().numpy()[order]
    captions = [
        f"{class_name(class_names, k)} {score:.2f}"
        for k, score in zip(classes, scores[order], strict=True)
    ]
    picture = draw_boxes(image, boxes, classes, captions)
    if keypoints:
        centers = None
        if instances.has("pred_centers"):
            centers = instances.pred_centers.detach().cpu().numpy()[order]
        _mark_keypoints(
            picture, classes, boxes if instances.has("corner_scores") else None, centers
        )
    return picture


def draw_objects(
    image: np.ndarray, instances: Instances, class_names: Sequence[str] = ()
) -> np.ndarray:
    """Draw ground truth (`gt_boxes` in the image's pixels, `gt_classes`) on a copy of the image."""
    classes = instances.gt_classes.cpu().numpy()
    captions = [class_name(class_names, k) for k in classes]
    return draw_boxes(image, instances.gt_boxes.tensor.cpu().numpy(), classes, captions)


def draw_comparison(
    image: np.ndarray,
    truth: Instances,
    detections: Instances,
    class_names: Sequence[str] = (),
    threshold: float = 0.3,
    *,
    keypoints: bool = False,
    smallest_side: int = 360,
) -> np.ndarray:
    """Draw ground truth and detections of one image beside each other.

    Args:
        image: (H, W, 3) uint8 BGR.
        truth: `gt_boxes` and `gt_classes`, in the image's pixels.
        detections: as for `draw_detections`.
        class_names: names by class index.
        threshold: lowest score drawn.
        keypoints: as for `draw_detections`.
        smallest_side: small images are enlarged by a whole factor to about this many pixels.
    """
    factor = max(1, round(smallest_side / min(image.shape[:2])))
    if factor > 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        truth, detections = (
            truth.to("cpu"),
            detections.to("cpu"),
        )  # new objects: fields are replaced
        truth.gt_boxes = Boxes(truth.gt_boxes.tensor * factor)
        detections.pred_boxes = Boxes(detections.pred_boxes.tensor * factor)
        if detections.has("pred_centers"):
            detections.pred_centers = detections.pred_centers * factor
    return side_by_side(
        [
            draw_objects(image, truth, class_names),
            draw_detections(image, detections, class_names, threshold, keypoints=keypoints),
        ],
        ["ground truth", f"detections, score >= {threshold:g}"],
    )


def side_by_side(pictures: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Put pictures of one height beside each other, each under its title."""
    titled = []
    for picture, title in zip(pictures, titles, strict=True):
        scale = text_scale(picture)
        (_, height), below = cv2.getTextSize("Ag", FONT, scale, 1)  # equal for all titles
        bar = np.full((height + below + 4, picture.shape[1], 3), 255, dtype=np.uint8)
        (width, _), _ = cv2.getTextSize(title, FONT, scale, 1)
        scale *= min(1.0, (picture.shape[1] - 4) / max(width, 1))
        cv2.putText(bar, title, (2, height + 2), FONT, scale, BLACK, 1, cv2.LINE_AA)
        titled.append(np.concatenate([bar, picture]))
    return image_grid(titled, columns=len(titled))


def image_grid(
    pictures: Sequence[np.ndarray], columns: int, *, gap: int = 4, background: int = 128
) -> np.ndarray:
    """Put pictures of any sizes into a grid whose cells have the size of the largest."""
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    rows = -(-len(pictures) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    grid = np.full(shape, background, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        y, x = (number // columns) * (height + gap), (number % columns) * (width + gap)
        grid[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return grid


def class_name(class_names: Sequence[str], index: int) -> str:
    """Return the name of a class, "class 7" where it has none."""
    return str(class_names[index]) if 0 <= index < len(class_names) else f"class {index}"


def line_thickness(image: np.ndarray) -> int:
    """Return the pixels of a line that is readable on an image of this size."""
    return max(1, round(max(image.shape[:2]) / 250))


def text_scale(image: np.ndarray) -> float:
    """Return cv2's font scale for an image of this size: never under 0.35, which is 8 px high."""
    return max(0.35, max(image.shape[:2]) / 1300)


def _mark_keypoints(
    picture: np.ndarray,
    classes: Sequence[int],
    boxes: np.ndarray | None,
    centers: np.ndarray | None,
) -> None:
    """Mark the top-left and bottom-right corners of boxes (N, 4), and centers (N, 2), in place."""
    radius = line_thickness(picture) + 1
    corners = [] if boxes is None else [boxes[:, :2], boxes[:, 2:]]
    for points, is_center in [*((c, False) for c in corners), (centers, True)]:
        if points is None:
            continue
        places = np.clip(np.round(points), -30000, 30000).astype(int).tolist()
        for (x, y), index in zip(places, classes, strict=True):
            color = class_color(int(index))
            for size, fill in ((radius + 1, BLACK), (radius, WHITE), (radius - 1, color)):
                if is_center:
                    cv2.circle(picture, (x, y), size, fill, cv2.FILLED)
                else:
                    low, high = (x - size, y - size), (x + size, y + size)
                    cv2.rectangle(picture, low, high, fill, cv2.FILLED)


def _draw_caption(
    picture: np.ndarray, caption: str, left: int, top: int, color: tuple[int, int, int]
) -> None:
    """Write on a plate of the class's color above the box, moved into the picture where needed."""
    scale = text_scale(picture)
    stroke = max(1, round(scale))
    (width, height), below = cv2.getTextSize(caption, FONT, scale, stroke)
    plate = height + below + 2
    x = max(0, min(left, picture.shape[1] - width - 2))
    y = max(0, min(top - plate, picture.shape[0] - plate))
    cv2.rectangle(picture, (x, y), (x + width + 2, y + plate), color, cv2.FILLED)
    blue, green, red = color
    is_bright = 0.114 * blue + 0.587 * green + 0.299 * red > 140
    origin = (x + 1, y + height + 1)
    cv2.putText(
        picture, caption, origin, FONT, scale, BLACK if is_bright else WHITE, stroke, cv2.LINE_AA
    )
