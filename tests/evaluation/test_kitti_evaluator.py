from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import print_csv_format
from detectron2.structures import Boxes, BoxMode, Instances
from two_processes import one_of_two

from centernet_d2.config import add_centernet_config
from centernet_d2.data.datasets.kitti import annotation_of
from centernet_d2.data.datasets.kitti_labels import read_labels
from centernet_d2.evaluation import KittiEvaluator, build_evaluator
from centernet_d2.evaluation.kitti_ap import average_precision, score_kitti
from centernet_d2.evaluation.kitti_evaluation import (
    RESULT_FOLDER,
    TASKS,
    min_overlaps,
)
from centernet_d2.evaluation.kitti_files import result_file_name
from centernet_d2.evaluation.kitti_ground_truth import load_ground_truth
from centernet_d2.structures.box3d_records import NO_BOX3D
from centernet_d2.structures.boxes3d import Boxes3D

from .kitti_cases import read_detections

NAME = "kitti_of_a_test"
CLASSES = ("Pedestrian", "Car", "Cyclist")
CAR = "Car 0.00 0 0.10 100.00 150.00 200.00 250.00 1.50 1.60 4.00 1.00 1.70 20.00 0.15"
LABELS = {
    "000001": [CAR, "DontCare -1 -1 -10 600 100 700 200 -1 -1 -1 -1000 -1000 -1000 -10"],
    "000004": [
        "Van 0.00 0 0.10 300.00 150.00 400.00 250.00 2.00 1.80 5.00 5.00 1.70 20.00 0.15",
        "Truck 0.00 0 0.10 500.00 150.00 600.00 250.00 3.00 2.50 9.00 9.00 1.70 30.00 0.15",
        "Pedestrian 0.00 2 0.10 10.00 150.00 40.00 250.00 1.80 0.60 0.80 -5.00 1.70 15.00 0.15",
    ],
    "000009": [],
}
# class, score, box, 3-D box
FOUND_CAR = (1, 0.9, (100, 150, 200, 250), (1, 1.7, 20, 1.5, 1.6, 4, 0.15, 0.1))
MISTAKE = (1, 0.8, (800, 150, 900, 250), (20, 1.7, 20, 1.5, 1.6, 4, 0.15, 0.1))
VAN = (1, 0.95, (300, 150, 400, 250), (5, 1.7, 20, 2, 1.8, 5, 0.15, 0.1))
IN_REGION = (1, 0.99, (610, 110, 690, 190), (30, 1.7, 20, 1.5, 1.6, 4, 0.15, 0.1))
DETECTIONS = {"000001": [FOUND_CAR, IN_REGION], "000004": [VAN, MISTAKE], "000009": []}


def instances(rows, *, in_space=True, dtype=torch.float32) -> Instances:
    found = Instances((375, 1242))
    found.pred_boxes = Boxes(torch.tensor([row[2] for row in rows]).reshape(-1, 4).float())
    found.scores = torch.tensor([row[1] for row in rows], dtype=dtype)
    found.pred_classes = torch.tensor([row[0] for row in rows], dtype=torch.int64)
    if in_space:
        table = torch.tensor([row[3] for row in rows], dtype=dtype).reshape(-1, 8)
        found.pred_boxes3d = Boxes3D(table)
    return found


def run(evaluator, images=tuple(DETECTIONS), **options):
    evaluator.reset()
    for image_id in images:
        found = instances(DETECTIONS[image_id], **options)
        evaluator.process([{"image_id": image_id}], [{"instances": found}])
    return evaluator.evaluate()


def register_records(records, **metadata):
    size = {"height": 375, "width": 1242}
    DatasetCatalog.register(NAME, lambda: [{**size, **record} for record in records])
    MetadataCatalog.get(NAME).set(
        thing_classes=list(CLASSES), evaluator_type="kitti", **{"label_dir": None, **metadata}
    )
    return NAME


def write_labels(folder: Path, labels) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for image_id, rows in labels.items():
        (folder / f"{image_id}.txt").write_text("".join(f"{row}\n" for row in rows))
    return str(folder)


