"""What an installed centernet_d2 must do by itself; `check_wheel.py` runs it."""

from __future__ import annotations

import importlib.util
import json
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

import centernet_d2
from centernet_d2 import model_zoo

COMMAND = Path(sys.executable).with_name("centernet-d2")
# A small network, for a few steps.
SMALL = (
    *("MODEL.DEVICE", "cpu", "MODEL.HEATMAP.NUM_CLASSES", "0", "DATALOADER.NUM_WORKERS", "0"),
    *("MODEL.ENCODER_DECODER.CHANNELS", "[8, 8, 16, 16]", "INPUT.TRAIN_SIZE", "[64, 64]"),
    *("MODEL.ENCODER_DECODER.OUT_CHANNELS", "8", "MODEL.POINTS_CENTERNET.HEAD_CHANNELS", "8"),
    *("SOLVER.MAX_ITER", "4", "SOLVER.IMS_PER_BATCH", "4", "TEST.EVAL_PERIOD", "0"),
)


def check_files() -> str:
    """All modules import, all configs load, and nothing else was installed."""
    package = Path(centernet_d2.__file__).parent
    assert package.is_relative_to(sys.argv[1]), f"not the wheel's files: {package}"
    assert (package / "py.typed").exists(), "the wheel has no py.typed"
    for outside in ("benchmarks", "tests", "tools", "examples"):
        assert importlib.util.find_spec(outside) is None, f"{outside} is importable"
    modules = [
        module.name for module in pkgutil.walk_packages(centernet_d2.__path__, "centernet_d2.")
    ]
    # These need Triton, and a command line.
    modules = [name for name in modules if not name.endswith(("_triton", "__main__"))]
    for name in modules:
        importlib.import_module(name)
    names = model_zoo.config_names()
    assert len(names) > 30, names
    for name in names:
        assert Path(model_zoo.get_config_file(name)).is_relative_to(package), name
        model_zoo.get_config(name)
    return f"{len(modules)} modules import, {len(names)} configs load"


def write_data(folder: Path) -> str:
    """Eight pictures of bright squares, as a dataset's name."""
    folder.mkdir()
    images, annotations = [], []
    for number in range(8):
        name = f"{number}.png"
        picture = np.full((64, 64, 3), 40, dtype=np.uint8)
        box = [4 + 3 * number, 10, 20, 20]
        picture[10:30, box[0] : box[0] + 20] = 220
        cv2.imwrite(str(folder / name), picture)
        images.append({"id": number + 1, "file_name": name, "height": 64, "width": 64})
        annotations.append(
            {"id": number + 1, "image_id": number + 1, "category_id": 1, "bbox": box, "area": 400}
            | {"iscrowd": 0}
        )
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "square"}]
    (folder / "squares.json").write_text(json.dumps(content))
    return f"coco:{folder / 'squares.json'}:{folder}"


def run(*arguments: str) -> None:
    """A verb, by the console script."""
    start = time.monotonic()
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, (
        f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    print(f"centernet-d2 {arguments[0]}: {time.monotonic() - start:.1f} s", flush=True)


def check_predictions(folder: str, images: int, names: int, first: str) -> None:
    """`predict` wrote of so many images, with so many class names."""
    written = json.loads((Path(folder) / "predictions.json").read_text())
    assert len(written["images"]) == images, written
    assert written["failed"] == [], written["failed"]
    assert len(written["class_names"]) == names, written["class_names"]
    assert written["class_names"][0] == first, written["class_names"]


def main() -> None:
    """Raises where something is missing."""
    print(f"centernet_d2 {centernet_d2.__version__} from its wheel: {check_files()}", flush=True)
    data = write_data(Path("data"))
    sets = ("DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{data}',)")
    config = ("--config-file", "Shapes/points_tiny")
    run("--version")
    run("train", *config, *SMALL, *sets, "OUTPUT_DIR", "run")
    trained = ("--weights", "run/model_final.pth")  # one file is a model
    run("evaluate", *trained, *sets[2:], "MODEL.DEVICE", "cpu", "OUTPUT_DIR", "scores")
    assert json.loads(Path("run/results.json").read_text()), "training wrote no scores"
    assert list(Path("scores").rglob("results.json")), "the evaluation wrote no scores"
    files = ("--input", "data", "--output", "found", "--score-threshold", "0")
    run("predict", *trained, *files, "--opts", *SMALL[:2])
    check_predictions("found", images=8, names=1, first="square")
    run("convert", "resdcn_18.pth", "converted.pth")
    converted = ("--config-file", "converted.yaml", "--weights", "converted.pth")
    run("predict", *converted, "--input", "data/0.png", "--output", "found2", "--opts", *SMALL[:2])
    check_predictions("found2", images=1, names=80, first="person")
    run("predict", "--weights", "bccd", "--input", "data/0.png", "--output", "found3")
    check_predictions("found3", images=1, names=3, first="Platelets")


if __name__ == "__main__":
    main()
