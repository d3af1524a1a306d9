"""Detections of one or several models beside the objects of pictures: counted, ordered, drawn."""

import logging
import os
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, Instances, Keypoints

from ..data.fields.joints import source_joints
from ..data.images import ImageFileError, read_image
from ..evaluation.box_evaluator import Detections
from ..evaluation.ground_truth import annotation_columns
from ..evaluation.voc_scores import VocDetections
from ..progress import bar
from ..structures.box3d_records import box3d_row
from ..structures.boxes3d import Boxes3D
from ..structures.skeleton import HALF_PIXEL
from ..visualization.birds_eye import beside
from ..visualization.boxes3d import detections3d_views
from ..visualization.canvas import MISSED, NEUTRAL, RIGHT, TRUTH, WRONG, write_picture
from ..visualization.detections import draw_detections
from ..visualization.heatmaps import draw_kinds
from ..visualization.results import draw_truth, enlarged, under_titles
from ..visualization.skeletons import SkeletonDrawing
from . import matching
from .likeness import judged
from .matching import Matches, Objects

logger = logging.getLogger(__name__)

SIDE, READABLE = 800, 600  # pixels of a panel: the longer side at most, the shorter at least


@dataclass(frozen=True)
class Found(VocDetections):
    """Detections, where each stands among those of its picture, and what is compared of it."""

    row: np.ndarray  # (D,)
    values: np.ndarray  # (D, ...), see `Judged`


def as_instances(found: Detections) -> Instances:
    """What evaluators and files have of an image, as detectors give it, of the same precision."""
    columns = {name: torch.from_numpy(values) for name, values in found.items()}
    boxes = Boxes(torch.zeros(0, 4))
    boxes.tensor = columns["boxes"]  # Boxes(...) rounds to float32
    scores, classes = columns["scores"], columns["classes"]
    instances = Instances((0, 0), pred_boxes=boxes, scores=scores, pred_classes=classes)
    if "joints" in columns:
        half = torch.tensor([HALF_PIXEL, HALF_PIXEL, 0])
        instances.pred_keypoints = columns["joints"] + half
    if "boxes3d" in columns:
        instances.pred_boxes3d = Boxes3D(columns["boxes3d"])
    return instances