@pytest.fixture
def register(tmp_path):
    """A function that writes labels and registers them; returns the dataset's name."""

    def make(labels=LABELS):
        folder = write_labels(tmp_path / "label_2", labels)
        return register_records([{"image_id": i} for i in labels], label_dir=folder)

    return make


def test_scores_in_percent(register, tmp_path, caplog):
    """The car is found at 0.9, the false positive lies below; van and region are neither."""
    evaluator = KittiEvaluator(
        dataset_name=register(), output_folder=str(tmp_path / "out"), protocol="p"
    )
    with caplog.at_level(logging.INFO):
        results = run(evaluator)
    assert list(results) == list(TASKS)
    for task in ("bbox", "aos"):
        assert results[task]["AP11-Car-easy"] == pytest.approx(100 / 11)
        assert results[task]["AP40-Car-easy"] == 0  # one object: recall 0 is the only sample
    # In space regions do not count: the detection in it is the surest, and false.
    for task in ("bev", "box3d", "bev_loose", "box3d_loose"):
        assert results[task]["AP11-Car-moderate"] == pytest.approx(50 / 11)
    assert math.isnan(results["bbox"]["AP11-Cyclist-hard"])
    assert math.isnan(results["bbox"]["AP11-Pedestrian-moderate"])  # there is one, but occluded
    assert results["bbox"]["AP11-Pedestrian-hard"] == 0
    assert results["bbox"]["AP11"] == pytest.approx(100 / 11)  # Car alone has objects
    assert list(results["bbox"])[:3] == ["AP40", "AP11", "AP40-Pedestrian-easy"]
    print_csv_format(results)
    title = f"In percent, Car of {NAME}, protocol p (to be found: 1 easy, 1 moderate, 1 hard):"
    assert title in caplog.text
    assert "| bev_loose   |    0.50 |" in caplog.text
    assert (
        "no more than: Pedestrian hard (1): AP40 0.0, AP11 9.1; Car easy (1): AP40" in caplog.text
    )
    saved = json.loads((tmp_path / "out" / KittiEvaluator.scores_file).read_text())
    assert saved["protocol"] == "p"
    assert saved["scores"]["bbox"]["AP11-Cyclist-hard"] is None
    assert saved["scores"]["bev"]["AP11-Car-easy"] == results["bev"]["AP11-Car-easy"]
    assert np.array(saved["curves"]["aos"]).shape == (3, 3, 41)


def test_result_files_have_the_published_format(register, tmp_path):
    """Those of an earlier run do not stay among them; what is not the evaluator's stays."""
    out = tmp_path / "out"
    (out / RESULT_FOLDER).mkdir(parents=True)
    (out / RESULT_FOLDER / "123456.txt").write_text("old")
    (out / "data").mkdir()
    (out / "data" / "mine.txt").write_text("not a result")
    evaluator = KittiEvaluator(dataset_name=register(), output_folder=str(out))
    run(evaluator)
    assert sorted(os.listdir(out / RESULT_FOLDER)) == ["000001.txt", "000004.txt", "000009.txt"]
    assert sorted(os.listdir(out)) == ["data", "kitti_results", KittiEvaluator.scores_file]
    assert os.listdir(out / "kitti_results") == ["data"]
    assert (out / "data" / "mine.txt").read_text() == "not a result"
    assert (out / RESULT_FOLDER / "000009.txt").read_text() == ""
    first = (out / RESULT_FOLDER / "000001.txt").read_text().splitlines()
    assert first[0] == (
        "Car 0.0 0 0.10 100.00 150.00 200.00 250.00 1.50 1.60 4.00 1.00 1.70 20.00 0.15 0.90"
    )
    assert os.stat(out / RESULT_FOLDER).st_mode & 0o055 == os.stat(out).st_mode & 0o055


NOT_2D = set(TASKS) - {"bbox", "bbox_loose"}


def marked(row, **values):
    columns = row.split()
    for number, value in values.items():
        columns[int(number[1:])] = str(value)
    return " ".join(columns)


