"""The published models: which config, which weights, where they are, and what was published.

Data only. A number under `published` was printed by the authors of the weights; one under
`measured` was obtained with this package and names how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

COCO_PROTOCOL = "keep_res"
VOC_PROTOCOL = "fixed"
KITTI_PROTOCOL = "fixed"

POINTS_LICENCE = "MIT"
MMDETECTION_LICENCE = "Apache-2.0"

DRIVE_PAGE = "https://drive.google.com/file/d/{id}/view"
DRIVE_FILE = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"
MMDETECTION_FILES = "https://download.openmmlab.com/mmdetection/v2.0/centernet/"


@dataclass(frozen=True)
class Location:
    """Where weights can be had.

    Attributes:
        url: address of the file itself.
        page: address of a page with a form in front of the file (a quota or confirmation), for a
            person with a browser; "" where the url just works.
        sha256: of the file, whole or its first digits; None until somebody has seen the file.
    """

    url: str
    page: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """One model, or weights that only start a training (then without a config).

    Attributes:
        name: folder and name of the config, without its ending.
        published_name: what the authors of the weights call them.
        weights: where they are.
        metric: what the numbers are.
        resolution: TEST.RESOLUTION of the numbers.
        published: view protocol ("none", "flip", "ms"), or what is scored, -> value printed by the
            authors.
        measured: view protocol -> (value obtained with this package, how).
        parameters: of the network in training; 0 for a start.
        licence: of the repository that published the weights.
        has_config: False for a start.
    """

    name: str
    published_name: str
    weights: Location
    metric: str
    resolution: str
    published: Mapping[str, float]
    parameters: int
    licence: str
    measured: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    has_config: bool = True

    @property
    def config(self) -> str:
        """Path of the config in the folder of configs; "" for a start."""
        return f"{self.name}.yaml" if self.has_config else ""

    @property
    def short_name(self) -> str:
        """The name without its folder."""
        return self.name.rpartition("/")[2]


def _drive(identifier: str) -> Location:
    return Location(url=DRIVE_FILE.format(id=identifier), page=DRIVE_PAGE.format(id=identifier))


def _points_coco(
    name: str,
    published_name: str,
    drive: str,
    values: tuple[float, float, float],
    parameters: int,
) -> Entry:
    return Entry(
        name=f"COCO-Detection/{name}",
        published_name=published_name,
        weights=_drive(drive),
        metric="box AP, COCO val2017",
        resolution=COCO_PROTOCOL,
        published=dict(zip(("none", "flip", "ms"), values, strict=True)),
        parameters=parameters,
        licence=POINTS_LICENCE,
    )


def _points_keypoints(
    name: str, published_name: str, drive: str, value: float, parameters: int
) -> Entry:
    return Entry(
        name=f"COCO-Keypoints/{name}",
        published_name=published_name,
        weights=_drive(drive),
        metric="keypoint AP, COCO val2017",
        resolution=COCO_PROTOCOL,
        published={"flip": value},
        parameters=parameters,
        licence=POINTS_LICENCE,
    )


def _points_voc(name: str, published_name: str, drive: str, value: float, parameters: int) -> Entry:
    return Entry(
        name=f"PascalVOC-Detection/{name}",
        published_name=published_name,
        weights=_drive(drive),
        metric="mAP at IoU 0.5 (11 points), VOC07 test",
        resolution=VOC_PROTOCOL,
        published={"flip": value},
        parameters=parameters,
        licence=POINTS_LICENCE,
    )


def _corners(
    name: str,
    published_name: str,
    drive: str,
    values: tuple[float, float],
    parameters: int,
    licence: str,
) -> Entry:
    return Entry(
        name=f"COCO-Detection/{name}",
        published_name=published_name,
        weights=_drive(drive),
        metric="box AP, COCO test-dev",
        resolution=COCO_PROTOCOL,
        published=dict(zip(("flip", "ms"), values, strict=True)),
        parameters=parameters,
        licence=licence,
    )


def _mmdetection(
    name: str, published_name: str, file: str, values: tuple[float, float], parameters: int
) -> Entry:
    digits = file.rpartition("-")[2].removesuffix(".pth")  # mmdetection names files by them
    return Entry(
        name=f"COCO-Detection/{name}",
        published_name=published_name,
        weights=Location(url=f"{MMDETECTION_FILES}{published_name}_coco/{file}", sha256=digits),
        metric="box AP, COCO val2017",
        resolution=COCO_PROTOCOL,
        published=dict(zip(("none", "flip"), values, strict=True)),
        parameters=parameters,
        licence=MMDETECTION_LICENCE,
    )


def _points_kitti(
    name: str, published_name: str, drive: str, values: tuple[float, float, float]
) -> Entry:
    return Entry(
        name=f"KITTI-Detection3D/{name}",
        published_name=published_name,
        weights=_drive(drive),
        metric="moderate cars of KITTI's validation splits, AP11: boxes and orientation at IoU "
        "0.7, bird's-eye view at 0.5",
        resolution=KITTI_PROTOCOL,
        published=dict(zip(("boxes", "orientation", "bird's-eye"), values, strict=True)),
        parameters=20_060_595,
        licence=POINTS_LICENCE,
    )


ENTRIES: tuple[Entry, ...] = (
    _points_coco(
        "points_resnet18_dcn_140e",
        "ctdet_coco_resdcn18",
        "1RtFps3kQAyLjQyzCao7pPDclOBQ64Vyp",
        (28.1, 30.0, 33.2),
        14_437_349,
    ),
    _points_coco(
        "points_resnet101_dcn_140e",
        "ctdet_coco_resdcn101",
        "1tKkSyzC3iWmM6XTYNJrC4XLCIToDmnHz",
        (34.6, 36.2, 39.3),
        49_673_189,
    ),
    _points_coco(
        "points_dla34_140e",
        "ctdet_coco_dla_1x",
        "1xqFsdA3DANMq1MfnXG8n7nQPe4AfXTHv",
        (36.3, 38.2, 40.7),
        19_634_164,
    ),
    _points_coco(
        "points_dla34_230e",
        "ctdet_coco_dla_2x",
        "18Q3fzzAsha_3Qid6mn4jcIFPeOGUaj1d",
        (37.4, 39.2, 41.7),
        19_634_164,
    ),
    _points_coco(
        "points_hourglass104_50e",
        "ctdet_coco_hg",
        "13F904yXltGIqa_K3g3-FLleaNX0n7c9O",
        (40.3, 42.2, 45.1),
        191_284_008,
    ),
    _corners(
        "cornernet_hourglass104",
        "CornerNet_500000",
        "16bbMAyykdZr2_7afiMZrvvn4xkYa-LYk",
        (40.6, 42.2),
        201_035_212,
        "BSD-3-Clause",
    ),
    _corners(
        "triplet_hourglass52",
        "CenterNet-52_480000",
        "14vJYw4P9sxDoltjp5zDkOS3QjUa2zZIP",
        (41.6, 43.5),
        104_844_152,
        "MIT",
    ),
    _corners(
        "triplet_hourglass104",
        "CenterNet-104_480000",
        "1GVN-YrgExbPPcmzn_Lkr49f2IKjodg15",
        (44.9, 47.0),
        210_062_960,
        "MIT",
    ),
    Entry(
        name="COCO-Detection/cornernet_hourglass104_mmdetection",
        published_name="cornernet_hourglass104_mstest_10x5_210e",
        weights=Location(
            url="https://download.openmmlab.com/mmdetection/v2.0/cornernet/"
            "cornernet_hourglass104_mstest_10x5_210e_coco/"
            "cornernet_hourglass104_mstest_10x5_210e_coco_20200824_185720-5fefbf1c.pth",
            sha256="5fefbf1c",
        ),
        metric="box AP, COCO val2017",
        resolution=COCO_PROTOCOL,
        published={"flip": 41.2},
        parameters=201_035_212,
        licence=MMDETECTION_LICENCE,
    ),
    _mmdetection(
        "points_resnet18_dcn_mmdetection_140e",
        "centernet_resnet18_dcnv2_140e",
        "centernet_resnet18_dcnv2_140e_coco_20210702_155131-c8cd631f.pth",
        (29.5, 30.9),
        14_437_349,
    ),
    _mmdetection(
        "points_resnet18_conv_mmdetection_140e",
        "centernet_resnet18_140e",
        "centernet_resnet18_140e_coco_20210705_093630-bb5b3bf7.pth",
        (25.9, 27.3),
        14_219_092,
    ),
    _points_voc(
        "points_resnet18_dcn_384",
        "ctdet_pascal_resdcn18_384",
        "1mpeslWUt0aJqx99_-UcCzJ7GBcD6sCA-",
        72.6,
        14_433_449,
    ),
    _points_voc(
        "points_resnet18_dcn_512",
        "ctdet_pascal_resdcn18_512",
        "1ILnmGrJQiDK2Ib-D7TzBs2fq5bfju-Bd",
        75.7,
        14_433_449,
    ),
    _points_voc(
        "points_resnet101_dcn_384",
        "ctdet_pascal_resdcn101_384",
        "1-Qy4zMhzmBk9fMF0u2s5zNI0Uj9latsk",
        77.1,
        49_669_289,
    ),
    _points_voc(
        "points_resnet101_dcn_512",
        "ctdet_pascal_resdcn101_512",
        "1TiJkPaofzUaEMLi5wr9TIIUY8G2VewCQ",
        78.7,
        49_669_289,
    ),
    _points_voc(
        "points_dla34_384",
        "ctdet_pascal_dla_384",
        "19J7WoUZKYiSEU7vrhZInz5C2m0-9zmC1",
        79.3,
        19_618_744,
    ),
    _points_voc(
        "points_dla34_512",
        "ctdet_pascal_dla_512",
        "1Iqqr_VLtG8T3tUzy-EuMaeuCtFuv6pEU",
        80.7,
        19_618_744,
    ),
    _points_keypoints(
        "points_dla34_1x",
        "multi_pose_dla_1x",
        "1WKqVdkIew43SxLTSxi81a-_f4Q9v2Fx5",
        54.7,
        20_070_618,
    ),
    _points_keypoints(
        "points_dla34_3x",
        "multi_pose_dla_3x",
        "1mC2PAQT_RuHi_9ZMZgkt4rg7BSY2_Lkd",
        58.9,
        20_070_618,
    ),
    _points_keypoints(
        "points_hourglass104_1x",
        "multi_pose_hg_1x",
        "1neg1zfVjRTS45FCdk5hgIV-TxJ0McAew",
        58.7,
        194_811_124,
    ),
    _points_keypoints(
        "points_hourglass104_3x",
        "multi_pose_hg_3x",
        "17-YS11iguOQKwPPHUg8LzakLzrgKSLfA",
        64.0,
        194_811_124,
    ),
    _points_kitti(
        "points_dla34_3dop",
        "ddd_3dop",
        "1LrAzVJqlZECVuyr_NJI_4xd88mA1fL5b",
        (87.8, 84.3, 30.5),
    ),
    _points_kitti(
        "points_dla34_subcnn",
        "ddd_sub",
        "1ZUsUqrM_yTjxaJuDBxm0WTKXj1snVuvP",
        (79.8, 75.2, 27.7),
    ),
    Entry(
        name="extremenet_hourglass104",
        published_name="ExtremeNet_500000",
        weights=_drive("1JMbHgN4uLkP9MAyJU5EeHrgxwe101hwO"),
        metric="",
        resolution="",
        published={},
        parameters=0,
        licence="not stated",
        has_config=False,
    ),
)
