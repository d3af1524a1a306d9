"""Forms of label files: equal records of equal data, and what is wrong named by file and line."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from centernet_d2.data.checks import DatasetError
from centernet_d2.data.checks.findings import reading_on
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.engine.parts import usable_records
from centernet_d2.evaluation import CocoEvaluator

from .label_forms import CLASSES, IMAGES, SIZE, boxes_of, write_images, write_labels

FORMS = ("coco", "voc", "yolo", "csv", "labelme", "cvat")
EXPECTED = {k: [(CLASSES.index(c), *map(float, box)) for c, *box in v] for k, v in IMAGES.items()}


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "images")
    return tmp_path


def records(spec):
    return DatasetCatalog.get(register_from_files(spec))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_records(folder, form):
    spec = write_labels(folder, form)
    name = register_from_files(spec)
    metadata = MetadataCatalog.get(name)
    assert (metadata.thing_classes, metadata.evaluator_type) == (CLASSES, "coco")
    found = DatasetCatalog.get(name)
    assert boxes_of(found) == EXPECTED
    assert {(record["width"], record["height"]) for record in found} == {SIZE}
    assert register_from_files(metadata.file_spec) == name


def with_scores(spec, images):
    """COCO's scores of the same detections, a tenth of which are a few pixels off."""
    name = register_from_files(spec)
    evaluator = CocoEvaluator(dataset_name=name, distributed=False)
    generator = torch.Generator().manual_seed(0)
    random = {
        image: torch.randn(len(rows), 4, generator=generator) * 4 for image, rows in images.items()
    }
    evaluator.reset()
    classes = MetadataCatalog.get(name).thing_classes
    for record in DatasetCatalog.get(name):
        rows = images[image := re.split(r"[\\/]", record["file_name"])[-1].rpartition(".")[0]]
        size = (record["height"], record["width"])
        boxes = torch.tensor([row[1:] for row in rows], dtype=torch.float32).reshape(-1, 4)
        found = Instances(size, pred_boxes=Boxes(boxes + random[image]))
        found.scores = torch.linspace(0.9, 0.1, len(rows))
        found.pred_classes = torch.tensor([classes.index(row[0]) for row in rows]).long()
        evaluator.process([record], [{"instances": found}])
    return evaluator.evaluate()["bbox"]


@pytest.mark.data
def test_real_pictures_by_every_form(test_data, tmp_path):
    """bccd's test split: the records of VOC's own form, and equal scores of equal detections."""
    source = test_data / "bccd"
    names = (source / "ImageSets" / "Main" / "test.txt").read_text().split()
    images = {}
    for name in names:
        objects = ElementTree.parse(source / "Annotations" / f"{name}.xml").iter("object")
        low, high = ("xmin", "ymin"), ("xmax", "ymax")
        images[name] = [
            (o.findtext("name"), *(int(o.findtext(f"bndbox/{k}")) - 1 for k in low),
             *(int(o.findtext(f"bndbox/{k}")) for k in high))
            for o in objects
        ]  # fmt: skip
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / f"{name}.jpg").symlink_to(source / "JPEGImages" / f"{name}.jpg")
    own = records(f"voc:{source}:test")
    classes = ["Platelets", "RBC", "WBC"]
    assert MetadataCatalog.get(register_from_files(f"voc:{source}:test")).thing_classes == classes
    scores = []
    for form in FORMS:
        spec = write_labels(tmp_path, form, images, (640, 480), classes)
        assert boxes_of(records(spec)) == boxes_of(own), form
        scores.append(with_scores(spec, images))
        assert scores[-1] == pytest.approx(scores[0], abs=0.2 if form == "yolo" else 1e-9)
    assert 10 < scores[0]["AP"] < 90


