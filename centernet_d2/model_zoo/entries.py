"""The published models: which config, which weights, where they are, and what was published.

Data only. Numbers are those that the authors of the weights printed; what this package measures
is in `measured.py`.
"""

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
    licence: str  # of the repository that published the weights
    benchmark: Benchmark | None = None  # None for a start
    parameters: int = 0  # of the network in training; 0 for a start
    # View protocol ("none", "flip", "ms"), or what is scored, -> value printed by the authors.
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def weights(self) -> Location:
        """Where they are; mmdetection names a file by its date and the start of its checksum."""
        file, name = FILES[self.published_name], self.published_name
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


# Authors' name -> identifier at Google Drive, or date and checksum at mmdetection.
FILES = {
    "ctdet_coco_resdcn18": "1RtFps3kQAyLjQyzCao7pPDclOBQ64Vyp",
    "ctdet_coco_resdcn101": "1tKkSyzC3iWmM6XTYNJrC4XLCIToDmnHz",
    "ctdet_coco_dla_1x": "1xqFsdA3DANMq1MfnXG8n7nQPe4AfXTHv",
    "ctdet_coco_dla_2x": "18Q3fzzAsha_3Qid6mn4jcIFPeOGUaj1d",
    "ctdet_coco_hg": "13F904yXltGIqa_K3g3-FLleaNX0n7c9O",
    "CornerNet_500000": "16bbMAyykdZr2_7afiMZrvvn4xkYa-LYk",
    "CenterNet-52_480000": "14vJYw4P9sxDoltjp5zDkOS3QjUa2zZIP",
    "CenterNet-104_480000": "1GVN-YrgExbPPcmzn_Lkr49f2IKjodg15",
    "cornernet_hourglass104_mstest_10x5_210e": "20200824_185720-5fefbf1c",
    "centernet_resnet18_dcnv2_140e": "20210702_155131-c8cd631f",
    "centernet_resnet18_140e": "20210705_093630-bb5b3bf7",
    "ctdet_pascal_resdcn18_384": "1mpeslWUt0aJqx99_-UcCzJ7GBcD6sCA-",
    "ctdet_pascal_resdcn18_512": "1ILnmGrJQiDK2Ib-D7TzBs2fq5bfju-Bd",
    "ctdet_pascal_resdcn101_384": "1-Qy4zMhzmBk9fMF0u2s5zNI0Uj9latsk",
    "ctdet_pascal_resdcn101_512": "1TiJkPaofzUaEMLi5wr9TIIUY8G2VewCQ",
    "ctdet_pascal_dla_384": "19J7WoUZKYiSEU7vrhZInz5C2m0-9zmC1",
    "ctdet_pascal_dla_512": "1Iqqr_VLtG8T3tUzy-EuMaeuCtFuv6pEU",
    "multi_pose_dla_1x": "1WKqVdkIew43SxLTSxi81a-_f4Q9v2Fx5",
    "multi_pose_dla_3x": "1mC2PAQT_RuHi_9ZMZgkt4rg7BSY2_Lkd",
    "multi_pose_hg_1x": "1neg1zfVjRTS45FCdk5hgIV-TxJ0McAew",
    "multi_pose_hg_3x": "17-YS11iguOQKwPPHUg8LzakLzrgKSLfA",
    "ddd_3dop": "1LrAzVJqlZECVuyr_NJI_4xd88mA1fL5b",
    "ddd_sub": "1ZUsUqrM_yTjxaJuDBxm0WTKXj1snVuvP",
    "ExtremeNet_500000": "1JMbHgN4uLkP9MAyJU5EeHrgxwe101hwO",
}

