"""The point task `box3d`: depth, dimensions, orientation ("Objects as Points", 4.1, appendix B).

N images, P objects of the batch, K peaks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import Tensor

from ...data.fields.base import GroundTruthField
from ...data.fields.boxes3d import Boxes3DField
from ...decoding.boxes3d import boxes_from_outputs, depth_from_output
from ...losses.orientation import orientation_loss
from ...losses.peak_regression import peak_regression_loss
from ...structures.boxes3d import Boxes3D
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.targets import Box3DTargets, CenterTargets
from ...targets.orientation import orientation_bins
from .base import POINT_TASK_REGISTRY, PointTask

logger = logging.getLogger(__name__)

CALIBRATIONS = ("each", "first")


class Box3D(PointTask):
    """Regresses depth, dimensions and observation angle; adds `pred_boxes3d`.

    Ground truth beside boxes and classes: `gt_boxes3d` (`Boxes3D`), and perhaps
    `gt_3d_supervised` (P,) bool, whose depth and dimensions are learned (missing: all); in a
    shifted or scaled image they are not what the pixels show. The inputs of inference carry the
    camera, see `structures.boxes3d` and `HeatmapDetector.cameras`.
    """

    needs_camera = True
    output_fields = ("pred_boxes3d",)

    def __init__(
        self,
        *,
        depth_weight: float = 1.0,
        dimensions_weight: float = 1.0,
        orientation_weight: float = 1.0,
        normalizer: str = "max_objects",
        orientation_loss: str = "smooth_l1",
        calibration: str = "each",
    ) -> None:
        """Keep the choices; `centernet_d2/config.py` says more about each.

        Args:
            depth_weight: weight of that loss, L1 in metres.
            dimensions_weight: weight of that loss, L1 in metres.
            orientation_weight: weight of that loss.
            normalizer: "max_objects" or "objects", of all three.
            orientation_loss: "smooth_l1" or "l1", of sine and cosine.
            calibration: "each" image's own, or that of the "first" of a batch for all.
        """
        if calibration not in CALIBRATIONS:
            raise ValueError(
                "MODEL.POINTS_CENTERNET.BOX3D.CALIBRATION must be 'each' or 'first', got "
                f"{calibration!r}"
            )
        if normalizer not in ("max_objects", "objects"):
            raise ValueError(
                "MODEL.POINTS_CENTERNET.BOX3D.NORMALIZER must be 'max_objects' or 'objects', got "
                f"{normalizer!r}"
            )
        if orientation_loss not in ("smooth_l1", "l1"):
            raise ValueError(
                "MODEL.POINTS_CENTERNET.BOX3D.ORIENTATION_LOSS must be 'smooth_l1' or 'l1', got "
                f"{orientation_loss!r}"
            )
        self.depth_weight, self.dimensions_weight = depth_weight, dimensions_weight
        self.orientation_weight = orientation_weight
        self.normalizer = normalizer
        self.orientation_loss = orientation_loss
        self.calibration = calibration

    @classmethod
    def ground_truth_fields(cls, cfg: CfgNode) -> list[GroundTruthField]:
        """Boxes in the camera frame, and the camera."""
        return [Boxes3DField()]

    def regressions(self, num_classes: int) -> dict[str, int]:
        """`depth` 1, `dimensions` 3 (height, width, length) and `orientation` 8 channels."""
        return {"depth": 1, "dimensions": 3, "orientation": 8}

    def required_branches(self) -> tuple[str, ...]:
        """The size of the box in the image: NMS, evaluators and files take those boxes too."""
        return ("size",)

    def protocol_notes(self) -> list[str]:
        """The camera of a batch's first image for all, as published, which is not the default."""
        return ["one camera per batch"] if self.calibration == "first" else []

    def check(self, instances: Instances, source: str) -> None:
        """Raise ValueError, naming the image, where there are no 3-D boxes."""
        if not instances.has("gt_boxes3d"):
            raise ValueError(
                f"{source}: the point task 'box3d' learns from 'gt_boxes3d', and 'instances' have "
                "none. This package's mapper for 3-D boxes attaches them; it is taken where "
                "MODEL.POINTS_CENTERNET.TASKS of the config it is built from has 'box3d'"
            )

    def targets(
        self, instances: Sequence[Instances], images: PaddedImages, centers: CenterTargets
    ) -> Box3DTargets:
        """What the objects' 3-D boxes are, as labelled; no augmentation changes them."""
        boxes = Boxes3D.cat([entry.gt_boxes3d for entry in instances])[centers.kept]
        supervised = torch.cat([self._supervised(entry) for entry in instances])[centers.kept]
        bins, residual = orientation_bins(boxes.alpha)
        return Box3DTargets(
            depth=boxes.depth,
            dimensions=boxes.dimensions,
            bins=bins,
            residual=residual,
            supervised=supervised,
        )

    def losses(
        self, predictions: CenterPredictions, targets: Box3DTargets, centers: CenterTargets
    ) -> dict[str, Tensor]:
        """`loss_depth`, `loss_dimensions` and `loss_orientation`."""
        read = {
            name: centers.peaks.gather(maps)
            for name, maps in predictions.regressions.items()
            if name in self.regressions(0)
        }
        num_images, rows = centers.num_images, targets.supervised
        depth = depth_from_output(read["depth"].float())
        shared = {"normalizer": self.normalizer, "num_images": num_images}
        return {
            "loss_depth": self.depth_weight
            * peak_regression_loss(depth[rows], targets.depth[rows, None], **shared),
            "loss_dimensions": self.dimensions_weight
            * peak_regression_loss(read["dimensions"][rows], targets.dimensions[rows], **shared),
            "loss_orientation": self.orientation_weight
            * orientation_loss(
                read["orientation"],
                targets.bins,
                targets.residual,
                kind=self.orientation_loss,
                **shared,
            ),
        }

    def decode(
        self, maps: CenterMaps, peaks: Peaks, centers: Tensor, images: PaddedImages
    ) -> list[dict[str, Any]]:
        """`pred_boxes3d`, in the camera frame of each image's projection."""
        if images.projection is None:
            raise ValueError(
                "3-D boxes need the cameras of the images: PaddedImages.projection is not set"
            )
        projection = images.projection
        if self.calibration == "first":
            projection = projection[:1].expand_as(projection)
        num_images, num_peaks = peaks.scores.shape
        points = images.map_to_image(centers, maps.map_size)
        read = {name: peaks.gather(maps.regressions[name]) for name in self.regressions(0)}
        boxes = boxes_from_outputs(
            points.flatten(0, 1),
            depth_from_output(read["depth"]).flatten(),
            read["dimensions"].flatten(0, 1),
            read["orientation"].flatten(0, 1),
            projection.repeat_interleave(num_peaks, dim=0),
        )
        return [
            {"pred_boxes3d": Boxes3D(rows)}
            for rows in boxes.tensor.unflatten(0, (num_images, num_peaks))
        ]

    @staticmethod
    def _supervised(instances: Instances) -> Tensor:
        if instances.has("gt_3d_supervised"):
            return instances.gt_3d_supervised
        return torch.ones(len(instances), dtype=torch.bool, device=instances.gt_classes.device)


@POINT_TASK_REGISTRY.register()
def box3d(cfg: CfgNode) -> Box3D:
    """The task from `MODEL.POINTS_CENTERNET.BOX3D`.

    Raises:
        ValueError: TEST.SCALES has another scale than 1: objects would seem nearer or further.
    """
    options = cfg.MODEL.POINTS_CENTERNET.BOX3D
    if list(cfg.TEST.SCALES) != [1.0]:
        raise ValueError(
            f"TEST.SCALES is {list(cfg.TEST.SCALES)}: an image seen at another scale shows its "
            "objects at another distance, so 3-D boxes take [1.0] alone"
        )
    return Box3D(
        depth_weight=options.DEPTH_WEIGHT,
        dimensions_weight=options.DIMENSIONS_WEIGHT,
        orientation_weight=options.ORIENTATION_WEIGHT,
        normalizer=options.NORMALIZER,
        orientation_loss=options.ORIENTATION_LOSS,
        calibration=options.CALIBRATION,
    )


box3d.ground_truth_fields = Box3D.ground_truth_fields  # type: ignore[attr-defined]
