"""The table `ablations.yaml`: variants as commands, and the claims that they decide."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from ..checked_values import check_choice, nearest
from ..engine.seeds import FINAL_WEIGHTS

TABLE = Path(__file__).with_name("ablations.yaml")
VARIANT = ("config", "of", "weights", "keys", "gpu", "steps", "minutes", "needs")
RULES = ("version", "learned", "same_within", "speed_on", "rules")
TEST_MINUTES = 0.4  # of a test alone


@dataclass(frozen=True)
class Claim:
    """What a paper says of two variants, in our words."""

    id: str
    paper: str
    table: str
    says: str
    pair: tuple[str, str]
    metric: str = "bbox/AP"
    expect: str = "first"  # is better, or both are the `same`
    published: tuple[float, ...] = ()  # of the pair; empty: the paper has no numbers
    note: str = ""

    def gain(self, values: Sequence[float]) -> list[float]:
        """Return values with the sign that makes more of them better."""
        less_is_better = self.metric.partition("/")[2].startswith(("FD", "ms"))
        return [-value if less_is_better else value for value in values]

    @property
    def papers(self) -> float | None:
        """How much better the first of the pair is in the paper."""
        first, second = self.gain(self.published) or (None, None)
        return None if first is None or second is None else first - second


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
    """A variant with a seed: a process and a folder of its own."""

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
        """Return verb, config and keys, but for folders: what tells whether a run is another."""
        steps, keys = self.variant.steps, {**self.variant.keys, "SEED": self.seed}
        verb = ["evaluate", "--timing"]
        if not self.needed:
            verb = ["train"]
            keys = {"SOLVER.MAX_ITER": steps, "TEST.EVAL_PERIOD": steps // 5, **keys}
        given = [str(word) for pair in keys.items() for word in pair]
        return [*verb, "--config-file", self.variant.config, *given]

    def command(self, folder: str) -> list[str]:
        """Return `words` as what follows `centernet-d2`, in the folder of the study."""
        verb, *rest = self.words()
        weights = os.path.join(folder, self.needed, FINAL_WEIGHTS)
        start = ["--weights", weights] if self.needed else ["--resume"]
        return [verb, *start, *rest, "OUTPUT_DIR", os.path.join(folder, self.name)]


@dataclass(frozen=True)
class Table:
    """The study at one scale, with the claims that were asked for and whose data is there."""

    version: int
    scale: str
    learned: float  # AP50 that a run must reach
    same_within: float  # of a metric, what `expect: same` allows
    speed_on: str  # dataset of which speed and AP are drawn
    rules: str  # how a claim is decided, in words
    claims: tuple[Claim, ...]
    variants: Mapping[str, Variant] = field(repr=False)
    left_out: Mapping[str, str] = field(default_factory=dict)  # claim -> the data that it lacks

    def runs(self, seeds: int) -> list[Run]:
        """Return what the claims need, seed by seed; a training stands before its tests."""
        wanted = {name for claim in self.claims for name in claim.pair}
        wanted |= {self.variants[name].weights for name in wanted}
        order = sorted(self.variants.values(), key=lambda variant: bool(variant.weights))
        return [Run(v, seed) for seed in range(seeds) for v in order if v.name in wanted]


def read_table(
    scale: str = "cpu",
    data: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
    *,
    file: Path = TABLE,
) -> Table:
    """Read the study: the claims of some `names`, none: all, but for those that lack data.

    `data` are folders of what is not generated, by name. A name that is not there, in the table
    too, is a ValueError, and so is a claim of `names` that lacks data.
    """
    given, data = yaml.safe_load(file.read_text(encoding="utf-8")), data or {}
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
    claims = {row["id"]: _claim(row, [*variants, *missing]) for row in given["claims"]}
    out = {c.id: missing[name] for c in claims.values() for name in c.pair if name in missing}
    for name in names:
        if name not in claims:
            raise ValueError(f"--claims: none is '{name}'{nearest(name, claims)}; --list has all.")
        if name in out:
            raise ValueError(f"Claim {name} needs data: --{out[name]} FOLDER.")
    kept = tuple(claims[name] for name in claims if name not in out and name in (names or claims))
    rules = {key: given[key] for key in RULES}
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
    own = row.get("keys", {}) | (row.get("gpu", {}) if scale == "gpu" else {})
    for key in {"DATASETS.TRAIN", "DATASETS.TEST"} & own.keys():
        own[key] = [text.format_map(data) for text in own[key]]
    told = {k: row[k] for k in ("config", "minutes", "needs") if k in row}
    told |= {"steps": row["steps"] * given["scales"][scale]["factor"]} if "steps" in row else {}
    told |= {"weights": above.name, "minutes": TEST_MINUTES} if above and "weights" in row else {}
    keys = (above.keys if above else given["keys"] | given["scales"][scale]["keys"]) | own
    return Variant(**(vars(above) if above else {}) | told | {"name": name, "keys": keys})


def _claim(row: Mapping[str, Any], variants: Collection[str]) -> Claim:
    _check_names(f"claim {row['id']}", row, [each.name for each in fields(Claim)])
    claim = Claim(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})
    check_choice(f"`expect` of claim {claim.id}", claim.expect, ("first", "same"))
    for name in claim.pair:
        check_choice(f"A variant of claim {claim.id}", name, variants)
    return claim


def _check_names(what: str, row: Mapping[str, Any], known: Collection[str]) -> None:
    for name in row:
        check_choice(f"An entry of {what}", name, known)
