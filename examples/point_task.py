"""A point task with ground truth of its own: which share of each object is visible.

Annotations of the COCO file have a "visible_share" in 0..1; detections get one, in files too.

    tools/train_net.py --import examples/point_task.py \
        --config-file configs/Shapes/points_tiny.yaml \
        MODEL.POINTS_CENTERNET.TASKS "['box2d', 'visible_share']" OUTPUT_DIR output/share \
        DATASETS.TRAIN coco:my/train.json:my/images DATASETS.TEST coco:my/val.json:my/images
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Boxes, BoxMode, pairwise_iou
from detectron2.utils import comm

from centernet_d2.data.fields.base import GroundTruthField
from centernet_d2.evaluation import EVALUATOR_REGISTRY
from centernet_d2.modeling.point_tasks import Branches, PointTask, register_point_task
from centernet_d2.structures.output_fields import register_output_field


class VisibleShareField(GroundTruthField):
    """`gt_visible_share` (P,) float32."""

    annotation_columns = ("visible_share",)

    def rows(self, annotations, image):
        shares = [float(entry["visible_share"]) for entry in annotations]
        return {"gt_visible_share": torch.tensor(shares)}


@register_point_task
class VisibleShare(PointTask):
    """One more map, whose sigmoid is the share; adds `pred_visible_share` (K,)."""

    name = "visible_share"
    ground_truth = ("gt_visible_share",)
    output_fields = ("pred_visible_share",)
    evaluators = ("ShareError",)

    @classmethod
    def ground_truth_fields(cls, cfg):
        return [VisibleShareField()]

    def branches(self, num_classes):
        return Branches(regressions={"visible_share": 1})

    def targets(self, instances, images, centers):
        return torch.cat([entry.gt_visible_share for entry in instances])[centers.kept]

    def losses(self, predictions, targets, centers):
        logits = centers.peaks.gather(predictions.regressions["visible_share"])[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return {"loss_visible_share": loss / max(len(targets), 1)}

    def unflip(self, branch, maps):
        return maps  # the share of a flipped object is the same

    def decode(self, maps, peaks, centers, images):
        shares = peaks.gather(maps.regressions["visible_share"]).sigmoid()[..., 0]
        return [{"pred_visible_share": of_image} for of_image in shares]


def as_rows(found):
    """What a JSON file says of each detection."""
    return [{"visible_share": round(share, 3)} for share in found.pred_visible_share.tolist()]


register_output_field("pred_visible_share", record=as_rows)


@EVALUATOR_REGISTRY.register()
class ShareError(DatasetEvaluator):
    """Mean error of the share, over objects with a detection that overlaps them by half."""

    def __init__(self, cfg, dataset_name, output_folder):
        self.truth = {each["image_id"]: each for each in DatasetCatalog.get(dataset_name)}
        self.reset()

    def reset(self):
        self.errors = []

    def process(self, inputs, outputs):
        for entry, output in zip(inputs, outputs, strict=True):
            found, wanted = output["instances"].to("cpu"), self.truth[entry["image_id"]]
            for each in wanted["annotations"]:
                box = BoxMode.convert(each["bbox"], each["bbox_mode"], BoxMode.XYXY_ABS)
                overlap = pairwise_iou(Boxes([box]), found.pred_boxes)[0]
                for share in found.pred_visible_share[overlap >= 0.5][:1].tolist():  # the best
                    self.errors.append(abs(share - each["visible_share"]))

    def evaluate(self):
        errors = list(itertools.chain.from_iterable(comm.gather(self.errors)))
        return {"visible_share": {"error": sum(errors) / max(len(errors), 1)}}
