"""The published weights, scored as their authors did: an evaluation for each published number.

What was measured lies as `record.json` in the folder of its evaluation, and is not measured again.
"""

import datetime
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from .. import __version__
from ..atomic_write import write_json
from ..checkpoint.download import unreachable
from ..checkpoint.published import digest_of
from ..detectron2_versions import VERSION
from ..engine.run import RESULTS_FILE
from ..engine.seeds import run_child
from ..model_zoo.api import get_config
from ..model_zoo.entries import BENCHMARKS, ENTRIES, Entry
from ..model_zoo.lookup import by_hand, fetch_weights, find_entry, weights_place
from ..model_zoo.measured import IMAGES, is_whole, read_measured, tell_scores
from ..progress import bar
from .queue import LOG, PROGRAM, STOPPED

logger = logging.getLogger(__name__)

# Data set, of KITTI's a number -> task and metric of results.
METRICS = {
    **{"coco_2017_val": ("bbox", "AP"), "coco_2017_test-dev": ("bbox", "AP")},
    **{"keypoints_coco_2017_val": ("keypoints", "AP"), "voc_2007_test": ("bbox", "mAP07")},
    **{"boxes": ("bbox", "AP11-Car-moderate"), "orientation": ("aos", "AP11-Car-moderate")},
    "bird's-eye": ("bev_loose", "AP11-Car-moderate"),
}
# What the triplet paper prints of the validation split (Table 5), whose scores need no server.
ON_VAL2017 = {"triplet_hourglass52": 41.3, "triplet_hourglass104": 44.8}
BAR = "{percentage:.0f} % |{bar}| {elapsed}, about {remaining} left{postfix}"


@dataclass
class Evaluation:
    """A run of `centernet-d2 evaluate`, the published numbers that belong to it, how it stands."""

    entry: Entry
    name: str  # "none", "flip", "ms", "flip val2017"; of KITTI "cars", which gives three numbers
    dataset: str  # registered name
    published: Mapping[str, float | None]  # None: nobody printed it
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    folder: Path = Path()
    record: dict[str, Any] = field(default_factory=dict)  # without "scores": to be measured
    problems: dict[str, str] = field(default_factory=dict)  # in a word -> exactly, and the cure

    @property
    def work(self) -> float:
        """How long it takes, in no unit: pixels that pass, times the network's parameters."""
        views = (1 + self.flip) * sum(scale**2 for scale in self.scales)
        return IMAGES[self.dataset] * views * self.entry.parameters

    def standing(self) -> str:
        """Scores, or why there are none, in a few words."""
        if "scores" not in self.record:
            return ", ".join(self.problems) or "to do"
        part = f" ({self.record['images']:,} of {IMAGES[self.dataset]:,} images)"
        server = ", scored by COCO's server alone" * self.dataset.endswith("test-dev")
        server *= None in self.record["scores"].values()
        return tell_scores(self.record) + server + part * (not is_whole(self.record))


def evaluations() -> Iterator[Evaluation]:
    """All evaluations of the zoo, in its order."""
    for entry in (entry for entry in ENTRIES if entry.benchmark):
        cfg = get_config(entry.config)
        (dataset,) = cfg.DATASETS.TEST
        if "boxes" in entry.published:
            yield Evaluation(entry, "cars", dataset, entry.published)
            continue
        several = tuple(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).published_scales)
        split = "coco_2017_test-dev" if entry.benchmark is BENCHMARKS["COCO_TEST_DEV"] else dataset
        for view, value in entry.published.items():
            views = (view != "none", several if view == "ms" else (1.0,))
            yield Evaluation(entry, view, split, {view: value}, *views)
        if split != dataset:
            known = {"flip val2017": ON_VAL2017.get(entry.short_name)}
            yield Evaluation(entry, "flip val2017", dataset, known, flip=True)


