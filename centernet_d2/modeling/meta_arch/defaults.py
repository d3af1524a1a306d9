"""What is read of a detector beside its four methods, with the defaults that most keep."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from torch import Tensor

from ...data.fields.base import GroundTruthField
from ...structures.skeleton import Skeleton
from ..inference_protocol import InferenceProtocol


class DetectorDefaults:
    """Part of `HeatmapDetector`; a detector overrides what is otherwise with it."""

    protocol: InferenceProtocol
    # Names of the losses of heatmaps -> their weights in the sum. Training watches these for
    # collapse (`TrainingHealthHook`); {}: there is nothing to watch.
    heatmap_losses: Mapping[str, float] = {}
    # Fields of the detections beside scores and classes; see `structures.output_fields`.
    output_fields: Sequence[str] = ("pred_boxes",)
    # Names in EVALUATOR_REGISTRY of what scores them; (): by the type of each data set.
    evaluators: Sequence[str] = ()

    reads: Sequence[str] = ()  # patterns of keys of detectron2 that are refused otherwise

    # Branches of the head whose last layer has channels for each "class", or each "joint".
    named_branches: Mapping[str, str] = {"heatmap": "class"}

    # Form of what a branch says, where there are several.
    branch_forms: Mapping[str, str] = {}

    # Of the published protocol, from which the name that is printed beside scores departs.
    published_scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5)
    published_canvas = "strict"

    @classmethod
    def ground_truth_fields(cls, cfg: CfgNode) -> list[GroundTruthField]:
        """What a detector of `cfg` learns beside boxes and classes; the mapper moves it."""
        return []

    @classmethod
    def complete_config(cls, cfg: CfgNode) -> list[str]:
        """Fill keys that `cfg` leaves open from its data sets' metadata; return warnings."""
        return []

    @classmethod
    def output_skeleton(cls, cfg: CfgNode) -> Skeleton | None:
        """The joints that are found, as checkpoints tell; None: there are none, or no names.

        Their names are compared with those of a checkpoint, so that nothing is given a wrong one.
        """
        return None

    def decoded_heatmaps(self, last: Any, *, flipped: bool) -> dict[str, Tensor]:
        """Kind of keypoint -> probabilities (N, C, h, w), for pictures of them; here none.

        From what `predict` gives of the last stack; where `flipped`, half is of flipped images.
        """
        return {}

    def extra_outputs(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What the output of one input has beside `instances`; here nothing."""
        return {}

    def describe_protocol(self) -> str:
        """Name the test protocol, which is printed and written beside scores."""
        return self.protocol.describe(
            self.protocol_notes(),
            published_scales=self.published_scales,
            published_canvas=self.published_canvas,
        )

    def protocol_notes(self) -> list[str]:
        """What a detector adds to the protocol's name, where it departs from the published one."""
        return []
