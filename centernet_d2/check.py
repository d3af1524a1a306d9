"""``python -m centernet_d2.check``: what is installed, does it work, and how to cure what does not.

It has to run where torch is broken or detectron2 is missing, so this file imports the standard
library only; everything else is imported inside a check that turns the failure into a finding.
The checks take what they look at as arguments, so tests can hand them a broken machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

Importer = Callable[[str], ModuleType]

MINIMUM_PYTHON = (3, 11)
TESTED_PAIR = "torch==2.15.0 torchvision==0.29.2"  # as in requirements/torch.txt
CURE_PAIR = (
    f"install the two together, at once: {{pip}} install --force-reinstall {TESTED_PAIR} "
    "(a CPU-only or older torch does not load the index's torchvision)"
)
CURE_DETECTRON2 = "{python} tools/install_detectron2.py"
SOURCE_RECORD = "centernet_d2_source.json"  # written into the wheel by tools/install_detectron2.py

OPENCV_WHEELS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
# Module to import -> distribution that holds it.
LIBRARIES = {
    "numpy": "numpy",
    "PIL": "pillow",
    "pycocotools": "pycocotools",
    "fvcore": "fvcore",
    "iopath": "iopath",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    ok: bool
    detail: str
    cure: str = ""


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def last_line(error: BaseException) -> str:
    """The error in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1]}"


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Python is new enough."""
    detail = ".".join(str(part) for part in version)
    ok = tuple(version[:2]) >= MINIMUM_PYTHON
    wanted = ".".join(str(part) for part in MINIMUM_PYTHON)
    cure = "" if ok else f"use Python {wanted} or newer: make PYTHON=python3.12 install"
    return Finding("python", ok, f"{detail} at {sys.executable}", cure)


def check_library(module: str, distribution: str, importer: Importer = import_module) -> Finding:
    """An ordinary dependency imports."""
    try:
        importer(module)
    except Exception as error:
        return Finding(distribution, False, last_line(error), f"{{pip}} install {distribution}")
    return Finding(distribution, True, installed_version(distribution) or "version unknown")


def check_torch(importer: Importer = import_module) -> Finding:
    """Torch imports."""
    try:
        torch: Any = importer("torch")
    except Exception as error:
        return Finding("torch", False, last_line(error), CURE_PAIR)
    return Finding("torch", True, f"{torch.__version__}, built for CUDA {torch.version.cuda}")


def check_torchvision(importer: Importer = import_module) -> Finding:
    """Torchvision imports, which it only does beside its own torch."""
    try:
        torchvision: Any = importer("torchvision")
    except Exception as error:
        return Finding("torchvision", False, last_line(error), CURE_PAIR)
    return Finding("torchvision", True, str(torchvision.__version__))


def check_opencv(
    importer: Importer = import_module,
    version_of: Callable[[str], str | None] = installed_version,
) -> Finding:
    """cv2 imports and comes from one wheel only."""
    wheels = [name for name in OPENCV_WHEELS if version_of(name)]
    if len(wheels) > 1:
        cure = (
            f"they overwrite each other's files; keep one: {{pip}} uninstall --yes "
            f"{' '.join(wheels)} && {{pip}} install {wheels[0]}"
        )
        return Finding("opencv", False, f"several wheels at once: {', '.join(wheels)}", cure)
    try:
        cv2: Any = importer("cv2")
    except Exception as error:
        cure = "{pip} install opencv-python-headless"
        if wheels:  # usually opencv-python on a machine without libGL
            cure = f"{{pip}} uninstall --yes {wheels[0]} && {cure}"
        return Finding("opencv", False, last_line(error), cure)
    return Finding("opencv", True, f"{cv2.__version__} ({', '.join(wheels) or 'not by pip'})")


def describe_source(read_text: Callable[[str], str | None]) -> str:
    """Where an installed detectron2 came from, by the files beside its metadata."""
    record = read_text(SOURCE_RECORD)
    if record:
        source = json.loads(record)
        ops = "with its C++ part" if source.get("compiled_ops") else "pure Python"
        if source["source"] == "git":
            return f"source git, commit {source['commit'][:8]} of {source['repository']}, {ops}"
        return f"source pypi, archive {source['archive']}, {len(source['edits'])} edits, {ops}"
    direct_url = read_text("direct_url.json")
    if direct_url:
        return f"source {json.loads(direct_url).get('url', 'unknown')}"
    return "source unknown: not installed by tools/install_detectron2.py"


def detectron2_source() -> str:
    """Where the detectron2 of this environment came from."""
    try:
        return describe_source(metadata.distribution("detectron2").read_text)
    except metadata.PackageNotFoundError:
        return "source unknown: no installed distribution"


def check_detectron2(
    importer: Importer = import_module, source: Callable[[], str] = detectron2_source
) -> Finding:
    """Detectron2 imports, its model and its model zoo."""
    try:
        detectron2: Any = importer("detectron2")
        importer("detectron2.modeling")
        importer("detectron2.model_zoo")
    except Exception as error:
        return Finding("detectron2", False, last_line(error), _detectron2_cure(error))
    return Finding("detectron2", True, f"{detectron2.__version__}, {source()}")


def _detectron2_cure(error: Exception) -> str:
    missing = getattr(error, "name", None) or ""
    if missing == "pkg_resources":
        return (
            f"setuptools 82 removed pkg_resources and this detectron2 wants it: {CURE_DETECTRON2} "
            "--source git (or pypi) installs one that does not; or {pip} install 'setuptools<82'"
        )
    if missing.split(".")[0] == "detectron2":
        return f"it is not on the package index: {CURE_DETECTRON2} (make install calls it)"
    if "torchvision::" in str(error) or missing in ("torch", "torchvision"):
        return "torch and torchvision first, see above"
    if missing == "cv2":
        return "opencv first, see above"
    return f"{CURE_DETECTRON2} --source git (or pypi) installs a version that is known to work"


def check_package(importer: Importer = import_module) -> Finding:
    """centernet_d2 itself imported in full."""
    package: Any = importer("centernet_d2")
    error = getattr(package, "_import_error", None)
    if error is None:
        return Finding("centernet_d2", True, f"{package.__version__} at {package.__path__[0]}")
    return Finding("centernet_d2", False, last_line(error), "what is named above first")


def describe_devices(importer: Importer = import_module) -> Finding:
    """CPU threads and CUDA devices; never a failure, since everything runs on a CPU."""
    try:
        torch: Any = importer("torch")
        threads = f"CPU, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
        if not torch.cuda.is_available():
            return Finding("devices", True, f"{threads}; no CUDA device")
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except Exception as error:
        return Finding("devices", False, last_line(error), "torch first, see above")
    return Finding("devices", True, f"{threads}; CUDA: {', '.join(names)}")


def try_nms(importer: Importer = import_module) -> str:
    """Two boxes that overlap, one survives."""
    torch, ops = importer("torch"), importer("torchvision.ops")
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0]])
    kept = ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5)
    if kept.tolist() != [0]:
        raise AssertionError(f"kept {kept.tolist()}, expected [0]")
    return "runs"


def try_deformable_convolution(importer: Importer = import_module) -> str:
    """torchvision's operator with zero offsets is a plain convolution."""
    torch, ops = importer("torch"), importer("torchvision.ops")
    image, weight = torch.rand(1, 3, 6, 7), torch.rand(4, 3, 3, 3)
    offset, mask = torch.zeros(1, 18, 6, 7), torch.ones(1, 9, 6, 7)
    result = ops.deform_conv2d(image, offset, weight, padding=1, mask=mask)
    expected = torch.nn.functional.conv2d(image, weight, padding=1)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    return "runs, equals a plain convolution at zero offsets"


