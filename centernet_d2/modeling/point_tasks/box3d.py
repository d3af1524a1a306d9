"""The point task `box3d`: depth, dimensions, orientation ("Objects as Points", 4.1, appendix B).

N images, P objects of the batch, K peaks.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import Tensor

from ...checked_values import check_choice
from ...config import from_block
from ...data.checks3d import NetworkFrame
from ...data.fields.base import GroundTruthField
from ...data.fields.boxes3d import Boxes3DField
from ...decoding.boxes3d import angle_from_output, boxes_from_outputs, depth_from_output
from ...losses.orientation import orientation_loss
from ...losses.peak_regression import RegressionLoss, check_normalizer
from ...structures.box3d_records import NO_ANGLE
from ...structures.boxes3d import Boxes3D
from ...structures.output_fields import register_output_field
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.targets import Box3DTargets, CenterTargets
from ...targets.orientation import orientation_bins
from ..cameras import Cameras
from .base import Branches, PointTask, register_point_task

CALIBRATIONS = ("each", "first")
BRANCHES = {"depth": 1, "dimensions": 3, "orientation": 8}


@register_point_task
class Box3D(PointTask):
    """Regresses depth, dimensions and observation angle; adds `pred_boxes3d`.

    Ground truth beside boxes and classes: `gt_boxes3d` (`Boxes3D`), and perhaps
    `gt_3d_supervised` (P,) bool, whose depth and dimensions are learned (missing: all); in a
    shifted or scaled image they are not what the pixels show. The orientation of a box whose alpha
    is -10, KITTI's mark of what is not known, is not learned. The inputs of inference carry the
    camera, see `Cameras`; `projection`, 3 x 4 to pixels of the output frame, comes back.
    `docs/config.md` says more about each choice.
    """

    name = "box3d"
    ground_truth = ("gt_boxes3d",)
    output_fields = ("pred_boxes3d",)
    field_kinds: Mapping[str, Any] = {"pred_boxes3d": Boxes3D}
    # NMS, evaluators and files take the boxes in the image too.
    required_branches = ("size",)
    shown: Mapping[str, Any] = {
        "depth": depth_from_output,
        "orientation": lambda maps: angle_from_output(maps.movedim(0, -1))[None],
    }

    def __init__(
        self,
        *,
        depth_weight: float = 1.0,  # of that loss, L1 in metres
        dimensions_weight: float = 1.0,  # of that loss, L1 in metres
        orientation_weight: float = 1.0,  # of that loss
        normalizer: str = "max_objects",  # of all three, or "objects"
        orientation_loss: str = "smooth_l1",  # of sine and cosine, or "l1"
        calibration: str = "each",  # image's own, or that of the "first" of a batch for all
        cameras: Cameras | None = None,  # finds an input's projection
    ) -> None:
        check_choice("calibration", calibration, CALIBRATIONS)
        check_normalizer(normalizer, ("max_objects", "objects"))
        check_choice("orientation_loss", orientation_loss, ("smooth_l1", "l1"))
        self.depth_weight, self.dimensions_weight = depth_weight, dimensions_weight
        self.orientation_weight, self.orientation_loss = orientation_weight, orientation_loss
        self.normalizer, self.regression = normalizer, RegressionLoss("l1", normalizer)
        self.calibration, self.cameras = calibration, cameras or Cameras()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """The task from `MODEL.POINTS_CENTERNET.BOX3D`.

        Raises:
            ValueError: TEST.SCALES has another scale than 1: objects would seem nearer or further.
        """
        if list(cfg.TEST.SCALES) != [1.0]:
            raise ValueError(
                f"TEST.SCALES is {list(cfg.TEST.SCALES)}: an image seen at another scale shows its "
                "objects at another distance, so 3-D boxes take [1.0] alone"
            )
        options = cfg.MODEL.POINTS_CENTERNET.BOX3D
        cameras = Cameras(options.DEFAULT_PROJECTION, options.DEFAULT_SIZE)
        return from_block(cls, cfg, "MODEL.POINTS_CENTERNET.BOX3D", cameras=cameras)

    @classmethod
    def ground_truth_fields(cls, cfg: CfgNode) -> list[GroundTruthField]:
        fit = "width" if cfg.INPUT.BOX3D.RESOLUTION == "fixed" else "none"
        training = NetworkFrame(tuple(cfg.INPUT.TRAIN_SIZE), fit, "INPUT.TRAIN_SIZE")
        options, evaluation = cfg.TEST, None
        if options.RESOLUTION == "fixed":
            size = tuple(options.FIXED_SIZE)
            evaluation = NetworkFrame(size, options.FIXED_FIT, "TEST.FIXED_SIZE")
        return [Boxes3DField(training=training, evaluation=evaluation)]

    def protocol_notes(self) -> list[str]:
        """The camera of a batch's first image for all, as published, which is not the default."""
        return ["one camera per batch"] if self.calibration == "first" else []

    def branches(self, num_classes: int) -> Branches:
        """`depth` 1, `dimensions` 3 (height, width, length) and `orientation` 8 channels."""
        return Branches(BRANCHES)

    def read_inputs(self, entries: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """`projection` (N, 3, 4) to pixels of the images."""
        return {"projection": self.cameras.of(entries)}

    def extra_outputs(self, entry: dict[str, Any]) -> dict[str, Any]:
        """`projection`, 3 x 4 to pixels of the output frame, by which the boxes were placed."""
        return {"projection": self.cameras.of_output(entry)}

    def no_objects(self) -> dict[str, Any]:
        return {"gt_boxes3d": Boxes3D(torch.zeros(0, 8))}

    def targets(
        self, instances: Sequence[Instances], images: PaddedImages, centers: CenterTargets
    ) -> Box3DTargets:
        """What the objects' 3-D boxes are, as labelled; no augmentation changes them."""
        boxes = Boxes3D.cat([entry.gt_boxes3d for entry in instances])[centers.kept]
        supervised = torch.cat([self._supervised(entry) for entry in instances])[centers.kept]
        bins, residual = orientation_bins(boxes.alpha)
        headed = boxes.alpha != NO_ANGLE
        return Box3DTargets(
            depth=boxes.depth,
            dimensions=boxes.dimensions,
            bins=bins[headed],
            residual=residual[headed],
            supervised=supervised,
            headed=headed,
        )

    def losses(
        self, predictions: CenterPredictions, targets: Box3DTargets, centers: CenterTargets
    ) -> dict[str, Tensor]:
        """`loss_depth`, `loss_dimensions` and `loss_orientation`."""
        maps = predictions.regressions
        read = {name: centers.peaks.gather(maps[name]) for name in BRANCHES}
        num_images, rows = centers.num_images, targets.supervised
        loss = partial(self.regression, num_images=num_images)
        depth = loss(depth_from_output(read["depth"].float())[rows], targets.depth[rows, None])
        orientation = orientation_loss(
            read["orientation"][targets.headed],
            targets.bins,
            targets.residual,
            num_images=num_images,
            normalizer=self.normalizer,
            kind=self.orientation_loss,
        )
        dimensions = loss(read["dimensions"][rows], targets.dimensions[rows])
        return {
            "loss_depth": self.depth_weight * depth,
            "loss_dimensions": self.dimensions_weight * dimensions,
            "loss_orientation": self.orientation_weight * orientation,
        }

    def fields(
        self, maps: CenterMaps, peaks: Peaks, centers: Tensor, images: PaddedImages
    ) -> dict[str, Tensor]:
        """`pred_boxes3d`, in the camera frame of each image's projection."""
        if "projection" not in images.inputs:
            raise ValueError(
                "3-D boxes need the cameras of the images: PaddedImages.inputs has no 'projection'"
            )
        projection = images.inputs["projection"].to(images.shift)
        if self.calibration == "first":
            projection = projection[:1].expand_as(projection)
        num_images, num_peaks = peaks.scores.shape
        points = images.map_to_image(centers, maps.map_size)
        read = {name: peaks.gather(maps.regressions[name]) for name in BRANCHES}
        boxes = boxes_from_outputs(
            points.flatten(0, 1),
            depth_from_output(read["depth"]).flatten(),
            read["dimensions"].flatten(0, 1),
            read["orientation"].flatten(0, 1),
            projection.repeat_interleave(num_peaks, dim=0),
        )
        return {"pred_boxes3d": boxes.tensor.unflatten(0, (num_images, num_peaks))}

    @staticmethod
    def _supervised(instances: Instances) -> Tensor:
        if instances.has("gt_3d_supervised"):
            return instances.gt_3d_supervised
        return torch.ones(len(instances), dtype=torch.bool, device=instances.gt_classes.device)


def box3d_records(instances: Instances) -> list[dict[str, Any]]:
    """`box3d`: middle of the bottom, height, width and length, and angles; camera frame."""
    parts = {"location": slice(0, 3), "dimensions": slice(3, 6), "rotation_y": 6, "alpha": 7}
    rows = [[round(value, 4) for value in row] for row in instances.pred_boxes3d.tensor.tolist()]
    return [{"box3d": {name: row[part] for name, part in parts.items()}} for row in rows]


register_output_field("pred_boxes3d", record=box3d_records)
