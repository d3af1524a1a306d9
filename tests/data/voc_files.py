"""Pascal VOC folders for the tests of data and evaluation."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

XML = """<annotation><folder>VOC</folder><filename>{name}.jpg</filename>
<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>
"""
OBJECT = """<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated>
<difficult>{difficult}</difficult><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax>
<ymax>{ymax}</ymax></bndbox></object>"""


def xml_text(name, objects, size=(60, 50)) -> str:
    """XML of one image; objects are (class, xmin, ymin, xmax, ymax, difficult)."""
    elements = [
        OBJECT.format(name=kind, xmin=a, ymin=b, xmax=c, ymax=d, difficult=difficult)
        for kind, a, b, c, d, difficult in objects
    ]
    return XML.format(name=name, width=size[0], height=size[1], objects="".join(elements))


def write_voc(folder: Path, images: dict[str, list], *, split="test", size=(60, 50)) -> Path:
    """Write a VOC folder of blank images; `images` maps a name to its objects, None: no XML."""
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, objects in images.items():
        Image.new("RGB", size, (90, 120, 60)).save(folder / "JPEGImages" / f"{name}.jpg")
        if objects is not None:
            (folder / "Annotations" / f"{name}.xml").write_text(xml_text(name, objects, size))
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images) + "\n")
    return folder
