"""Convert weights into one file that is a model: tensors, config, names.

    %(prog)s ctdet_coco_dla_2x.pth dla34.pth          # also writes dla34.yaml
    %(prog)s published_name_or_address dla34.safetensors --arch dla_34
    %(prog)s output/mine/model_final.pth mine.safetensors   # for use: without the training's state
    %(prog)s output/mine/model_final.pth small.safetensors --half   # half of it
    %(prog)s old.pth new.pth --config-file config.yaml  # of this package, from before files had it

INPUT is a file, an address, or a name of the model zoo. Of published weights source and
architecture are detected from the keys; --arch only checks them. Such files hold no names: without
--classes and --joints they are guessed from their number (80: COCO's, 20: Pascal VOC's ...), and
marked as a guess. Then:

    centernet-d2 predict --weights dla34.pth --input photos --output found
"""

import argparse
from pathlib import Path

from ...text_files import expanded, output_file
from .common import add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument
    own("input", type=expanded, help="file, its address, or a name of the model zoo")
    help_text = "the .pth or .safetensors to write; of published weights a .yaml goes beside it"
    own("output", type=lambda given: Path(output_file(given)), help=help_text)
    own("--overwrite", action="store_true", help="replace an output that is there")
    help_text = "store floating-point numbers in 16 bits: half the file, and rounded weights; they "
    own("--half", action="store_true", help=help_text + "run in 32 bits as before")
    own("--arch", help="fail unless the weights are this, e.g. resdcn_18, dla_34")
    names = "a dataset (its name, or coco:<json>:<images> ...), a file with one name in a line, or "
    help_text = "of a file of this package that carries none: that of its training"
    add(parser, "--config-file", help=help_text)
    own("--classes", help=f"names of the classes: {names}a,b,c")
    sides = "names of the joints, whose sides say what a flip exchanges"
    own("--joints", help=f"{sides}: {names}a,b,c")
    help_text = "fixed input of Pascal VOC weights, which the file does not say (default 384, or "
    help_text += "512 where the input's name contains it)"
    own("--voc-size", type=int, choices=(384, 512), help=help_text)
