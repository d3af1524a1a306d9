#!/usr/bin/env python
r"""Train or evaluate a detector.

    CONFIG=configs/Shapes/points_tiny.yaml
    tools/train_net.py --config-file $CONFIG OUTPUT_DIR output/shapes
    tools/train_net.py --config-file $CONFIG --resume OUTPUT_DIR output/shapes  # goes on
    tools/train_net.py --config-file $CONFIG --eval-only \
        OUTPUT_DIR output/shapes MODEL.WEIGHTS output/shapes/model_final.pth
    tools/train_net.py --config-file $CONFIG OUTPUT_DIR output/mine \
        DATASETS.TRAIN coco:my/train.json:my/images DATASETS.TEST coco:my/val.json:my/images

An own dataset needs MODEL.HEATMAP.NUM_CLASSES 0 where the config states another number (it is 0 in
configs/Shapes), and DATASETS.TEST "()" where there is nothing to evaluate on.

`--num-gpus N` starts N processes: one per GPU or, without a GPU, N on the CPU.
"""

from detectron2.engine import default_argument_parser

from centernet_d2.detectron2_versions import launch
from centernet_d2.engine.run import run


def main() -> None:
    """Parse the command line and start the job's processes."""
    args = default_argument_parser(epilog=__doc__).parse_args()
    launch(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


if __name__ == "__main__":
    main()
