"""Models by name: those of the zoo, and at the Hugging Face Hub.

    %(prog)s list                     # or, of some: list dla34, list 'COCO-Keypoints/*'
    %(prog)s configs Shapes           # names for --config-file
    %(prog)s show bccd                # or what a file says of itself: show model_final.pth
    %(prog)s download points_dla34_140e --output weights/
    %(prog)s push model_final.pth user/name --licence Apache-2.0 --data "COCO train2017"
    %(prog)s download hub:user/name

Wherever weights are named, `hub:user/name` and names of the zoo do, without a download before;
`bccd` is in this package and needs no network.
`push` needs `pip install 'centernet-d2[hub]'` and a token (`hf auth login` or HF_TOKEN).
"""

import argparse

from ...text_files import expanded, expanded_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = commands.add_parser("list", help="the models of the zoo")
    help_text = "only names that hold this, or match it where it has * or ?"
    listing.add_argument("pattern", nargs="?", default="", help=help_text)
    configs = commands.add_parser("configs", help="the shipped configs, for --config-file")
    configs.add_argument("pattern", nargs="?", default="", help=help_text)
    show = commands.add_parser("show", help="all about one, or what a model file says of itself")
    show.add_argument("name", type=expanded, help="a name of the zoo, hub:user/name, or a file")
    for command in (listing, show):
        command.add_argument("--json", action="store_true", help="print JSON")
    download = commands.add_parser("download", help="fetch weights, as they were released")
    download.add_argument("name", help="a name of the zoo, an address, or hub:user/name[@revision]")
    help_text = "file or folder to copy it to; default: it stays in the cache"
    download.add_argument("--output", type=expanded_output, metavar="FILE", help=help_text)
    push = commands.add_parser("push", help="publish a model, with a card, at the Hub")
    push.add_argument("file", type=expanded, help="a model that carries its config")
    push.add_argument("repository", help="user/name")
    push.add_argument("--licence", required=True, help="of the weights, such as Apache-2.0")
    push.add_argument("--data", required=True, help="what it was trained on, in words")
    push.add_argument("--private", action="store_true", help="seen by its owner alone")