@pytest.mark.parametrize(
    ("values", "unknown"),
    [
        ({"_3": -10}, {}),  # alpha follows from rotation_y, and the other way round
        ({"_14": -10}, {}),
        ({"_3": -10, "_14": -10}, NOT_2D),
        ({f"_{k}": -1 for k in (8, 9, 10)}, NOT_2D),
        ({f"_{k}": 0 for k in range(8, 15)}, NOT_2D),
    ],
)
@pytest.mark.parametrize("source", ["files", "records"])
def test_no_score_asks_for_what_labels_do_not_say(tmp_path, source, values, unknown, caplog):
    """The first of two cars is fully known: it alone counts where the second is unknown."""
    rows = [CAR, marked(CAR, **{"_4": 300, "_6": 400, "_11": 8, "_3": -0.23, **values})]
    folder = write_labels(tmp_path, {"000001": rows})
    entries = [annotation_of(item) for item in read_labels(f"{folder}/000001.txt")]
    record = {"image_id": "000001", "annotations": entries}
    name = register_records([record], label_dir=folder if source == "files" else None)
    second = (1, 0.8, (300, 150, 400, 250), (8, 1.7, 20, 1.5, 1.6, 4, 0.15, -0.23))
    evaluator = KittiEvaluator(dataset_name=name)
    found = instances([FOUND_CAR, second])
    evaluator.process([{"image_id": "000001"}], [{"instances": found}])
    results = evaluator.evaluate()
    assert [results[task]["AP11-Car-easy"] for task in TASKS] == [pytest.approx(100 / 11)] * 8
    curves = {task: results[task]["AP40-Car-easy"] for task in TASKS}
    known = dict.fromkeys(TASKS, 2.5) | dict.fromkeys(unknown, 0.0)
    assert curves == pytest.approx(known)
    assert ("have no known heading" in caplog.text) == bool(unknown)


def test_a_class_whose_objects_are_all_beyond_the_limits_says_so(register, caplog):
    rows = [marked(CAR, _2=3), marked(CAR, _2=3, _5=230), marked(CAR, _1=0.8)]
    evaluator = KittiEvaluator(dataset_name=register({"000001": rows}))
    results = run(evaluator, images=[])
    assert math.isnan(results["bbox"]["AP11-Car-hard"])
    assert "Car: not one of 3 objects is to be found at any difficulty" in caplog.text
    assert "NaN: 2 are occluded by more than 2 (3: not known; write -1" in caplog.text
    assert "1 truncated by more than 0.5, 1 at most 25 pixels high" in caplog.text
    assert "Cyclist: not one" not in caplog.text


def test_files_hold_what_is_scored(register, tmp_path):
    """0.904 and 0.901 are both 0.90, negative zero has no sign; with None neither is so."""
    name = register()
    box3d = (-0.001, 1.7, 20, 1.5, 1.6, 4, 0.15, 0.1)
    rows = [(1, 0.904, (100, 150, 200, 250.006), box3d), (1, 0.901, (1, 2, 3, 80), box3d)]
    for decimals, scores, x in ((2, [0.9, 0.9], "0.00"), (None, [0.904, 0.901], "-0.001000")):
        evaluator = KittiEvaluator(
            dataset_name=name, output_folder=str(tmp_path), round_results=decimals
        )
        evaluator.process([{"image_id": "000001"}], [{"instances": instances(rows)}])
        detections = evaluator._joined(evaluator._gather())
        assert detections.scores == pytest.approx(scores, abs=1e-6)
        assert len(set(detections.scores)) == (1 if decimals else 2)
        evaluator.evaluate()
        written = read_detections(tmp_path / RESULT_FOLDER, ["000001"], CLASSES)
        assert (tmp_path / RESULT_FOLDER / "000001.txt").read_text().split()[11] == x
        for column in ("boxes", "boxes3d", "scores"):
            expected = getattr(detections, column)
            if decimals:
                assert np.array_equal(getattr(written, column), expected)
            else:
                assert np.allclose(getattr(written, column), expected, atol=1e-6)


