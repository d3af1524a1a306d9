"""A copy of 40 pictures of blood cells in COCO's form, and more than 20 kinds of damage to it."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("RBC", "WBC", "Platelets")
# What is done to which picture is below; how many of each kind are to be found in all.
EXPECTED = {
    "missing": 1,
    "unreadable": 2,
    "truncated": 2,
    "size": 2,
    "value": 4,
    "swapped": 2,
    "not-a-number": 1,
    "too-large": 1,
    "normalised": 1,
    "zero-size": 1,
    "outside": 1,
    "cut-off": 1,
    "copy": 2,
    "repeated-box": 1,
    "no-objects": 1,
    "like-names": 1,
    "crowded": 1,
    "exif": 1,
    "near-copy": 2,
    "over-border": 2,
    "tiny": 120,
    "whole-image": 1,
    "two-classes": 1,
    "empty": 1,
    "colliding": 120,
    "under-two-cells": 120,
    "reading": 1,  # areas, of which there are none
}


def write_cells(source: Path, folder: Path, count: int = 40, start: int = 0) -> dict:
    """Copy pictures of a VOC folder and return their annotations in COCO's form."""
    folder.mkdir(parents=True)
    images, annotations = [], []
    for xml in sorted((source / "Annotations").glob("*.xml"))[start : start + count]:
        root = ElementTree.parse(xml).getroot()
        number, name = len(images) + 1, f"{xml.stem}.jpg"
        (folder / name).write_bytes((source / "JPEGImages" / name).read_bytes())
        images.append({"id": number, "file_name": name, "width": 640, "height": 480})
        for found in root.iter("object"):
            x1, y1, x2, y2 = (
                float(found.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")
            )
            identifier = {"id": len(annotations) + 1, "image_id": number}
            category = {"category_id": CLASSES.index(found.findtext("name")) + 1}
            annotations.append({**identifier, **category, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def damage(content: dict, folder: Path) -> None:
    """Damage files of pictures 0 to 10 and annotations of pictures 11 to 30."""
    files = [folder / image["file_name"] for image in content["images"]]
    whole = [file.read_bytes() for file in files]
    half = len(whole[3]) // 2
    files[0].unlink()
    files[1].write_bytes(b"")
    files[2].write_text("<!doctype html><html>404</html>")
    files[3].write_bytes(whole[3][:half])  # OpenCV reads it
    noise = np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8).tobytes()
    files[4].write_bytes(whole[4][:5000] + noise + whole[4][9096:])  # its ends are whole
    files[5].write_bytes(whole[5][:half] + b"\xff\xd9")  # cut off and closed: Pillow reads it
    content["images"][6]["width"] = 700
    Image.open(io.BytesIO(whole[7])).resize((320, 240)).save(files[7])  # resized later
    files[8].write_bytes(whole[9])
    files[10].write_bytes(whole[9])
    Image.open(io.BytesIO(whole[12])).save(files[11], quality=50)
    tag = Image.Exif()
    tag[0x0112] = 6  # the pixels are stored turned; boxes are of the upright picture
    Image.open(io.BytesIO(whole[13])).transpose(Image.Transpose.ROTATE_90).save(
        files[13], exif=tag, quality=95
    )
    first = {}
    for entry in content["annotations"]:
        first.setdefault(entry["image_id"] - 1, entry)
    x, y, w, h = first[14]["bbox"]
    first[14]["bbox"] = [x + w, y, -w, h]
    x, y, w, h = first[15]["bbox"]
    first[15]["bbox"] = [x, y + h, w, -h]
    first[16]["bbox"] = [float("nan"), 1, 5, 5]
    first[17]["bbox"] = [1e13, 1, 5, 5]
    first[18]["bbox"] = [0.25, 0.5, 0.125, 0.125]
    first[19]["bbox"] = [30, 30, 0, 9]
    first[20]["bbox"] = [700, 30, 20, 20]
    first[21]["bbox"] = [600, 30, 60, 20]
    first[22]["bbox"] = [-9, 30, 60, 20]
    first[23]["bbox"] = [0, 0, 640, 480]
    first[24]["bbox"] = [30, 30, 1, 8]
    first[25]["category_id"] = 77
    first[26]["bbox"] = "30 30 9 9"
    del first[27]["bbox"]
    added = [{**first[28]}, {**first[29], "category_id": first[29]["category_id"] % 2 + 1}]
    grid = [
        {"image_id": 31, "category_id": 3, "bbox": [200 + k * 0.01, 300, 1.5, 1.5]}
        for k in range(119)
    ]
    ids = range(10_000, 10_000 + len(added) + len(grid))
    added = [{**entry, "id": k} for k, entry in zip(ids, [*added, *grid], strict=True)]
    kept = [entry for entry in content["annotations"] if entry["image_id"] != 33]
    content["annotations"] = kept + added
    content["categories"].append({"id": 4, "name": "rbc "})


def save(content: dict, folder: Path) -> str:
    """Write the JSON; return the dataset's specification."""
    file = folder.parent / f"{folder.name}.json"
    file.write_text(json.dumps(content))
    return f"coco:{file}:{folder}"
