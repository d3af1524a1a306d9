"""The command for a GPU on a CPU; what it measures is in test_sections."""

from __future__ import annotations

import json
import sys

import torch
from export.small import detector

from benchmarks import cuda, on_gpu
from centernet_d2.modeling.fast_inference import make_fast
from centernet_d2.structures.padded_images import PaddedImages


def test_the_command_leaves_a_file_of_each_part(tmp_path, monkeypatch, capsys):
    options = ["--device", "cpu", "--rounds", "1", "--batches", "1", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["cuda", "--parts", "cuda_layers", *options])
    on_gpu.main()
    name = "cuda_layers-points_resnet18_dcn_140e"
    result = json.loads((tmp_path / f"{name}.json").read_text())
    pool = result["sections"]["cuda_layers"][-2]
    assert (pool["layer"], pool["alternative"]) == ("pool right", "ours")
    told = capsys.readouterr().out
    assert f"{name}: exit status 0\n| layer " in told
    assert told.count("Triton's kernels need CUDA") == 2 * len(cuda.SETTINGS)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--minutes", "0"])
    on_gpu.main()
    assert capsys.readouterr().out == f"not begun, as --minutes are over: {name}\n"


@torch.no_grad()
def test_a_compiled_network_gives_the_same_maps():
    """Traced, and run as it was: what inductor makes of it is measured where there is a GPU."""
    nothing = torch.zeros(1, 2)
    images = PaddedImages(torch.randn(1, 3, 128, 96), (), scale=nothing[:, 0], shift=nothing)
    expected = make_fast(detector("hard")).predict(images)[-1]
    found = cuda._compiled(detector("hard"), backend="eager", fullgraph=True).predict(images)[-1]
    torch.testing.assert_close(found.heatmap, expected.heatmap)
    torch.testing.assert_close(found.regressions["size"], expected.regressions["size"])
