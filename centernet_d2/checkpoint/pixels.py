"""What a network was trained to see: mean and deviation of its pixels, and their channel order.

Images of this package are B, G, R (as `cv2.imread` reads them) up to the network. A network of R,
G, B images equals one of B, G, R images whose first convolution has its input channels the other
way round, as long as mean and deviation are in that order too.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

logger = logging.getLogger(__name__)

KEYS = ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")
NEAR = 1.0  # of 0..255: written with fewer digits, or 127 for 127.5


class Pixels(NamedTuple):
    """Statistics of the images that weights were trained on."""

    mean: Sequence[float]  # in 0..255, blue, green, red
    std: Sequence[float]
    rgb: bool = False  # whether the weights themselves still expect R, G, B

    def same(self, mean: Sequence[float], std: Sequence[float]) -> bool:
        """Whether a model normalises by these values, channel by channel."""
        pairs = zip((*self.mean, *self.std), (*mean, *std), strict=True)
        return all(abs(first - float(second)) < NEAR for first, second in pairs)

    def saved(self) -> dict[str, Any]:
        """The config keys, and "rgb" where it is true."""
        keys = dict(zip(KEYS, map(list, self[:2]), strict=True))
        return keys | ({"rgb": True} if self.rgb else {})


def from_keys(saved: Mapping[str, Any]) -> Pixels | None:
    """From what `Pixels.saved` has written, or a whole config of dotted keys; else None."""
    values = [saved.get(key) for key in KEYS]
    is_given = all(isinstance(v, (list, tuple)) and len(v) == 3 for v in values)
    return Pixels(*values, rgb=bool(saved.get("rgb"))) if is_given else None


def of_rgb(mean: Sequence[float], std: Sequence[float]) -> Pixels:
    """Of an R, G, B network, from values of pixels in 0..1."""
    turned = ([round(value * 255, 8) for value in reversed(v)] for v in (mean, std))
    return Pixels(*turned, rgb=True)


# ImageNet's, by which torchvision's and most of timm's networks were trained.
IMAGENET = of_rgb((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# The authors' of COCO. The published trainings apply them to ImageNet's weights, as these are.
COCO = Pixels([104.01362025, 114.03422265, 119.9165958], [73.6027665, 69.8908125, 70.9150767])
# ImageNet's in R, G, B order, which the published VOC training applied to B, G, R pixels.
VOC = Pixels([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


def turned_for(model: nn.Module, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file, for B, G, R images where they and the model's values are of R, G, B.

    A model's other values are somebody's own, as in the published trainings, and nothing is turned.
    """
    saved, state = content.get("pixels"), dict(content["model"])
    pixels = from_keys(saved) if isinstance(saved, Mapping) else None
    if not pixels or not pixels.rgb or not hasattr(model, "pixel_std"):
        return state
    if not pixels.same(model.pixel_mean, model.pixel_std):
        return state
    logger.info("The weights see R, G, B: their first convolution is turned for B, G, R images.")
    return as_bgr(state)


def as_bgr(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn a network of R, G, B images into the equal one of B, G, R images.

    The input channels of the convolutions that read the image, which alone have three, change
    places.
    """
    return {
        name: value.flip(1) if value.dim() == 4 and value.shape[1] == 3 else value
        for name, value in state.items()
    }
