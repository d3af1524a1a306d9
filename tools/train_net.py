#!/usr/bin/env python
"""Train or evaluate a detector.

    tools/train_net.py --config-file configs/Shapes/points_tiny.yaml OUTPUT_DIR output/shapes
    tools/train_net.py --config-file ... --resume                      # continue OUTPUT_DIR's run
    tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/shapes/model_final.pth
    tools/train_net.py --config-file ... DATASETS.TRAIN "('coco:train.json:images',)"

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
