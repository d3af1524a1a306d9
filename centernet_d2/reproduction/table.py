"""The table `ablations.yaml`: variants as commands, and the claims that they decide."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from ..checked_values import check_choice
from ..engine.seeds import FINAL_WEIGHTS

TABLE = Path(__file__).with_name("ablations.yaml")
NO_DATA: Mapping[str, str] = {}
VARIANT = ("config", "of", "weights", "keys", "gpu", "steps", "minutes", "needs")
TEST_MINUTES = 0.4  # of a test alone
EXPECTED = ("first", "same")
LOWER_IS_BETTER = ("FD", "ms")  # beginnings of a metric's name


@dataclass(frozen=True)
class Claim:
    """What a paper says of two variants, in our words."""

    id: str
    paper: str
    table: str
    says: str
    pair: tuple[str, str]  # variants
    metric: str = "bbox/AP"
    expect: str = "first"  # which is better, or that none is: `EXPECTED`
    published: tuple[float, ...] = ()  # of the pair; empty: the paper has no numbers
    note: str = ""

    @property
    def lower_is_better(self) -> bool:
        return self.metric.partition("/")[2].startswith(LOWER_IS_BETTER)

    @property
    def gain(self) -> float | None:
        """How much better the first of the pair is in the paper."""
        if not self.published:
            return None
        gain = self.published[0] - self.published[1]
        return round(-gain if self.lower_is_better else gain, 1)


@dataclass(frozen=True)
class Variant:
    """A training, or, where it has `weights`, another test of what that variant has learned."""

    name: str
    keys: Mapping[str, Any]
    config: str = ""
    weights: str = ""
    steps: int = 0
    minutes: float = 0.0  # of one core, about
    needs: str = ""  # data that is not generated, by the name of its option


@dataclass(frozen=True)
class Run:
    """A variant with a seed: a process of its own, in a folder of its own."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant.name}-{self.seed}"

    @property
    def needed(self) -> str:
        """Name of the training whose weights are tested; "" of a training."""
        return self.variant.weights and f"{self.variant.weights}-{self.seed}"

    def words(self) -> list[str]:
        """Return verb, arguments and keys, but for folders: what tells whether a run is another."""
        keys = {**self.variant.keys, "SEED": self.seed}
        given = [text for pair in keys.items() for text in map(str, pair)]
        start = ["--config-file", self.variant.config]
        if self.variant.weights:
            return ["evaluate", "--timing", *start, *given]
        steps = {"SOLVER.MAX_ITER": self.variant.steps, "TEST.EVAL_PERIOD": self.variant.steps // 5}
        return ["train", *start, *(str(w) for pair in steps.items() for w in pair), *given]

    def command(self, folder: str) -> list[str]:
        """Return `words` as what follows `centernet-d2`, in the folder of the study."""
        verb, *rest = self.words()
        place = ["OUTPUT_DIR", os.path.join(folder, self.name)]
        if not self.needed:
            return [verb, "--resume", *rest, *place]
        return [verb, "--weights", os.path.join(folder, self.needed, FINAL_WEIGHTS), *rest, *place]


@dataclass(frozen=True)
class Table:
    """The study as it is read: at one scale, with the data that is there."""

    version: int
    scale: str
    learned: float  # AP50 that a run must reach
    same_within: float  # of a metric, what `expect: same` allows
    speed_on: str  # dataset of which speed and AP are drawn
    claims: tuple[Claim, ...]
    variants: Mapping[str, Variant] = field(repr=False)
    left_out: Mapping[str, str] = field(default_factory=dict)  # claim -> the data that it lacks

    def chosen(self, names: Sequence[str]) -> Table:
        """Return the table with some claims only; none: all.

        Raises:
            ValueError: there is no such claim, or its data is not there.
        """
        known = [claim.id for claim in self.claims]
        for name in names:
            if name in self.left_out:
                raise ValueError(f"Claim {name} needs data: --{self.left_out[name]} FOLDER.")
            check_choice("--claims", name, known)
        kept = tuple(claim for claim in self.claims if not names or claim.id in names)
        return replace(self, claims=kept)

    def needs(self, claim: Claim) -> list[str]:
        """Return the data that a claim needs and that is not generated."""
        return sorted({self.variants[name].needs for name in claim.pair} - {""})

    def runs(self, seeds: int) -> list[Run]:
        """Return what the claims need, seed by seed; a training stands before its tests."""
        wanted = dict.fromkeys(itertools.chain(*(claim.pair for claim in self.claims)))
        needed = {*wanted, *(self.variants[name].weights for name in wanted)} - {""}
        order = [v for v in self.variants.values() if v.name in needed]
        order.sort(key=lambda v: bool(v.weights))
        return [Run(variant, seed) for seed in range(seeds) for variant in order]


def read_table(scale: str = "cpu", data: Mapping[str, str] = NO_DATA, file: Path = TABLE) -> Table:
    """Read the study.

    Args:
        scale: an entry of its `scales`.
        data: folders of data that is not generated, by name; claims on what has none are left out.
        file: the table.

    Raises:
        ValueError: a name in it is not there; the message says which.
    """
    given = yaml.safe_load(file.read_text(encoding="utf-8"))
    check_choice("The scale", scale, given["scales"])
    variants: dict[str, Variant] = {}
    missing: dict[str, str] = {}  # variant -> the data that it lacks
    for name, row in given["variants"].items():
        _check_names(f"variant {name}", row, VARIANT)
        above, needs = row.get("weights") or row.get("of"), row.get("needs")
        if above in missing or (needs and not data.get(needs)):
            missing[name] = missing.get(above) or needs
            continue
        if above:
            check_choice(f"What variant {name} is of", above, variants)
        variants[name] = _variant(name, row, given, scale, variants.get(above), data)
    claims = tuple(_claim(row, [*variants, *missing]) for row in given["claims"])
    out = {c.id: missing[name] for c in claims for name in c.pair if name in missing}
    kept = tuple(claim for claim in claims if claim.id not in out)
    rules = {key: given[key] for key in ("version", "learned", "same_within", "speed_on")}
    return Table(**rules, scale=scale, claims=kept, variants=variants, left_out=out)


def _variant(
    name: str,
    row: Mapping[str, Any],
    given: Mapping[str, Any],
    scale: str,
    above: Variant | None,
    data: Mapping[str, str],
) -> Variant:
    """Fill in what a variant takes from the one above it, the scale and the data that is there."""
    of_scale = given["scales"][scale]
    own = row.get("keys", {}) | (row.get("gpu", {}) if scale == "gpu" else {})
    for key in {"DATASETS.TRAIN", "DATASETS.TEST"} & own.keys():
        own[key] = [text.format_map(data) for text in own[key]]
    told = {key: row[key] for key in ("config", "minutes", "needs") if key in row}
    told |= {"steps": row["steps"] * of_scale["factor"]} if "steps" in row else {}
    if row.get("weights"):
        told |= {"weights": row["weights"], "minutes": TEST_MINUTES}
    keys = (above.keys if above else given["keys"] | of_scale["keys"]) | own
    return Variant(**(vars(above) if above else {}) | told | {"name": name, "keys": keys})


def _claim(row: Mapping[str, Any], variants: Collection[str]) -> Claim:
    _check_names(f"claim {row.get('id')}", row, [f.name for f in fields(Claim)])
    claim = Claim(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})
    check_choice(f"`expect` of claim {claim.id}", claim.expect, EXPECTED)
    for name in claim.pair:
        check_choice(f"A variant of claim {claim.id}", name, variants)
    return claim


def _check_names(what: str, row: Mapping[str, Any], known: Collection[str]) -> None:
    for name in row:
        check_choice(f"An entry of {what}", name, known)
