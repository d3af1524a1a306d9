"""Local maxima and the best of them."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.decoding.center_boxes import center_boxes, peak_centers
from centernet_d2.decoding.peaks import local_maxima, top_peaks
from centernet_d2.structures.predictions import Peaks


def test_a_cell_stays_only_when_no_neighbour_is_higher():
    heatmap = torch.tensor([[[[0.1, 0.2, 0.1], [0.2, 0.9, 0.8], [0.1, 0.2, 0.85]]]])
    assert local_maxima(heatmap).nonzero()[:, 2:].tolist() == [[1, 1]]
    assert torch.equal(local_maxima(heatmap, 1), heatmap)


def test_border_and_plateau_cells_count():
    heatmap = torch.zeros(1, 1, 3, 6)
    heatmap[0, 0, 0, 0] = 0.7
    heatmap[0, 0, 2, 4] = heatmap[0, 0, 2, 5] = 0.6
    kept = local_maxima(heatmap).nonzero()[:, 2:].tolist()
    assert kept == [[0, 0], [2, 4], [2, 5]]


@pytest.mark.parametrize("kernel", [0, 2, -1])
def test_kernel_must_be_odd(kernel):
    with pytest.raises(ValueError, match="PEAK_KERNEL"):
        local_maxima(torch.zeros(1, 1, 4, 4), kernel)


def test_a_number_that_is_not_one_is_not_hidden():
    heatmap = torch.zeros(1, 1, 4, 4)
    heatmap[0, 0, 1, 1] = torch.nan
    assert top_peaks(heatmap, 1).scores.isnan().all()


def test_equals_sorting_everything():
    generator = torch.Generator().manual_seed(0)
    heatmap = torch.rand(2, 3, 13, 7, generator=generator)
    peaks = top_peaks(heatmap, 10)
    for image in range(2):
        kept = local_maxima(heatmap[image : image + 1])[0]
        rows = [
            (score, c, y, x)
            for c, y, x in kept.nonzero().tolist()
            for score in [kept[c, y, x].item()]
        ]
        rows.sort(reverse=True)
        columns = (peaks.scores, peaks.classes, peaks.y, peaks.x)
        found = list(zip(*(column[image].tolist() for column in columns), strict=True))
        assert found == rows[:10]


def test_more_peaks_than_cells_are_not_asked_for():
    peaks = top_peaks(torch.rand(1, 2, 3, 4), 100)
    assert peaks.scores.shape == (1, 24)
    assert peaks.x.max() < 4
    assert peaks.y.max() < 3
    assert set(peaks.classes[0].tolist()) == {0, 1}


def some_peaks() -> Peaks:
    return Peaks(
        scores=torch.tensor([[0.9, 0.8]]),
        classes=torch.tensor([[1, 0]]),
        y=torch.tensor([[2, 0]]),
        x=torch.tensor([[3, 1]]),
    )


def test_boxes_by_hand():
    offset = torch.zeros(1, 2, 4, 5)
    offset[0, :, 2, 3] = torch.tensor([0.25, 0.5])
    size = torch.ones(1, 2, 4, 5)
    size[0, :, 2, 3] = torch.tensor([2.0, 4.0])
    centers = peak_centers(some_peaks(), offset)
    assert centers.tolist() == [[[3.25, 2.5], [1.0, 0.0]]]
    boxes = center_boxes(some_peaks(), centers, size)
    assert boxes.tolist() == [[[2.25, 0.5, 4.25, 4.5], [0.5, -0.5, 1.5, 0.5]]]


def test_without_offsets_the_middle_of_the_cell_is_taken():
    assert peak_centers(some_peaks(), None).tolist() == [[[3.5, 2.5], [1.5, 0.5]]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_class_specific_sizes_are_those_of_the_peaks_class(layout):
    size = torch.arange(2 * 2 * 4 * 5).float().view(1, 4, 4, 5).to(memory_format=layout)
    boxes = center_boxes(some_peaks(), torch.zeros(1, 2, 2), size)
    expected = [size[0, 2:, 2, 3].tolist(), size[0, :2, 0, 1].tolist()]
    assert (boxes[0, :, 2:] - boxes[0, :, :2]).tolist() == expected
