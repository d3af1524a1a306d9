r"""Score weights on the datasets of DATASETS.TEST.

    %(prog)s --weights output/shapes/model_final.pth OUTPUT_DIR output/shapes
    %(prog)s --weights points_dla34_230e OUTPUT_DIR output/dla34
    %(prog)s --weights output/mine/model_best.pth \
        DATASETS.TEST coco:my/test.json:my/images OUTPUT_DIR output/mine_test

The weights' own config is used; another one, --config-file, is compared with it. The protocol is
printed with the scores; numbers, detections and log are in OUTPUT_DIR/inference.
"""

from __future__ import annotations

import argparse

from .common import add_config_arguments, add_job_arguments, add_overrides, add_weights_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of an evaluation."""
    add_config_arguments(parser, required=False)
    add_weights_argument(parser)
    add_job_arguments(parser)
    add_overrides(parser)
    parser.set_defaults(eval_only=True, resume=False, overwrite=False, seeds=None)