def test_a_full_disk_leaves_the_older_files(register, tmp_path, monkeypatch):
    evaluator = KittiEvaluator(dataset_name=register(), output_folder=str(tmp_path / "out"))
    run(evaluator)
    before = (tmp_path / "out" / RESULT_FOLDER / "000001.txt").read_text()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    evaluator.reset()
    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OSError, match=r"Cannot write .*kitti_results/data \(No space left"):
        evaluator.evaluate()
    monkeypatch.undo()
    assert (tmp_path / "out" / RESULT_FOLDER / "000001.txt").read_text() == before
    assert sorted(os.listdir(tmp_path / "out")) == ["kitti_results", KittiEvaluator.scores_file]


def test_a_split_without_labels_gives_files_only(tmp_path, caplog):
    name = register_records([{"image_id": image_id} for image_id in LABELS])
    evaluator = KittiEvaluator(dataset_name=name, output_folder=str(tmp_path))
    results = run(evaluator)
    assert results == {task: {} for task in TASKS}
    assert "has no annotations, so there are no scores" in caplog.text
    assert f"The files to submit are in {tmp_path / RESULT_FOLDER}: zip them." in caplog.text
    assert len((tmp_path / RESULT_FOLDER / "000004.txt").read_text().splitlines()) == 2
    assert not (tmp_path / KittiEvaluator.scores_file).exists()


def test_a_detector_of_2d_boxes_is_scored_in_the_image(register, tmp_path):
    evaluator = KittiEvaluator(dataset_name=register(), output_folder=str(tmp_path))
    results = run(evaluator, in_space=False)
    assert results["bbox"]["AP11-Car-easy"] == pytest.approx(100 / 11)
    assert results["bbox_loose"]["AP11-Car-easy"] == pytest.approx(100 / 11)
    assert all(results[task] == {} for task in TASKS if task not in ("bbox", "bbox_loose"))
    row = (tmp_path / RESULT_FOLDER / "000001.txt").read_text().split()
    assert row[3] == "-10.00"
    assert row[8:15] == ["-1.00"] * 3 + ["-1000.00"] * 3 + ["-10.00"]


def test_records_of_another_camera(register, tmp_path):
    """Without label files the records are the ground truth, and give the same scores."""
    expected = run(KittiEvaluator(dataset_name=register()))
    records = []
    for image_id in LABELS:
        items = read_labels(str(tmp_path / "label_2" / f"{image_id}.txt"))
        annotations = [
            {**annotation_of(item), **(vars(item) if item.type != "DontCare" else {})}
            for item in items
            if item.type != "Truck"
        ]
        records.append({"image_id": image_id, "annotations": annotations})
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)
    evaluator = KittiEvaluator(dataset_name=register_records(records))
    results = run(evaluator)
    for task in TASKS:
        assert results[task] == pytest.approx(expected[task], nan_ok=True)
    # What a record may leave out.
    kept = {"category_id", "bbox", "bbox_mode", "dimensions", "location", "rotation_y"}
    car = records[0]["annotations"][0]
    records[0]["annotations"][0] = {key: car[key] for key in kept}
    truth = load_ground_truth(NAME).truth
    assert truth.boxes3d[0, 7] == pytest.approx(0.15 - math.atan2(1, 20))
    for alpha in (None, -10):
        records[0]["annotations"][0]["alpha"] = alpha
        assert np.array_equal(load_ground_truth(NAME).truth.boxes3d, truth.boxes3d)
    assert (truth.truncated[0], truth.occluded[0]) == (0, 0)


