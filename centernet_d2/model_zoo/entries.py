"""The published models: which config, which weights, where they are, and what was published.

The data are in published.csv. Numbers are those that the authors of the weights printed; what this
package measures is in `measured.py`.
"""

import csv
import importlib.resources
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

DRIVE_PAGE = "https://drive.google.com/file/d/{id}/view"
DRIVE_FILE = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"
MMDETECTION_FILE = "https://download.openmmlab.com/mmdetection/v2.0/{kind}/{name}/{name}_{date}.pth"
MMDETECTION_LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Location:
    """Where weights can be had."""

    url: str  # of the file itself
    page: str = ""  # with a form in front of the file, for a browser; "" where the url just works
    sha256: str | None = None  # whole or its first digits; None until somebody has seen the file


@dataclass(frozen=True)
class Benchmark:
    """What entries share: folder of their configs, dataset, metric, TEST.RESOLUTION."""

    folder: str
    dataset: str
    metric: str
    resolution: str = "keep_res"


@dataclass(frozen=True)
class Entry:
    """One model, or weights that only start a training (then without a config)."""

    name: str  # folder and name of the config, without its ending
    published_name: str  # what the authors of the weights call them
    file: str  # identifier at Google Drive, or date and checksum at mmdetection
    licence: str  # of the repository that published the weights
    benchmark: Benchmark | None = None  # None for a start
    parameters: int = 0  # of the network in training; 0 for a start
    # View protocol ("none", "flip", "ms"), or what is scored, -> value printed by the authors.
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def weights(self) -> Location:
        """Where they are; mmdetection names a file by its date and the start of its checksum."""
        file, name = self.file, self.published_name
        if self.licence != MMDETECTION_LICENCE:
            return Location(DRIVE_FILE.format(id=file), page=DRIVE_PAGE.format(id=file))
        url = MMDETECTION_FILE.format(kind=name.partition("_")[0], name=f"{name}_coco", date=file)
        return Location(url, sha256=file.rpartition("-")[2])

    @property
    def protocol(self) -> str:
        """TEST.PROTOCOL of the published numbers; mmdetection's is its config as it is."""
        return "" if self.licence == MMDETECTION_LICENCE or not self.benchmark else "published"

    @property
    def config(self) -> str:
        """Path of the config in the folder of configs; "" for a start."""
        return f"{self.name}.yaml" if self.benchmark else ""

    @property
    def short_name(self) -> str:
        """The name without its folder."""
        return self.name.rpartition("/")[2]


BENCHMARKS = {
    "COCO": Benchmark("COCO-Detection", "coco", "box AP, COCO val2017"),
    "COCO_TEST_DEV": Benchmark("COCO-Detection", "coco", "box AP, COCO test-dev"),
    "KEYPOINTS": Benchmark("COCO-Keypoints", "coco_person", "keypoint AP, COCO val2017"),
    "VOC": Benchmark(
        "PascalVOC-Detection", "voc", "mAP at IoU 0.5 (11 points), VOC07 test", resolution="fixed"
    ),
    "KITTI": Benchmark(
        "KITTI-Detection3D",
        "kitti",
        "moderate cars of KITTI's validation splits, AP11: boxes and orientation at IoU "
        "0.7, bird's-eye view at 0.5",
        resolution="fixed",
    ),
}


def _entries() -> Iterator[Entry]:
    """Read published.csv, a row for each; values follow their view protocols."""
    table = importlib.resources.files(__package__).joinpath("published.csv")
    for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
        benchmark, words = BENCHMARKS.get(row["benchmark"]), row["published"].split()
        yield Entry(
            name=f"{benchmark.folder}/{row['config']}" if benchmark else row["config"],
            published_name=row["authors' name"],
            file=row["file"],
            licence=row["licence"],
            benchmark=benchmark,
            parameters=int(row["parameters"] or 0),
            published=dict(zip(words[::2], map(float, words[1::2]), strict=True)),
        )


ENTRIES = tuple(_entries())