def look(chosen: Iterable[Evaluation], output: Path, *, fetch: bool = True) -> None:
    """Note what is measured already, which data are here, and which weights, fetched if not.

    A record stands if versions are the same, and weights and number of images, if they are here.
    """
    versions = {"centernet_d2": __version__, "detectron2": VERSION, "torch": str(torch.__version__)}
    for each in chosen:
        each.folder = output / each.entry.name / each.name.replace(" ", "_")
        images, no_data = count_images(each.dataset)
        now = {"model": each.entry.name, "run": each.name, "published": dict(each.published)}
        now |= {"dataset": each.dataset, "versions": versions}
        if (file := each.folder / "record.json").is_file():
            earlier = read_measured(file)
            here = {"images": images, "weights_sha256": find_weights(each.entry.name, False)[0]}
            known = now | {key: value for key, value in here.items() if value}
            if not (other := [key for key in known if earlier.get(key) != known[key]]):
                each.record = earlier
                continue
            logger.info("%s is of other %s: to be measured again.", file, ", ".join(other))
        digest, no_weights = ("", "") if no_data and fetch else find_weights(each.entry.name, fetch)
        problems = {"no data": no_data, "no weights": no_weights}
        each.problems = {what: why for what, why in problems.items() if why}
        each.record = now | {"images": images, "weights_sha256": digest}


@cache
def count_images(dataset: str) -> tuple[int, str]:
    """Number of images of a dataset; why it is not here, and the cure."""
    try:
        return len(DatasetCatalog.get(dataset)), ""
    except (OSError, ValueError) as error:
        return 0, f"{dataset}: {str(error).removeprefix('[Errno 2] ')}"


@cache
def find_weights(name: str, fetch: bool) -> tuple[str, str]:
    """SHA-256 of the file of an entry; why it is not here, and the cure."""
    entry, reason = find_entry(name), ""
    server = "/".join(entry.weights.url.split("/")[:3])
    try:
        if weights_place(entry).is_file() or (fetch and not (reason := _unreachable(server))):
            return digest_of(fetch_weights(entry)), ""
    except (OSError, ValueError) as error:
        return "", str(error)
    if not fetch:
        return "", "Weights that are not here: a run without --list fetches them."
    return "", f"Weights of {name}: {reason}. {by_hand(entry)}."


_unreachable = cache(unreachable)  # where nothing answers, that takes seconds


def measure(chosen: Iterable[Evaluation], options: Sequence[str], *, device: str) -> None:
    """Make the evaluations that are to do. One that fails has a problem, and the others are made.

    `options` are further ones of `centernet-d2 evaluate`, `device` is the machine's, in words.
    """
    left = [each for each in chosen if each.standing() == "to do"]
    logger.info("%d evaluations on %s.", len(left), device)
    with bar(total=sum(each.work for each in left), what="", bar_format=BAR) as shown:
        for place, each in enumerate(left, 1):
            name = f"{place} of {len(left)}: {each.entry.name}, {each.name}"
            shown.set_postfix_str(name)
            try:
                done = evaluate(each, options) | {"device": device}
                done["date"] = datetime.date.today().isoformat()
                write_json(each.folder / "record.json", each.record | done, indent=1)
                each.record |= done
            except (OSError, ValueError) as error:
                each.problems["failed"] = f"{name}: {error}"
            shown.update(each.work)
            logger.info("%s", each.problems.get("failed") or f"{name}: {each.standing()}")


def evaluate(each: Evaluation, options: Sequence[str]) -> dict[str, Any]:
    """Evaluate in a process of its own; return "scores" and "protocol". ValueError: it failed."""
    command = [*PROGRAM, "evaluate", "--weights", f"published:{each.entry.name}", *options]
    command += ["DATASETS.TEST", each.dataset, "OUTPUT_DIR", str(each.folder)]
    command += ["TEST.FLIP", str(each.flip), "TEST.SCALES", str(list(each.scales))]
    each.folder.mkdir(parents=True, exist_ok=True)
    with open(said := each.folder / LOG, "w", encoding="utf-8") as stream:
        status = run_child(command, output=stream)
    if status in STOPPED:
        logger.info("The same command goes on with %s, %s.", each.entry.name, each.name)
        raise KeyboardInterrupt
    if status:
        last = said.read_text("utf-8", errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"{last} (exit status {status}; all that it said: {said})")
    results = json.loads((each.folder / "inference" / RESULTS_FILE).read_text("utf-8"))
    places = {name: METRICS.get(each.dataset) or METRICS[name] for name in each.published}
    scores = {name: results.get(task, {}).get(key) for name, (task, key) in places.items()}
    told = {"protocol": f"{each.entry.protocol}: {each.name}"}  # without ground truth
    for file in (each.folder / "inference").glob("*_scores.json"):
        told = json.loads(file.read_text("utf-8"))
    return {"scores": scores, "protocol": told["protocol"]}
