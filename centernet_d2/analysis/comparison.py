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
from ..data.images import read_image
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
from .matching import Matches, Objects

logger = logging.getLogger(__name__)

SIDE, READABLE = 800, 600  # pixels of a panel: the longer side at most, the shorter at least


@dataclass(frozen=True)
class Found(VocDetections):
    """Detections, and where each stands among those of its picture."""

    row: np.ndarray  # (D,)


class Comparison:
    """Models by name on P pictures: `found[name][image id]` and `matches[name]`."""

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]],
        found: Mapping[str, Mapping[Hashable, Detections]],
        class_names: Sequence[str],
        most: int,
    ) -> None:
        """Match what evaluators keep of each picture, of each class the `most` best."""
        self.records, self.found, self.class_names = records, found, class_names
        self.entries, columns = annotation_columns(list(records), len(class_names))
        kinds = [("iscrowd", "ignored"), ("iscrowd", "ignored", "difficult")]
        crowd, neutral = ([any(map(e.get, keys)) for e in self.entries] for keys in kinds)
        objects = Objects(**columns, difficult=np.array(neutral, bool), crowd=np.array(crowd, bool))
        self.objects, self.matches = objects, dict[str, Matches]()
        for name, of_image in found.items():
            parts = [of_image[record["image_id"]] for record in records]
            counts = [len(part["scores"]) for part in parts]
            keys = ("classes", "boxes", "scores")
            given = (np.concatenate([part[key] for part in parts]) for key in keys)
            row = np.concatenate([np.arange(count) for count in counts])
            rows = Found(np.repeat(np.arange(len(parts)), counts), *given, row)
            self.matches[name] = matching.match(rows, objects, len(class_names), most)

    def mistakes(self, threshold: float) -> np.ndarray:
        """(models, P, 2) false detections of this score or more, and missed objects."""
        count, result = len(self.records), []
        for matches in self.matches.values():
            false = matches.false & (matches.found.scores >= threshold)
            rows = (matches.found.image[false], self.objects.image[matches.missed(threshold)])
            result.append(np.stack([np.bincount(part, minlength=count) for part in rows], axis=1))
        return np.stack(result)

    def ordered(self, order: str, threshold: float) -> list[int]:
        """Places of pictures: "worst" of the first model, where models "differ", "best", "file".

        Of equals those with the most mistakes come first, and of the best those with the most
        objects; a picture without objects is not among these.
        """
        wrong = self.mistakes(threshold).sum(axis=2)
        rows = self.objects.image[~self.objects.difficult]
        there = np.bincount(rows, minlength=wrong.shape[1])
        every = wrong.sum(axis=0)
        keys = {"worst": (-every, -wrong[0]), "differ": (-every, -np.ptp(wrong, axis=0))}
        keys |= {"best": (-there, every), "file": (0 * every,)}
        places = np.lexsort(keys[order]).tolist()
        return [k for k in places if there[k] or order != "best"]

    def write(
        self, places: Sequence[int], folder: str, name: str, threshold: float, **how: Any
    ) -> list[dict[str, Any]]:
        """Write pictures as `name` ("{number}_{stem}.png") says; return an entry for each.

        It has "file", "image_id", "models" (name -> "false", "missed") and, of a picture that can
        be read, the name of its "picture". `how`: of `draw`.
        """
        counts, entries = self.mistakes(threshold), []
        for number, place in enumerate(bar(places, what="Pictures", unit="picture"), start=1):
            record, pairs = self.records[place], zip(self.found, counts[:, place], strict=True)
            models = {key: {"false": int(a), "missed": int(b)} for key, (a, b) in pairs}
            file = record["file_name"]
            entries.append({"file": file, "image_id": record["image_id"], "models": models})
            if (drawn := self.draw(place, threshold, **how)) is not None:
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
    ) -> np.ndarray | None:
        """Draw truth beside each model's detections of this score or more; None: cannot be read.

        3-D boxes are drawn in the picture and, beside it, from above, where the truth is red.
        `heatmaps`: name -> function that gives an image's, to draw on; `over`: the truth is drawn
        over detections alone; the others are of `draw_detections`.
        """
        record, names = self.records[place], self.class_names
        try:
            turned = upright and not record.get("as_stored")
            image = read_image(record["file_name"], upright=turned)
        except (OSError, ValueError) as error:
            logger.warning("A picture is left out: %s", error)
            return None
        truth, rows = self._truth(place, image.shape[:2])
        every = {name: self._detections(name, place, threshold) for name in self.matches}
        camera = record.get("projection") if truth.has("gt_boxes3d") else None
        if not all(found.has("pred_boxes3d") for found in every.values()):
            camera = None
        # Boxes in space are drawn by what enlarges pictures itself.
        factor = min(SIDE / max(image.shape), max(1, READABLE / min(image.shape[:2])))
        factor = factor if camera is None else 1.0
        smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        plain = cv2.resize(image, None, fx=factor, fy=factor, interpolation=smooth)
        truth, counts = enlarged(truth, factor), ~truth.gt_ignored
        lost = [torch.from_numpy(m.missed(threshold)[rows]) for m in self.matches.values()]
        panels = {}
        if not over:
            missed = torch.stack(lost).all(dim=0)
            truth.verdict = torch.where(missed, MISSED, RIGHT).where(counts, NEUTRAL)
            drawn = draw_truth(plain, truth, names, projection=camera, drawing=drawing)
            panels[f"ground truth, {int(counts.sum())} objects"] = drawn
        for (name, found), missed in zip(every.items(), lost, strict=True):
            right, false = ((found.verdict == kind).sum() for kind in (RIGHT, WRONG))
            title = f"{name}, score >= {threshold:g}: {right} right, {false} wrong, "
            title += f"{missed.sum()} missed"
            picture = draw_kinds(plain, heatmaps[name](image), factor) if heatmaps else plain
            if camera is not None:
                given = (picture, found, camera, names, 0.0)
                views = detections3d_views(*given, truth=truth.gt_boxes3d[counts])
                panels[title] = beside(*views)
                continue
            truth.verdict = torch.where(missed, MISSED, TRUTH).where(counts, NEUTRAL)
            how = {"drawing": drawing, "keypoints": keypoints}
            picture = draw_detections(picture, enlarged(found, factor), names, 0.0, **how)
            panels[title] = draw_truth(picture, truth[missed | over], names, drawing=drawing)
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
        if any(entry.get("location") is not None for entry in entries):
            truth.gt_boxes3d = Boxes3D(torch.tensor([box3d_row(entry, "") for entry in entries]))
        return truth, rows

    def _detections(self, name: str, place: int, threshold: float) -> Instances:
        matches, arrays = self.matches[name], self.found[name][self.records[place]["image_id"]]
        kept = (matches.found.image == place) & (matches.found.scores >= threshold)
        rows = matches.found.row[kept]
        columns = {key: torch.from_numpy(values[rows]) for key, values in arrays.items()}
        found = Instances((0, 0), pred_boxes=Boxes(columns.pop("boxes")), scores=columns["scores"])
        found.pred_classes = columns.pop("classes")
        verdicts = np.select([matches.true[kept], matches.false[kept]], [RIGHT, WRONG], NEUTRAL)
        found.verdict = torch.from_numpy(verdicts)
        if "joints" in columns:
            joints = columns.pop("joints")
            found.pred_keypoints = joints + joints.new_tensor([HALF_PIXEL, HALF_PIXEL, 0])
        if "boxes3d" in columns:
            found.pred_boxes3d = Boxes3D(columns.pop("boxes3d"))
        for key, values in columns.items():  # of the detector's own
            found.set(key, values)
        return found
