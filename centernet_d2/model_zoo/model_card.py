"""The card of a model: what a README.md at the Hugging Face Hub says, for people and machines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ..checkpoint.model_info import ModelInfo

Scores = Mapping[str, Mapping[str, float | None]]  # task -> metric -> value in percent

# Identifiers of the Hub, which are SPDX's in lower case; any other licence is "other" and its name.
LICENCES = (
    *(
        "apache-2.0",
        "mit",
        "isc",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsl-1.0",
        "mpl-2.0",
        "unlicense",
    ),
    *("gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "cc0-1.0", "cc-by-3.0"),
    *("cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "openrail"),
)
DETECTORS = {
    "CornerNet": "CornerNet: objects as pairs of corners",
    "TripletCenterNet": "Triplet CenterNet: objects as pairs of corners with a center between them",
    "PointsCenterNet": "Points CenterNet: objects as points, their centers",
}

_TEXT = """
# {name}

{detector}, with the backbone `{backbone}`, for
[detectron2](https://github.com/facebookresearch/detectron2), of the package centernet_d2 {version}.

{count} classes{guess}: {classes}.{joints}

## Use

```bash
pip install "centernet-d2[hub]"
centernet-d2 predict --weights hub:{repo} --input photo.jpg --output found
```

```python
import cv2
from centernet_d2 import Predictor

predictor = Predictor("hub:{repo}")
instances = predictor(cv2.imread("photo.jpg"))["instances"]
```

`model.safetensors` carries the config, the names and all that follows here. Further training:
`centernet-d2 train --config-file <yours> MODEL.WEIGHTS hub:{repo}`.

## Data

{data}

## Scores

{scores}

## Training

{training}

## Limits

It finds the classes above and nothing else, at sizes and in scenes like those of its data; how it
does elsewhere was not measured. Its confidences are no calibrated probabilities. Score it on your
own images before you rely on it: `centernet-d2 evaluate --weights hub:{repo} DATASETS.TEST
"('coco:<json>:<image folder>',)"`.

Licence of the weights: {licence}.
"""


def model_card(info: ModelInfo, repo_id: str, *, licence: str, data: str, scores: Scores) -> str:
    """Return the card, in Markdown with a header of YAML. What is not known is said to be so.

    Args:
        info: what the model file says of itself.
        repo_id: "user/name".
        licence: of the weights.
        data: what it was trained on, in words.
        scores: in percent; {} states none.

    Raises:
        ValueError: the file carries no config, or licence or data are empty.
    """
    for what, given in {"licence": licence, "data": data}.items():
        if not given.strip():
            raise ValueError(f"The {what} is empty: whoever finds the model has to know it.")
    if not info.config or info.is_lazy:
        raise ValueError(
            f"'{info.source}' carries no config that builds its model, so that whoever fetches it "
            "could not use it. Add the one of its training: centernet-d2 convert <file> "
            "new.safetensors --config-file <config.yaml>."
        )
    values, known = info.config_values(), describe(info)
    detector = str(values["MODEL.META_ARCHITECTURE"])
    text = _TEXT.format(
        name=repo_id.rpartition("/")[2],
        repo=repo_id,
        detector=DETECTORS.get(detector, detector),
        backbone=values["MODEL.BACKBONE.NAME"],
        version=info.version,
        count=len(info.class_names) or values["MODEL.HEATMAP.NUM_CLASSES"],
        guess=" (their names are a guess from the number)" * ("class_names" in info.guessed),
        classes=", ".join(info.class_names) or "their names are not known",
        joints=f"\n\nJoints: {known['joints']}." if "joints" in known else "",
        data=data.strip(),
        scores=_score_table(scores, info.protocol),
        training=known.get("training", "How it was trained is not known."),
        licence=licence.strip(),
    )
    header = _header(info, repo_id, licence=licence.strip(), data=data.strip(), scores=scores)
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n{text}"


def describe(info: ModelInfo) -> dict[str, str]:
    """What a model file says of itself, in words, as far as it says it."""
    values = info.config_values() if info.config and not info.is_lazy else {}
    joints = info.joints.get("joint_names", ())
    guessed = dict.fromkeys(info.guessed, " (a guess from their number)")
    training = (f"{name.replace('_', ' ')}: {_plain(v)}" for name, v in info.training.items())
    said = {
        "detector": str(values.get("MODEL.META_ARCHITECTURE", "")),
        "backbone": str(values.get("MODEL.BACKBONE.NAME", "")),
        "config": "a LazyConfig" if info.is_lazy else f"{len(values)} keys" if values else "none",
        "frame": " x ".join(map(str, values.get("INPUT.TRAIN_SIZE", ()))),
        "classes": ", ".join(info.class_names) + guessed.get("class_names", ""),
        "joints": ", ".join(map(str, joints)) + guessed.get("joint_names", ""),
        "protocol": info.protocol,
        "training": "; ".join(training),
        "version": info.version and f"centernet_d2 {info.version}",
    }
    return {what: text for what, text in said.items() if text}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{each}" for each in value.values())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _finite(scores: Scores) -> Iterator[tuple[str, str, float]]:
    """Task, metric and value of what was measured."""
    for task, metrics in scores.items():
        for metric, value in metrics.items():
            if value is not None and math.isfinite(value):
                yield task, metric, round(float(value), 4)


def _score_table(scores: Scores, protocol: str) -> str:
    rows = [f"| {task} | {metric} | {value:.2f} |" for task, metric, value in _finite(scores)]
    if not rows:
        return "None are given."
    head = [f"Test protocol: {protocol or 'not stated'}.", "", "| task | metric | % |"]
    return "\n".join([*head, "| --- | --- | ---: |", *rows])


def _header(
    info: ModelInfo, repo_id: str, *, licence: str, data: str, scores: Scores
) -> dict[str, Any]:
    """The metadata by which the Hub lists a model."""
    task = "keypoint-detection" if info.joints else "object-detection"
    slug = re.sub(r"[^\w.-]+", "-", licence.lower())
    is_known = slug in LICENCES
    detector = str(info.config_values()["MODEL.META_ARCHITECTURE"]).lower()
    header: dict[str, Any] = {
        "license": slug if is_known else "other",
        **({} if is_known else {"license_name": slug}),
        "library_name": "centernet_d2",
        "pipeline_tag": task,
        "tags": ["centernet_d2", "detectron2", "object-detection", detector],
    }
    metrics = [
        {"type": metric.lower(), "name": f"{task_name}/{metric}", "value": value}
        for task_name, metric, value in _finite(scores)
    ]
    if metrics:
        dataset = {"type": re.sub(r"[^\w.-]+", "-", data.lower())[:60].strip("-"), "name": data}
        result = {"task": {"type": task}, "dataset": dataset, "metrics": metrics}
        name = repo_id.rpartition("/")[2]
        header["model-index"] = [{"name": name, "results": [result]}]
    return header
