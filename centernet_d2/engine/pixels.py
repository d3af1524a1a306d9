"""MODEL.PIXEL_MEAN and PIXEL_STD, which follow the weights where nobody has set them."""

from __future__ import annotations

import contextlib
import logging

from detectron2.config import CfgNode, get_cfg

from ..checkpoint.imagenet import Source, source_pixels
from ..checkpoint.pixels import PUBLISHED, Pixels
from ..config import value_of
from ..model_zoo import path_handlers
from ..model_zoo.lookup import UnknownModelError
from ..progress import SHOWN
from .saved_names import saved_names, tell_once
from .setup import GIVEN

logger = logging.getLogger(__name__)

KEYS = ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")


def weights_pixels(weights: str) -> Pixels | None:
    """What MODEL.WEIGHTS were trained to see, as far as it is known without a download."""
    if weights.startswith(path_handlers.IMAGENET):
        return source_pixels(Source.named(weights))
    if pixels := saved_names(weights).pixels:
        return pixels
    if weights.startswith(path_handlers.PUBLISHED):
        from ..model_zoo.api import get_config

        with contextlib.suppress(UnknownModelError):
            cfg = get_config(weights.removeprefix(path_handlers.PUBLISHED), trained=True)
            return Pixels.of_keys({key: list(value_of(cfg, key)) for key in KEYS})
    return None


def follow_weights(cfg: CfgNode) -> None:
    """Set mean and deviation, in place, to those of the weights, or tell where they contradict.

    By hand is what a file or an override has set; in a config from elsewhere what is not
    detectron2's default.
    """
    model, pixels = cfg.MODEL, weights_pixels(cfg.MODEL.WEIGHTS)
    if pixels is None or pixels.same(model.PIXEL_MEAN, model.PIXEL_STD):
        return
    given = vars(cfg).get(GIVEN)
    if given is None:
        default = get_cfg()
        given = [key for key in KEYS if list(value_of(cfg, key)) != list(value_of(default, key))]
    own = f"PIXEL_MEAN {_short(pixels.mean)} and PIXEL_STD {_short(pixels.std)}"
    if not {*KEYS} & {*given}:
        model.PIXEL_MEAN, model.PIXEL_STD = list(pixels.mean), list(pixels.std)
        logger.info("MODEL.%s are those of '%s'.", own, model.WEIGHTS, extra=SHOWN)
        return
    as_published = any(each.same(model.PIXEL_MEAN, model.PIXEL_STD) for each in PUBLISHED)
    if not cfg.DATASETS.TRAIN or (as_published and pixels.rgb):
        return  # told with the weights' config; and the published trainings started so
    kept = ", and its channels stay R, G, B" * pixels.rgb
    tell_once(
        f"MODEL.PIXEL_MEAN {_short(model.PIXEL_MEAN)} and PIXEL_STD {_short(model.PIXEL_STD)} are "
        f"set by hand, but '{model.WEIGHTS}' was trained with {own} (blue, green, red){kept}. "
        "Leave both keys out, and all follows the weights."
    )


def _short(values: list[float] | tuple[float, ...]) -> list[float]:
    return [round(value, 2) for value in values]
