"""`analyze pictures`: detections against truth, of models or of results in files, side by side."""

import argparse
import json
import os
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from ..analysis.comparison import Comparison
from ..analysis.results_files import Dataset, read_results
from ..atomic_write import atomic_write, write_json
from ..data.datasets.skeletons import skeleton_of
from ..data.fields.base import keep_columns
from ..data.fields.boxes3d import Boxes3DField
from ..data.loader import build_test_loader
from ..data.mapper import DetectionMapper
from ..engine.class_names import without_training_data
from ..engine.model_config import read_model_config
from ..engine.setup import setup
from ..engine.user_modules import import_all
from ..evaluation.box_evaluator import Detections
from ..inference.predictor import Predictor
from ..progress import bar
from ..structures.skeleton import HALF_PIXEL
from ..text_files import read_text
from ..visualization.skeletons import SkeletonDrawing
from .evaluate import config_without_model

PICTURES = "pictures.json"
PAGE = Path(__file__).with_suffix(".html")


def run(args: argparse.Namespace) -> int:
    """Draw what `args` name; the parser says what they are."""
    models = named_models(args)
    keep_columns([Boxes3DField()])  # of results in files no model asks for them
    cfgs = model_configs(args)
    cfg = cfgs[0] if cfgs else config_without_model(args)
    if len(cfg.DATASETS.TEST) != 1:
        raise ValueError("Name the one dataset to draw: --dataset coco:my/val.json:my/images")
    dataset, least = Dataset(cfg.DATASETS.TEST[0]), args.score_threshold
    if not dataset.is_labelled:
        told = "has no annotations to compare with: `centernet-d2 predict` draws detections alone"
        raise ValueError(f"Dataset '{dataset.name}' {told}")
    records = chosen_records(dataset, args)
    predictors = [Predictor(each) for each in cfgs]  # all of them, before the first one runs
    limits = (least, args.max_detections)
    found = [detect(each, records, *limits) for each in predictors]
    for file in args.results:
        rows = read_results(file, dataset)
        found.append({key: best(arrays, *limits) for key, arrays in rows.items()})
    of_models = dict(zip(models, found, strict=True))
    comparison = Comparison(records, of_models, dataset.class_names, most=10**6)
    order = args.order or ("worst" if len(models) == 1 else "differ")
    places = comparison.ordered(order, least)[: args.most]
    heatmaps = dict(zip(models, (each.heatmap for each in predictors), strict=False))
    entries = comparison.write(
        *(places, args.output, "{number:04d}_{stem}.png", least),
        upright=cfg.INPUT.EXIF_ORIENTATION == "apply",
        heatmaps=heatmaps if args.heatmaps else None,
        over=args.truth == "over",
        keypoints=args.keypoints,
        drawing=SkeletonDrawing.of(skeleton_of(dataset.name)),
    )
    if not any("picture" in entry for entry in entries):
        raise ValueError(f"No picture of '{dataset.name}' could be read: nothing is drawn")
    heading = {"dataset": dataset.name, "images": len(records), "models": models, "order": order}
    write_page(args.output, heading | {"score_threshold": least, "pictures": entries})
    print(f"{len(entries)} of {len(records)} pictures: {os.path.join(args.output, 'index.html')}")
    return 0


def named_models(args: argparse.Namespace) -> dict[str, str]:
    """Name -> source of each model, or ValueError of options that do not go together."""
    sources, more = [*args.weights, *args.results], " ".join(args.opts_b)
    names = ["/".join(os.path.splitext(source)[0].split("/")[-2:]) for source in sources]
    if more and len(sources) > 1:
        names[1], sources[1] = f"{names[1]}, {more}", f"{sources[1]} with {more}"
    names = args.names or names
    folder = os.listdir(args.output) if os.path.isdir(args.output) else []
    rules = (
        (not 1 <= len(sources) <= 2, "give one or two models: --weights A [B], --results A [B]"),
        (more and len(args.weights) != 2, "--opts-b goes with two --weights"),
        (len(names) != len(sources), f"{len(names)} --names of {len(sources)} models"),
        (len(set(names)) < len(names), f"both models are {names[:1]}: give two --names"),
        (args.heatmaps and args.results, "--heatmaps are of --weights: files have none"),
        (folder and PICTURES not in folder, f"'{args.output}' has other files: name a new folder"),
    )
    if broken := [told for is_broken, told in rules if is_broken]:
        raise ValueError(broken[0])
    return dict(zip(names, sources, strict=True))


