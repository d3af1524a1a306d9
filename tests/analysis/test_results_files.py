"""Every form of file gives the same detections; what does not belong to the dataset is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from catalogs import unregistered  # noqa: F401
from PIL import Image

from centernet_d2.analysis.results_files import Dataset, read_results
from centernet_d2.data.datasets.from_files import register_from_files

BOXES = {3: [[10, 20, 30, 40]], 8: [[1, 2, 11, 22], [50, 8, 90, 48]]}  # by image id, XYXY
CLASSES, SCORES = {3: ["ring"], 8: ["disk", "ring"]}, {3: [0.75], 8: [0.5, 0.25]}
NAMES = ["disk", "ring"]


@pytest.fixture
def dataset(tmp_path):
    """Two pictures of 100 x 50, `a/one.png` and `b/two.png`, with the ids 3 and 8; no files."""
    content = {
        "images": [
            {"id": 3, "file_name": "a/one.png", "width": 100, "height": 50},
            {"id": 8, "file_name": "b/two.png", "width": 100, "height": 50},
        ],
        "categories": [{"id": 4, "name": "disk"}, {"id": 9, "name": "ring"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 9, "bbox": [10, 20, 20, 20], "area": 400}
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "images").mkdir()
    return Dataset(register_from_files(f"coco:{tmp_path}/truth.json:{tmp_path}/images"))


def test_a_share_of_some_classes_has_its_own_pictures_and_classes(dataset, tmp_path):
    """Not those of the JSON that its metadata names."""
    spec = f"coco:{tmp_path}/truth.json:{tmp_path}/images"
    for file in ("a/one.png", "b/two.png"):
        (tmp_path / "images" / file).parent.mkdir()
        Image.new("RGB", (100, 50)).save(tmp_path / "images" / file)
    shares = [register_from_files(f"{spec}:{share}", ["ring"]) for share in ("train50", "val50")]
    both = [Dataset(name) for name in shares]
    assert sorted(r["image_id"] for part in both for r in part.records) == [3, 8]
    assert [len(part.records) for part in both] == [1, 1]
    (ring,) = (a for part in both for r in part.records for a in r["annotations"])
    assert [part.class_names for part in both] == [["ring"], ["ring"]]
    assert ring["category_id"] == 0  # in the JSON's order it is 1


def flat():
    for key in BOXES:
        yield from zip([key] * 2, CLASSES[key], BOXES[key], SCORES[key], strict=False)


def coco_rows(**changed):
    return [
        {"image_id": key, "category_id": {"disk": 4, "ring": 9}[name], "score": score}
        | {"bbox": [x, y, right - x, bottom - y]}
        | changed
        for key, name, (x, y, right, bottom), score in flat()
    ]


def write_coco(folder):
    (folder / "results.json").write_text(json.dumps(coco_rows()))
    return folder / "results.json"


def write_own_ids(folder, name="coco_results.json", images="coco_images.json"):
    """Ids that are none, or others, of the dataset's, with the file beside them that says whose."""
    ids = {key: {"image_id": 11 - key} for key in BOXES}
    rows = [
        row | ids[row["image_id"]] | {"category_id": 13 - row["category_id"]} for row in coco_rows()
    ]
    (folder / name).write_text(json.dumps(rows))
    files = {8: "/elsewhere/a/one.png", 3: "two.png"}
    whole = {"images": [{"id": key, "file_name": file} for key, file in files.items()]}
    whole["categories"] = [{"id": 4, "name": "ring"}, {"id": 9, "name": "disk"}]
    (folder / images).write_text(json.dumps(whole))
    return folder / name


def write_detectron2(folder):
    return write_own_ids(folder, "coco_instances_results.json", "my_val_coco_format.json").parent


def write_predictions(folder, form="XYXY: left, top, right, bottom", files=None):
    files = files or {3: "/elsewhere/a/one.png", 8: "two.png"}
    images = [
        {
            "file": file,
            "detections": [
                {"class_name": name, "class_index": 0, "box": box, "score": score}
                for name, box, score in zip(CLASSES[key], BOXES[key], SCORES[key], strict=True)
            ],
        }
        for key, file in files.items()
    ]
    content = {"box_format": form, "class_names": NAMES, "images": images}
    (folder / "predictions.json").write_text(json.dumps(content))
    return folder


