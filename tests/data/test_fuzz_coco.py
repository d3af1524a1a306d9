"""Mutated COCO files through registration, loading, mapping and the scores of perfect detections.

What comes out is data with the right scores, or an error that names the file: nothing else.
"""

from __future__ import annotations

import copy
import itertools
import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.data.fields.joints import JointsField
from centernet_d2.data.loader import check_training_dicts, load_dataset_dicts
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.evaluation import CocoEvaluator

from .coco_files import coco_content, write_dataset
from .test_coco_joints import pose_content

ODD = [
    *(None, True, False, 0, 1, -1, 2, 7, 2**53 + 1, 2**63, -(2**70), 10**400, 0.5, 1e-30, 1e300),
    *(math.nan, math.inf, -math.inf, "", " ", "0", "1", "true", "x", "a/b", "\ud800", "\0", "ü"),
    *([], [[]], [1], [1, 2, 3, 4], ["1", "2", "3", "4"], [math.nan] * 4, [0.1, 0.2, 0.3, 0.4]),
    *({}, {"id": 1}, [{}], [None], "0.png", [[0, 0, 1, 1]], [5, 6, 2] * 3, [5, 6] * 3),
]


def places(node, path=()):
    """All paths of a JSON document, records before their values."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


@st.composite
def mutated(draw):
    """A COCO document, without or with joints, in which one to three places are changed."""
    content = copy.deepcopy(draw(st.sampled_from([coco_content(), pose_content()])))
    for _ in range(draw(st.integers(1, 3))):
        all_places = list(places(content))
        if not all_places:
            break
        *path, key = draw(st.sampled_from(all_places))
        node = content
        for step in path:
            node = node[step]
        action = draw(st.sampled_from(["odd", "odd", "odd", "delete", "repeat", "exchange"]))
        if action == "odd":
            node[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif action == "delete":
            del node[key]
        elif action == "repeat" and isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        elif isinstance(node, list):
            node[0], node[key] = node[key], node[0]
    return content


@st.composite
def documents(draw) -> bytes:
    """Bytes of a file: mostly a mutated document, sometimes damaged as a text."""
    text = json.dumps(draw(mutated()))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32"]))
    data = text.encode(encoding)
    if draw(st.integers(0, 9)):
        return data
    cut = draw(st.integers(0, len(data)))
    return data[:cut] + draw(st.sampled_from([b"", b"\xff", b"\0", b'"', b"[" * 5000, b"9" * 5000]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    write_dataset(folder, coco_content())
    return folder


NUMBERS = itertools.count()  # a name per file: what is cached and registered is by name


@settings(max_examples=120, derandomize=True, deadline=None)
@given(data=documents())
def test_data_or_an_error_that_names_the_file(folder, data):
    path = folder / f"{next(NUMBERS)}.json"
    path.write_bytes(data)
    try:
        scores, records = use(path, folder / "images")
    except (ValueError, OSError) as error:
        message = "\n".join([str(error), *getattr(error, "__notes__", ())])
        assert str(path) in message or str(folder / "images") in message or path.stem in message
        assert len(message) < 3000
        return
    for record in records:
        assert set(record) >= {"file_name", "image_id", "height", "width", "annotations"}
    found = {round(score["AP"], 6) for score in scores.values() if not math.isnan(score["AP"])}
    assert found <= {100.0}


def use(path, root):
    """What training and scoring do with a file; scores by kind, of perfect detections."""
    name = register_from_files(f"coco:{path}:{root}")
    metadata = MetadataCatalog.get(name)
    classes, joints = metadata.thing_classes, len(metadata.get("keypoint_names") or ())
    assert len(set(classes)) == len(classes)
    assert all(isinstance(each, str) and each for each in classes)
    kinds = ("bbox", "keypoints") if joints else ("bbox",)
    records = load_dataset_dicts([name])
    evaluator = CocoEvaluator(dataset_name=name, iou_types=kinds, distributed=False)
    fields = [JointsField(num_joints=joints)] if joints else []
    mapper = DetectionMapper(is_train=True, fields=fields)
    count = 0
    for record in records:
        sample = mapper(record)
        objects = [a for a in record["annotations"] if not (a["iscrowd"] or a.get("ignored"))]
        count += len(objects)
        assert len(sample["instances"]) == sum(
            not entry.get("ignored") for entry in record["annotations"]
        )
        evaluator.process([record], [{"instances": _perfect(objects, sample["image"], joints)}])
    if count:
        check_training_dicts(records, [name])
    assert len(DatasetCatalog.get(name)) == len(records)
    return {kind: scores for kind, scores in evaluator.evaluate().items() if scores}, records


def _perfect(objects, image, joints: int) -> Instances:
    boxes = torch.tensor([a["bbox"] for a in objects], dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    found = Instances(tuple(image.shape[1:]), pred_boxes=Boxes(boxes))
    found.scores = torch.ones(len(objects))
    found.pred_classes = torch.tensor([a["category_id"] for a in objects], dtype=torch.int64)
    if joints:
        points = [a.get("keypoints", [0] * 3 * joints) for a in objects]
        found.pred_keypoints = torch.tensor(np.array(points).reshape(-1, joints, 3))
    return found
