"""The check for a center in the middle of a pair, against plain loops."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from centernet_d2.decoding.center_check import (
    CenterCheck,
    center_check,
    central_regions,
    check_candidates,
)


@dataclass(frozen=True)
class Case:
    boxes: Tensor
    scores: Tensor
    classes: Tensor
    images: Tensor
    centers: Tensor
    center_scores: Tensor
    center_classes: Tensor
    center_images: Tensor

    def check(self, **options) -> CenterCheck:
        return center_check(**vars(self), **options)


def region_by_hand(box: list[float], side: float, parts: tuple[int, int]) -> list[float]:
    x1, y1, x2, y2 = box
    n = parts[0] if (x2 - x1) * (y2 - y1) <= side * side else parts[1]
    return [
        ((n + 1) * x1 + (n - 1) * x2) / (2 * n),
        ((n + 1) * y1 + (n - 1) * y2) / (2 * n),
        ((n - 1) * x1 + (n + 1) * x2) / (2 * n),
        ((n - 1) * y1 + (n + 1) * y2) / (2 * n),
    ]


def check_by_loops(case: Case, side: float, parts: tuple[int, int], choice: str) -> list[tuple]:
    """(row, score, center) of what stays."""
    kept = []
    for image in range(int(case.images.max()) + 1):
        large, small = [], []
        for row, box in enumerate(case.boxes.tolist()):
            if case.images[row] != image:
                continue
            left, top, right, bottom = region_by_hand(box, side, parts)
            inside = []
            for number, (x, y) in enumerate(case.centers.tolist()):
                if case.center_images[number] != image:
                    continue
                if case.center_classes[number] != case.classes[row]:
                    continue
                if left < x < right and top < y < bottom:
                    inside.append(number)
            if not inside:
                continue
            number = inside[0]
            if choice == "best":
                number = max(inside, key=lambda i: (case.center_scores[i].item(), -i))
            score = (2 * case.scores[row].item() + case.center_scores[number].item()) / 3
            is_large = (box[2] - box[0]) * (box[3] - box[1]) > side * side
            (large if is_large else small).append((row, score, number))
        kept += sorted(large + small, key=lambda found: -found[1])  # stable
    return kept


def random_case(seed: int) -> Case:
    """Boxes on whole numbers and centers on thirds, images and classes mixed up."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, shape, generator=generator)

    pairs, centers, images = (int(draw(high)) + 1 for high in (120, 160, 3))
    corner = draw(12, pairs, 2) - 6
    return Case(
        boxes=torch.cat([corner, corner + draw(16, pairs, 2)], dim=1).double(),
        scores=draw(4, pairs).double() / 8,  # ties
        classes=draw(2, pairs),
        images=draw(images, pairs),
        centers=(draw(55, centers, 2) - 15).double() / 3,
        center_scores=draw(4, centers).double() / 8,
        center_classes=draw(1 + seed % 4, centers),
        center_images=draw(images + 1, centers),
    )


@pytest.mark.parametrize("choice", ["first", "best"])
@pytest.mark.parametrize("parts", [(3, 5), (1, 3), (7, 3)])
def test_equals_loops(choice, parts):
    total = 0
    for seed in range(25):
        case = random_case(seed)
        found = case.check(region_side=6.0, parts=parts, choice=choice)
        expected = check_by_loops(case, 6.0, parts, choice)
        assert found.rows.tolist() == [row for row, _, _ in expected]
        assert found.centers.tolist() == [number for _, _, number in expected]
        assert found.scores.tolist() == pytest.approx([score for _, score, _ in expected])
        total += len(expected)
    assert total > 50


@pytest.mark.parametrize("choice", ["first", "best"])
def test_of_equally_many_pairs_without_leaving_rows(choice):
    total = 0
    for seed in range(25):
        case = random_case(seed)
        rows, centers = (each == 0 for each in (case.images, case.center_images))
        pairs = [each[rows] for each in (case.boxes, case.scores, case.classes)]
        found = [each[centers] for each in (case.centers, case.center_scores, case.center_classes)]
        if not len(found[0]):
            continue
        alone = Case(
            *pairs, torch.zeros(len(pairs[0])).long(), *found, torch.zeros(len(found[0])).long()
        )
        expected = check_by_loops(alone, 6.0, (3, 5), choice)
        given = [each[None] for each in (*pairs, *found)]
        stays, scores, place = check_candidates(
            *given, region_side=6.0, parts=(3, 5), choice=choice
        )
        assert stays[0].nonzero().squeeze(1).tolist() == sorted(row for row, _, _ in expected)
        for row, score, number in expected:
            assert (scores[0, row].item(), place[0, row].item()) == (pytest.approx(score), number)
        total += len(expected)
    assert total > 20


def test_regions_by_hand():
    boxes = torch.tensor(
        [
            [0.0, 30, 90, 60],  # small: thirds
            [0.0, 0, 150, 150],  # 150 x 150 is still small
            [0.0, 0, 90, 250],  # so is 90 x 250, of the same area
            [0.0, 0, 90, 250.01],  # large: fifths
            [100.0, 200, 600, 300],
        ]
    )
    regions = central_regions(boxes, region_side=150.0, parts=(3, 5))
    expected = torch.tensor(
        [
            [30.0, 40, 60, 50],
            [50.0, 50, 100, 100],
            [30.0, 250 / 3, 60, 500 / 3],
            [36.0, 100.004, 54, 150.006],
            [300.0, 240, 400, 260],
        ]
    )
    torch.testing.assert_close(regions, expected)


