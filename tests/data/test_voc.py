from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.pascal_voc import CLASS_NAMES, load_voc_instances
from detectron2.structures import BoxMode
from PIL import Image

from centernet_d2 import setup
from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets.builtin import register_builtin
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.data.datasets.voc import VOC_CLASSES, load_voc_records
from centernet_d2.data.mapper import DetectionMapper

from .voc_files import write_voc, xml_text

IMAGES = {
    "b": [("dog", 1, 1, 60, 50, 0), ("person", 3, 5, 7, 9, 1)],
    "a": [],
    "c": [("person", 2.5, 2, 30, 40, 0)],
}


@pytest.fixture
def folder(tmp_path):
    return write_voc(tmp_path / "VOC2007", IMAGES, split="trainval")


def test_records(folder):
    records = load_voc_records(str(folder), "trainval")
    assert [record["image_id"] for record in records] == ["b", "a", "c"]  # the list's order
    assert records[1]["annotations"] == []
    first = records[0]
    assert first["file_name"] == str(folder / "JPEGImages" / "b.jpg")
    assert (first["width"], first["height"]) == (60, 50)
    # The whole image is (1, 1, width, height) in the file, (0, 0, width, height) as edges.
    mode = {"bbox_mode": BoxMode.XYXY_ABS}
    assert first["annotations"] == [
        {"category_id": 11, "bbox": [0, 0, 60, 50], "difficult": 0, **mode},
        {"category_id": 14, "bbox": [2, 4, 7, 9], "difficult": 1, **mode},
    ]
    assert records[2]["annotations"][0]["bbox"] == [1.5, 1, 30, 40]


def test_equals_detectron2s_records_and_adds_to_them(folder):
    assert tuple(CLASS_NAMES) == VOC_CLASSES
    assert_records_hold_detectron2s(str(folder), "trainval")


def assert_records_hold_detectron2s(folder, split):
    ours = load_voc_records(folder, split)
    theirs = load_voc_instances(folder, split, CLASS_NAMES)
    for record, expected in zip(ours, theirs, strict=True):
        own = [dict(entry) for entry in record["annotations"]]
        for entry in own:
            del entry["difficult"]
        assert {**record, **expected} == {**record, "annotations": own}
    return ours


@pytest.mark.data
def test_real_records_are_those_of_detectron2(test_data):
    ours = assert_records_hold_detectron2s(str(test_data / "voc2012_sample"), "val")
    assert len(ours) == 100
    annotations = [entry for record in ours for entry in record["annotations"]]
    assert len(annotations) == 273
    assert sum(entry["difficult"] for entry in annotations) == 38


# ---- registration ----


