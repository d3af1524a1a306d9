"""What the published weights score with this package: `measured.json`, and how it is told.

A record is what `centernet-d2 reproduce published` leaves of one evaluation.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..atomic_write import write_json

FILE = Path(__file__).with_name("measured.json")
TOLERANCE = 0.1  # points: published numbers have one decimal
IMAGES = {  # of the whole splits
    **{"coco_2017_val": 5000, "keypoints_coco_2017_val": 5000, "coco_2017_test-dev": 20288},
    **{"voc_2007_test": 4952, "kitti_3dop_val": 3769, "kitti_subcnn_val": 3799},
}
Record = Mapping[str, Any]


def read_measured(file: Path = FILE) -> dict[str, Any]:
    """Return records by entry and evaluation, or a record in a file; ValueError of other files."""
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"'{file}' is no file of measured scores: {error}.") from error


def add_measured(file: Path, records: Iterable[Record]) -> int:
    """Put those records into a file that have scores of a whole split; return how many have.

    They replace earlier ones of the same evaluation; others in the file stay. ValueError: the file
    holds something else. Without such a record nothing is written.
    """
    measured = read_measured(file) if file.exists() else {}
    for name, runs in measured.items():
        each = runs.values() if isinstance(runs, dict) else [runs]
        if not all(isinstance(record, dict) and "scores" in record for record in each):
            raise ValueError(f"'{file}' is no file of measured scores: see its '{name}'.")
    known = [r for r in records if is_whole(r) and None not in r["scores"].values()]
    for record in known:
        measured.setdefault(record["model"], {})[record["run"]] = record
    if known:
        write_json(file, measured, indent=1)
    return len(known)


def is_whole(record: Record) -> bool:
    """Whether a record is of all images of its split."""
    return bool(record["images"] == IMAGES[record["dataset"]])


def tell_scores(record: Record) -> str:
    """Scores; of a whole split also how far from the published ones, bold beyond `TOLERANCE`."""
    told = []
    for name, score in record["scores"].items():
        known = is_whole(record) and None not in (score, published := record["published"][name])
        off = round(score - published, 2) if known else 0
        text = ("-" if score is None else f"{score:.2f}") + f" ({off:+.2f})" * known
        told.append(f"{name} **{text}**" if abs(off) > TOLERANCE else f"{name} {text}")
    return ", ".join(told)
