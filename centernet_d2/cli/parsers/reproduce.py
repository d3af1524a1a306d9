r"""Tables of the papers, from one command.

    %(prog)s ablations --output study --list
    %(prog)s ablations --output study
    %(prog)s ablations --output study --claims corner-pooling triplet-fd --seeds 5
    %(prog)s published --output zoo --list
    %(prog)s published --output zoo --models dla34 --datasets coco_2017_val

`ablations` trains pairs of variants that the papers compare, at a size that two CPU cores can do,
with several seeds each, and reports which claims hold: report.md and report.html in --output. The
same command goes on where it was stopped and keeps what is done (docs/reproduction.md).
`published` fetches the weights that the papers' authors released, and scores each as they did.
"""

import argparse

from ...checked_values import argument, whole
from ...text_files import expanded, output_file, output_folder
from .common import add

SCALES = ("cpu", "gpu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="study", metavar="STUDY", required=True)
    ablations = commands.add_parser("ablations", help="which claims of the papers hold")
    _add_ablations(ablations)
    published = commands.add_parser("published", help="the released weights' scores")
    _add_published(published)
    for command in (ablations, published):
        add(command, "--traceback", "--verbose", default=argparse.SUPPRESS)


def _add_ablations(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument
    own("--output", type=output_folder, required=True, help="folder of trainings and report")
    own("--claims", nargs="+", default=[], metavar="ID", help="of --list; default: all")
    help_text = "trainings of each variant, default 3"
    own("--seeds", type=argument(whole(2)), default=3, metavar="N", help=help_text)
    help_text = "`gpu`: larger pictures, networks and schedules; default cpu"
    own("--scale", choices=SCALES, default="cpu", help=help_text)
    help_text = "BCCD, VOC's folders; default: no claims on it"
    own("--bccd", type=expanded, default="", metavar="FOLDER", help=help_text)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--list", action="store_true", help="show claims and runs, do nothing")
    help_text = "write the report of what is there, train nothing"
    only.add_argument("--report-only", action="store_true", help=help_text)


def _add_published(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument
    own("--output", type=output_folder, required=True, help="folder of the evaluations")
    help_text = "only names that hold this, or match it where it has * or ?"
    own("--models", nargs="+", default=[""], metavar="NAME", help=help_text)
    own("--datasets", nargs="+", default=[""], metavar="NAME", help="the same of data sets: coco")
    own("--list", action="store_true", help="show what is done and missing, fetch nothing")
    own("--device", default="", help="default: cuda, where there is a GPU, else cpu")
    help_text = "file for scores of whole splits: centernet_d2/model_zoo/measured.json"
    own("--record", type=output_file, metavar="FILE", help=help_text)
    add(parser, "--num-gpus")
