"""One small dataset written in every form of label files: images with named boxes."""

from __future__ import annotations

import json
from pathlib import Path

from detectron2.structures import BoxMode
from PIL import Image

from .voc_files import xml_text

CLASSES = ["cell", "dot"]
SIZE = (40, 30)
# Image -> its objects: class and x1, y1, x2, y2 in pixels' edges, which all forms can say exactly.
IMAGES = {
    "a_1": [("dot", 5, 3, 15, 18), ("cell", 0, 0, 40, 30)],
    "b": [],
    "c": [("cell", 20, 6, 30, 12)],
}


def write_images(folder: Path, names=IMAGES, size=SIZE) -> Path:
    """Blank images of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", size, (9, 90, 60)).save(folder / f"{name}.png")
    return folder


def _yolo_lines(objects, size, classes) -> str:
    lines = []
    for label, x1, y1, x2, y2 in objects:
        box = (x1 + x2) / 2 / size[0], (y1 + y2) / 2 / size[1]
        box += (x2 - x1) / size[0], (y2 - y1) / size[1]
        lines.append(" ".join(map(str, [classes.index(label), *(f"{v:.6f}" for v in box)])))
    return "\n".join(lines)


def write_labels(folder: Path, form: str, images=IMAGES, size=SIZE, classes=CLASSES) -> str:
    """Write labels beside the images that are in `<folder>/images`; return what names them."""
    pictures, labels = folder / "images", folder / "labels"
    labels.mkdir(parents=True, exist_ok=True)
    name = "{}.jpg" if (pictures / f"{next(iter(images))}.jpg").exists() else "{}.png"
    rows = [(image, *row) for image, objects in images.items() for row in objects]
    if form == "yolo":
        for image, objects in images.items():
            (labels / f"{image}.txt").write_text(_yolo_lines(objects, size, classes))
        names = ", ".join(f"{k}: {label}" for k, label in enumerate(classes))
        (folder / "data.yaml").write_text(f"train: images\nnames: {{{names}}}\n")
        return f"yolo:{folder}/data.yaml"
    if form == "voc":
        for image, objects in images.items():
            found = [(label, x1 + 1, y1 + 1, x2, y2, 0) for label, x1, y1, x2, y2 in objects]
            (labels / f"{image}.xml").write_text(xml_text(image, found, size))
    if form == "labelme":
        for image, objects in images.items():
            shapes = [
                {"label": label, "points": [[x1, y1], [x2, y2]], "shape_type": "rectangle"}
                for label, x1, y1, x2, y2 in objects
            ]
            page = {"shapes": shapes, "imagePath": f"..\\images\\{name.format(image)}"}
            page |= {"imageData": None, "imageWidth": size[0], "imageHeight": size[1]}
            (labels / f"{image}.json").write_text(json.dumps(page))
    if form == "csv":
        lines = [",".join(map(str, [name.format(n), *box, label])) for n, label, *box in rows]
        lines += [f"{name.format(image)},,,,," for image, objects in images.items() if not objects]
        (folder / "boxes.csv").write_text("filename,xmin,ymin,xmax,ymax,class\n" + "\n".join(lines))
        return f"csv:{folder}/boxes.csv:{pictures}"
    if form == "cvat":
        box = '<box label="{}" xtl="{}" ytl="{}" xbr="{}" ybr="{}"/>'
        text = "".join(
            f'<image name="{name.format(image)}" width="{size[0]}" height="{size[1]}">'
            + "".join(box.format(*row) for row in objects) + "</image>"
            for image, objects in images.items()
        )  # fmt: skip
        (folder / "boxes.xml").write_text(f"<annotations>{text}</annotations>")
        return f"cvat:{folder}/boxes.xml:{pictures}"
    if form == "coco":
        names = list(images)
        content = {
            "images": [
                {"id": k, "file_name": name.format(n), "width": size[0], "height": size[1]}
                for k, n in enumerate(names)
            ],
            "annotations": [
                {"id": k, "image_id": names.index(image), "category_id": classes.index(label),
                 "bbox": [x1, y1, x2 - x1, y2 - y1]}
                for k, (image, label, x1, y1, x2, y2) in enumerate(rows)
            ],
            "categories": [{"id": k, "name": label} for k, label in enumerate(classes)],
        }  # fmt: skip
        (folder / "boxes.json").write_text(json.dumps(content))
        return f"coco:{folder}/boxes.json:{pictures}"
    return f"{form}:{labels}:{pictures}"


def boxes_of(records) -> dict[str, list]:
    """Image -> class index and x1, y1, x2, y2 of its objects, rounded to a hundredth."""
    found = {}
    for record in records:
        stem = Path(record["file_name"]).stem
        rows = [(a["category_id"], a["bbox_mode"], a["bbox"]) for a in record["annotations"]]
        found[stem] = [
            (k, *(round(float(v), 2) for v in BoxMode.convert(list(box), mode, BoxMode.XYXY_ABS)))
            for k, mode, box in rows
        ]
    return found