def one_pair(*centers: tuple[float, float], box: tuple[float, ...] = (0, 0, 90, 60)) -> Case:
    count = len(centers)
    return Case(
        boxes=torch.tensor([box], dtype=torch.float32),
        scores=torch.tensor([0.6]),
        classes=torch.tensor([2]),
        images=torch.tensor([0]),
        centers=torch.tensor(centers, dtype=torch.float32).reshape(count, 2),
        center_scores=torch.linspace(0.3, 0.9, max(count, 1))[:count],
        center_classes=torch.full((count,), 2),
        center_images=torch.zeros(count, dtype=torch.int64),
    )


@pytest.mark.parametrize(
    ("center", "stays"),
    [
        ((45, 30), True),
        ((30, 30), False),
        ((30.01, 30), True),
        ((60, 30), False),
        ((59.99, 30), True),
        ((45, 20), False),
        ((45, 20.01), True),
        ((45, 40), False),
        ((45, 39.99), True),
    ],
)
def test_only_strictly_inside_counts(center, stays):
    assert len(one_pair(center).check().rows) == stays


def test_the_score_is_the_mean_of_three():
    assert one_pair((45, 30)).check().scores.item() == pytest.approx((0.6 + 0.6 + 0.3) / 3)


def test_a_box_without_area_never_stays():
    generator = torch.Generator().manual_seed(0)
    for value in (500 * torch.rand(50, 2, generator=generator)).tolist():
        x, y = value
        for box in ((x, y, x, y), (x, y, x + 30, y), (x, y, x, y + 30)):
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            assert not len(one_pair(middle, box=box).check().rows)


def test_the_first_or_the_best_center():
    case = one_pair((1, 1), (45, 30), (50, 25), (44, 31))
    case = replace(case, center_scores=torch.tensor([0.99, 0.3, 0.9, 0.9]))
    assert case.check().centers.tolist() == [1]
    best = case.check(choice="best")
    assert best.centers.tolist() == [2]
    assert best.scores.item() == pytest.approx((1.2 + 0.9) / 3)


def test_class_and_image_must_agree():
    case = one_pair((45, 30))
    assert len(case.check().rows) == 1
    assert not len(replace(case, center_classes=torch.tensor([1])).check().rows)
    assert not len(replace(case, center_classes=torch.tensor([7])).check().rows)
    assert not len(replace(case, center_images=torch.tensor([3])).check().rows)
    assert not len(replace(case, images=torch.tensor([3])).check().rows)


def test_large_boxes_come_before_small_ones_of_equal_score():
    boxes = torch.tensor([[0.0, 0, 90, 60], [0.0, 0, 300, 200], [0.0, 0, 90, 60]])
    centers = torch.tensor([[45.0, 30], [150.0, 100]])
    found = center_check(
        boxes,
        torch.tensor([0.5, 0.5, 0.7]),
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(3, dtype=torch.int64),
        centers,
        torch.tensor([0.5, 0.5]),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, dtype=torch.int64),
    )
    assert found.rows.tolist() == [2, 1, 0]
    assert found.centers.tolist() == [0, 1, 0]


def test_nothing_to_check():
    case = one_pair()
    without_pairs = {
        name: getattr(one_pair((45, 30)), name)[:0]
        for name in ("boxes", "scores", "classes", "images")
    }
    for empty in (
        case,
        replace(one_pair((45, 30)), **without_pairs),
        replace(case, **without_pairs),
    ):
        found = empty.check()
        assert len(found.rows) == len(found.scores) == len(found.centers) == 0
        assert found.rows.dtype == found.centers.dtype == torch.int64


def test_images_do_not_meet():
    """Nothing as large as all pairs of all images times all centers is ever built."""
    images, pairs, centers = 16, 50, 20
    generator = torch.Generator().manual_seed(0)
    corner = 50 * torch.rand(images * pairs, 2, generator=generator)
    case = Case(
        boxes=torch.cat([corner, corner + 90], dim=1),
        scores=torch.rand(images * pairs, generator=generator),
        classes=torch.zeros(images * pairs, dtype=torch.int64),
        images=torch.arange(images).repeat_interleave(pairs),
        centers=140 * torch.rand(images * centers, 2, generator=generator),
        center_scores=torch.rand(images * centers, generator=generator),
        center_classes=torch.zeros(images * centers, dtype=torch.int64),
        center_images=torch.arange(images).repeat_interleave(centers),
    )

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            output = function(*args, **(kwargs or {}))
            if isinstance(output, Tensor):
                self.size = max(self.size, output.numel())
            return output

    with Largest() as largest:
        assert len(case.check().rows) > images
    assert images * pairs * centers <= largest.size < 2.5 * images * pairs * centers


def test_wrong_options():
    with pytest.raises(ValueError, match=r"center_choice must be one of .*got 'last'"):
        one_pair((45, 30)).check(choice="last")
    for parts in ((3,), (2, 5), (3, 4), (3, -1), (3, 5, 7)):
        with pytest.raises(ValueError, match="region_parts must be two odd numbers"):
            one_pair((45, 30)).check(parts=parts)
