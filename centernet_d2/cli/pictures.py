"""`analyze pictures`: detections against truth, of models or of results in files, side by side."""

import argparse
import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.structures import Instances

from ..analysis.comparison import Comparison, as_instances
from ..analysis.results_files import Dataset, read_results
from ..atomic_write import atomic_write, write_json
from ..data.datasets.skeletons import skeleton_of
from ..data.fields.base import keep_columns
from ..data.fields.boxes3d import Boxes3DField
from ..data.loader import build_test_loader
from ..data.mapper import DetectionMapper
from ..engine.model_config import read_model_config
from ..engine.user_modules import import_all
from ..inference.predictor import Predictor
from ..inference.records import Recorder
from ..modeling.meta_arch.cornernet import CornerNet
from ..progress import bar
from ..text_files import read_text
from ..visualization.skeletons import SkeletonDrawing
from .evaluate import config_without_model

PICTURES = "pictures.json"
PAGE = Path(__file__).with_suffix(".html")


def run(args: argparse.Namespace) -> int:
    """Draw what `args` name; the parser says what they are."""
    models = named_models(args)
    keep_columns([Boxes3DField()])  # of results in files no model asks for them
    predictors = load_models(args)
    if args.keypoints and not any(isinstance(p.model, CornerNet) for p in predictors):
        told = "--keypoints are of corner detectors, and none of these models is one"
        raise ValueError(f"{told}: leave it out (joints of poses are drawn without it)")
    cfg = predictors[0].cfg if predictors else config_without_model(args)
    if len(cfg.DATASETS.TEST) != 1:
        raise ValueError("Name the one dataset to draw: --dataset coco:my/val.json:my/images")
    dataset, least = Dataset(cfg.DATASETS.TEST[0]), args.score_threshold
    if not dataset.is_labelled:
        told = "has no annotations to compare with: `centernet-d2 predict` draws detections alone"
        raise ValueError(f"Dataset '{dataset.name}' {told}")
    records = chosen_records(dataset, args)
    kept = Recorder(dataset.class_names, least, most=args.max_detections, clip=False)
    found = [detect(predictor, records, kept) for predictor in predictors]
    for file in args.results:
        rows = read_results(file, dataset).items()
        found.append({key: kept.chosen(as_instances(arrays))[0] for key, arrays in rows})
    of_models = dict(zip(models, found, strict=True))
    skeleton = skeleton_of(dataset.name)
    sigmas = cfg.TEST.KEYPOINT_OKS_SIGMAS or (skeleton.oks_sigmas if skeleton else ())
    how = {"most": 10**6, "sigmas": sigmas}
    comparison = Comparison(records, of_models, dataset.class_names, **how)
    order = args.order or ("worst" if len(models) == 1 else "differ")
    places = comparison.ordered(order, least)[: args.most]
    heatmaps = dict(zip(models, (each.heatmap for each in predictors), strict=False))
    entries = comparison.write(
        *(places, args.output, "{number:04d}_{stem}.png", least),
        upright=cfg.INPUT.EXIF_ORIENTATION == "apply",
        heatmaps=heatmaps if args.heatmaps else None,
        over=args.truth == "over",
        keypoints=args.keypoints,
        drawing=SkeletonDrawing.of(skeleton),
    )
    if not any("picture" in entry for entry in entries):
        raise ValueError(f"No picture of '{dataset.name}' could be read: nothing is drawn")
    heading = {"dataset": dataset.name, "images": len(records), "models": models, "order": order}
    heading |= {"measure": comparison.objects.measure, "rule": comparison.objects.rule}
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
        (args.order == "differ" and len(sources) < 2, "--order differ is of two models"),
        (args.heatmaps and args.results, "--heatmaps are of --weights: files have none"),
        (folder and PICTURES not in folder, f"'{args.output}' has other files: name a new folder"),
    )
    if broken := [told for is_broken, told in rules if is_broken]:
        raise ValueError(broken[0])
    return dict(zip(names, sources, strict=True))


def load_models(args: argparse.Namespace) -> list[Predictor]:
    """All models, before the first one runs, on the dataset that is named, else the first one's."""
    keys, models = import_all(args.imports), list[Predictor]()
    opts = [*args.opts, *["DATASETS.TEST", args.dataset] * bool(args.dataset)]
    for weights, more in zip(args.weights, ([], args.opts_b), strict=False):
        given = (args.config_file, weights, [*opts, *more])
        cfg = read_model_config(*given, add_keys=keys, evaluates=not models)
        cfg.DATASETS.update(models[0].cfg.DATASETS if models else {})
        models.append(Predictor(cfg))
    return models


def chosen_records(dataset: Dataset, args: argparse.Namespace) -> list[dict]:
    """All records or those that are named; the first ones alone where the order needs no more."""
    records = sorted(dataset.records, key=lambda record: record["image_id"])  # as COCO's scores
    if args.images:
        named = {name: dataset.picture(name) for name in args.images}
        if unknown := [name for name, record in named.items() if record is None]:
            told = f"'{dataset.name}' has no picture {unknown[:3]}, but such as "
            raise ValueError(f"{told}'{os.path.basename(records[0]['file_name'])}'")
        chosen = {record["image_id"] for record in named.values()}
        records = [record for record in records if record["image_id"] in chosen]
    return records[: args.most] if args.order == "file" else records


@torch.no_grad()
def detect(
    predictor: Predictor, records: Sequence[dict], recorder: Recorder
) -> dict[Hashable, Instances]:
    """Detections by image id, as an evaluation makes them, of which the recorder keeps some."""
    mapper = DetectionMapper(predictor.cfg, is_train=False)
    loader = bar(build_test_loader(dataset=records, mapper=mapper), what="Images", unit="image")
    results = ((inputs[0], predictor.model(inputs)[0]["instances"]) for inputs in loader)
    return {record["image_id"]: recorder.chosen(found)[0] for record, found in results}


def write_page(folder: str, numbers: Mapping[str, Any]) -> None:
    """Write pictures.json and index.html; of an earlier call's pictures only these stay."""
    file, content = os.path.join(folder, PICTURES), json.dumps(numbers, allow_nan=False)
    earlier = json.loads(read_text(file))["pictures"] if os.path.isfile(file) else []
    drawn = {entry.get("picture") for entry in numbers["pictures"]}
    for name in {entry["picture"] for entry in earlier if "picture" in entry} - drawn:
        Path(folder, os.path.basename(name)).unlink(missing_ok=True)
    write_json(file, numbers, indent=1)
    page = PAGE.read_text(encoding="utf-8").replace("{numbers}", content.replace("<", "\\u003c"))
    with atomic_write(os.path.join(folder, "index.html"), "w") as stream:
        stream.write(page)