def test_detectron2s_names_are_read_by_this_package(tmp_path):
    """In a new process: names, classes and evaluator at import, records from the datasets root."""
    write_voc(tmp_path / "VOC2007", IMAGES, split="trainval")
    write_voc(tmp_path / "VOC2012", {"x": None}, split="test")
    code = (
        "import centernet_d2\n"
        "from detectron2.data import DatasetCatalog, MetadataCatalog\n"
        "metadata = MetadataCatalog.get('voc_2007_trainval')\n"
        "print(len(metadata.thing_classes), metadata.evaluator_type, metadata.year)\n"
        "print([len(r['annotations']) for r in DatasetCatalog.get('voc_2007_trainval')])\n"
        "print(DatasetCatalog.get('voc_2007_trainval')[0]['annotations'][1]['difficult'])\n"
        "print(['annotations' in r for r in DatasetCatalog.get('voc_2012_test')])\n"
        "print(sorted(name for name in DatasetCatalog.list() if name.startswith('voc_20')))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "DETECTRON2_DATASETS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    splits = ("test", "train", "trainval", "val")
    assert result.stdout.splitlines() == [
        "20 pascal_voc 2007",
        "[2, 0, 1]",
        "1",
        "[False]",
        str([f"voc_{year}_{split}" for year in (2007, 2012) for split in splits]),
    ]


def test_somebody_elses_registration_stays(tmp_path):
    mine = DatasetCatalog["voc_2012_val"]
    DatasetCatalog.remove("voc_2012_val")
    DatasetCatalog.register("voc_2012_val", lambda: ["theirs"])
    try:
        register_builtin(str(tmp_path))
        assert DatasetCatalog.get("voc_2012_val") == ["theirs"]
    finally:
        DatasetCatalog.remove("voc_2012_val")
        DatasetCatalog.register("voc_2012_val", mine)


def test_from_files(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    name = register_from_files("voc:VOC2007:trainval")
    assert name == register_from_files(f"voc:{folder}:trainval")
    assert name.startswith("VOC2007_trainval_")
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == list(VOC_CLASSES)
    expected = ("pascal_voc", 2007, "trainval", f"voc:{folder}:trainval")
    found = metadata.evaluator_type, metadata.year, metadata.split, metadata.file_spec
    assert found == expected
    assert len(DatasetCatalog.get(name)) == 3


def test_from_files_with_classes_of_its_own(tmp_path):
    folder = write_voc(tmp_path / "my: data", {"1": [("nut", 1, 1, 5, 5, 0)]}, split="train")
    (folder / "classes.txt").write_text("bolt\n nut \n\n")
    name = register_from_files(f"voc:{folder}:train")
    assert MetadataCatalog.get(name).thing_classes == ["bolt", "nut"]
    assert MetadataCatalog.get(name).year == 2012
    assert DatasetCatalog.get(name)[0]["annotations"][0]["category_id"] == 1
    (folder / "classes.txt").write_text("bolt\nwasher\nnut\n")
    assert register_from_files(f"voc:{folder}:train") == name
    assert MetadataCatalog.get(name).thing_classes == ["bolt", "washer", "nut"]
    assert DatasetCatalog.get(name)[0]["annotations"][0]["category_id"] == 2
    (folder / "classes.txt").write_text("nut\nnut\n")
    (folder / "ImageSets" / "Main" / "val.txt").write_text("1\n")
    with pytest.raises(DatasetError, match="name of each class once"):
        register_from_files(f"voc:{folder}:val")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        *((spec, r"form .*'voc:<folder>:<split>'") for spec in ("", "a", ":a", "a:")),
        ("/no/such:train", r"folder '/no/such' does not exist.*ImageSets/Main"),
        ("{}:train", r"train.txt' does not exist.*folder: trainval"),
        ("{}/..:train", "unpack the VOCdevkit"),
    ],
)
def test_wrong_forms_folders_and_splits_are_said_at_once(folder, spec, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        register_from_files(f"voc:{spec.format(folder)}")


# ---- what is missing or malformed ----


def test_missing_xml_and_images_are_counted_and_named(folder):
    (folder / "Annotations" / "c.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 images.*'c.xml'.*unpack"):
        load_voc_records(str(folder), "trainval")
    (folder / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 images.*'a.jpg'.*unpack"):
        load_voc_records(str(folder), "trainval")


def test_without_any_xml_it_is_a_split_without_annotations(tmp_path):
    folder = write_voc(tmp_path, {"1": None, "2": None})
    records = load_voc_records(str(folder), "test")
    assert [sorted(record) for record in records] == [["as_stored", "file_name", "image_id"]] * 2
    with pytest.raises(FileNotFoundError, match="2 of the 2 images"):
        load_voc_records(str(folder), "test", labelled=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</annotation>", "", "is no valid XML .*truncated.*copy it again"),
        ("<xmin>1</xmin>", "", r"<bndbox><xmin> of object 'dog' is missing"),
        ("<xmin>1</xmin>", "<xmin>one</xmin>", r"<bndbox><xmin> of object 'dog' is 'one'"),
        ("<width>60</width>", "", "<size><width> is missing"),
        ("<width>60</width>", "<width>0</width>", "<size> says 0 x 50 pixels"),
        (">dog<", ">Dog<", r"none of the classes .*'Dog' \(1, as in .*classes.txt"),
        ("<width>60</width>", "<width>inf</width>", "<size> says inf x 50 pixels"),
        ("<difficult>0", "<difficult>Unspecified", "<difficult> of object 'dog' is 'Unspecified'"),
        ("<xmin>1</xmin>", "<xmin>nan</xmin>", "NaN or infinity: annotation 0 of 'b.xml'"),
        ("<xmin>1</xmin>", "<xmin>70</xmin>", "object 'dog' has xmax 60 < xmin 70"),
    ],
)
def test_malformed_annotations_are_named(folder, old, new, message):
    file = folder / "Annotations" / "b.xml"
    text = xml_text("b", IMAGES["b"])
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(DatasetError, match=message) as caught:
        load_voc_records(str(folder), "trainval")
    assert "b.xml" in str(caught.value)


def test_shares_of_the_image_are_no_pixels(tmp_path):
    shares = [("dog", 0.1, 0.2, 0.9, 1.0, 0), ("cat", 0, 0, 0.5, 0.5, 0)]
    folder = write_voc(tmp_path, {"a": shares})
    words = r"Annotations': 2 of 2 boxes have no corner above 1.*multiply x by the image's width"
    with pytest.raises(DatasetError, match=words):
        load_voc_records(str(folder), "test")


def test_a_list_of_files_instead_of_names(folder):
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text("a.jpg\nb.jpg\n")
    words = r"2 of the 2 images.*; the list must have the files' names without ending, 'a' for 'a.j"
    with pytest.raises(FileNotFoundError, match=words) as caught:
        load_voc_records(str(folder), "trainval")
    assert "unpack" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [("", "is empty"), ("a\nb\na\n", r"1 images more than once: \['a'\]")]
)
def test_malformed_lists_are_named(folder, text, message):
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text(text)
    with pytest.raises(DatasetError, match=message):
        load_voc_records(str(folder), "trainval")


