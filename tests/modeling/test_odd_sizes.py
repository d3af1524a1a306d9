"""Images of unusual size: they run, or the error says which image it was and what helps."""

from __future__ import annotations

import cv2
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

FLIP_AND_SCALES = ("TEST.FLIP", True, "TEST.SCALES", [0.5, 1.0, 1.5])


def entry(height: int, width: int) -> dict:
    image = torch.full((3, height, width), 100, dtype=torch.uint8)
    return {"image": image, "file_name": f"{width}x{height}.png"}


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (2, 3), (31, 33)])
@pytest.mark.parametrize("resolution", ["keep_res", "fixed"])
@pytest.mark.parametrize("canvas", ["strict", "fit"])
@pytest.mark.parametrize("augmentation", [(), FLIP_AND_SCALES])
def test_thin_and_tiny_images_run(tiny_config, size, resolution, canvas, augmentation):
    where = ("TEST.RESOLUTION", resolution, "TEST.CANVAS", canvas, "TEST.FIXED_SIZE", [64, 64])
    model = build_model(tiny_config(*where, *augmentation)).eval()
    with torch.no_grad():
        (found,) = model([entry(*size)])
    assert found["instances"].image_size == size
    assert len(found["instances"]) > 0
    assert found["instances"].pred_boxes.tensor.isfinite().all()


@pytest.mark.parametrize(
    ("size", "count", "trains"),
    [((32, 32), 1, False), ((32, 32), 2, True), ((64, 32), 1, True)],
)
def test_one_value_per_channel_is_nothing_to_train_on(tiny_config, size, count, trains):
    model = build_model(tiny_config())
    objects = Instances(size, gt_boxes=Boxes(torch.tensor([[4.0, 5, 20, 25]])))
    objects.gt_classes = torch.tensor([1])
    batch = [{**entry(*size), "instances": objects} for _ in range(count)]
    if trains:
        assert all(torch.isfinite(loss) for loss in model(batch).values())
        return
    words = (
        r"batch of 1 with 32 x 32 pixels .*SOLVER\.IMS_PER_BATCH.*above 32 \(INPUT\.TRAIN_SIZE\)"
    )
    with pytest.raises(ValueError, match=words):
        model(batch)


def test_a_large_image_runs(tiny_config):
    model = build_model(tiny_config("MODEL.HEATMAP.NUM_CLASSES", 2)).eval()
    with torch.no_grad():
        (found,) = model([entry(4000, 4000)])
    assert found["instances"].image_size == (4000, 4000)


def test_a_limit_refuses_before_anything_is_computed(tiny_config, monkeypatch):
    model = build_model(tiny_config("TEST.MAX_PIXELS", 100 * 100, *FLIP_AND_SCALES)).eval()
    monkeypatch.setattr(model.backbone, "forward", None)
    with pytest.raises(ValueError, match=r"90x70\.png \(90 x 70\).*160 x 128.*10000") as caught:
        model([entry(70, 90)])
    for part in ("TEST.MAX_PIXELS", "TEST.SCALES", "TEST.RESOLUTION fixed"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("DefaultCPUAllocator: not enough memory: tried 9 bytes"), RuntimeError),
        (torch.OutOfMemoryError("CUDA out of memory. Tried 3.00 GiB"), torch.OutOfMemoryError),
        (MemoryError(), MemoryError),
        (cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes"), MemoryError),
        (NotImplementedError("the shapes do not fit"), NotImplementedError),  # a RuntimeError too
    ],
)
def test_an_exhausted_memory_names_the_images_and_the_cure(tiny_config, monkeypatch, error, kind):
    model = build_model(tiny_config("TEST.FLIP", True)).eval()

    def fail(*_):
        raise error

    monkeypatch.setattr(model.backbone, "forward", fail)
    with pytest.raises(kind) as caught:
        model([entry(70, 90), entry(68, 91)])
    message = str(caught.value)
    if kind is NotImplementedError:  # stays as it is
        assert caught.value is error
        return
    assert str(error) in message
    for part in (
        "90x70.png (90 x 70), 91x68.png (91 x 68): a batch of 4 canvases of 96 x 96",
        "0.141 times the memory of one of 512 x 512",
        "TEST.SCALES",
        "TEST.IMS_PER_BATCH",
    ):
        assert part in message
