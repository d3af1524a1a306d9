"""Train a small detector on generated images, score it, draw its detections. Minutes on a CPU.

    %(prog)s points            pictures, curves and the checkpoint: output/demo_points
    %(prog)s pose              the same for stick figures and their joints: output/demo_pose
    %(prog)s box3d             the same for boxes on a street before a camera: output/demo_box3d
    %(prog)s points --check    exit status 1 if it scores below what it should
    %(prog)s points SOLVER.MAX_ITER 100      config overrides

The files of an earlier demo move into a folder old_<n> there. The last line is
`AP <value> AP50 <value>`, fractions on shapes_val or shapes_pose_val; of joints, where there are
some. For box3d it is the AP of moderate cars seen from above at IoU 0.5.
"""

import argparse

from ...checked_values import argument, whole
from ...text_files import output_folder

INTERMIXED = True
DEMOS = ("points", "corner", "triplet", "box3d", "pose")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument
    own("demo", choices=DEMOS, help="which detector")
    own("--output", type=output_folder, help="folder, default output/demo_<detector>")
    own("--check", action="store_true", help="fail below the demo's bars")
    help_text = "images in the picture, default 12"
    own("--images", type=argument(whole(1)), default=12, help=help_text)
    own("opts", nargs="*", metavar="KEY VALUE", help="config overrides: KEY VALUE ...")