@pytest.mark.parametrize(
    ("lines", "ids"),
    [
        ("my photo 1\n  my photo  \nimg (1)\t\n", ["my photo 1", "my photo", "img (1)"]),
        ("my photo 1  1\nmy photo -1\nimg (1) 0", ["my photo 1", "my photo", "img (1)"]),
        ("my photo 1\nimg (1)\t 1\r\n", ["my photo 1", "img (1)"]),
        ("img (1)\n", ["img (1)"]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_names_with_blanks_and_encodings_of_lists(tmp_path, lines, ids, encoding):
    """A name is the whole line where there is such an image; else a last 1, 0 or -1 is not read."""
    images = {name: [("n\xfct", 1, 1, 9, 9, 0)] for name in ("my photo", "my photo 1", "img (1)")}
    folder = write_voc(tmp_path / "VOC", images, split="train")
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes(lines.encode(encoding))
    (folder / "classes.txt").write_bytes("bolt\r\nn\xfct\r\n".encode(encoding))
    records = DatasetCatalog.get(register_from_files(f"voc:{folder}:train"))
    assert [record["image_id"] for record in records] == ids
    assert [record["annotations"][0]["category_id"] for record in records] == [1] * len(ids)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("", "utf-8"),
        ("", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-8", "utf-16"),  # saved anew by an editor that leaves the first line
        ("utf-16", "utf-8"),
        ("iso-8859-1", "latin-1"),
        ("no-such-code", "utf-8"),
    ],
)
def test_encodings_of_xml(folder, declared, encoding):
    text = xml_text("b", IMAGES["b"]).replace("dog", "h\xfcnd")
    line = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    (folder / "Annotations" / "b.xml").write_bytes((line + text).encode(encoding))
    records = load_voc_records(str(folder), "trainval", ("h\xfcnd", "person"))
    assert [entry["category_id"] for entry in records[0]["annotations"]] == [0, 1]


def test_xml_in_no_known_encoding_is_named(folder):
    text = xml_text("b", IMAGES["b"]).replace("dog", "h\xfcnd")
    (folder / "Annotations" / "b.xml").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"b\.xml' is no valid XML .* save it as UTF-8"):
        load_voc_records(str(folder), "trainval")


@pytest.mark.parametrize(
    ("word", "difficult"),
    [("true", 1), (" 1 ", 1), ("Yes", 1), ("Y", 1), ("1.0", 1), ("False", 0), ("no", 0), ("", 0)],
)
def test_what_difficult_may_be(folder, word, difficult):
    text = xml_text("b", [("dog", 1, 1, 60, 50, word)])
    for tag in ("difficult", "object"):  # tags count in any case
        text = text.replace(f"{tag}>", f"{tag.upper()}>")
    text = text.replace("<annotation>", '<annotation xmlns="http://here">')
    (folder / "Annotations" / "b.xml").write_text(text)
    (entry,) = load_voc_records(str(folder), "trainval")[0]["annotations"]
    assert entry["difficult"] == difficult


def test_all_unknown_classes_are_named_at_once(folder):
    for name, kinds in {"b": ["nut", "bolt"], "c": ["nut", "dog"]}.items():
        text = xml_text(name, [(kind, 1, 1, 9, 9, 0) for kind in kinds])
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    words = r"3 objects have .*'nut' \(2, as in '.*b\.xml'\), 'bolt' \(1, as in '.*b\.xml'\)"
    with pytest.raises(DatasetError, match=words):
        load_voc_records(str(folder), "trainval")


def test_images_without_xml_are_negatives_by_choice(folder, tiny_config, caplog):
    (folder / "Annotations" / "c.xml").unlink()
    spec = f"voc:{folder}:trainval"
    configs = {}
    for choice in ("error", "negative"):
        configs[choice] = tiny_config("DATASETS.VOC.MISSING_XML", choice, "DATASETS.TRAIN", (spec,))
        configs[choice].MODEL.HEATMAP.NUM_CLASSES = 0
    for choice in ("error", "negative", "error"):  # the config that was set up last counts
        (name,) = setup(configs[choice]).DATASETS.TRAIN
        if choice == "error":
            with pytest.raises(FileNotFoundError, match=r"c\.xml'.*DATASETS\.VOC\.MISSING_XML"):
                DatasetCatalog.get(name)
            continue
        records = DatasetCatalog.get(name)
        assert [len(record["annotations"]) for record in records] == [2, 0, 0]
        assert (records[2]["width"], records[2]["height"]) == (60, 50)
        assert "1 of the 3 images of split 'trainval' have no XML file, such as 'c'" in caplog.text
    for name in "ab":  # without any, the archive is missing, whatever the choice is
        (folder / "Annotations" / f"{name}.xml").unlink()
    with pytest.raises(FileNotFoundError, match="3 of the 3 images"):
        load_voc_records(str(folder), "trainval", labelled=True, missing_xml="negative")


def test_parts_are_no_objects_and_a_box_outside_its_image_is_dropped_with_a_warning(folder, caplog):
    text = xml_text("b", [*IMAGES["b"], ("cat", 70, 1, 80, 5, 0)])
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    (folder / "Annotations" / "b.xml").write_text(text.replace("</object>", part, 1))
    records = load_voc_records(str(folder), "trainval")
    assert [len(record["annotations"]) for record in records] == [2, 0, 1]
    assert "dropped 1 of 4 boxes that lie outside" in caplog.text
    assert "annotation 2 of 'b.xml'" in caplog.text


# ---- in training ----


@pytest.mark.parametrize(("choice", "count"), [((), 2), (("INPUT.DIFFICULT_AS_OBJECTS", False), 1)])
def test_difficult_objects_in_training(folder, tiny_config, choice, count):
    mapper = DetectionMapper(tiny_config(*choice), is_train=True)
    mapper.augmentations = DetectionMapper(is_train=True).augmentations  # none
    sample = mapper(load_voc_records(str(folder), "trainval")[0])
    expected = [[0, 0, 60, 50], [2, 4, 7, 9]][:count]
    assert sample["instances"].gt_boxes.tensor.tolist() == expected


def test_pixels_are_taken_as_stored(folder):
    """VOC's annotations do not know EXIF: a file with such a mark is not turned."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    file = folder / "JPEGImages" / "b.jpg"
    pixels = np.zeros((50, 60, 3), dtype=np.uint8)
    pixels[:, :30] = 200
    Image.fromarray(pixels).save(file, exif=exif)
    sample = DetectionMapper(is_train=False)(load_voc_records(str(folder), "trainval")[0])
    assert tuple(sample["image"].shape) == (3, 50, 60)
    assert sample["image"][0, :, :25].float().mean() > 190
