"""What runs a file: arrays by name in, arrays by name out, and what the file says of itself."""

import hashlib
import importlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .cores import is_busy, usable_cores

EXPORT = "make it anew by `centernet-d2 export`"
BLOCK, FORM = "centernet_d2", 1  # where the metadata is, and the newest form that is known here
WEIGHTS, UNKNOWN = "weights_sha256", "0" * 64  # of the file beside a .xml; not filled in
Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], Arrays]
Ports = dict[str, list[str]]  # names of the "inputs" and "outputs" that a program has


def open_file(
    path: str | os.PathLike[str], threads: int, *, precision: str = ""
) -> tuple[Run, dict[str, Any]]:
    """Return what runs a file on the CPU, and its metadata.

    Args:
        path: of `centernet-d2 export --format onnx` or `openvino`.
        threads: 0: as many as the runtime chooses, or a container's quota, of which it knows not.
        precision: that OpenVINO computes in: "f32", or "bf16", faster on some processors and
            with other scores; "": as the file was exported.

    Raises:
        ImportError: what runs such a file is not installed.
        OSError: there is no such file.
        ValueError: it cannot be read, or is no such file.
    """
    file = Path(path)
    if file.suffix not in _OPENERS:
        raise ValueError(
            f"'{file}' ends neither in .onnx nor in .xml (OpenVINO): give a file that "
            "`centernet-d2 export --format onnx` or `--format openvino` has written"
        )
    if not file.is_file():
        raise FileNotFoundError(f"there is no file '{file}' (from {Path.cwd()})")
    weights = file.with_suffix(".bin")
    if file.suffix == ".xml" and not weights.is_file():
        raise FileNotFoundError(f"'{file}' needs its weights beside it: '{weights}' is missing")
    if precision not in ("", "f32") and file.suffix != ".xml":
        raise ValueError(f"precision '{precision}' goes with OpenVINO's .xml, not with '{file}'")
    if not isinstance(threads, int) or threads < 0:
        raise ValueError(f"threads is {threads!r}: give a whole number, 0 for all cores")
    cores, quota = usable_cores()
    threads = threads or (cores if quota else 0)
    run, text, ports = _OPENERS[file.suffix](file, threads, precision)
    metadata = _checked(text, file)
    for what, there in ports.items():
        if sorted(metadata[what]) != sorted(there):
            raise ValueError(
                f"'{file}' says that its {what} are {', '.join(metadata[what])}, and they are "
                f"{', '.join(there)}; so its words are of another file: {EXPORT}"
            )
    if metadata.get(WEIGHTS, UNKNOWN) != UNKNOWN and metadata[WEIGHTS] != digest_of(weights):
        raise ValueError(
            f"'{weights}' is not what '{file}' was exported with: copy both files of one export"
        )
    return run, metadata


def digest_of(file: Path) -> str:
    """The SHA-256 of a file's content."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checked(text: Any, file: Path) -> dict[str, Any]:
    try:
        metadata = dict(json.loads(text))
        form = int(metadata["form"])
        _ = [metadata["frame"][side] for side in ("batch", "height", "width")], metadata["whole"]
        _ = [[str(name) for name in metadata[names]] for names in ("inputs", "outputs")]
    except (TypeError, ValueError, KeyError):
        raise ValueError(f"'{file}' does not say what it detects: {EXPORT}") from None
    if form > FORM:
        raise ValueError(
            f"'{file}' was written by centernet_d2 {metadata.get('version')}, which is newer than "
            "this program: update it (pip install --upgrade centernet-d2-runtime)"
        )
    return metadata


def _package(name: str, file: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        told = f"'{file}' needs {name}, which is not installed: pip install {name}"
        raise ImportError(told) from None


def _open_onnx(file: Path, threads: int, precision: str) -> tuple[Run, Any, Ports]:
    onnxruntime = _package("onnxruntime", file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if is_busy(threads or usable_cores()[0]):  # its threads would spin on cores that others need
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no class
        raise ValueError(
            f"onnxruntime {onnxruntime.__version__} cannot read '{file}': {_first_line(error)} "
            "(another opset needs a newer onnxruntime; a file that was cut short, a new copy)"
        ) from error
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    ports = {"inputs": [given.name for given in session.get_inputs()], "outputs": names}
    return run, session.get_modelmeta().custom_metadata_map.get(BLOCK), ports


def _open_openvino(file: Path, threads: int, precision: str) -> tuple[Run, Any, Ports]:
    openvino = _package("openvino", file)
    hints: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    try:
        model = openvino.Core().read_model(file)
        text = model.get_rt_info(BLOCK).value if model.has_rt_info(BLOCK) else None
        # By default a processor with bfloat16 would compute in it, and find other scores.
        own = "bf16" if '"precision": "bf16"' in str(text) else "f32"
        hints["INFERENCE_PRECISION_HINT"] = precision or own
        compiled = openvino.compile_model(model, "CPU", hints)
    except RuntimeError as error:
        raise ValueError(
            f"openvino {openvino.__version__} cannot read '{file}': {_first_line(error)} (a newer "
            "openvino, or a new copy of the two files, may help)"
        ) from error
    names = [output.get_any_name() for output in compiled.outputs]

    def run(inputs: Arrays) -> Arrays:
        found = compiled(dict(inputs))
        return {name: found[name].copy() for name in names}  # it writes there again

    ports = {"inputs": [i.get_any_name() for i in compiled.inputs if i.names], "outputs": names}
    return run, text, ports


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r".* failed: ?(/\S+.*\) )?", "", lines[-1])[:200]  # without places in its source


_OPENERS: dict[str, Callable[[Path, int, str], tuple[Run, Any, Ports]]] = {
    ".onnx": _open_onnx,
    ".xml": _open_openvino,
}