def try_own_deformable_convolution(importer: Importer = import_module) -> str:
    """This package's operator gives torchvision's numbers."""
    torch, ops = importer("torch"), importer("torchvision.ops")
    own = importer("centernet_d2.layers.deform_conv")
    image, weight = torch.rand(1, 3, 6, 7), torch.rand(4, 3, 3, 3)
    offset, mask = torch.randn(1, 18, 6, 7), torch.rand(1, 9, 6, 7)
    result = own.modulated_deform_conv2d(image, offset, mask, weight)
    expected = ops.deform_conv2d(image, offset, weight, padding=1, mask=mask)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    return "runs, equals torchvision's"


def try_directional_pool(importer: Importer = import_module) -> str:
    """This package's pools give torch's numbers, on the GPU where there is one."""
    torch = importer("torch")
    own = importer("centernet_d2.layers.directional_pool")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    maps = torch.rand(1, 2, 5, 6, device=device)
    torch.testing.assert_close(own.directional_pool(maps, "bottom"), maps.cummax(2).values)
    return f"runs on {device}, equals torch's"


def try_coco_evaluation(importer: Importer = import_module) -> str:
    """pycocotools with its compiled part."""
    importer("pycocotools.cocoeval").COCOeval(iouType="bbox")
    importer("pycocotools.mask")
    return "imports"


OPERATORS: dict[str, Callable[[], str]] = {
    "torchvision nms": try_nms,
    "torchvision deform_conv2d": try_deformable_convolution,
    "centernet_d2 deform_conv": try_own_deformable_convolution,
    "centernet_d2 pools": try_directional_pool,
    "COCOeval": try_coco_evaluation,
}


def check_operator(name: str, attempt: Callable[[], str]) -> Finding:
    """An operator runs."""
    try:
        return Finding(name, True, attempt())
    except Exception as error:
        cure = CURE_PAIR if name.startswith("torchvision") else "what is named above first"
        return Finding(name, False, last_line(error), cure)


def collect_findings() -> list[Finding]:
    """Every check, in the order in which a cure should be tried."""
    findings = [check_python(), check_torch(), check_torchvision()]
    findings += [check_library(module, name) for module, name in LIBRARIES.items()]
    findings += [check_opencv(), check_detectron2(), check_package(), describe_devices()]
    return findings + [check_operator(name, attempt) for name, attempt in OPERATORS.items()]


def format_report(findings: Iterable[Finding]) -> str:
    """The lines that are printed."""
    lines = []
    for finding in findings:
        lines.append(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:26} {finding.detail}")
        if not finding.ok and finding.cure:
            command = finding.cure.format(python=sys.executable, pip=f"{sys.executable} -m pip")
            lines.append(f"      cure: {command}")
    return "\n".join(lines)


def main() -> int:
    """Exit status: 0 where everything works."""
    findings = collect_findings()
    print(format_report(findings))
    broken = [finding.name for finding in findings if not finding.ok]
    print(f"\nnot fine: {', '.join(broken)}" if broken else "\nall fine")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
