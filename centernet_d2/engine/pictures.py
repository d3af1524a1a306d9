"""Pictures of a training as it goes."""

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.evaluation.evaluator import inference_context
from detectron2.structures import Instances

from ..structures.padded_images import eight_bit_pixels
from .step_loop import unwrapped


class VisualizationHook(HookBase):
    """Every `period` steps draw the batch's first image, its objects and its detections.

    The picture goes to detectron2's event storage, that is to TensorBoard.
    """

    def __init__(self, period: int, class_names: list[str], *, threshold: float = 0.3) -> None:
        self.period, self.class_names, self.threshold = period, class_names, threshold

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self.period == 0:
            sample = self.trainer._trainer.batch[0]
            picture = self.draw(sample, detect(unwrapped(self.trainer.model), sample))
            rgb = np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1))
            self.trainer.storage.put_image("objects left, detections right", rgb)

    def draw(self, sample: dict, detections: Instances) -> np.ndarray:
        """Draw a training sample: (H, 2W, 3) uint8, BGR."""
        from ..visualization.detections import draw_detections
        from ..visualization.results import draw_truth

        image, names = eight_bit_pixels(sample["image"]), self.class_names
        truth = draw_truth(image, sample["instances"].to("cpu"), names)
        found = draw_detections(image, detections.to("cpu"), names, self.threshold)
        return np.concatenate([truth, found], axis=1)


@torch.no_grad()
def detect(model: torch.nn.Module, sample: dict) -> Instances:
    """Detect in a training sample as in evaluation, in the frame of its image."""
    height, width = sample["image"].shape[1:]
    with inference_context(model):
        return model([{"image": sample["image"], "height": height, "width": width}])[0]["instances"]