def model_configs(args: argparse.Namespace) -> list[CfgNode]:
    """The config of each weights, on the dataset that is named, else that of the first one."""
    opts = [*args.opts, *["DATASETS.TEST", args.dataset] * bool(args.dataset)]
    cfgs: list[CfgNode] = []
    for weights, more in zip(args.weights, ([], args.opts_b), strict=False):
        given = (args.config_file, weights, [*opts, *more])
        keys = import_all(args.imports)
        cfg = read_model_config(*given, add_keys=keys, evaluates=not cfgs)
        cfg.DATASETS.update(cfgs[0].DATASETS if cfgs else {})
        cfgs.append(setup(without_training_data(cfg)))
    return cfgs


def chosen_records(dataset: Dataset, args: argparse.Namespace) -> list[dict]:
    """All records or those that are named; the first ones alone where the order needs no more."""
    records = sorted(dataset.records, key=lambda record: record["image_id"])  # as COCO's scores
    if args.images:
        known = {name: dataset.picture(name) for name in args.images}
        if unknown := [name for name, record in known.items() if record is None]:
            have = [os.path.basename(record["file_name"]) for record in records[:3]]
            raise ValueError(f"'{dataset.name}' has no picture {unknown[:3]}; it has {have} ...")
        records = [*{record["image_id"]: record for record in known.values()}.values()]
    return records[: args.most] if args.order == "file" else records


@torch.no_grad()
def detect(
    predictor: Predictor, records: Sequence[dict], least: float, most: int | None = None
) -> dict[Hashable, Detections]:
    """Detections by image id, as an evaluation makes them, and no more than is drawn."""
    mapper, found = DetectionMapper(predictor.cfg, is_train=False), {}
    loader = build_test_loader(dataset=records, mapper=mapper)
    for inputs in bar(loader, what="Detecting", unit="picture"):
        for record, result in zip(inputs, predictor.model(inputs), strict=True):
            fields = result["instances"].to("cpu").get_fields()
            arrays = {name: getattr(v, "tensor", v).numpy() for name, v in fields.items()}
            for own in ("boxes", "classes", "boxes3d"):
                if f"pred_{own}" in arrays:
                    arrays[own] = arrays.pop(f"pred_{own}")
            if "pred_keypoints" in arrays:
                half = (HALF_PIXEL, HALF_PIXEL, 0)
                arrays["joints"] = arrays.pop("pred_keypoints").astype(np.float64) - half
            found[record["image_id"]] = best(arrays, least, most)
    return found


def best(found: Detections, least: float, most: int | None) -> Detections:
    """Detections of one image that score `least` or more, of these the `most` best."""
    order = np.argsort(-found["scores"], kind="stable")
    rows = order[found["scores"][order] >= least][:most]
    return {name: values[rows] for name, values in found.items()}


def write_page(folder: str, numbers: Mapping[str, Any]) -> None:
    """Write pictures.json and index.html; of an earlier call's pictures only these stay."""
    file, content = os.path.join(folder, PICTURES), json.dumps(numbers, allow_nan=False)
    earlier = json.loads(read_text(file))["pictures"] if os.path.isfile(file) else []
    names = ({e.get("picture", "") for e in part} for part in (earlier, numbers["pictures"]))
    for name in set.difference(*names) - {""}:
        with suppress(FileNotFoundError):
            os.remove(os.path.join(folder, os.path.basename(name)))
    write_json(file, numbers, indent=1)
    page = PAGE.read_text(encoding="utf-8").replace("{numbers}", content.replace("<", "\\u003c"))
    with atomic_write(os.path.join(folder, "index.html"), "w") as stream:
        stream.write(page)