def write_texts(folder, line, name=lambda key, _: {3: "one", 8: "two"}[key]):
    (folder / "texts").mkdir()
    for key, label, box, score in flat():
        with (folder / "texts" / f"{name(key, label)}.txt").open("a") as file:
            file.write(line(key, label, *box, score) + "\n")
    return folder / "texts"


def write_voc(folder):
    line = lambda key, _, x, y, r, b, s: f"{key} {s} {x + 1} {y + 1} {r + 1} {b + 1}"  # noqa: E731
    return write_texts(folder, line, lambda _, label: f"comp4_det_my_test_{label}")


def write_kitti(folder):
    line = lambda _, label, x, y, r, b, s: (  # noqa: E731
        f"{label} -1 -1 -10 {x} {y} {r} {b} -1 -1 -1 -1000 -1000 -1000 -10 {s}"
    )
    return write_texts(folder, line)


def write_yolo(folder):
    line = lambda _, label, x, y, r, b, s: (  # noqa: E731
        f"{NAMES.index(label)} {(x + r) / 200} {(y + b) / 100} {(r - x) / 100} {(b - y) / 50} {s}"
    )
    return write_texts(folder, line)


def write_pixels(folder):
    line = lambda _, label, x, y, r, b, s: f"{NAMES.index(label)} {s} {x} {y} {r - x} {b - y}"  # noqa: E731
    return write_texts(folder, line)


@pytest.mark.parametrize(
    "write",
    [
        *(write_coco, write_predictions, write_voc, write_kitti, write_yolo, write_pixels),
        *(write_own_ids, write_detectron2),
    ],
)
def test_all_forms_say_the_same(write, dataset, tmp_path, caplog):
    found = read_results(str(write(tmp_path)), dataset)
    assert list(found) == [3, 8]
    for key, arrays in found.items():
        order = np.argsort(-arrays["scores"])
        np.testing.assert_allclose(arrays["boxes"][order], BOXES[key], atol=1e-9)
        np.testing.assert_allclose(arrays["scores"][order], SCORES[key])
        assert [NAMES[label] for label in arrays["classes"][order]] == CLASSES[key]
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def change(key, value):
    return lambda folder: (folder / "r.json").write_text(json.dumps(coco_rows(**{key: value})))


def shifted(by):
    return lambda folder: (folder / "r.json").write_text(
        json.dumps([{**row, "category_id": row["category_id"] + by} for row in coco_rows()])
    )