class Comparison:
    """Models by name on P pictures: `found[name][image id]` and `matches[name]`."""

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]],
        found: Mapping[str, Mapping[Hashable, Instances]],
        class_names: Sequence[str],
        most: int,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Match the detections of each picture, on the CPU, of each class the `most` best.

        `sigmas`: tolerances of joints, by which these are judged; () where there are none, but
        perhaps boxes in space; None: by boxes in the picture whatever else there is.
        """
        self.records, self.found, self.class_names = records, found, class_names
        self.entries, columns = annotation_columns(list(records), len(class_names))
        kinds = [("iscrowd", "ignored"), ("iscrowd", "ignored", "difficult")]
        crowd, neutral = ([any(map(e.get, keys)) for e in self.entries] for keys in kinds)
        ids = [record["image_id"] for record in records]
        of_models = {name: [of_image[key] for key in ids] for name, of_image in found.items()}
        every = [part for parts in of_models.values() for part in parts]
        objects = Objects(**columns, difficult=np.array(neutral, bool), crowd=np.array(crowd, bool))
        self.objects = objects = judged(self.entries, objects, every, class_names, sigmas)
        self.matches = dict[str, Matches]()
        for name, parts in of_models.items():
            image = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
            row = np.concatenate([np.arange(len(part)) for part in parts])
            classes = torch.cat([part.pred_classes for part in parts]).numpy()
            boxes = torch.cat([part.pred_boxes.tensor for part in parts]).double().numpy()
            scores = torch.cat([part.scores for part in parts]).double().numpy()
            values = np.concatenate([objects.values(part) for part in parts])
            rows = Found(image, classes, boxes, scores, row, values)
            self.matches[name] = matching.match(rows, objects, len(class_names), most)

    def mistakes(self, threshold: float) -> np.ndarray:
        """(models, P, 2) false detections of this score or more, and missed objects."""
        count, result = len(self.records), []
        for matches in self.matches.values():
            false = matches.false & (matches.found.scores >= threshold)
            rows = (matches.found.image[false], self.objects.image[matches.missed(threshold)])
            result.append(np.stack([np.bincount(part, minlength=count) for part in rows], axis=1))
        return np.stack(result)

    def alike(self, threshold: float) -> np.ndarray:
        """(models, P) mean overlap of what is right with its object; NaN where nothing is."""
        result, count = [], len(self.records)
        for each in self.matches.values():
            right = each.true & (each.found.scores >= threshold)
            found, rows = each.found[right], each.object_of[right]
            shared = self.objects.overlaps(found, rows)
            result.append([np.bincount(found.image, w, count) for w in (shared, np.sign(shared))])
        total, number = np.moveaxis(np.array(result, float), 1, 0)
        return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)

    def ordered(self, order: str, threshold: float) -> list[int]:
        """Places of pictures: "worst" of the first model, where models "differ", "best", "file".

        By mistakes, of equals by the mean overlap of what is right; then those with the most
        mistakes come first, and of the best those with the most objects; a picture without objects
        is not among these.
        """
        wrong = self.mistakes(threshold).sum(axis=2)
        rows = self.objects.image[~self.objects.difficult]
        there = np.bincount(rows, minlength=wrong.shape[1])
        every = wrong.sum(axis=0)
        alike = np.nan_to_num(self.alike(threshold), nan=1.0).round(6)
        keys = {"worst": (-every, alike[0], -wrong[0]), "file": (0 * every,)}
        keys["differ"] = (-every, -np.ptp(alike, axis=0), -np.ptp(wrong, axis=0))
        keys["best"] = (-there, -alike.sum(axis=0), every)
        places = np.lexsort(keys[order]).tolist()
        return [k for k in places if there[k] or order != "best"]

    def write(
        self, places: Sequence[int], folder: str, name: str, threshold: float, **how: Any
    ) -> list[dict[str, Any]]:
        """Write pictures as `name` ("{number}_{stem}.png") says; return an entry for each.

        It has "file", "image_id", "models" (name -> "false", "missed" and, where something is
        right, its mean "overlap") and, of a picture that can be read, the name of its "picture".
        `how`: of `draw`.
        """
        counts, alike, entries = self.mistakes(threshold), self.alike(threshold), []
        for number, place in enumerate(bar(places, what="Pictures", unit="picture"), start=1):
            record, pairs = self.records[place], zip(self.found, counts[:, place], strict=True)
            models = {key: {"false": int(a), "missed": int(b)} for key, (a, b) in pairs}
            for each, value in zip(models.values(), alike[:, place], strict=True):
                each |= {} if np.isnan(value) else {"overlap": round(float(value), 3)}
            file = record["file_name"]
            entries.append({"file": file, "image_id": record["image_id"], "models": models})
            try:
                drawn = self.draw(place, threshold, **how)
            except (OSError, ImageFileError) as error:
                logger.warning("A picture is left out: %s", error)
            else:
                stem = re.sub(r"[^\w.-]+", "_", os.path.splitext(os.path.basename(file))[0])
                entries[-1]["picture"] = name.format(number=number, stem=stem)
                write_picture(os.path.join(folder, entries[-1]["picture"]), drawn)
        return entries

    def draw(
        self,
        place: int,
        threshold: float,
        *,
        upright: bool,
        heatmaps: Mapping[str, Any] | None = None,
        over: bool = False,
        drawing: SkeletonDrawing | None = None,
        keypoints: bool = False,
    ) -> np.ndarray:
        """Draw truth beside each model's detections of this score or more.

        3-D boxes are drawn in the picture and, beside it, from above, where the truth is red.
        `heatmaps`: name -> function that gives an image's, to draw on; `over`: the truth is drawn
        over detections alone; the others are of `draw_detections`.
        """
        record, names = self.records[place], self.class_names
        image = read_image(record["file_name"], upright=upright and not record.get("as_stored"))
        truth, rows = self._truth(place, image.shape[:2])
        found = {name: self._detections(name, place, threshold) for name in self.matches}
        in_space = all(each.has("pred_boxes3d") for each in found.values())
        camera = record.get("projection") if in_space and truth.has("gt_boxes3d") else None
        factor = min(SIDE / max(image.shape), max(1, READABLE / min(image.shape[:2])))
        factor = factor if camera is None else 1  # what draws in space enlarges by itself
        smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        plain = cv2.resize(image, None, fx=factor, fy=factor, interpolation=smooth)
        truth, counts = enlarged(truth, factor), ~truth.gt_ignored
        lost = [torch.from_numpy(m.missed(threshold)[rows]) for m in self.matches.values()]
        panels, no_one = {}, torch.stack(lost).all(dim=0)
        if not over:
            truth.verdict = torch.where(no_one, MISSED, RIGHT).where(counts, NEUTRAL)
            drawn = draw_truth(plain, truth, names, projection=camera, drawing=drawing)
            panels[f"ground truth ({int(counts.sum())})"] = drawn
        alike = self.alike(threshold)[:, place]
        for (name, each), missed, mean in zip(found.items(), lost, alike, strict=True):
            right, false = ((each.verdict == kind).sum() for kind in (RIGHT, WRONG))
            told = f"{right} right, {false} wrong, {missed.sum()} missed"
            told += "" if np.isnan(mean) else f", {self.objects.measure} {mean:.2f}"
            picture = draw_kinds(plain, heatmaps[name](image), factor) if heatmaps else plain
            if camera is not None:
                boxes3d = truth.gt_boxes3d[counts]
                views = detections3d_views(picture, each, camera, names, 0.0, truth=boxes3d)
                picture = beside(*views)
            else:
                how = {"drawing": drawing, "keypoints": keypoints}
                picture = draw_detections(picture, enlarged(each, factor), names, 0.0, **how)
                truth.verdict = torch.where(missed, MISSED, TRUTH).where(counts, NEUTRAL)
                picture = draw_truth(picture, truth[missed | over], names, drawing=drawing)
            panels[f"{name}, score >= {threshold:g}: {told}"] = picture
        return under_titles(panels)

    def _truth(self, place: int, size: tuple[int, int]) -> tuple[Instances, np.ndarray]:
        """The objects of a picture, and their rows."""
        objects, rows = self.objects, np.flatnonzero(self.objects.image == place)
        entries = [self.entries[row] for row in rows]
        truth = Instances(size, gt_boxes=Boxes(torch.from_numpy(objects.boxes[rows])))
        truth.gt_classes = torch.from_numpy(objects.category[rows])
        truth.gt_ignored = torch.from_numpy(objects.difficult[rows])
        if values := max((len(entry.get("keypoints", ())) for entry in entries), default=0):
            joints, _ = source_joints(entries, values // 3, "")
            truth.gt_keypoints = Keypoints(torch.from_numpy(joints))
        if not entries or any(entry.get("location") is not None for entry in entries):
            truth.gt_boxes3d = Boxes3D(torch.tensor([box3d_row(entry, "") for entry in entries]))
        return truth, rows

    def _detections(self, name: str, place: int, threshold: float) -> Instances:
        matches, found = self.matches[name], self.found[name][self.records[place]["image_id"]]
        kept = (matches.found.image == place) & (matches.found.scores >= threshold)
        states = [matches.true[kept], matches.false[kept]]
        found = found[torch.from_numpy(matches.found.row[kept])]
        found.verdict = torch.from_numpy(np.select(states, [RIGHT, WRONG], NEUTRAL))
        return found