def broken(**changes):
    entry = {
        "category_id": 1,
        "bbox": [0, 0, 10, 10],
        "bbox_mode": BoxMode.XYXY_ABS,
        "dimensions": [1, 1, 1],
        "location": [0, 1, 10],
        "rotation_y": 0.0,
        **changes,
    }
    return {key: value for key, value in entry.items() if value is not None}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [{"annotations": [broken(category_id=3)]}],
            "annotation 0 of record 0 .* has 3. .* from 0 to 2",
        ),
        ([{"annotations": [broken(category_id=-1)]}], "have 'category_id' -1 and no 'ignored' 1"),
        (
            [{"annotations": [broken(location=None)]}],
            r"image a.png, annotation 0 has 'location' None; it must be 3 finite number",
        ),
        ([{"annotations": [broken(location=[1, 2])]}], r"annotation 0 has 'location' \[1, 2\]"),
        ([{"annotations": [broken(alpha="left")]}], "annotation 0 has 'alpha' 'left'"),
        (
            [{"annotations": [broken(occluded="1")]}],
            "a.png: an annotation has 'occluded' '1'",
        ),
        ([{"annotations": [broken(truncated=math.nan)]}], "has 'truncated' nan; it must be a num"),
        ([{"annotations": []}, {}], "no 'annotations', although others have: record 1 .'b.png'"),
    ],
)
def test_bad_records(records, message):
    named = [{"image_id": n, "file_name": f"{'ab'[n]}.png", **r} for n, r in enumerate(records)]
    with pytest.raises(ValueError, match=message):
        KittiEvaluator(dataset_name=register_records(named))


def test_an_ignored_region_needs_no_place_in_space():
    nowhere = broken(location=[0, 1], ignored=True)
    name = register_records([{"image_id": 0, "annotations": [nowhere, broken(ignored=True)]}])
    truth = load_ground_truth(name).truth
    assert np.array_equal(truth.boxes3d[0], NO_BOX3D)
    assert truth.boxes3d[1, 2] == 10
    assert truth.neighbor.all()


def test_types_of_the_metadata_are_neutral(register):
    """Here Trucks too are no false positives, and vans are background."""
    name = register()
    assert load_ground_truth(name).truth.boxes[2].tolist() == [300, 150, 400, 250]
    MetadataCatalog.get(name).neutral_types = {"Truck": "Car", "DontCare": None, "Tram": "Train"}
    truth = load_ground_truth(name).truth
    assert truth.label.tolist() == [1, -1, 1, 0]
    assert truth.neighbor.tolist() == [False, False, True, False]
    assert truth.boxes[2].tolist() == [500, 150, 600, 250]


