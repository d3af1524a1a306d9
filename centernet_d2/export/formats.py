"""The formats: how a program is written into a file of each, and how such a file is run."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from ..missing import is_missing
from ..runtime import engines
from ..runtime.engines import BLOCK, open_file

OPSET = 20  # of ONNX; 19 has the deformable convolution

Arrays = engines.Arrays
Runner = engines.Run  # inputs by name -> outputs by name


@dataclass(frozen=True)
class Format:
    """One form of file."""

    ending: str
    write: Callable[[ExportedProgram, Path, dict[str, Any]], None]  # the dict: its metadata
    open: Callable[[Path], tuple[Runner, dict[str, Any]]]  # what runs it, and its metadata
    packages: tuple[str, ...] = ()  # that both need
    loops: bool = True  # whether the format has them
    channels_last: bool = False  # whether its programs keep the memory format of the weights


def formats() -> dict[str, Format]:
    """Name, as `--format` takes it -> format."""
    return {
        "onnx": Format(
            ".onnx", _write_onnx, _open_by_runtime, ("onnx", "onnxscript", "onnxruntime")
        ),
        "openvino": Format(".xml", _write_openvino, _open_by_runtime, ("openvino",), loops=False),
        "torch": Format(".pt2", _write_torch, _open_torch, channels_last=True),
        "aotinductor": Format(".pt2", _write_inductor, _open_inductor),
    }


def chosen_format(name: str, output: Path) -> Format:
    """The format of that name for a file, or an error that says what is wrong with either."""
    table = formats()
    if name == "tensorrt":
        raise ValueError(
            "--format tensorrt: an engine is made where its GPU is, of an ONNX file of one size "
            "(--size --batch), by trtexec --onnx=model.onnx --saveEngine=model.engine"
        )
    if name not in table:
        raise ValueError(f"--format '{name}' is not known: give one of {', '.join(table)}")
    found = table[name]
    if output.suffix != found.ending:
        raise ValueError(
            f"--output '{output}' must end in {found.ending} for --format {name}: "
            f"{output.with_suffix(found.ending)}"
        )
    missing = [package for package in found.packages if is_missing(package)]
    if missing:
        raise ImportError(
            f"{name} needs {' and '.join(missing)}: pip install 'centernet-d2[export]'"
        )
    if name == "aotinductor" and not (shutil.which("g++") or shutil.which("clang++")):
        raise ValueError(
            "aotinductor compiles C++, and there is no g++ or clang++ on the PATH: install one, "
            "or take another format or runtime"
        )
    return found


def exported(
    graph: nn.Module, arguments: tuple[Tensor, ...], axes: tuple[dict[int, Any], ...]
) -> ExportedProgram:
    """Record a module without gradients at some arguments.

    `axes` are, of each argument, those of any length: axis -> torch's `Dim`.
    """
    with torch.no_grad():
        # Open questions about sizes, such as of memory formats, are no limits on them.
        return torch.export.export(
            *(graph, arguments),
            dynamic_shapes=axes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def _names(metadata: dict[str, Any], what: str) -> list[str]:
    return list(metadata[what])


def _read(text: Any, path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except (TypeError, ValueError):
        raise ValueError(
            f"'{path}' has no '{BLOCK}' in its metadata: it is no file of centernet-d2 export"
        ) from None
    return dict(metadata)


def _open_by_runtime(path: Path) -> tuple[Runner, dict[str, Any]]:
    return open_file(path, torch.get_num_threads())


# ---------------------------------------------------------------------------------------- ONNX
def _write_onnx(program: ExportedProgram, path: Path, metadata: dict[str, Any]) -> None:
    written = torch.onnx.export(
        program,
        input_names=_names(metadata, "inputs"),
        output_names=_names(metadata, "outputs"),
        dynamo=True,
        opset_version=OPSET,
        verbose=False,
    )
    assert written is not None
    written.model.metadata_props[BLOCK] = json.dumps(metadata)
    written.save(path)


# ------------------------------------------------------------------------------------ OpenVINO
def _write_openvino(program: ExportedProgram, path: Path, metadata: dict[str, Any]) -> None:
    import openvino

    model = openvino.convert_model(program)
    for what, ports in (("inputs", model.inputs), ("outputs", model.outputs)):
        for name, port in zip(_names(metadata, what), ports, strict=True):
            port.get_tensor().set_names({name})
    model.set_rt_info(json.dumps(metadata), BLOCK)
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        told = f"openvino cannot write the file: {error}"
        raise OSError(f"{told}; free some space, or give another place") from error


# --------------------------------------------------------------------------------------- torch
def _write_torch(program: ExportedProgram, path: Path, metadata: dict[str, Any]) -> None:
    content = io.BytesIO()  # to a disk that is full torch would write until the process ends
    torch.export.save(program, content, extra_files={BLOCK: json.dumps(metadata)})
    path.write_bytes(content.getvalue())


def _open_torch(path: Path) -> tuple[Runner, dict[str, Any]]:
    extra = {BLOCK: ""}
    program = torch.export.load(path, extra_files=extra)
    metadata = _read(extra[BLOCK], path)
    return of_tensors(program.module(), metadata), metadata


def _write_inductor(program: ExportedProgram, path: Path, metadata: dict[str, Any]) -> None:
    from torch._inductor import aoti_compile_and_package

    settings = {"aot_inductor.metadata": {BLOCK: json.dumps(metadata)}}
    aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)


def _open_inductor(path: Path) -> tuple[Runner, dict[str, Any]]:
    from torch._inductor import aoti_load_package

    compiled = aoti_load_package(str(path))
    metadata = _read(compiled.get_metadata().get(BLOCK), path)
    return of_tensors(compiled, metadata), metadata


def of_tensors(function: Callable[..., Any], metadata: dict[str, Any]) -> Runner:
    """What runs a function of tensors, whose `inputs` and `outputs` the metadata name."""
    names, outputs = _names(metadata, "inputs"), _names(metadata, "outputs")

    def run(inputs: Arrays) -> Arrays:
        with torch.no_grad():
            found = function(*(torch.from_numpy(inputs[name]) for name in names))
        return {name: value.numpy() for name, value in zip(outputs, found, strict=True)}

    return run
