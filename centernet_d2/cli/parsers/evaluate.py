r"""Score weights on the datasets of DATASETS.TEST.

    %(prog)s --weights output/shapes/model_final.pth OUTPUT_DIR output/shapes
    %(prog)s --weights points_dla34_230e OUTPUT_DIR output/dla34
    %(prog)s --weights output/mine/model_best.pth \
        DATASETS.TEST coco:my/test.json:my/images OUTPUT_DIR output/mine_test
    %(prog)s --runtime openvino-int8 --weights bccd OUTPUT_DIR output/bccd_int8
    %(prog)s --timing --weights bccd OUTPUT_DIR output/bccd TEST.FLIP True
    %(prog)s --results predictions.json --dataset coco:my/test.json:my/images

The weights' own config is used; another one, --config-file, is compared with it. The protocol is
printed with the scores; numbers, detections and log are in OUTPUT_DIR/inference. --results are
scored without a model (docs/report.md) and written only where OUTPUT_DIR is given.
"""

import argparse

from .common import JOB, RUNTIME, add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "--config-file", "--import", "--weights", "--results", "--dataset", *JOB)
    help_text = "tell how long each stage takes, also in OUTPUT_DIR/inference/timing.json"
    parser.add_argument("--timing", action="store_true", help=help_text)
    parser.add_argument("--runtime", default="", metavar="NAME", help=RUNTIME)
    add(parser, "opts")
    parser.set_defaults(eval_only=True, resume=False, overwrite=False, seeds=None)
