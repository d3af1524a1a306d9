"""The point task `pose`: joints of each object ("Objects as Points" section 4.2).

N images, P objects of the batch, Q labelled joints, K peaks, J joints, (h, w) output map.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances, Keypoints
from torch import Tensor

from ...checked_values import check_choice
from ...config import from_block
from ...data.datasets.skeletons import common_skeleton
from ...data.fields.base import GroundTruthField
from ...data.fields.joints import JointsField
from ...decoding.center_boxes import center_boxes
from ...decoding.joints import SnappingRule, joint_peaks, scores_at, snap_joints
from ...losses.heatmap_focal import FocalLoss
from ...losses.heatmap_mse import HEATMAP_LOSSES, heatmap_mse_loss
from ...losses.peak_regression import RegressionLoss
from ...structures.output_fields import register_output_field, scale_points
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.skeleton import HALF_PIXEL, Skeleton, check_flip_indices
from ...structures.targets import CenterTargets, JointTargets, LearnedCells
from ...targets.joints import joint_targets
from ..rules import part
from .base import Branches, PointTask, register_point_task
from .pose_config import complete_joints, datasets_of

BLOCK = "MODEL.POINTS_CENTERNET.POSE"
DISPLACEMENT, HEATMAP, OFFSET = "joint_displacement", "joint_heatmap", "joint_offset"
HEATMAP_LOSS = "loss_joint_heatmap"


@dataclass(frozen=True)
class PoseWeights:
    """Weights of the losses of displacements, of the joint heatmap and of the joint offset."""

    displacement: float = 1.0
    heatmap: float = 1.0
    offset: float = 1.0


@register_point_task
class Pose(PointTask):
    """Regresses joints from the center and snaps them to joint peaks; adds `pred_keypoints`.

    Ground truth beside boxes and classes: `gt_keypoints` (P, J, 3), pixel indices and visibility (0
    is not labelled), and `gt_without_joints` (P,) bool, the objects whose annotation labels no
    joint. Where the latter is missing, objects without a visible joint are taken for such. Neither
    counts for objects of classes without joints. `docs/config.md` says more about each choice.
    """

    name = "pose"
    ground_truth = ("gt_keypoints",)
    output_fields = ("pred_keypoints",)
    # Snapping reads the size of the box, and NMS, evaluators and files take boxes.
    required_branches = ("size",)
    joint_branches = (DISPLACEMENT, HEATMAP)

    def __init__(
        self,
        *,
        num_joints: int,  # J
        flip_indices: Sequence[int] = (),  # what takes each one's place in a flip; (): no flip
        classes: Sequence[int] = (),  # those with joints; (): all
        joint_heatmap: bool = True,  # one per joint ("jd" of the paper's table 5), or not ("reg")
        joint_offset: bool = True,  # with the heatmap, predict where in its cell a joint lies
        dense_displacement: bool = False,  # learn displacements in all cells of a center's Gaussian
        regress_unlabelled: bool = False,  # learn offset and size also without a labelled joint
        weights: PoseWeights | None = None,
        focal: FocalLoss | None = None,  # of the joint heatmap
        heatmap_loss: str = "focal",  # or "mse": outputs are the heatmap itself, no logits
        # Of the joint offset; displacements always have "l1", as published. The normaliser
        # "objects" is here the number of labelled joints.
        regression: RegressionLoss | None = None,
        snapping: SnappingRule | None = None,  # where regressed joints move to
    ) -> None:
        if num_joints < 1:
            raise ValueError(
                f"{BLOCK}.NUM_JOINTS is {num_joints}; set it, or call, before building the model, "
                "centernet_d2.setup(cfg), which takes it from the dataset"
            )
        check_flip_indices(flip_indices, num_joints, f"{BLOCK}.FLIP_INDICES")
        check_choice("heatmap_loss", heatmap_loss, HEATMAP_LOSSES)
        self.heatmap_loss, self.forms = heatmap_loss, {HEATMAP: heatmap_loss}
        self.num_joints, self.regress_unlabelled = num_joints, regress_unlabelled
        self.flip_indices, self.classes = list(flip_indices), list(classes)
        self.joint_heatmap, self.joint_offset = joint_heatmap, joint_heatmap and joint_offset
        self.weights, self.focal = weights or PoseWeights(), focal or FocalLoss()
        self.dense_displacement = dense_displacement
        self.regression = regression or RegressionLoss()
        self.displacement_loss = replace(self.regression, kind="l1")
        self.snapping = snapping or SnappingRule()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        weights = {name: f"{name.upper()}_WEIGHT" for name in ("displacement", "heatmap", "offset")}
        snapping = {
            "name": "SNAPPING",
            "score_threshold": "CANDIDATE_SCORE",
            "max_distance": "SNAP_DISTANCE",
        }
        kernel = cfg.MODEL.HEATMAP.PEAK_KERNEL
        return from_block(
            cls,
            cfg,
            BLOCK,
            weights=from_block(PoseWeights, cfg, BLOCK, weights),
            focal=part(FocalLoss, cfg),
            regression=part(RegressionLoss, cfg),
            snapping=from_block(SnappingRule, cfg, BLOCK, snapping, kernel=kernel),
        )

    @classmethod
    def ground_truth_fields(cls, cfg: CfgNode) -> list[GroundTruthField]:
        options = cfg.MODEL.POINTS_CENTERNET.POSE
        check_flip_indices(options.FLIP_INDICES, options.NUM_JOINTS, f"{BLOCK}.FLIP_INDICES")
        return [JointsField(num_joints=options.NUM_JOINTS, flip_indices=options.FLIP_INDICES)]

    @classmethod
    def complete_config(cls, cfg: CfgNode) -> str:
        return complete_joints(cfg)

    @classmethod
    def output_skeleton(cls, cfg: CfgNode) -> Skeleton | None:
        return common_skeleton(datasets_of(cfg))

    def protocol_notes(self) -> list[str]:
        """How joints move to peaks, where it is not the published way."""
        if not self.joint_heatmap:
            return []
        if not self.snaps:
            return ["no snapping"]
        rule, published = self.snapping, SnappingRule()
        told = {
            "name": f"{rule.name} snapping",
            "candidates": f"{rule.candidates} candidates",
            "score_threshold": f"candidates above {rule.score_threshold}",
            "max_distance": f"snap distance {rule.max_distance}",
        }
        if rule.name != published.name:  # the paper's rule has no distance
            del told["max_distance"]
        return [told[name] for name in told if getattr(rule, name) != getattr(published, name)]

    @property
    def snaps(self) -> bool:
        return self.joint_heatmap and self.snapping.name != "none"

    def branches(self, num_classes: int) -> Branches:
        """`joint_displacement`, 2 J channels x0, y0, x1, y1 ..., and those of joint peaks.

        These are `joint_heatmap`, one channel per joint, and `joint_offset`.
        """
        offset = {OFFSET: 2} if self.joint_offset else {}
        heatmaps = {HEATMAP: self.num_joints} if self.joint_heatmap else {}
        values, heatmaps = ({}, heatmaps) if self.heatmap_loss == "focal" else (heatmaps, {})
        return Branches({DISPLACEMENT: 2 * self.num_joints, **values, **offset}, heatmaps)

    def heatmap_losses(self) -> dict[str, float]:
        return {HEATMAP_LOSS: self.weights.heatmap} if self.joint_heatmap else {}

    def no_objects(self) -> dict[str, Any]:
        return {"gt_keypoints": Keypoints(torch.zeros(0, self.num_joints, 3))}

    def check(self, instances: Instances, source: str) -> None:
        """Raise ValueError, naming the image, unless there are J joints per object."""
        super().check(instances, source)
        found = tuple(instances.gt_keypoints.tensor.shape[1:])
        if found != (self.num_joints, 3):
            raise ValueError(
                f"{source}: 'gt_keypoints' have shape (objects, {', '.join(map(str, found))}), the "
                f"model takes (objects, {self.num_joints}, 3): x, y, visibility. Correct "
                "MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS; 0 takes it from the dataset"
            )

    def regression_mask(self, instances: Sequence[Instances]) -> Tensor | None:
        """All objects but those of whom no joint is labelled (published)."""
        if self.regress_unlabelled:
            return None
        return ~torch.cat([self._without_joints(entry) for entry in instances])

    def targets(
        self, instances: Sequence[Instances], images: PaddedImages, centers: CenterTargets
    ) -> JointTargets:
        """Targets of the labelled joints of all objects."""
        joints = torch.cat([entry.gt_keypoints.tensor for entry in instances])[centers.kept]
        map_size = (centers.heatmap.shape[-2], centers.heatmap.shape[-1])
        points = images.image_to_map(joints[..., :2], centers.peaks.image, map_size)
        labelled = (joints[..., 2] > 0) & self._has_joints(centers.classes)[:, None]
        options = {"with_heatmap": self.joint_heatmap, "dense": self.dense_displacement}
        return joint_targets(points, labelled, centers, **options)

    def losses(
        self, predictions: CenterPredictions, targets: JointTargets, centers: CenterTargets
    ) -> dict[str, Tensor]:
        """`loss_joint_displacement` and, with a joint heatmap, that of heatmap and offset."""
        maps = predictions.regressions
        displacement = self._displacement_loss(maps[DISPLACEMENT], targets, centers)
        losses = {"loss_joint_displacement": self.weights.displacement * displacement}
        if self.joint_heatmap:
            focal = partial(self.focal, image=targets.peaks.image)
            loss = focal if self.heatmap_loss == "focal" else heatmap_mse_loss
            losses[HEATMAP_LOSS] = self.weights.heatmap * loss(maps[HEATMAP], targets.heatmap)
        if self.joint_offset:
            losses["loss_joint_offset"] = self.weights.offset * self.regression(
                targets.peaks.gather(maps[OFFSET]), targets.offset, num_images=centers.num_images
            )
        return losses

    def _displacement_loss(
        self, maps: Tensor, targets: JointTargets, centers: CenterTargets
    ) -> Tensor:
        """Of displacements at the centers or, where dense, from each cell around them."""
        every = torch.arange(len(targets.joint), device=maps.device)
        at = targets.dense or LearnedCells(centers.peaks[targets.owner], every)
        rows = at.peaks.gather(maps).unflatten(1, (-1, 2))
        found = rows[torch.arange(len(rows), device=rows.device), targets.joint[at.owner]]
        moved = centers.peaks[targets.owner[at.owner]].cells - at.peaks.cells
        wanted, count = targets.displacement[at.owner] + moved, centers.num_images
        return self.displacement_loss(found, wanted, num_images=count, weight=at.weight)

    def values(self, branch: str, maps: Tensor) -> Tensor:
        return maps.clamp(min=0) if branch == HEATMAP else maps  # of "mse": no probability below 0

    def unflip(self, branch: str, maps: Tensor) -> Tensor | None:
        """Left and right joints change places, displacements change sides; offsets are not used."""
        if branch == OFFSET:
            return None
        if not self.flip_indices:
            raise ValueError(
                "TEST.FLIP sees flipped images, and nothing says which joints a flip exchanges: "
                "MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES is empty. Give the dataset's metadata a "
                "keypoint_flip_map and call centernet_d2.setup(cfg), or set FLIP_INDICES"
            )
        if branch == HEATMAP:
            return torch.stack([maps[:, joint] for joint in self.flip_indices], dim=1)
        x, y = maps[:, 0::2], maps[:, 1::2]
        return torch.stack([p[:, k] for k in self.flip_indices for p in (-x, y)], dim=1)

    def fields(
        self, maps: CenterMaps, peaks: Peaks, centers: Tensor, images: PaddedImages
    ) -> dict[str, Tensor]:
        """`pred_keypoints` (K, J, 3): x, y, score.

        x and y are in detectron2's convention, from the left and upper *edge* of the first pixel,
        so that its evaluator and visualizer read them. The score is that of the joint heatmap where
        the joint lies (after snapping, that of its peak), without joint heatmap that of the
        detection. Detections of a class without joints have rows 0, 0, 0.
        """
        cell = torch.stack([peaks.x, peaks.y], dim=-1)  # published: the cell, not its center
        displacement = peaks.gather(maps.regressions[DISPLACEMENT]).unflatten(-1, (-1, 2))
        joints, scores = self._placed(cell[:, :, None] + displacement, maps, peaks, centers)
        if self.heatmap_loss == "mse":
            scores = scores.clamp(max=1)
        points = images.map_to_image(joints, maps.map_size) + HALF_PIXEL
        rows = torch.cat([points, scores[..., None]], dim=-1)
        rows = torch.where(self._has_joints(peaks.classes)[:, :, None, None], rows, 0)
        return {"pred_keypoints": rows}

    def _placed(
        self, joints: Tensor, maps: CenterMaps, peaks: Peaks, centers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Regressed joints (N, K, J, 2) -> where they end, and their scores (N, K, J)."""
        if not self.joint_heatmap:
            return joints, peaks.scores[:, :, None].expand(joints.shape[:-1])
        heatmap = maps.regressions[HEATMAP]
        scores = scores_at(heatmap, joints)
        if not self.snaps:
            return joints, scores
        candidates = joint_peaks(
            heatmap, maps.regressions.get(OFFSET), self.snapping.candidates, self.snapping.kernel
        )
        boxes = center_boxes(peaks, centers, maps.regressions["size"])
        joints, moved, peak_scores = snap_joints(joints, boxes, candidates, self.snapping)
        return joints, torch.where(moved, peak_scores, scores)

    def _without_joints(self, instances: Instances) -> Tensor:
        if instances.has("gt_without_joints"):
            without = instances.gt_without_joints
        else:
            without = ~(instances.gt_keypoints.tensor[..., 2] > 0).any(dim=1)
        return without & self._has_joints(instances.gt_classes)

    def _has_joints(self, classes: Tensor) -> Tensor:
        """Whether objects of these classes have joints: bool, one for each."""
        if not self.classes:
            return torch.ones_like(classes, dtype=torch.bool)
        return torch.isin(classes, classes.new_tensor(self.classes))


def joint_records(instances: Instances) -> list[dict[str, Any]]:
    """`joints`, [x, y, score] each, 0 is the first pixel's middle; none for a class without."""
    half_pixel = instances.pred_keypoints.new_tensor([HALF_PIXEL, HALF_PIXEL, 0])
    figures = (instances.pred_keypoints - half_pixel).tolist()
    found = instances.pred_keypoints.flatten(1).any(dim=1).tolist()  # zeros: a class without joints
    return [
        {"joints": [[round(value, 3) for value in joint] for joint in figure]} if known else {}
        for figure, known in zip(figures, found, strict=True)
    ]


register_output_field("pred_keypoints", scale=scale_points, record=joint_records)
