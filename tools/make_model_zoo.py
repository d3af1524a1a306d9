#!/usr/bin/env python3
"""Write MODEL_ZOO.md from the entries and the shipped models of centernet_d2.model_zoo.

With --check nothing is written, and the exit status is 1 where it is not in step.
"""

from __future__ import annotations

import sys
from pathlib import Path

from _pages import write_or_check

from centernet_d2.config.protocols import PROTOCOLS
from centernet_d2.model_zoo.entries import ENTRIES, Benchmark, Entry
from centernet_d2.model_zoo.lookup import shipped_card, shipped_models
from centernet_d2.model_zoo.measured import TOLERANCE, Record, read_measured, tell_scores

FILE = Path(__file__).resolve().parents[1] / "MODEL_ZOO.md"

INTRODUCTION = """# Model zoo

<!-- Written by tools/make_model_zoo.py from centernet_d2/model_zoo/; do not edit. -->

## In the package

These need no download: `Predictor("bccd")`, `centernet-d2 predict --weights bccd`, and
`MODEL.WEIGHTS bccd` to train on. `centernet-d2 models show bccd` prints the card.

| name | card | metric | scores | licence |
| --- | --- | --- | --- | --- |
{shipped}

## From their authors

Every further row is a config of this repository and the weights that the authors of its recipe
released. They are not hosted here, but fetched from their authors, recognised, and renamed.

- **published**: the number that the authors of the weights print for them.
- **measured**: the number obtained with these weights and this package on the whole split, in
  brackets how far it is from the published one, **bold** where that is more than {tolerance}.
  How it was measured stands below the table. `-`: not measured, see [below](#measuring-them).
- **test**: `TEST.RESOLUTION` of the numbers. none (printed `no augmentation`), flip and ms are
  the views that are united: the image alone, with its flipped image, and at the scales 0.5, 0.75,
  1, 1.25 and 1.5 with theirs (of triplet CenterNet 0.6, 1, 1.2, 1.5 and 1.8).

```python
from centernet_d2 import Predictor, model_zoo

predictor = Predictor(model_zoo.get_config("COCO-Detection/points_dla34_230e", trained=True))
```

`MODEL.WEIGHTS published:<name>` does the same on a command line and in detectron2's own
`DefaultPredictor`; `<name>` is that of a row, with or without its folder, or its authors' name.
From a shell `centernet-d2 models list`, `show <name>` and `download <name>`; after
`model_zoo.add_to_detectron2()` detectron2's own `model_zoo.get("<name>.yaml", trained=True)` finds
them as well (docs/model_zoo_hub.md).

Weights marked *form* are on Google Drive, which at times answers with a form instead of the file.
Then open the page in a browser and either save the file under the name that the error message
gives, or anywhere and set `MODEL.WEIGHTS published:<file>`.
"""

AFTER = """
## Measuring them

`centernet-d2 reproduce published --output zoo` fetches the weights above, evaluates each as its row
says, and prints what it measures beside what was published. `--list` shows what would be done, and
which data sets and files are missing; `--models dla34` and `--datasets coco_2017_val` choose, and
`--num-gpus 8` is faster. The data sets lie where [docs/datasets.md](docs/datasets.md) says.

- What cannot be fetched or fails is reported at the end (exit status 1), and the rest is done. A
  file of Google Drive that is fetched in a browser goes where the report says; then run again.
- The same command goes on where it was stopped: each evaluation leaves a `record.json` with scores,
  protocol, date, versions, machine, images and the checksum of the weights, beside the log and the
  detections. It is made again when weights, number of images or versions are others.
- Scores of a part of a split are not compared with published ones, and never recorded.
- On COCO test-dev this leaves the file for COCO's server, `inference/coco_instances_results.json`.
  Put the server's AP in place of `null` in `record.json`, and run again. The corner detectors are
  evaluated on val2017 as well.
- `--record centernet_d2/model_zoo/measured.json`, in a checkout, writes the scores of whole splits
  there, and `python tools/make_model_zoo.py` puts them into this page.

## To start a training from

| name | weights | licence |
| --- | --- | --- |
{starts}

`torchvision:resnet18` (34, 50, 101, 152) and `timm:dla34.in1k` name ImageNet weights in the same
way. They are fetched when they are loaded: never for a model that is given a checkpoint.

## About the numbers

The authors of the points paper state a spread of up to 0.4 AP (COCO) and 1 mAP (VOC) between equal
trainings. VOC's mAP is the 11-point one of the published code. Checksums: those of mmdetection are
in its file names; the others were never published, so none is stated.

The published numbers belong to `TEST.PROTOCOL published`, which `get_config(..., trained=True)`
sets, and so does a name of a row as `--weights`, with a config file beside it or without. `clean`
is without the oddities of the authors' code, and its numbers differ a little. The word chooses
these keys, which
[docs/config.md](docs/config.md) explains, and `published` keeps the other keys of decoding at their
defaults. A config without the word keeps each key as it is. mmdetection's numbers come from its own
code, for which the configs stand as they are, without the word.

{protocols}

(`SIZE_AS_POINT` of detectors of 3-D boxes alone.)

The numbers of CornerNet and triplet CenterNet are those of their papers on test-dev; on val2017 the
triplet paper gives 41.3 and 44.8 (Hourglass-52 and -104). CornerNet's link has held weights of the
corrected radius since March 2019; older copies are of the same form and score less.

Out of scope: ExtremeNet's re-implementation in the points repository (exdet), of which only the
hourglass serves as a start, and the paper's multi-size variant (section 6.1.1).
"""


