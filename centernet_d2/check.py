"""``python -m centernet_d2.check``: what is installed, does it work, and how to cure what does not.

It has to run where torch is broken or detectron2 is missing, so this file imports nothing beyond
the standard library; everything else is imported inside a check, whose failure becomes a finding.
The checks take what they look at as arguments, so tests can hand them a broken machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from typing import Any

from .installation.wheel import SOURCE_RECORD
from .missing import CURE_DETECTRON2, CURE_PAIR, REQUIREMENTS, fill

Importer = Callable[[str], Any]

MINIMUM_PYTHON = (3, 11)
OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
CURE_ABOVE = "what is named above first"
# What has a check of its own; the other requirements only have to import.
NOT_PLAIN = ("torch", "torchvision", "cv2")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    ok: bool
    detail: str
    cure: str = ""


def attempt(name: str, look: Callable[[], str], cure: str | Callable[[Exception], str]) -> Finding:
    """What `look` says of something, or why it fails in one line and the cure of that."""
    try:
        return Finding(name, True, look())
    except Exception as error:
        last = (str(error).strip().splitlines() or [""])[-1]
        cure = cure if isinstance(cure, str) else cure(error)
        return Finding(name, False, f"{type(error).__name__}: {last}", cure)


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Python is new enough."""
    detail = f"{'.'.join(map(str, version))} at {sys.executable}"
    if tuple(version[:2]) >= MINIMUM_PYTHON:
        return Finding("python", True, detail)
    wanted = ".".join(map(str, MINIMUM_PYTHON))
    cure = f"use Python {wanted} or newer: python3.12 -m venv, or make PYTHON=python3.12"
    return Finding("python", False, detail, cure)


def check_opencv(
    importer: Importer = import_module,
    version_of: Callable[[str], str | None] = installed_version,
) -> Finding:
    """cv2 imports and comes from one wheel only."""
    wheels = [name for name in (REQUIREMENTS["cv2"], *OPENCV) if version_of(name)]
    if len(wheels) > 1:  # the headless one comes with this package, another by the user's choice
        cure = (
            f"they overwrite each other's files; keep one: {{pip}} uninstall --yes "
            f"{' '.join(wheels)} && {{pip}} install --no-deps {wheels[1]}=={version_of(wheels[1])}"
        )
        return Finding("opencv", False, f"several wheels at once: {', '.join(wheels)}", cure)
    cure = "{pip} install opencv-python-headless"
    if wheels:  # usually opencv-python on a machine without libGL
        cure = f"{{pip}} uninstall --yes {wheels[0]} && {cure}"
    origin = ", ".join(wheels) or "not by pip"
    return attempt("opencv", lambda: f"{importer('cv2').__version__} ({origin})", cure)


def look_at_torch(importer: Importer) -> str:
    """Torch imports."""
    torch = importer("torch")
    return f"{torch.__version__}, built for CUDA {torch.version.cuda}"


def look_at_library(module: str, distribution: str, importer: Importer) -> str:
    """An ordinary dependency imports."""
    importer(module)
    return installed_version(distribution) or "version unknown"


def describe_source(read_text: Callable[[str], str | None]) -> str:
    """Where an installed detectron2 came from, by the files beside its metadata."""
    if record := read_text(SOURCE_RECORD):
        source = json.loads(record)
        ops = "with its C++ part" if source.get("compiled_ops") else "pure Python"
        if source["source"] == "git":
            return f"source git, commit {source['commit'][:8]} of {source['repository']}, {ops}"
        return f"source pypi, archive {source['archive']}, {len(source['edits'])} edits, {ops}"
    if direct_url := read_text("direct_url.json"):
        return f"source {json.loads(direct_url).get('url', 'unknown')}"
    return "source unknown: not installed by this package"


def look_at_detectron2(importer: Importer) -> str:
    """Detectron2 imports, its model and its model zoo."""
    detectron2 = importer("detectron2")
    importer("detectron2.modeling")
    importer("detectron2.model_zoo")
    try:
        source = describe_source(metadata.distribution("detectron2").read_text)
    except metadata.PackageNotFoundError:
        source = "source unknown: no installed distribution"
    return f"{detectron2.__version__}, {source}"


def _detectron2_cure(error: Exception) -> str:
    missing = (getattr(error, "name", None) or "").partition(".")[0]
    if missing == "pkg_resources":
        return (
            f"setuptools 82 removed pkg_resources and this detectron2 wants it: {CURE_DETECTRON2} "
            "--source git (or pypi) installs one that does not; or {pip} install 'setuptools<82'"
        )
    if missing == "detectron2":
        return f"it is not on the package index: {CURE_DETECTRON2}"
    if missing in NOT_PLAIN or "torchvision::" in str(error):
        return f"{'opencv' if missing == 'cv2' else 'torch and torchvision'} first, see above"
    return f"{CURE_DETECTRON2} --source git (or pypi) installs a version that is known to work"