COCO = Benchmark("COCO-Detection", "coco", "box AP, COCO val2017")
COCO_TEST_DEV = Benchmark("COCO-Detection", "coco", "box AP, COCO test-dev")
KEYPOINTS = Benchmark("COCO-Keypoints", "coco_person", "keypoint AP, COCO val2017")
VOC = Benchmark(
    "PascalVOC-Detection", "voc", "mAP at IoU 0.5 (11 points), VOC07 test", resolution="fixed"
)
KITTI = Benchmark(
    "KITTI-Detection3D",
    "kitti",
    "moderate cars of KITTI's validation splits, AP11: boxes and orientation at IoU "
    "0.7, bird's-eye view at 0.5",
    resolution="fixed",
)

# Benchmark, what its values are, licence -> config, authors' name, parameters, values.
_MODELS = {
    (COCO, "none flip ms", "MIT"): """
        points_resnet18_dcn_140e  ctdet_coco_resdcn18   14437349 28.1 30.0 33.2
        points_resnet101_dcn_140e ctdet_coco_resdcn101  49673189 34.6 36.2 39.3
        points_dla34_140e         ctdet_coco_dla_1x     19634164 36.3 38.2 40.7
        points_dla34_230e         ctdet_coco_dla_2x     19634164 37.4 39.2 41.7
        points_hourglass104_50e   ctdet_coco_hg        191284008 40.3 42.2 45.1
    """,
    (COCO_TEST_DEV, "flip ms", "BSD-3-Clause"): """
        cornernet_hourglass104 CornerNet_500000 201035212 40.6 42.2
    """,
    (COCO_TEST_DEV, "flip ms", "MIT"): """
        triplet_hourglass52  CenterNet-52_480000  104844152 41.6 43.5
        triplet_hourglass104 CenterNet-104_480000 210062960 44.9 47.0
    """,
    (COCO, "flip", MMDETECTION_LICENCE): """
        cornernet_hourglass104_mmdetection cornernet_hourglass104_mstest_10x5_210e 201035212 41.2
    """,
    (COCO, "none flip", MMDETECTION_LICENCE): """
        points_resnet18_dcn_mmdetection_140e  centernet_resnet18_dcnv2_140e 14437349 29.5 30.9
        points_resnet18_conv_mmdetection_140e centernet_resnet18_140e       14219092 25.9 27.3
    """,
    (VOC, "flip", "MIT"): """
        points_resnet18_dcn_384  ctdet_pascal_resdcn18_384  14433449 72.6
        points_resnet18_dcn_512  ctdet_pascal_resdcn18_512  14433449 75.7
        points_resnet101_dcn_384 ctdet_pascal_resdcn101_384 49669289 77.1
        points_resnet101_dcn_512 ctdet_pascal_resdcn101_512 49669289 78.7
        points_dla34_384         ctdet_pascal_dla_384       19618744 79.3
        points_dla34_512         ctdet_pascal_dla_512       19618744 80.7
    """,
    (KEYPOINTS, "flip", "MIT"): """
        points_dla34_1x        multi_pose_dla_1x  20070618 54.7
        points_dla34_3x        multi_pose_dla_3x  20070618 58.9
        points_hourglass104_1x multi_pose_hg_1x  194811124 58.7
        points_hourglass104_3x multi_pose_hg_3x  194811124 64.0
    """,
    (KITTI, "boxes orientation bird's-eye", "MIT"): """
        points_dla34_3dop   ddd_3dop 20060595 87.8 84.3 30.5
        points_dla34_subcnn ddd_sub  20060595 79.8 75.2 27.7
    """,
}


def _entries() -> Iterator[Entry]:
    for (benchmark, views, licence), rows in _MODELS.items():
        for config, name, parameters, *values in map(str.split, rows.strip().split("\n")):
            yield Entry(
                name=f"{benchmark.folder}/{config}",
                published_name=name,
                licence=licence,
                benchmark=benchmark,
                parameters=int(parameters),
                published=dict(zip(views.split(), map(float, values), strict=True)),
            )
    yield Entry("extremenet_hourglass104", "ExtremeNet_500000", licence="not stated")


ENTRIES = tuple(_entries())
