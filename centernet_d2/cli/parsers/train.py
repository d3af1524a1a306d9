r"""Train or evaluate a detector.

    %(prog)s --config-file Own/points_small OUTPUT_DIR output/mine \
        DATASETS.TRAIN coco:my/train.json:my/images DATASETS.TEST coco:my/val.json:my/images
    %(prog)s --config-file Shapes/points_tiny OUTPUT_DIR output/shapes
    %(prog)s --config-file Shapes/points_tiny --resume OUTPUT_DIR output/shapes  # goes on
    %(prog)s --config-file Shapes/points_tiny --eval-only \
        OUTPUT_DIR output/shapes MODEL.WEIGHTS output/shapes/model_final.pth

An OUTPUT_DIR that holds a run is refused: `--resume` goes on with it, `--overwrite` moves it aside.
A training that is stopped, by Ctrl-C or SIGTERM, saves what is done and says how to go on.

Own/points_small, points_medium, triplet_small, pose_small and box3d_small take classes, frame and
schedule from the data and say so; a KEY VALUE comes over it. Other configs need, for own data,
MODEL.HEATMAP.NUM_CLASSES 0, and DATASETS.TEST "()" where there is nothing to evaluate on.

A LazyConfig trains as well; its overrides are key=value:

    %(prog)s --config-file lazy/points_tiny.py train.output_dir=output/lazy

`--num-gpus N` starts N processes: one per GPU or, without a GPU, N on the CPU.

`--import` imports a module of one's own in every process, before the config is read: a dotted name
or a file. The config may then name what it registers; its `add_config(cfg)`, if it has one, adds
config keys.

    %(prog)s --import my_package.my_detector --import my/dataset.py --config-file my.yaml

    %(prog)s --config-file Shapes/points_tiny --seeds 5 OUTPUT_DIR output/five
    %(prog)s --config-file Shapes/points_tiny --seeds 5 --eval-only TEST.FLIP True \
        OUTPUT_DIR output/five
"""

import argparse

from ...checked_values import argument, whole
from .common import JOB, add

PRESETS = ("cpu", "gpu8", "gpu24")  # of AUTO.PRESET
_SEEDS = (
    "train with N seeds (SEED, SEED + 1, ..., from 0 where SEED is negative), one after the other, "
    "each in OUTPUT_DIR/seed_<s>, and report mean and standard deviation of every score, also in "
    "OUTPUT_DIR/seeds.json; with --resume finished seeds are left out; with --eval-only evaluate "
    "each seed's model_final.pth, the report is in OUTPUT_DIR/inference"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "--config-file", "--import")
    own = parser.add_argument
    own("--resume", action="store_true", help="go on with the run in OUTPUT_DIR")
    help_text = "move the run that lies in OUTPUT_DIR into a folder old_1 (old_2, ...) there, and "
    own("--overwrite", action="store_true", help=f"{help_text}start a new one; nothing is deleted")
    help_text = "evaluate MODEL.WEIGHTS on DATASETS.TEST, as `centernet-d2 evaluate` does"
    own("--eval-only", action="store_true", help=help_text)
    help_text = "what Own/... configs are fitted to, a CPU or GiB of a GPU; default: this machine"
    own("--preset", choices=PRESETS, help=help_text)
    own("--seeds", type=argument(whole(1)), metavar="N", help=_SEEDS)
    add(parser, *JOB, "opts")