def look_at_package(importer: Importer) -> str:
    """centernet_d2 itself imported in full."""
    package = importer("centernet_d2")
    package.require()
    return f"{package.__version__} at {package.__path__[0]}"


def look_at_devices(importer: Importer) -> str:
    """CPU threads and CUDA devices; a CPU alone is no failure, since everything runs on it."""
    torch, threads = importer("torch"), importer("centernet_d2.threads").describe()
    names = map(torch.cuda.get_device_name, range(torch.cuda.device_count()))
    gpus = f"CUDA: {', '.join(names)}" if torch.cuda.is_available() else "no CUDA device"
    return f"CPU, {threads}; {gpus}"


def try_nms(importer: Importer) -> str:
    """Two boxes that overlap, one survives."""
    torch, ops = importer("torch"), importer("torchvision.ops")
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0]])
    kept = ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5)
    torch.testing.assert_close(kept, torch.tensor([0]))
    return "runs"


def try_deformable_convolution(importer: Importer) -> str:
    """torchvision's operator with zero offsets is a plain convolution."""
    torch, ops = importer("torch"), importer("torchvision.ops")
    image, weight = torch.rand(1, 3, 6, 7), torch.rand(4, 3, 3, 3)
    offset, mask = torch.zeros(1, 18, 6, 7), torch.ones(1, 9, 6, 7)
    result = ops.deform_conv2d(image, offset, weight, padding=1, mask=mask)
    expected = torch.nn.functional.conv2d(image, weight, padding=1)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    return "runs, equals a plain convolution at zero offsets"


def try_own_deformable_convolution(importer: Importer) -> str:
    """This package's operator gives torchvision's numbers."""
    torch, ops = importer("torch"), importer("torchvision.ops")
    own = importer("centernet_d2.layers.deform_conv")
    image, weight = torch.rand(1, 3, 6, 7), torch.rand(4, 3, 3, 3)
    offset, mask = torch.randn(1, 18, 6, 7), torch.rand(1, 9, 6, 7)
    result = own.modulated_deform_conv2d(image, offset, mask, weight)
    expected = ops.deform_conv2d(image, offset, weight, padding=1, mask=mask)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    how = importer("centernet_d2.layers.deform_gather").compiled_sampler()[1]
    return f"runs, equals torchvision's; sampled on a CPU by {fill(how)}"


def try_directional_pool(importer: Importer) -> str:
    """This package's pools give torch's numbers, on the GPU where there is one."""
    torch, own = importer("torch"), importer("centernet_d2.layers.directional_pool")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    maps = torch.rand(1, 2, 5, 6, device=device)
    torch.testing.assert_close(own.directional_pool(maps, "bottom"), maps.cummax(2).values)
    return f"runs on {device}, equals torch's"


def try_coco_evaluation(importer: Importer) -> str:
    """pycocotools with its compiled part."""
    importer("pycocotools.cocoeval").COCOeval(iouType="bbox")
    importer("pycocotools.mask")
    return "imports"


# Name -> what says how it is, and the cure where that fails; in the order of the cures.
CHECKS: dict[str, tuple[Callable[[Importer], str], str | Callable[[Exception], str]]] = {
    "torch": (look_at_torch, CURE_PAIR),
    "torchvision": (lambda importer: str(importer("torchvision").__version__), CURE_PAIR),
    **{
        name: (partial(look_at_library, module, name), f"{{pip}} install {name}")
        for module, name in REQUIREMENTS.items()
        if module not in NOT_PLAIN
    },
    "detectron2": (look_at_detectron2, _detectron2_cure),
    "centernet_d2": (look_at_package, CURE_ABOVE),
    "devices": (look_at_devices, "torch first, see above"),
    "torchvision nms": (try_nms, CURE_PAIR),
    "torchvision deform_conv2d": (try_deformable_convolution, CURE_PAIR),
    "centernet_d2 deform_conv": (try_own_deformable_convolution, CURE_ABOVE),
    "centernet_d2 pools": (try_directional_pool, CURE_ABOVE),
    "COCOeval": (try_coco_evaluation, CURE_ABOVE),
}


def check(name: str, importer: Importer = import_module) -> Finding:
    """Make one of `CHECKS`."""
    look, cure = CHECKS[name]
    return attempt(name, lambda: look(importer), cure)


def collect_findings() -> list[Finding]:
    """Every check, in the order in which a cure should be tried."""
    return [check_python(), check_opencv(), *map(check, CHECKS)]


def format_report(findings: Iterable[Finding]) -> str:
    """The lines that are printed."""
    lines = []
    for finding in findings:
        lines.append(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:26} {finding.detail}")
        if not finding.ok and finding.cure:
            lines.append(f"      cure: {fill(finding.cure)}")
    return "\n".join(lines)


def main(args: object = None) -> int:
    """Report, as the verb `check`, which takes nothing; exit status 0 where everything works."""
    findings = collect_findings()
    print(format_report(findings))
    broken = [finding.name for finding in findings if not finding.ok]
    print(f"\nnot fine: {', '.join(broken)}" if broken else "\nall fine")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
