"""The card of a model: what a README.md at the Hugging Face Hub says, for people and machines."""

import importlib.resources
import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from ..checkpoint.model_info import ModelInfo

Scores = Mapping[str, Mapping[str, float | None]]  # task -> metric -> value in percent
Score = tuple[str, str, float]

# Identifiers of the Hub, which are SPDX's in lower case; any other licence is "other" and its name.
LICENCES = (
    "apache-2.0 mit isc bsd-2-clause bsd-3-clause mpl-2.0 unlicense gpl-3.0 lgpl-3.0 agpl-3.0 "
    "cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 openrail"
)


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
    for what, words in (("licence", licence), ("data", data)):
        if not words.strip():
            raise ValueError(f"The {what} is empty: whoever finds the model has to know it.")
    if not info.config or info.is_lazy:
        raise ValueError(
            f"'{info.source}' carries no config that builds its model, so that whoever fetches it "
            "could not use it. Add the one of its training: centernet-d2 convert <file> "
            "new.safetensors --config-file <config.yaml>."
        )
    said = dict.fromkeys(("classes", "protocol", "training"), "not stated") | describe(info)
    measured = [
        (task, metric, round(float(value), 4))
        for task, metrics in scores.items()
        for metric, value in metrics.items()
        if value is not None and math.isfinite(value)
    ]
    table = ["None are given."]
    if measured:
        table = [f"Test protocol: {said['protocol']}.", "", "| task | metric | % |"]
        table += ["| --- | --- | ---: |", *(f"| {t} | {m} | {v:.2f} |" for t, m, v in measured)]
    rows = ["| {} | {} |".format(what, words.replace("|", r"\|")) for what, words in said.items()]
    name = repo_id.rpartition("/")[2]
    header = _header(said, measured, name, licence, data)
    told = {"said": "\n".join(rows), "scores": "\n".join(table), "licence": licence, "data": data}
    template = importlib.resources.files(__package__).joinpath("model_card.md")
    text = template.read_text(encoding="utf-8").format(repo=repo_id, name=name, **told)
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n{text}"


def _header(
    said: Mapping[str, str], measured: list[Score], name: str, licence: str, data: str
) -> dict[str, Any]:
    """What the Hub lists a model by, and finds its scores in."""
    header: dict[str, Any] = {"license": _slug(licence), "library_name": "centernet_d2"}
    if header["license"] not in LICENCES.split():
        header |= {"license": "other", "license_name": header["license"]}
    header["pipeline_tag"] = f"{'keypoint' if 'joints' in said else 'object'}-detection"
    header["tags"] = ["centernet_d2", "detectron2", "object-detection", said["detector"].lower()]
    if measured:
        metrics = [{"type": m.lower(), "name": f"{t}/{m}", "value": v} for t, m, v in measured]
        result = {"task": {"type": header["pipeline_tag"]}, "metrics": metrics}
        result["dataset"] = {"type": _slug(data), "name": data}
        header["model-index"] = [{"name": name, "results": [result]}]
    return header


def describe(info: ModelInfo) -> dict[str, str]:
    """What a model file says of itself, in words, as far as it says it."""
    values = info.config_values() if info.config and not info.is_lazy else {}
    guess = dict.fromkeys(info.guessed, " (a guess from their number)")
    said = {
        "detector": values.get("MODEL.META_ARCHITECTURE"),
        "backbone": values.get("MODEL.BACKBONE.NAME"),
        "config": "a LazyConfig" if info.is_lazy else f"{len(values)} keys" if values else "none",
        "frame": " x ".join(map(str, values.get("INPUT.TRAIN_SIZE", ()))),
        "classes": _plain(info.class_names) + guess.get("class_names", ""),
        "joints": _plain(info.joints.get("joint_names", ())) + guess.get("joint_names", ""),
        "protocol": info.protocol,
        "training": "; ".join(
            f"{name.replace('_', ' ')}: {_plain(value)}"
            for name, value in info.training.items()
            if value not in ([], "", None)
        ),
        "version": info.version and f"centernet_d2 {info.version}",
    }
    return {what: words for what, words in said.items() if words}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(map(str, value.values()))
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _slug(words: str) -> str:
    return re.sub(r"[^\w.-]+", "-", words.lower())[:60].strip("-")
