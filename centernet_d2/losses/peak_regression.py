"""Regression losses on values read from maps at the objects' cells. P objects, D channels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checked_values import check_choice

KINDS = {"l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}
NORMALIZERS = ("elements", "objects", "max_objects")

MAX_OBJECTS = 50
"""Objects per image that the published code for 3-D boxes makes room for, and divides by."""

EPSILON = 1e-4
"""Added to the normaliser, as published, so that a batch without objects gives zero."""


@dataclass(frozen=True)
class RegressionLoss:
    """Sum of absolute (or smooth) differences over a normaliser.

    Where rows have weights their sum stands for P: the published dense losses with "elements".

    Attributes:
        kind: "l1" or "smooth_l1".
        normalizer: "elements" divides by P * D (the published L1 loss, half of the paper's value
            for D = 2), "objects" by P (the paper's 1/N, and the published smooth L1 loss),
            "max_objects" by 50 N D however many objects there are (published for 3-D boxes); a
            number divides by itself.
    """

    kind: str = "l1"
    normalizer: str | float = "elements"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_normalizer(self.normalizer, NORMALIZERS)

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        num_images: int | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """The loss of predictions (P, D), see `PeakIndex.gather`, against targets (P, D).

        A scalar; without objects it is zero, yet in the graph. Computed in float32 (or wider) also
        under autocast. "max_objects" needs `num_images`, N.
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in "
                "shape"
            )
        with torch.autocast(prediction.device.type, enabled=False):
            if prediction.dtype != torch.float64:
                prediction = prediction.float()
            each = KINDS[self.kind](prediction, target.to(prediction.dtype), reduction="none")
            rows: Tensor | int = len(each)
            if weight is not None:
                each, rows = each * weight[:, None], weight.sum()
            return each.sum() / (self._count(rows, each.shape[1:].numel(), num_images) + EPSILON)

    def _count(self, rows: Tensor | int, channels: int, num_images: int | None) -> Tensor | float:
        if not isinstance(self.normalizer, str):
            return self.normalizer
        if self.normalizer == "elements":
            return rows * channels
        if self.normalizer == "objects":
            return rows
        if num_images is None:
            raise ValueError("the normalizer 'max_objects' needs num_images")
        return MAX_OBJECTS * num_images * channels


def check_normalizer(normalizer: str | float, known: tuple[str, ...]) -> None:
    """Raise ValueError unless a normaliser is one of the known words or a positive number."""
    if isinstance(normalizer, str):
        check_choice("normalizer", normalizer, known)
