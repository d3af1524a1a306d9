"""A training script of one's own: a trainer with another mapper and one more hook.

python examples/training.py --config-file configs/Shapes/points_tiny.yaml OUTPUT_DIR output/own
"""

from __future__ import annotations

import argparse
import logging

from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.engine import HookBase, default_argument_parser

from centernet_d2 import Trainer
from centernet_d2.data.fields.base import build_fields
from centernet_d2.data.mapper import DetectionMapper, build_augmentations
from centernet_d2.detectron2_versions import launch
from centernet_d2.engine.run import run


class LargestLoss(HookBase):
    """Says at the end which loss was largest, and when."""

    largest = (0.0, -1)

    def after_step(self) -> None:
        """Look at the step's total loss."""
        loss, _ = self.trainer.storage.latest()["total_loss"]
        self.largest = max(self.largest, (loss, self.trainer.iter))

    def after_train(self) -> None:
        """Say it."""
        logging.getLogger("centernet_d2").info("Largest loss: %.3f at iteration %d.", *self.largest)


class OwnTrainer(Trainer):
    """Trains on images whose brightness varies more than the recipe's."""

    @classmethod
    def build_mapper(cls, cfg: CfgNode, *, is_train: bool) -> DetectionMapper:
        """detectron2's augmentation after this package's."""
        fields = build_fields(cfg)
        augmentations = [*build_augmentations(cfg, fields), T.RandomBrightness(0.5, 1.5)]
        return DetectionMapper(is_train=is_train, augmentations=augmentations, fields=fields)

    def build_hooks(self) -> list[HookBase]:
        """One hook more."""
        return [*super().build_hooks(), LargestLoss()]


def main(args: argparse.Namespace) -> None:
    """Run one process of the job."""
    run(args, trainer=OwnTrainer)


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    launch(main, args.num_gpus, args=(args,))