@pytest.mark.data
@pytest.mark.parametrize("form", ["yolo", "voc", "labelme", "cvat"])
def test_other_programs_read_the_same(folder, form):
    """supervision, and globox, which does not count VOC's pixels from 1."""
    spec = write_labels(folder, form)
    found = boxes_of(records(spec))
    shift = form == "voc"
    if form in ("yolo", "voc"):
        supervision = pytest.importorskip("supervision")
        where = {"images_directory_path": f"{folder}/images"}
        where["annotations_directory_path"] = f"{folder}/labels"
        more = {"data_yaml_path": f"{folder}/data.yaml"} if form == "yolo" else {}
        read = {"yolo": "from_yolo", "voc": "from_pascal_voc"}[form]
        data = getattr(supervision.DetectionDataset, read)(**where, **more)
        for path, detections in data.annotations.items():
            stem = re.split(r"[\\/]", path)[-1].rpartition(".")[0]
            theirs = detections.xyxy.tolist()
            assert [row[1:] for row in found[stem]] == [
                pytest.approx(row, abs=0.01) for row in theirs
            ]
        assert len(data.annotations) == len(found)
    globox = pytest.importorskip("globox")
    read = {
        "yolo": lambda: globox.AnnotationSet.from_yolo_v5(
            folder / "labels", image_folder=folder / "images", image_extension=".png"
        ),
        "voc": lambda: globox.AnnotationSet.from_pascal_voc(folder / "labels"),
        "labelme": lambda: globox.AnnotationSet.from_labelme(folder / "labels"),
        "cvat": lambda: globox.AnnotationSet.from_cvat(folder / "boxes.xml"),
    }[form]
    for page in read():
        stem = re.split(r"[\\/]", page.image_id)[-1].rpartition(".")[0]
        theirs = [(b.xmin - shift, b.ymin - shift, b.xmax, b.ymax) for b in page.boxes]
        assert [row[1:] for row in found[stem]] == [pytest.approx(row, abs=0.01) for row in theirs]


# ---- staleness ----


@pytest.mark.parametrize("form", ["voc", "yolo", "csv", "labelme"])
def test_files_that_change_are_read_again(folder, form):
    name = register_from_files(write_labels(folder, form))
    assert len(DatasetCatalog.get(name)) == 3
    spec = write_labels(folder, form, {**IMAGES, "b": [("cell", 1, 2, 30, 25)]})
    assert boxes_of(records(spec))["b"] == [(0, 1, 2, 30, 25)]
    other = {**IMAGES, "b": [("new" if form != "yolo" else "cell", 1, 2, 30, 25)]}
    write_labels(folder, form, other, classes=["cell", "new"][: form == "yolo"] + CLASSES[1:])
    if form != "yolo":
        with pytest.raises(DatasetError, match=r"has changed since .* 'thing_classes' was"):
            DatasetCatalog.get(name)
        assert register_from_files(spec) == name
        assert MetadataCatalog.get(name).thing_classes == ["cell", "dot", "new"]


def test_a_label_and_an_image_that_come_later(folder):
    spec = write_labels(folder, "yolo")
    (folder / "labels" / "c.txt").unlink()
    assert boxes_of(records(spec))["c"] == []
    (folder / "labels" / "c.txt").write_text("1 0.5 0.5 1 1")
    assert boxes_of(records(spec))["c"] == [(1, 0, 0, 40, 30)]
    write_images(folder / "images", ["later"])
    assert boxes_of(records(spec))["later"] == []


# ---- VOC, any two folders ----


def test_voc_nested_folders_a_list_and_class_file(tmp_path):
    write_images(tmp_path / "images" / "deep", ["a_1"])
    write_images(tmp_path / "images", ["b", "other"])
    spec = write_labels(tmp_path, "voc", {"a_1": IMAGES["a_1"], "b": []})
    (tmp_path / "labels" / "b.xml").rename(tmp_path / "labels" / "nameless.xml")  # by <filename>
    assert boxes_of(records(spec)) == {"a_1": EXPECTED["a_1"], "b": []}
    (tmp_path / "some.txt").write_text("a_1\n")
    name = register_from_files(f"{spec}:{tmp_path}/some.txt")
    assert (name.rpartition("_")[0], len(DatasetCatalog.get(name))) == ("some", 1)
    (tmp_path / "labels" / "classes.txt").write_text("dot\ncell\n")
    assert MetadataCatalog.get(register_from_files(spec)).thing_classes == ["dot", "cell"]
    (tmp_path / "some.txt").write_text("a_1\nlost\n")
    with pytest.raises(DatasetError, match=r"1 of 2 names have no image.*such as 'lost'"):
        register_from_files(f"{spec}:{tmp_path}/some.txt")


def test_difficult_objects_are_crowd_regions(folder):
    spec = write_labels(folder, "voc")
    file = folder / "labels" / "c.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    crowd = [entry["iscrowd"] for record in records(spec) for entry in record["annotations"]]
    assert crowd == [0, 0, 1]


