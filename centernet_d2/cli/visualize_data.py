"""The verb `visualize-data`: what the model is given in training, drawn."""

import argparse
import functools
import os

from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from ..data.datasets.skeletons import skeleton_of
from ..data.loader import load_dataset_dicts
from ..data.mapper import DetectionMapper
from ..data.samplers import seeded
from ..engine.setup import load_config, setup
from ..engine.terminal import start_logging
from ..engine.user_modules import import_all
from ..progress import bar
from ..structures.names import counted
from ..visualization.canvas import write_picture
from ..visualization.skeletons import SkeletonDrawing
from ..visualization.training_samples import draw_sample, draw_with_heatmaps


def run(args: argparse.Namespace) -> int:
    logger = start_logging(verbose=args.verbose)
    cfg = load_config(args.config_file, args.opts, import_all(args.imports))
    cfg.DATASETS.TEST = ()  # not drawn, so it may have other classes
    setup(cfg)
    records = load_dataset_dicts(cfg.DATASETS.TRAIN)[: args.count]
    class_names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes", [])
    drawing = SkeletonDrawing.of(skeleton_of(cfg.DATASETS.TRAIN[0]))
    mapper, draw = DetectionMapper(cfg, is_train=True), draw_sample
    if args.heatmaps:
        draw = functools.partial(draw_with_heatmaps, model=build_model(cfg))
    for number in bar(range(len(records) * args.repeat), what="Pictures", unit="picture"):
        record = records[number // args.repeat]
        with seeded(args.seed, number):
            sample = mapper(record)
        stem = os.path.splitext(os.path.basename(record["file_name"]))[0]
        picture = draw(sample, class_names, drawing)
        write_picture(os.path.join(args.output, f"{number:04d}_{stem}.jpg"), picture)
    drawn = counted(len(records) * args.repeat, "picture")
    logger.info("Drawn: %s, in %s.", drawn, args.output)
    return 0
