"""A form of data sets of one's own, and what scores it: rows of a CSV file.

The file has the columns file, width, height, label, x1, y1, x2, y2 (pixels, a row per box).

    tools/train_net.py --import examples/dataset.py --config-file configs/Shapes/points_tiny.yaml \
        DATASETS.TRAIN table:my/train.csv:my/images DATASETS.TEST table:my/val.csv:my/images \
        OUTPUT_DIR output/table
"""

from __future__ import annotations

import csv
import itertools
import os

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Boxes, BoxMode, pairwise_iou
from detectron2.utils import comm

from centernet_d2.data.datasets.from_files import FileDataset, register_dataset_form, split_paths
from centernet_d2.evaluation import EVALUATOR_REGISTRY


def read_table(spec: str) -> FileDataset:
    """Classes of `table:<csv>:<image dir>`; the records are read when they are used."""
    file, folder = split_paths(spec, kind="CSV file")
    with open(file, newline="") as stream:
        rows = list(csv.DictReader(stream))
    classes = sorted({row["label"] for row in rows})

    def register(name: str) -> None:
        DatasetCatalog.register(name, lambda: records(rows, folder, classes))
        MetadataCatalog.get(name).set(thing_classes=classes, evaluator_type="Recall")

    return FileDataset(os.path.basename(file), (file, folder), register)


def records(rows: list[dict[str, str]], folder: str, classes: list[str]) -> list[dict]:
    """detectron2's standard records, one per image."""
    found: dict[str, dict] = {}
    for row in rows:
        size = {"width": int(row["width"]), "height": int(row["height"])}
        image = {"file_name": os.path.join(folder, row["file"]), "image_id": row["file"], **size}
        box = [float(row[key]) for key in ("x1", "y1", "x2", "y2")]
        label = {"category_id": classes.index(row["label"]), "iscrowd": 0}
        annotation = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, **label}
        found.setdefault(row["file"], {**image, "annotations": []})["annotations"].append(
            annotation
        )
    return list(found.values())


register_dataset_form(
    "table", read_table, pattern="<csv>:<image dir>", example="table:boxes.csv:images"
)


@EVALUATOR_REGISTRY.register()
class Recall(DatasetEvaluator):
    """Percent of the boxes that a detection of their class overlaps by half."""

    def __init__(self, cfg: CfgNode, dataset_name: str, output_folder: str | None) -> None:
        self.truth = {each["image_id"]: each for each in DatasetCatalog.get(dataset_name)}
        self.reset()

    def reset(self) -> None:
        """Forget the images seen."""
        self.hits: dict[str, list[bool]] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Note for each box whether it was found."""
        for entry, output in zip(inputs, outputs, strict=True):
            found = output["instances"].to("cpu")
            wanted = self.truth[entry["image_id"]]["annotations"]
            overlap = pairwise_iou(Boxes([each["bbox"] for each in wanted]), found.pred_boxes)
            labels = torch.tensor([each["category_id"] for each in wanted])
            hit = (overlap >= 0.5) & (labels[:, None] == found.pred_classes)
            self.hits[entry["image_id"]] = hit.any(1).tolist()

    def evaluate(self) -> dict[str, dict[str, float]]:
        """`recall/recall50`, over all processes."""
        every = {key: hits for part in comm.gather(self.hits) for key, hits in part.items()}
        hits = list(itertools.chain.from_iterable(every.values()))
        return {"recall": {"recall50": 100 * sum(hits) / max(len(hits), 1)}}
