"""Local maxima and the best of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from centernet_d2.decoding import peaks as peaks_module
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
    with pytest.raises(ValueError, match="kernel must be an odd number"):
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


def random_heatmap(seed: int) -> torch.Tensor:
    """Any few cells in any layout and type, often with plateaus and NaN."""
    generator = torch.Generator().manual_seed(seed)
    shape = [int(torch.randint(1, high, (), generator=generator)) for high in (4, 5, 8, 8)]
    heatmap = torch.randint(0, (5, 1000)[seed % 2], shape, generator=generator) / 1024
    if seed % 3 == 0:
        heatmap[torch.rand(shape, generator=generator) < 0.05] = torch.nan
    dtypes = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    layout = (torch.contiguous_format, torch.channels_last)[seed // 2 % 2]
    return heatmap.to(dtypes[seed % 4]).to(memory_format=layout)


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return torch.equal(first.isnan(), second.isnan()) and torch.equal(
        first.nan_to_num(-1), second.nan_to_num(-1)
    )


@pytest.mark.parametrize("kernel", [1, 3, 5, 9])
def test_local_maxima_equal_loops(kernel):
    reach = kernel // 2
    for seed in range(40):
        heatmap = random_heatmap(seed)
        expected = heatmap.clone()
        for n, c, y, x in heatmap.isfinite().nonzero().tolist():
            window = heatmap[n, c, max(0, y - reach) : y + reach + 1, max(0, x - reach) :]
            values = window[:, : min(x, reach) + reach + 1].flatten().tolist()
            highest = math.nan if any(map(math.isnan, values)) else max(values)
            if heatmap[n, c, y, x].item() < highest:
                expected[n, c, y, x] = 0
        found = local_maxima(heatmap, kernel)
        assert same(found, expected)
        assert found.dtype == heatmap.dtype
        for layout in (torch.contiguous_format, torch.channels_last):
            kept = heatmap.is_contiguous(memory_format=layout)
            assert found.is_contiguous(memory_format=layout) or not kept


@pytest.mark.parametrize("large", [1, 2**18], ids=["bounded", "all"])
@pytest.mark.parametrize("k", [1, 7, 60, 1000])
def test_top_peaks_are_the_highest_of_all(k, large, monkeypatch):
    monkeypatch.setattr("centernet_d2.decoding.peaks.LARGE", large)
    for seed in range(40):
        heatmap = random_heatmap(seed)
        before = heatmap.clone()
        peaks = top_peaks(heatmap, k)
        assert same(heatmap, before)
        maxima = local_maxima(heatmap)
        everything = maxima.flatten(1).sort(dim=1, descending=True).values  # NaN first, as in topk
        assert same(peaks.scores, everything[:, :k])
        image = torch.arange(len(heatmap))[:, None]
        assert same(maxima[image, peaks.classes, peaks.y, peaks.x], peaks.scores)
        places = torch.stack([peaks.classes, peaks.y, peaks.x], dim=-1).tolist()
        assert all(len(set(map(tuple, rows))) == len(rows) for rows in places)


def test_every_cell_of_a_plateau_is_a_peak():
    plateau = torch.full((1, 2, 3, 4), 0.5)
    peaks, again = top_peaks(plateau, 24), top_peaks(plateau, 24)
    assert peaks.scores.unique().tolist() == [0.5]
    places = [torch.stack([p.classes, p.y, p.x], dim=-1)[0].tolist() for p in (peaks, again)]
    assert len(set(map(tuple, places[0]))) == 24
    assert places[0] == places[1]


def test_gradients_reach_the_peaks_scores():
    heatmap = torch.rand(1, 2, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    peaks = top_peaks(heatmap, 1)
    peaks.scores.sum().backward()
    assert heatmap.grad.sum() == 1
    assert heatmap.grad[0, peaks.classes[0, 0], peaks.y[0, 0], peaks.x[0, 0]] == 1


class TopPeaks(torch.nn.Module):
    def forward(self, heatmap: torch.Tensor) -> tuple[torch.Tensor, ...]:
        peaks = top_peaks(heatmap, 20)
        return peaks.scores, peaks.classes, peaks.y, peaks.x


# Warned about inside torch.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("how", ["export", "export of any size", "trace", "compile"])
def test_graphs_give_the_same(how, layout):
    generator = torch.Generator().manual_seed(0)
    heatmap = torch.rand(2, 3, 8, 12, generator=generator).to(memory_format=layout)
    if how == "compile":
        run = torch.compile(TopPeaks(), fullgraph=True, backend="aot_eager")
    elif how == "trace":
        run = torch.jit.trace(TopPeaks(), heatmap)
        assert "max_pool2d" in str(run.graph)
    else:
        sides = {2: torch.export.Dim("height", min=5), 3: torch.export.Dim("width", min=5)}
        dynamic = ({0: torch.export.Dim("images"), **sides},) if how != "export" else None
        program = torch.export.export(TopPeaks(), (heatmap,), dynamic_shapes=dynamic)
        targets = [str(node.target) for node in program.graph.nodes]
        assert sum("max_pool2d" in target for target in targets) == 1
        assert not any("clamp" in target or "remainder" in target for target in targets)
        run = program.module()
    inputs = [heatmap]
    if how == "export of any size":
        other = torch.rand(3, 3, 6, 16, generator=generator).to(memory_format=layout)
        inputs.append(other)
    for values in inputs:
        assert all(map(torch.equal, run(values), TopPeaks()(values)))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps_of_which_few_cells_are_looked_at(kernel, layout, monkeypatch):
    """Values come twice or often, peaks lie at the border; the bound is taken or spoiled."""
    monkeypatch.setattr("centernet_d2.decoding.peaks.LARGE", 1)
    searches = []
    full = peaks_module._best_of_all
    monkeypatch.setattr(
        "centernet_d2.decoding.peaks._best_of_all", lambda *a: searches.append(a) or full(*a)
    )
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        heatmap = torch.rand(2, 3, 23, 17, generator=generator).to(memory_format=layout)
        if seed % 2:
            heatmap = ((200, 8)[seed // 2 % 2] * heatmap).round() / 256
        highest = F.max_pool2d(heatmap, kernel, stride=1, padding=kernel // 2)
        maxima = heatmap * (heatmap == highest)
        for k in (5, 40, 2000):
            peaks = top_peaks(heatmap, k, kernel)
            assert torch.equal(peaks.scores, maxima.flatten(1).sort(dim=1).values.flip(1)[:, :k])
            image = torch.arange(2)[:, None]
            assert torch.equal(maxima[image, peaks.classes, peaks.y, peaks.x], peaks.scores)
            cell = (peaks.classes * 23 + peaks.y) * 17 + peaks.x
            assert all(len(row.unique()) == len(row) for row in cell)
            alone = [top_peaks(one, k, kernel) for one in heatmap.split(1)]
            assert torch.equal(peaks.classes, torch.cat([one.classes for one in alone]))
    assert 40 < len(searches) < 160  # of 240 in either way


def test_a_map_of_usual_size():
    """Where torch splits the work over threads, and several bands are taken."""
    heatmap = torch.rand(2, 20, 128, 128, generator=torch.Generator().manual_seed(0))
    highest = F.max_pool2d(heatmap, 3, stride=1, padding=1)
    maxima = heatmap * (heatmap == highest)
    assert torch.equal(local_maxima(heatmap), maxima)
    assert torch.equal(top_peaks(heatmap, 100).scores, maxima.flatten(1).topk(100).values)
    assert top_peaks(heatmap[:0], 100).scores.shape == (0, 100)
    assert top_peaks(heatmap[:1, :, :0], 100).scores.shape == (1, 0)


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
