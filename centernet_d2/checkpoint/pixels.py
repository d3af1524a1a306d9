"""What a network was trained to see: mean and deviation of its pixels, and their channel order.

Images of this package are B, G, R (as `cv2.imread` reads them) up to the network. A network of R,
G, B images equals one of B, G, R images whose first convolution has its input channels the other
way round, as long as mean and deviation are in that order too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

Triple = tuple[float, float, float]
NEAR = 1e-3  # of 0..255: written with fewer digits


@dataclass(frozen=True)
class Pixels:
    """Statistics of the images that weights were trained on."""

    mean: Triple  # in 0..255, blue, green, red
    std: Triple
    rgb: bool = False  # whether the weights themselves still expect R, G, B

    @classmethod
    def of_rgb(cls, mean: Sequence[float], std: Sequence[float], scale: float = 255) -> Self:
        """Of an R, G, B network, from values that are `1 / scale` of those in 0..255."""
        return cls(*(_triple(value * scale for value in reversed(v)) for v in (mean, std)), True)

    @classmethod
    def of_keys(cls, values: Mapping[str, Any]) -> Self | None:
        """What a config of dotted keys says; None where it does not."""
        keys = [values.get(f"MODEL.PIXEL_{name}") for name in ("MEAN", "STD")]
        is_given = all(isinstance(v, (list, tuple)) and len(v) == 3 for v in keys)
        return cls(*map(_triple, keys)) if is_given else None

    @classmethod
    def of_saved(cls, saved: Any) -> Self | None:
        """From what `saved` has written; None for anything else."""
        return cls(**saved) if isinstance(saved, dict) and {"mean", "std"} <= set(saved) else None

    def saved(self) -> dict[str, Any]:
        """Plain values, as they stand beside tensors."""
        return {"mean": list(self.mean), "std": list(self.std), "rgb": self.rgb}

    def turned(self) -> Self:
        """The same of weights that `as_bgr` has turned."""
        return replace(self, rgb=False)

    def same(self, mean: Sequence[float], std: Sequence[float]) -> bool:
        """Whether a model normalises by these values, channel by channel."""
        pairs = zip((*self.mean, *self.std), (*mean, *std), strict=True)
        return all(abs(first - float(second)) < NEAR for first, second in pairs)

    def keys(self) -> dict[str, list[float]]:
        """The config keys that say it."""
        return {"MODEL.PIXEL_MEAN": list(self.mean), "MODEL.PIXEL_STD": list(self.std)}


def _triple(values: Any) -> Triple:
    blue, green, red = (round(float(value), 8) for value in values)
    return blue, green, red


# ImageNet's, by which torchvision's and most of timm's networks were trained.
IMAGENET = Pixels.of_rgb((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# TensorFlow's EfficientNet-Lite.
EFFICIENTNET_LITE = Pixels.of_rgb((127,) * 3, (128,) * 3, scale=1)
# The authors' of COCO. The published trainings apply them to ImageNet's weights, as these are.
COCO = Pixels((104.01362025, 114.03422265, 119.9165958), (73.6027665, 69.8908125, 70.9150767))
# ImageNet's in R, G, B order, which the published VOC training applied to B, G, R pixels.
VOC = Pixels((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
PUBLISHED = (COCO, VOC)


def as_bgr(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn a network of R, G, B images into the equal one of B, G, R images.

    The input channels of the convolutions that read the image, which alone have three, change
    places.
    """
    return {
        name: value.flip(1) if value.dim() == 4 and value.shape[1] == 3 else value
        for name, value in state.items()
    }