def test_bad_datasets(register, tmp_path):
    name = register()
    (tmp_path / "label_2" / "000004.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"000004\.txt' does not exist"):
        KittiEvaluator(dataset_name=name)
    (tmp_path / "label_2" / "000004.txt").write_text(CAR + "\n" + CAR[:-5] + "\n")
    with pytest.raises(ValueError, match=r"000004\.txt', row 2 has 14 columns"):
        KittiEvaluator(dataset_name=name)
    MetadataCatalog.remove(name)
    with pytest.raises(ValueError, match="thing_classes of its metadata is None"):
        KittiEvaluator(dataset_name=name)


def test_image_ids_name_files():
    assert result_file_name(7) == result_file_name(np.int64(7)) == "000007.txt"
    assert result_file_name("000007") == "000007.txt"
    for wrong in ("training/000007", "", ".."):
        with pytest.raises(ValueError, match="cannot name a result file"):
            result_file_name(wrong)


def test_detections_that_are_no_numbers_are_left_out(register, caplog):
    """Each for a reason of its own, and the rest stays in order."""
    evaluator = KittiEvaluator(dataset_name=register())
    nan = (*FOUND_CAR[3][:7], math.nan)
    rows = [
        (1, 0.9, FOUND_CAR[2], nan),
        (1, math.nan, FOUND_CAR[2], FOUND_CAR[3]),
        (1, 0.9, (0, 0, math.inf, 1), FOUND_CAR[3]),
        FOUND_CAR,
    ]
    evaluator.process([{"image_id": "000001"}], [{"instances": instances(rows)}])
    assert "3 of 4 detections have a NaN or infinite number" in caplog.text
    assert evaluator.evaluate()["box3d"]["AP11-Car-easy"] == pytest.approx(100 / 11)


def test_images_never_seen_and_classes_never_heard_of(register, caplog):
    evaluator = KittiEvaluator(dataset_name=register())
    assert evaluator.evaluate()["box3d"]["AP40-Car-easy"] == 0
    assert "Not one detection" in caplog.text
    run(evaluator, ["000001"])
    assert "2 of 3 images were never processed" in caplog.text
    wrong = instances([(3, *FOUND_CAR[1:])])
    with pytest.raises(ValueError, match="has 3 classes"):
        evaluator.process([{"image_id": "000004"}], [{"instances": wrong}])


def test_overlaps_of_classes():
    min_overlap = min_overlaps(["car", "Pedestrian", "Box"])
    assert min_overlap["strict"] == dict.fromkeys(("image", "ground", "space"), (0.7, 0.5, 0.7))
    space = dict.fromkeys(("ground", "space"), (0.5, 0.25, 0.5))
    assert min_overlap["loose"] == {"image": (0.5, 0.5, 0.5), **space}


@pytest.mark.parametrize(
    ("key", "decimals", "protocol"), [(2, 2, "none"), (0, None, "none / unrounded")]
)
def test_built_from_a_config(register, key, decimals, protocol):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.TEST.KITTI.ROUND_RESULTS = key
    evaluator = build_evaluator(cfg, register(), "out", protocol="none")
    assert isinstance(evaluator, KittiEvaluator)
    assert (evaluator.round_results, evaluator.protocol) == (decimals, protocol)


def _score_in_process(rank: int, folder: str) -> None:
    """One of two processes: takes every other image, and one that both take."""
    with one_of_two(rank, folder):
        register_records([{"image_id": i} for i in LABELS], label_dir=f"{folder}/label_2")
        evaluator = KittiEvaluator(dataset_name=NAME, output_folder=f"{folder}/out")
        results = run(evaluator, sorted(DETECTIONS)[rank::2] + ["000001"] * rank)
        Path(folder, f"results{rank}.json").write_text(json.dumps(results))


@pytest.mark.slow
def test_two_processes_equal_one(register, tmp_path):
    expected = run(KittiEvaluator(dataset_name=register(), output_folder=str(tmp_path / "one")))
    torch.multiprocessing.spawn(_score_in_process, args=(str(tmp_path),), nprocs=2)
    assert json.loads((tmp_path / "results1.json").read_text()) == {}
    first = json.loads((tmp_path / "results0.json").read_text())
    for task in TASKS:
        assert first[task] == pytest.approx(expected[task], nan_ok=True)
    for image_id in LABELS:
        name = f"{image_id}.txt"
        alone = (tmp_path / "one" / RESULT_FOLDER / name).read_text()
        assert (tmp_path / "out" / RESULT_FOLDER / name).read_text() == alone


# ---- the published program ----

SAMPLES = Path(__file__).resolve().parents[1] / "fixtures" / "kitti_program.npz"
FILES = {  # its files: task of the strict table
    "detection": "bbox",
    "orientation": "aos",
    "detection_ground": "bev",
    "detection_3d": "box3d",
}


class Recorded(NamedTuple):
    """Label files, result files, and all samples that the program wrote for them."""

    labels: Path
    found: Path
    samples: dict[str, np.ndarray]  # "<table>/<class>/<file>" -> (3, 41)
    loose: dict[str, str]  # file -> task of the loose table

    def expected(self):
        """Task, class's place and samples."""
        for key, samples in self.samples.items():
            table, name, file = key.split("/")
            task = FILES[file] if table == "strict" else self.loose[file]
            yield task, [c.lower() for c in CLASSES].index(name), samples


@pytest.fixture(params=["generated", pytest.param("jitter36", marks=pytest.mark.data)])
def program(request, tmp_path):
    """Generated frames, in the repository, or KITTI's with jittered labels; registered."""
    loose = {file: f"{task}_loose" for file, task in FILES.items()}
    if request.param == "jitter36":
        folder = request.getfixturevalue("test_data") / "kitti_eval" / "jitter36"
        files = folder.glob("out_*/stats_*.txt")
        names = {f"{f.parent.name[4:]}/{f.stem[6:].replace('_', '/', 1)}": f for f in files}
        samples = {name: np.loadtxt(file) for name, file in names.items()}
        loose |= {"detection": "bbox", "orientation": "aos"}  # the published table
        recorded = Recorded(folder / "label_2", folder / "pred" / "data", samples, loose)
    else:
        with np.load(SAMPLES) as saved:
            samples = {name: saved[name] for name in saved.files if "/" in name}
            for name in ("labels", "detections"):
                rows = {f"{k:06d}": text.split("\n") for k, text in enumerate(saved[name].tolist())}
                write_labels(tmp_path / name, {k: list(filter(None, v)) for k, v in rows.items()})
        recorded = Recorded(tmp_path / "labels", tmp_path / "detections", samples, loose)
    frames = sorted(path.stem for path in recorded.labels.glob("*.txt"))
    assert (len(frames), len(samples)) == (36 if request.param == "jitter36" else 64, 24)
    register_records([{"image_id": i} for i in frames], label_dir=str(recorded.labels))
    return recorded, frames


def test_all_samples_equal_the_published_program(program):
    """All 41 samples of classes, difficulties, metrics and tables, printed with 6 decimals."""
    recorded, frames = program
    truth = load_ground_truth(NAME).truth
    found = read_detections(recorded.found, frames, CLASSES)
    curves = score_kitti(truth, found, min_overlaps(CLASSES))
    compared = 0
    for task, label, expected in recorded.expected():
        table, metric, name = TASKS[task]
        samples = getattr(curves[table][metric], name)[label]
        assert expected.shape == (3, 41)
        assert np.abs(samples - expected).max() < 1e-6, (task, label)
        compared += np.count_nonzero(expected)
    assert compared > 1000


def test_both_averages_equal_the_published_program(program, tmp_path):
    """Through `Instances`, result files and the evaluator."""
    recorded, frames = program
    found = read_detections(recorded.found, frames, CLASSES)
    out = tmp_path / "out"
    evaluator = KittiEvaluator(dataset_name=NAME, output_folder=str(out), round_results=None)
    for frame, image_id in enumerate(frames):
        columns = (found.label, found.scores, found.boxes, found.boxes3d)
        rows = list(zip(*(column[found.frame == frame] for column in columns), strict=True))
        output = instances([tuple(c.tolist() for c in row) for row in rows], dtype=torch.float64)
        evaluator.process([{"image_id": image_id}], [{"instances": output}])
    results = evaluator.evaluate()
    for task, label, samples in recorded.expected():
        for points, taken in ((11, samples[:, ::4]), (40, samples[:, 1:])):
            for level, value in zip(("easy", "moderate", "hard"), 100 * taken.mean(1), strict=True):
                actual = results[task][f"AP{points}-{CLASSES[label]}-{level}"]
                assert actual == pytest.approx(value, abs=1e-4)
    written = read_detections(out / RESULT_FOLDER, frames, CLASSES)
    curves = score_kitti(load_ground_truth(NAME).truth, written, min_overlaps(CLASSES))
    again = average_precision(
        curves["strict"]["space"].precision, curves["strict"]["space"].objects, 40
    )
    assert again[1, 1] == pytest.approx(results["box3d"]["AP40-Car-moderate"], abs=1e-9)


@pytest.mark.data
def test_real_labels_are_found_by_themselves(test_data):
    """Labels as detections: all that count are found, whatever is beside them."""
    folder = test_data / "kitti" / "training" / "label_2"
    frames = sorted(path.stem for path in folder.glob("*.txt"))
    register_records([{"image_id": i} for i in frames], label_dir=str(folder))
    truth = load_ground_truth(NAME).truth
    evaluator = KittiEvaluator(dataset_name=NAME)
    for frame, image_id in enumerate(frames):
        rows = np.flatnonzero((truth.frame == frame) & (truth.label >= 0) & ~truth.neighbor)
        columns = (truth.label, np.ones(len(truth)), truth.boxes, truth.boxes3d)
        table = [tuple(column[row].tolist() for column in columns) for row in rows]
        evaluator.process([{"image_id": image_id}], [{"instances": instances(table)}])
    results = evaluator.evaluate()
    for task in TASKS:
        for level in ("easy", "moderate", "hard"):
            assert results[task][f"AP11-Car-{level}"] > 9
    assert results["bev"]["AP11-Car-hard"] == results["bbox"]["AP11-Car-hard"]
