"""Results in files: scored as the evaluators score the same detections, and reported on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from catalogs import unregistered  # noqa: F401
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from PIL import Image

from centernet_d2 import cli
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.evaluation.build import build_evaluator


def scores_of(tmp_path, results, spec, *overrides) -> dict:
    """What `evaluate --results` writes, as fractions."""
    words = ["evaluate", "--results", str(results), "--dataset", spec]
    assert cli.main([*words, "OUTPUT_DIR", str(tmp_path / "out"), *overrides]) == 0
    (file,) = (tmp_path / "out" / "inference").glob("*_scores.json")
    return json.loads(file.read_text())["scores"]


def jittered(records, num_classes) -> dict:
    """Detections near the objects of records, as a model gives them."""
    generator, found = np.random.default_rng(0), {}
    for record in records:
        boxes = np.array([entry["bbox"] for entry in record["annotations"]]).reshape(-1, 4)
        boxes = boxes.repeat(2, axis=0) + generator.normal(0, 4, (2 * len(boxes), 4))
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 3)
        labels = np.repeat([e["category_id"] for e in record["annotations"]], 2).astype(int)
        labels = np.where(generator.random(len(labels)) < 0.8, labels, (labels + 1) % num_classes)
        output = Instances((record["height"], record["width"]))
        output.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
        output.scores = torch.tensor(generator.random(len(boxes)), dtype=torch.float32)
        output.pred_classes = torch.tensor(labels)
        found[record["image_id"]] = output
    return found


@pytest.mark.data
def test_vocs_files_score_as_they_did(test_data, tmp_path, tiny_config):
    """The devkit's files that an evaluation wrote give the numbers that it gave."""
    spec = f"voc:{test_data}/voc2012_sample:val"
    name = register_from_files(spec)
    evaluator = build_evaluator(tiny_config(), name, str(tmp_path / "run"))
    for image_id, output in jittered(DatasetCatalog.get(name), 20).items():
        evaluator.process([{"image_id": image_id}], [{"instances": output}])
    expected = evaluator.evaluate()["bbox"]
    assert 20 < expected["mAP12"] < 90
    actual = scores_of(tmp_path, tmp_path / "run", spec)["bbox"]
    assert actual["mAP12"] == pytest.approx(expected["mAP12"], abs=1e-9)
    assert actual["AP"] == pytest.approx(expected["AP"], abs=1e-9)


@pytest.mark.data
def test_another_detectors_results_of_voc_score_as_its_boxes(test_data, tmp_path, tiny_config):
    folder = test_data / "voc2012_sample"
    name = register_from_files(f"voc:{folder}:val")
    evaluator = build_evaluator(tiny_config(), name, "")
    for record in DatasetCatalog.get(name):
        file = folder / "detections_abs_xywh" / f"{record['image_id']}.txt"
        rows = np.loadtxt(file, ndmin=2).reshape(-1, 6) if file.is_file() else np.zeros((0, 6))
        output = Instances((record["height"], record["width"]))
        corners = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:]], axis=1)
        output.pred_boxes = Boxes(torch.tensor(corners))
        output.scores, output.pred_classes = (
            torch.tensor(rows[:, 1]),
            torch.tensor(rows[:, 0]).long(),
        )
        evaluator.process([{"image_id": record["image_id"]}], [{"instances": output}])
    expected = evaluator.evaluate()["bbox"]
    actual = scores_of(tmp_path, folder / "detections_abs_xywh", f"voc:{folder}:val")["bbox"]
    assert actual["mAP12"] == pytest.approx(expected["mAP12"], abs=1e-9)
    assert 20 < actual["mAP12"] < 99


@pytest.mark.data
def test_cocos_example_scores_as_published(test_data, tmp_path):
    """Without one picture: .505, .697, .573."""
    folder = test_data / "coco_eval"
    spec = f"coco:{folder}/instances_val2014_100.json:{tmp_path}"
    file = folder / "instances_val2014_fakebbox100_results.json"
    actual = scores_of(tmp_path, file, spec)["bbox"]
    expected = json.loads((folder / "pycocotools_2.0.11_stats.json").read_text())["val2014_bbox"]
    np.testing.assert_allclose([*actual.values()][:12], 100 * np.array(expected), atol=1e-7)
    assert [round(actual[n] / 100, 3) for n in ("AP", "AP50", "AP75")] == [0.505, 0.697, 0.573]


@pytest.mark.data
def test_cocos_joints_score_as_published(test_data, tmp_path):
    folder = test_data / "coco_eval" / "fce_keypoints"
    spec = f"coco:{folder}/gt_dataset.json:{tmp_path}"
    actual = scores_of(tmp_path, folder / "dt_dataset.json", spec)["keypoints"]
    stats = json.loads((folder.parent / "pycocotools_2.0.11_stats.json").read_text())
    values = [*actual.values()][:10]
    np.testing.assert_allclose(values, 100 * np.array(stats["fce_keypoints_oks"]), atol=1e-7)