def page() -> str:
    """The whole text of MODEL_ZOO.md."""
    benchmarks = dict.fromkeys(entry.benchmark for entry in ENTRIES if entry.benchmark)
    tables = [_table(benchmark) for benchmark in benchmarks]
    starts = "\n".join(
        f"| `{entry.name}` ({entry.published_name}) | {_weights(entry)} | {entry.licence} |"
        for entry in ENTRIES
        if not entry.config
    )
    clean = PROTOCOLS["clean"]
    rows = [f"| `{key}` | {PROTOCOLS['published'][key]} | {clean[key]} |" for key in clean]
    protocols = "\n".join(["| key | published | clean |", "| --- | --- | --- |", *rows])
    after = AFTER.format(starts=starts, protocols=protocols)
    shipped = "\n".join(_shipped(name) for name in shipped_models())
    introduction = INTRODUCTION.format(shipped=shipped, tolerance=TOLERANCE)
    return "\n".join([introduction, *tables]) + after


def _shipped(name: str) -> str:
    card, _ = shipped_card(name)
    file = f"centernet_d2/model_zoo/shipped/{name}.md"
    scores = ", ".join(f"{metric} {value}" for metric, value in card["scores"].items())
    return f"| {name} | [{name}.md]({file}) | {card['metric']} | {scores} | {card['licence']} |"


def _table(benchmark: Benchmark) -> str:
    lines = [
        f"## {benchmark.metric}",
        "",
        "| name | authors' name | parameters | test | published | measured | weights | licence |",
        "| --- | --- | --: | --- | --- | --- | --- | --- |",
    ]
    origins: list[str] = []  # of what is measured, each once
    for entry in (entry for entry in ENTRIES if entry.benchmark == benchmark):
        cells = (
            f"[{entry.short_name}](configs/{entry.config})",
            entry.published_name,
            f"{entry.parameters:,}",
            benchmark.resolution,
            ", ".join(_published(entry, view) for view in entry.published),
            _measured(entry, origins) or "-",
            _weights(entry),
            entry.licence,
        )
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"{number}. {origin}" for number, origin in enumerate(origins, 1)]
    return "\n".join([*lines, "", *["Measured:", "", *notes, ""] * bool(notes)])


def _measured(entry: Entry, origins: list[str]) -> str:
    """What was measured of an entry, with the numbers of the notes in `origins`, which grow."""
    cells = []
    for record in read_measured().get(entry.name, {}).values():
        if (origin := tell_origin(record)) not in origins:
            origins.append(origin)
        cells.append(f"{tell_scores(record)} [note {origins.index(origin) + 1}]")
    return "; ".join(cells)


def tell_origin(record: Record) -> str:
    """When, with what and how a record was measured, in one line."""
    versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
    return f"{record['date']}, {versions}, {record['device']}; {record['protocol']}"


def _published(entry: Entry, view: str) -> str:
    """The number of a view, and the config by which it is tested where that is another one."""
    file = f"configs/{entry.name}_multiscale.yaml"
    has_own = view == "ms" and (FILE.parent / file).is_file()
    return f"{f'[ms]({file})' if has_own else view} {entry.published[view]}"


def _weights(entry: Entry) -> str:
    location = entry.weights
    link = f"[form]({location.page})" if location.page else f"[file]({location.url})"
    return f"{link}, sha256 {location.sha256}..." if location.sha256 else link


def main() -> int:
    """Write or check; return the exit status."""
    return write_or_check(FILE, page, __doc__)


if __name__ == "__main__":
    sys.exit(main())