def test_classes_are_those_of_all_splits(tmp_path):
    for split, label in (("train", "x"), ("valid", "y")):
        write_images(tmp_path / split, ["a"])
        spec = write_labels(tmp_path / "made", "voc", {"a": [(label, 1, 1, 9, 9)]})
        (tmp_path / "made" / "labels" / "a.xml").rename(tmp_path / split / "a.xml")
        spec = f"voc:{tmp_path}/{split}:{tmp_path}/{split}"
    assert MetadataCatalog.get(register_from_files(spec)).thing_classes == ["x", "y"]


# ---- YOLO ----


def test_yolo_joints(folder):
    write_labels(folder, "yolo")
    (folder / "data.yaml").write_text(
        "path: .\nval: [images]\nnames: [cell, dot]\nkpt_shape: [3, 3]\nflip_idx: [1, 0, 2]\n"
    )
    (folder / "labels" / "a_1.txt").write_text("0 0.5 0.5 0.5 0.5 0.25 0.5 2 0.75 0.5 1 0 0 0\n")
    (folder / "labels" / "c.txt").unlink()
    name = register_from_files(f"yolo:{folder}:val")
    metadata = MetadataCatalog.get(name)
    assert metadata.keypoint_names == ["joint_0", "joint_1", "joint_2"]
    assert [tuple(pair) for pair in metadata.keypoint_flip_map] == [("joint_0", "joint_1")]
    (joints,) = [a["keypoints"] for r in DatasetCatalog.get(name) for a in r["annotations"]]
    half = 0.5  # detectron2's records count from the pixel's edge
    assert joints == [10 + half, 15 + half, 2, 30 + half, 15 + half, 1, half, half, 0]
    text = (folder / "data.yaml").read_text().replace("[3, 3]", "[3, 2]")
    (folder / "data.yaml").write_text(text)
    (folder / "labels" / "a_1.txt").write_text("0 0.5 0.5 0.5 0.5 0.25 0.5 0.75 0.5 0 0\n")
    (joints,) = [a["keypoints"] for r in records(f"yolo:{folder}") for a in r["annotations"]]
    assert joints[2::3] == [2, 2, 0]


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("train: ../train/images\nval: ../valid/images\nnames: [cell, dot]", "train/{}"),
        ("path: ../elsewhere\ntrain: train.txt\nnames: [cell, dot]", "{}/train"),
        ("path: data\ntrain: [images/a, images/b]\nnames: [cell, dot]", "data/{}/a"),
    ],
)
def test_yolo_layouts(tmp_path, text, layout):
    """Roboflow's, a list of images, as CVAT writes it, and a list of folders; an outline."""
    images = write_images(tmp_path / layout.format("images"), ["a"])
    (tmp_path / "data/images/b").mkdir(parents=True, exist_ok=True)
    labels = tmp_path / layout.format("labels")
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("1 0.25 0.5 0.5 0.5 0.5 0.1\n")
    (tmp_path / "data.yaml").write_text(text)
    (tmp_path / "train.txt").write_text(f"data/{layout.format('images')}/a.png\n")
    spec = f"yolo:{tmp_path}:train"
    assert boxes_of(records(spec)) == {"a": [(1, 10, 3, 20, 15)]}
    assert str(images) in records(spec)[0]["file_name"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", r"a_1.txt', line 2: class 2 is none of the 2 'names'"),
        ("0 0.5 0.5 0.1", "line 2: 3 numbers behind the class; it must be x y width height"),
        ("0 0.5 0.5 0.1 0.1 0.9", "5 numbers.*; a fifth is a detection's score"),
        ("0 12 15 10 10", r"line 2: 12 15 10 10 are no shares of the image: divide x and width"),
        ("0 0.5 0.5 -0.1 0.1", "line 2: 0.5 0.5 -0.1 0.1 are no shares of the image"),
        ("cell 0.5 0.5 0.1 0.1", "line 2: 'cell' stands where a number must be"),
    ],
)
def test_yolo_lines_that_cannot_be_meant(folder, line, words):
    spec = write_labels(folder, "yolo")
    (folder / "labels" / "a_1.txt").write_text(f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(DatasetError, match=words):
        register_from_files(spec)


def test_reading_on_leaves_out_what_a_reader_refuses(folder):
    spec = write_labels(folder, "yolo")
    lines = "0 0.5 0.5 0.5 0.5\n7 0.5 0.5 0.1 0.1\n0 0.5\n"
    (folder / "labels" / "a_1.txt").write_text(lines)
    with reading_on() as found:
        assert boxes_of(records(spec))["a_1"] == [(0, 10, 7.5, 30, 22.5)]
    [finding] = found
    assert (finding.count, finding.severity) == (2, "error")
    told = (
        r"line 2: class 7 is none of the 2 'names' \(from 0\); .*line 3: 1 numbers behind the class"
    )
    assert re.search(told, finding.what)
    assert [re.search(r"line \d", row)[0] for row in finding.left_out] == ["line 2", "line 3"]
    with reading_on() as again:  # from memory
        records(spec)
    assert again[0] == finding

    voc = write_labels(folder, "voc")
    (folder / "labels" / "b.xml").write_text("<annotation><size>")
    (folder / "labels" / "lost.xml").write_text((folder / "labels" / "c.xml").read_text())
    with reading_on() as found:
        assert sorted(boxes_of(records(voc))) == ["a_1", "c"]
    assert [finding.count for finding in found] == [1, 1]
    assert "lost.xml" in found[1].what


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_that_cannot_be_read_is_read_past_by_every_form(folder, form, tiny_config):
    """Its size is that of the others where the labels do not say it; the look at the files tells.

    A training stops, or goes on without it.
    """
    spec = write_labels(folder, form)
    (folder / "images" / "c.png").write_bytes(b"")
    name = register_from_files(spec)
    found = DatasetCatalog.get(name)
    assert boxes_of(found) == EXPECTED
    cfg = tiny_config("DATASETS.TRAIN", (name,))
    with pytest.raises(
        ValueError, match=r"1 of 3 image files cannot.*c\.png.*SKIP_UNREADABLE True"
    ):
        usable_records(cfg, found, "TRAIN", [name])
    cfg = tiny_config("DATASETS.TRAIN", (name,), "DATASETS.SKIP_UNREADABLE", True)
    left = usable_records(cfg, found, "TRAIN", [name])
    assert sorted(Path(record["file_name"]).stem for record in left) == ["a_1", "b"]


def test_yolo_classes_beside_the_labels_and_labels_without_image(folder, caplog):
    """LabelImg writes classes.txt into the folder of labels; JPEG 2000 is not read."""
    here = boxes_of(records(write_labels(folder, "yolo")))
    (folder / "data.yaml").unlink()
    (folder / "labels" / "classes.txt").write_text("cell\ndot\n")
    (folder / "labels" / "photo.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (folder / "images" / "photo.jp2").write_bytes(b"")
    caplog.clear()
    assert boxes_of(records(f"yolo:{folder}")) == here
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "1 label files have no image with an ending of .jpg" in line
    assert f"'{folder / 'labels' / 'photo.txt'}'; left out" in line


def test_what_is_wrong_with_a_data_yaml(folder):
    spec = write_labels(folder, "yolo")
    for text, words in {
        "train: images\nnames: {1: a}": "'names' must list the classes",
        "train: pictures\nnames: [a]": "'pictures' is no folder, image or list at",
        "train: [a\n": "is no valid YAML",
        "train: images\nval: images\nnames: [a, b]": f"write '{spec}:train' or '{spec}:val'",
        "train: images\nnames: [a, b]\nkpt_shape: [2, 3]\nflip_idx: [0, 0]": "kpt_names",
        "train: .\nnames: [a, b]": "not one of|3 of 3 images have no label file; that of",
    }.items():
        (folder / "data.yaml").write_text(text)
        if text.startswith("train: ."):
            (folder / "labels").rename(folder / "lost")
        with pytest.raises(ValueError, match=words):
            register_from_files(spec)


# ---- CSV ----


@pytest.mark.parametrize(
    "text",
    [
        "image_id;label;x;y;width;height\nc;cell;20;6;10;6\n",
        "path\tclass\txmin\tymin\txmax\tymax\twidth\theight\nany/c.png\tcell\t20\t6\t30\t12\t40\t30",
        "img/c.png,20,6,30,12,cell\n",  # without a header
        "c,20,6,30,12,cell\n",
        'file;label;x1;y1;x2;y2\nc;cell;20,0;6,0;"30,0";12,0\n',  # of a European Excel
        "source,Image-Name,bbox_x,bbox_y,bbox_w,bbox_h,category\nx,c,20,6,10,6,cell",
    ],
)
def test_csv_columns(folder, text):
    (folder / "boxes.csv").write_text(text)
    assert boxes_of(records(f"csv:{folder}/boxes.csv:{folder}/images")) == {"c": EXPECTED["c"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "file,kind,a,b,c,d\nc,cell,1,2,3,4",
            r"\['file', 'kind', 'a', 'b', 'c', 'd'\] have no class and no box. Name them image, cl",
        ),
        ("c,cell,1,2,3,4", r"a line with .* names must stand above \['c', 'cell', '1', '2', '3'"),
        ("", r"boxes.csv': a line with the columns' names must stand above \[\]. Name them"),
        ("file,path,label,x1,y1,x2,y2\n", r"\['file', 'path'\] mean the same"),
        ("file,label,x1,y1,x2,y2,x,y,w,h\n", "have two boxes"),
        ("file,label,x1,y1,x2,y2\nc,cell,1,2,3", "line 2: 5 columns, the header has 6"),
        ("file,label,x1,y1,x2,y2\nc,cell,1,2,three,4", "line 2: 'three' stands where"),
        ("file,label,x1,y1,x2,y2\nz,cell,1,2,3,4", "line 2 has no image, 'z'"),
        ("file,label,x1,y1,x2,y2\nc,cell,9,2,3,4", r"line 2 bbox \[9.0, 2.0, -6.0, 2.0\]"),
        ("file,label,x1,y1,x2,y2\nc,cell,.1,.2,.3,.4", "1 of 1 boxes have no number above 1"),
    ],
)
def test_csv_that_cannot_be_meant(folder, text, words):
    (folder / "boxes.csv").write_text(text)
    with pytest.raises(DatasetError, match=words):
        register_from_files(f"csv:{folder}/boxes.csv:{folder}/images")


# ---- LabelMe, CVAT ----


def test_outlines_become_boxes_and_lines_are_left_out(folder, caplog):
    spec = write_labels(folder, "labelme")
    shapes = [
        {"label": "cell", "points": [[5, 3], [15, 4], [9, 18]], "shape_type": "polygon"},
        {"label": "cell", "points": [[20, 15], [23, 19]], "shape_type": "circle"},
        {"label": "dot", "points": [[1, 1]], "shape_type": "point"},
        {"label": "__ignore__", "points": [[1, 1], [2, 2]], "shape_type": "rectangle"},
    ]
    page = {"shapes": shapes, "imagePath": "c.png", "imageData": "AAAA"}
    (folder / "labels" / "c.json").write_text(json.dumps(page))
    (folder / "labels" / "flags.json").write_text("[]")
    assert boxes_of(records(spec))["c"] == [(0, 5, 3, 15, 18), (0, 15, 10, 25, 20)]
    assert "1 points, lines and the like are no boxes: left out" in caplog.text
    (folder / "labels" / "c.json").write_text('{"shapes": [{"label": "x"}]}')
    with pytest.raises(DatasetError, match=r"c.json', shape 1 lacks a label or points"):
        register_from_files(spec)


def test_cvat_outlines_and_videos(folder):
    image = '<image name="sub/c.png" width="40" height="30">{}</image>'
    shapes = '<polygon label="cell" points="5,3;15,4;9.5,18"/><points label="dot" points="1,1"/>'
    (folder / "annotations.xml").write_text(f"<annotations>{image.format(shapes)}</annotations>")
    found = records(f"cvat:{folder}/annotations.xml:{folder}/images")
    assert boxes_of(found) == {"c": [(0, 5, 3, 15, 18)]}
    (folder / "annotations.xml").write_text('<annotations><track label="x"/></annotations>')
    with pytest.raises(DatasetError, match=r"has no <image>: export 'CVAT for images 1.1'"):
        register_from_files(f"cvat:{folder}/annotations.xml:{folder}/images")


def test_one_image_for_two_labels_and_names_that_mean_two_images(folder):
    spec = write_labels(folder, "voc")
    text = (folder / "labels" / "c.xml").read_text()
    (folder / "labels" / "d.xml").write_text(text)  # its <filename> is c's
    with pytest.raises(DatasetError, match=r"d.xml' has the image of '.*c.xml', 'd', in"):
        register_from_files(spec)
    (folder / "labels" / "d.xml").unlink()
    for place in ("one", "two"):
        write_images(folder / "images" / place, ["e"])
    (folder / "labels" / "e.xml").write_text(text)
    with pytest.raises(DatasetError, match=r"'e' may be 'one/e.png' or 'two/e.png'"):
        register_from_files(spec)


def test_labelme_names_its_images_itself(folder):
    spec = write_labels(folder, "labelme").partition(":")[2].partition(":")[0]
    for file in (folder / "labels").glob("*.json"):
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"imagePath": f"../images/{file.stem}.png"}))
    assert boxes_of(records(f"labelme:{spec}")) == EXPECTED
