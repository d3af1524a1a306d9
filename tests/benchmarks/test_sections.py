from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import BENCHMARK_REGISTRY, BenchmarkOptions, run_sections
from benchmarks.records import records_of
from centernet_d2.benchmark.detector import (
    build,
    count_activations,
    count_multiply_adds,
    model_size,
    preprocess,
    random_inputs,
)
from centernet_d2.benchmark.timing import peak_memory, time_interleaved

CPU = torch.device("cpu")


def test_calls_take_turns():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    timings = time_interleaved(calls, rounds=3, warm_up=2, device=CPU)
    assert "".join(order) == "aabbcc" + "abc" + "bca" + "cab"
    assert list(timings) == ["a", "b", "c"]
    for timing in timings.values():
        assert timing.rounds == 3
        assert 0 <= timing.lowest <= timing.quartiles[0] <= timing.median <= timing.quartiles[1]


def test_peak_memory_is_what_lived_at_once():
    mebibyte = 2**20

    def call():
        for _ in range(3):  # one after the other: they do not add up
            torch.ones(160 * mebibyte // 4)

    call()
    peak = peak_memory(call, CPU)
    if peak is None:
        pytest.skip("this system does not tell a process's peak memory")
    # The libraries' own scratch memory adds some 10 MiB; two arrays at once would be 320.
    assert 140 * mebibyte < peak < 300 * mebibyte


@pytest.fixture
def options(config_root):
    return BenchmarkOptions(
        configs=[str(config_root / "Shapes" / "points_tiny.yaml")],
        overrides=["MODEL.HEATMAP.NUM_CLASSES", "5"],
        batches=(1, 3),
        size=(64, 96),
        rounds=2,
        warm_up=1,
    )


@pytest.mark.slow
def test_every_section_measures(options, monkeypatch):
    from benchmarks import (
        cpu_threads,
        cuda,
        data_checks,
        deform_conv,
        joints,
        kitti_scores,
        soft_nms,
        training_input,
    )

    cases = (("few boxes", 30, 4, 1, 0), ("a crowd in each of 2 images", 20, 3, 2, 40))
    monkeypatch.setattr("centernet_d2.benchmark.runtimes.PAUSE", 0)
    monkeypatch.setattr(soft_nms, "CASES", cases)
    monkeypatch.setattr(cpu_threads, "BESIDE", ((0, "nothing"), (1, "training")))
    monkeypatch.setattr(cpu_threads, "SETTINGS", {"one thread": {"OMP_NUM_THREADS": "1"}})
    monkeypatch.setattr(deform_conv, "SHAPES", ((8, 4, 6),))
    monkeypatch.setattr(joints, "CASES", (("few", 2, 3, 4, 5, 16),))
    monkeypatch.setattr(kitti_scores, "CASES", (("few frames", 20, 5, 6),))
    monkeypatch.setattr(training_input, "PICTURES", 2)
    monkeypatch.setattr(data_checks, "IMAGES", 4)
    monkeypatch.setattr(data_checks, "ANNOTATIONS", 400)
    told = []
    names = [name for name, _ in BENCHMARK_REGISTRY]
    result = run_sections(names, options, done=lambda name, rows: told.append(name))
    assert told == names == list(result["sections"])
    json.dumps(result, allow_nan=False)
    assert result["machine"]["torch"] == torch.__version__.split("+")[0]

    stages = [(row["batch"], row["stage"]) for row in result["sections"]["detector"]]
    four = ["preprocess", "network", "decode", "whole"]
    assert stages == [(batch, stage) for batch in (1, 3) for stage in four]
    for row in result["sections"]["detector"]:
        assert row["images_per_second"] == pytest.approx(1e3 / row["ms_per_image"], rel=0.2)

    rows = result["sections"]["cpu_threads"]
    assert [row["beside"] for row in rows] == ["nothing"] * 2 + ["1 x training"] * 2

    rows = result["sections"]["deform_conv"]
    assert {(row["batch"], row["pass"]) for row in rows} == {
        (batch, which) for batch in (1, 3) for which in ("forward", "forward + backward")
    }
    named = {"torchvision float32", "ours float32", "ours bfloat16", "product float32"}
    assert named <= {row["alternative"] for row in rows}

    rows = result["sections"]["soft_nms"]
    assert [row["case"] for row in rows] == [name for name, *_ in cases for _ in range(4)]
    assert [row["case"] for row in result["sections"]["joints"]] == ["few"] * 4

    rows = result["sections"]["kitti_scores"]
    assert [row["part"] for row in rows] == ["overlaps", "all"]
    assert rows[0]["objects"] == 100

    rows = result["sections"]["data_checks"]
    assert rows[0]["alternative"] == "os.path.isfile of each"
    assert len({row["reference"] for row in rows}) == 3
    assert len(result["sections"]["training_input"]) == 5

    (row,) = result["sections"]["training_step"]
    assert 0 < row["losses_ms"] < row["step_ms"]
    assert row["kept_mib"] > 0.1

    rows = result["sections"]["cuda_networks"]
    notes = {(row["part"], row["alternative"]): row.get("note") for row in rows}
    assert notes["network", "published"] is notes["whole", "folded"] is None
    assert notes["whole", "graph float32"].startswith("runtime 'cuda-graph' records what a CUDA")
    assert notes["network", "triton graph float16"] == "the network has no deformable convolution"
    rows = result["sections"]["cuda_compiled"]
    told = "compiling takes minutes: it is measured on CUDA alone"
    assert [row.get("note") for row in rows[:4]] == [None, None, told, told]
    rows = result["sections"]["cuda_layers"]
    assert [r["alternative"] for r in rows if "note" not in r][-3:] == ["copy", "ours", "cummax"]
    assert {r["note"] for r in rows if "note" in r} == {"Triton's kernels need CUDA"}
    rows = result["sections"]["cuda_training"]
    assert [row["alternative"] for row in rows if row.get("pictures")] == [*cuda.DTYPES]
    assert {row["batch"] for row in rows} == {3}

    rows = result["sections"]["protocols"]
    assert [row["alternative"] for row in rows] == ["N.A.", "F", "MS"]

    for name, record in records_of(result):
        own = [r for r in record["rows"] if r.get("reference", "") == r.get("alternative")]
        assert {row["speed_up"] for row in own} <= {1}
        compared = [
            row
            for row in record["rows"]
            if row.get("uncertainty") is not None
            and ("of_gemm" in row or row.get("reference") != row["alternative"])
        ]
        assert len(record["ratios"]) == len(compared), name  # each has a name of its own


def test_the_loops_of_the_soft_nms_section_agree():
    from benchmarks.soft_nms import LIMIT, numpy_loop, random_boxes
    from centernet_d2.decoding.soft_nms import soft_nms

    inputs = random_boxes(150, 4, 2, 100, CPU)
    found = soft_nms(*inputs, limit=LIMIT)
    assert len(found.scores) == 2 * LIMIT
    assert torch.allclose(torch.from_numpy(numpy_loop(*inputs).copy()), found.scores, atol=1e-6)


def test_the_published_form_of_the_training_input_is_ours(tmp_path, monkeypatch):
    from benchmarks import training_input as section

    monkeypatch.setattr(section, "PICTURES", 4)
    monkeypatch.delenv("CENTERNET_D2_TEST_DATA", raising=False)
    augmentations = (
        section.RandomFlip(),
        section.RandomCenterCrop((512, 512)),
        section.RandomColor(),
    )
    ours = section.DetectionMapper(is_train=True, augmentations=augmentations)
    for seed, record in enumerate(section.pictures(tmp_path)[0]):
        np.random.seed(seed)
        image, heatmap = section.published_form(augmentations, record)
        np.random.seed(seed)
        sample = ours(record)
        pixels = image.transpose(1, 2, 0) * section.STD + section.MEAN
        np.testing.assert_allclose(sample["image"].permute(1, 2, 0), pixels, atol=1e-3)
        np.testing.assert_allclose(section.heatmap(sample)[0], heatmap, atol=1e-5)


def test_both_forms_of_the_joints_section_agree():
    from benchmarks.joints import ours, published_form, random_joints

    inputs = random_joints(2, 20, 5, 48, CPU)
    found = ours(inputs, 60, "published")
    torch.testing.assert_close(found, published_form(inputs, 60))
    assert 0.1 < (found != inputs.joints).any(-1).float().mean() < 0.9


def test_protocols_leave_the_network_its_views(options, monkeypatch):
    from benchmarks import protocols

    seen = []
    monkeypatch.setattr(
        protocols,
        "random_inputs",
        lambda batch, size: [{"image": torch.zeros(3, *size, dtype=torch.uint8)}],
    )
    build_model = protocols.build

    def watched(*arguments):
        model, size = build_model(*arguments)
        model.backbone.register_forward_pre_hook(
            lambda module, inputs: seen.append(tuple(inputs[0].shape))
        )
        return model, size

    monkeypatch.setattr(protocols, "build", watched)
    protocols.protocols(replace(options, rounds=1, warm_up=0))
    assert [shape[0] for shape in seen] == ([1, 2] + [2] * 5) * 2  # timed, then by stage


def test_decoding_is_what_neither_canvas_nor_network_take(options, monkeypatch):
    from benchmarks import protocols

    clock = [0.0]
    monkeypatch.setattr("centernet_d2.benchmark.evaluation.perf_counter", lambda: clock[0])

    def takes(seconds):
        return lambda *_: clock.append(clock.pop() + seconds)

    model = SimpleNamespace(predict=takes(5), inference_images=takes(1))

    def call():
        for _ in range(2):  # scales
            model.inference_images("images", "canvas")
            model.predict("images")
        takes(3)()

    assert protocols.decode_share(model, call, options) == pytest.approx(0.2)
    assert model.predict("images") is None
    assert clock == [options.rounds * 15.0 + 5]


def test_detectors_of_3d_boxes_find_their_cameras(options):
    overrides = [*options.overrides, "MODEL.POINTS_CENTERNET.TASKS", "['box2d','box3d']"]
    rows = run_sections(["detector"], replace(options, overrides=overrides, batches=(2,)))
    assert [row["stage"] for row in rows["sections"]["detector"]][2] == "decode"


def test_unknown_section_is_named(options):
    with pytest.raises(ValueError, match=r"\['speed'\]; known: .*detector"):
        run_sections(["speed"], options)


def test_published_size_of_resnet18(config_root):
    path = config_root / "COCO-Detection" / "points_resnet18_dcn_140e.yaml"
    (row,) = model_size(BenchmarkOptions(configs=[str(path)], size=(64, 64)))
    assert row["parameters"] == 14_437_349
    assert row["canvas"] == "96x96"


def test_multiply_adds_and_activations_are_those_of_the_convolutions(config_root):
    """Against a count from the layers themselves, deformable ones included."""
    path = config_root / "COCO-Detection" / "points_resnet18_dcn_140e.yaml"
    model, _ = build(str(path), BenchmarkOptions())
    expected = outputs = 0

    def count(module: nn.Module, inputs, output) -> None:
        nonlocal expected, outputs
        outputs += output.numel()
        weight = module.weight
        # A transposed convolution uses its kernel once per input cell, the others per output cell.
        cells = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        expected += cells.shape[0] * cells.shape[2] * cells.shape[3] * weight.numel()

    for module in model.modules():
        if getattr(getattr(module, "weight", None), "ndim", 0) == 4:
            module.register_forward_hook(count)
    images = preprocess(model, random_inputs(1, (64, 64)))
    assert count_multiply_adds(model, images) == expected > 1e8
    outputs = 0
    assert count_activations(model, images) == outputs > 5e5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_measures_on_a_gpu(options):
    result = run_sections(["detector"], replace(options, device="cuda"))
    assert "gpu" in result["machine"]
    assert all(row["peak_mib"] is not None for row in result["sections"]["detector"])


def test_operators_of_a_folded_detector_have_its_multiply_adds(options, config_root):
    from benchmarks.layers import layers

    path = str(config_root / "COCO-Detection" / "points_resnet18_dcn_140e.yaml")
    options = replace(options, configs=[path], overrides=(), rounds=1, size=(64, 64))
    whole, *rows = layers(options)
    model, size = build(path, options)
    expected = count_multiply_adds(model, preprocess(model, random_inputs(1, size)))
    assert whole["operator"] == "network"
    assert whole["gmac"] == round(expected / 1e9, 3) > 0.1
    assert sum(row["calls"] for row in rows if row["operator"] == "deformable") == 3