@pytest.mark.data
def test_kittis_results_score_as_by_the_published_program(test_data, tmp_path):
    source, folder = test_data / "kitti_eval" / "jitter36", tmp_path / "kitti"
    part = folder / "training"
    shutil.copytree(source / "label_2", part / "label_2")
    (part / "image_2").mkdir()
    (folder / "ImageSets").mkdir()
    frames = sorted(file.stem for file in (source / "label_2").iterdir())
    (folder / "ImageSets" / "all.txt").write_text("\n".join(frames))
    for frame in frames:
        Image.new("L", (1242, 375)).save(part / "image_2" / f"{frame}.png")
    actual = scores_of(
        *(tmp_path, source / "pred", f"kitti:{folder}:all", "TEST.KITTI.ROUND_RESULTS", "0")
    )
    for table, tasks in (("strict", ("bbox", "box3d")), ("loose", ("bbox", "box3d_loose"))):
        expected = json.loads((source / f"out_{table}" / "expected_ap.json").read_text())
        for kind, task in zip(("detection", "detection_3d"), tasks, strict=True):
            for name in ("Car", "Pedestrian", "Cyclist"):
                values = [actual[task][f"AP40-{name}-{n}"] for n in ("easy", "moderate", "hard")]
                published = expected[f"{name.lower()}_{kind}"]["AP_R40"]
                assert values == pytest.approx(published, abs=1e-4), (task, name)


def test_predictions_of_a_folder_score_as_cocos_list(squares, tmp_path):
    """Our own evaluator's list and predictions.json of the same boxes give the same numbers."""
    name = register_from_files(squares)
    rows, images = [], []
    for record in DatasetCatalog.get(name):
        boxes = [[v + 2.0 for v in entry["bbox"]] for entry in record["annotations"]]
        rows += [
            {"image_id": record["image_id"], "category_id": 5, "bbox": box, "score": 0.5}
            for box in boxes
        ]
        detections = [{"class_name": "square", "box": box, "score": 0.5} for box in boxes]
        images.append({"file": record["file_name"], "detections": detections})
    (tmp_path / "list.json").write_text(json.dumps(rows))
    predictions = {"box_format": "XYWH: of pixels", "images": images}
    (tmp_path / "predictions.json").write_text(json.dumps(predictions))
    first = scores_of(tmp_path, tmp_path / "list.json", squares)
    assert scores_of(tmp_path, tmp_path / "predictions.json", squares) == first
    assert 0 < first["bbox"]["AP"] < 100
    words = ["--results", str(tmp_path / "predictions.json"), "--dataset", squares]
    page = tmp_path / "page"
    assert cli.main(["analyze", "report", *words, "--output", str(page)]) == 0
    numbers = json.loads((page / "report.json").read_text())
    assert numbers["scores"]["bbox"]["AP"] == first["bbox"]["AP"]


@pytest.mark.parametrize("known", ["of a run", "predictions.json", ""])
def test_the_command_that_is_advised_names_the_weights_with_their_folder(
    squares, tmp_path, capsys, known
):
    file = tmp_path / "run" / "inference" / "results.json"
    file.parent.mkdir(parents=True)
    images = json.loads(Path(squares.split(":")[1]).read_text())
    rows = [{**box, "score": 0.5} for box in images["annotations"]]
    weights = tmp_path / "run" / "model_final.pth"
    if known == "of a run":
        weights.touch()
    elif known:
        weights, file = "my/best.pth", file.with_name("predictions.json")
        names = {image["id"]: image["file_name"] for image in images["images"]}
        found = [
            {
                "file": names[r["image_id"]],
                "detections": [{"class_name": "square", "box": r["bbox"], "score": 0.5}],
            }
            for r in rows
        ]
        rows = {"box_format": "XYWH: of pixels", "images": found, "weights": weights}
    file.write_text(json.dumps(rows))
    words = ["--results", str(file), "--dataset", squares, "--output", str(tmp_path / "page")]
    assert cli.main(["analyze", "report", *words]) == 0
    told, page = (
        capsys.readouterr().out.splitlines(),
        (tmp_path / "page" / "report.html").read_text(),
    )
    command = f"centernet-d2 predict --weights {weights} --input photos --output found"
    command += " --score-threshold 0.25"
    assert [line for line in told if line.startswith("centernet-d2")] == [command] * bool(known)
    assert (f"<code>{command}</code>" in page) == bool(known)


def test_the_dataset_must_be_named(squares, tmp_path, capsys):
    (tmp_path / "list.json").write_text("[]")
    assert cli.main(["evaluate", "--results", str(tmp_path / "list.json")]) == 1
    assert "Name the dataset: --dataset coco:" in capsys.readouterr().err