WRONG = {
    r"3 of 3 detections name a picture .* such as \[77\]; it has \[3, 8\]": change("image_id", 77),
    r"class .*\[10, 5\].*With -1 all fit: class ids are off by one": shifted(1),
    r"class .*\[1, 0\].*look like places in the list of classes": lambda folder: (
        folder / "r.json"
    ).write_text(
        json.dumps([{**r, "category_id": int(r["category_id"] == 9)} for r in coco_rows()])
    ),
    "no coordinate is above 2": change("bbox", [0.1, 0.2, 0.5, 0.5]),
    "3 of 3 boxes end before they begin": change("bbox", [50, 20, -10, 5]),
    r"entry 0 is no COCO result .*KeyError: 'score'": lambda folder: (folder / "r.json").write_text(
        json.dumps([{"image_id": 3, "category_id": 4, "bbox": [1, 2, 30, 4]}])
    ),
    r"entry 0 is no COCO result .*not enough values": change("bbox", [1, 2, 30]),
    "none of: a COCO results list": lambda folder: (folder / "r.json").write_text('{"a": 1}'),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_of_the_dataset_is_an_error(message, dataset, tmp_path):
    WRONG[message](tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_results(str(tmp_path / "r.json"), dataset)


def test_a_part_that_does_not_belong_is_left_out_and_told(dataset, tmp_path, caplog):
    rows = coco_rows()
    rows += [{**rows[0], "image_id": 5}, {**rows[0], "category_id": 40}]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    found = read_results(str(tmp_path / "r.json"), dataset)
    assert [len(arrays["scores"]) for arrays in found.values()] == [1, 2]
    assert "1 of 5 detections name a picture that the dataset does not have, such as [5]" in (
        caplog.text
    )
    assert "1 of 5 detections name a class that the dataset does not have, such as [40]" in (
        caplog.text
    )


def test_corners_given_as_sizes_are_told(dataset, tmp_path, caplog):
    change("bbox", [50, 20, 90, 45])(tmp_path)
    read_results(str(tmp_path / "r.json"), dataset)
    assert "3 of 3 boxes reach far out of their pictures" in caplog.text


def test_a_few_boxes_without_extent_do_no_harm(dataset, tmp_path, caplog):
    """As of a network that has just begun to learn."""
    rows = [row for row in coco_rows() for _ in range(7)]
    rows[0] = rows[0] | {"bbox": [50, 20, -10, 5]}
    (tmp_path / "results.json").write_text(json.dumps(rows))
    found = read_results(str(tmp_path / "results.json"), dataset)
    assert found[3]["boxes"][0].tolist() == [50, 20, 40, 25]
    assert "1 of 21 boxes end before they begin" in caplog.text


def test_results_of_ones_own_may_be_boxes_without_extent_alone(dataset, tmp_path, caplog):
    change("bbox", [50, 20, -10, 5])(tmp_path)
    for given in ({"own": True}, {}):
        found = read_results(str(tmp_path / "r.json"), dataset, **given)
        assert found[3]["boxes"][0].tolist() == [50, 20, 40, 25]
        assert "3 of 3 boxes end before they begin" in caplog.text
        caplog.clear()
        (tmp_path / "model_final.pth").touch()  # by which a folder is known as a run's


def test_a_number_is_an_id_and_no_file_name(dataset, tmp_path):
    """A picture `5.png` has another id than 5."""
    change("image_id", "3")(tmp_path)  # as text it is one
    assert len(read_results(str(tmp_path / "r.json"), dataset)[3]["scores"]) == 3
    dataset.records[0]["file_name"] = "5.png"
    change("image_id", 5)(tmp_path)
    with pytest.raises(ValueError, match=r"such as \[5\]"):
        read_results(str(tmp_path / "r.json"), dataset)


def test_joints_and_boxes_in_space_are_read(dataset, tmp_path):
    rows = [{**row, "keypoints": [12, 22, 0.9, 20, 30, 0.1]} for row in coco_rows()]
    del rows[0]["bbox"]  # COCO's keypoint results have none
    (tmp_path / "r.json").write_text(json.dumps(rows))
    arrays = read_results(str(tmp_path / "r.json"), dataset)[3]
    assert arrays["joints"].tolist() == [[[12, 22, 0.9], [20, 30, 0.1]]]
    assert arrays["boxes"].tolist() == [[12, 22, 20, 30]]
    line = lambda _, label, x, y, r, b, s: (  # noqa: E731
        f"{label} 0 0 -1.5 {x} {y} {r} {b} 1.5 1.6 4 2 1.7 20 -1.4 {s}"
    )
    arrays = read_results(str(write_texts(tmp_path, line)), dataset)[3]
    np.testing.assert_allclose(arrays["boxes3d"], [[2, 1.7, 20, 1.5, 1.6, 4, -1.4, -1.5]])


def test_two_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path):
    images = [
        {"id": k, "file_name": f"{folder}/x.png", "width": 100, "height": 50}
        for k, folder in ((3, "a"), (8, "b"))
    ]
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES)]
    content = {"images": images, "categories": categories, "annotations": []}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "a").mkdir()
    Image.new("RGB", (100, 50)).save(tmp_path / "a" / "x.png")
    dataset = Dataset(register_from_files(f"coco:{tmp_path}/truth.json:{tmp_path}"))
    folder = write_predictions(tmp_path, files={3: "/mine/a/x.jpg", 8: "b\\x.png"})
    found = read_results(str(folder), dataset)
    assert [len(arrays["scores"]) for arrays in found.values()] == [1, 2]
    folder = write_predictions(tmp_path, files={3: "x.png"})
    with pytest.raises(ValueError, match=r"name a picture .*\['x.png'\]"):
        read_results(str(folder), dataset)
