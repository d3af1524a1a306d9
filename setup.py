"""Packaging of centernet_d2. Pure Python: nothing is compiled, and torch is not imported here.

detectron2 is needed and yet no requirement below: it is not on the package index, and a requirement
that pip cannot find would make every install fail. ``tools/install_detectron2.py`` installs it (and
``make install`` calls that); ``python -m centernet_d2.check`` says so where it is missing.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """The one place of the version is the package; importing it here would need torch."""
    text = (ROOT / "centernet_d2" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__(?:: str)? = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise RuntimeError("centernet_d2/__init__.py states no __version__")
    return match.group(1)


class BuildWithConfigs(build_py):
    """Puts ``configs/`` into the wheel as ``centernet_d2/model_zoo/configs``.

    An editable install is left alone: the package finds the folder beside itself there.
    """

    def run(self) -> None:
        """Build as usual, then copy the configs."""
        super().run()
        if self.editable_mode:
            return
        destination = Path(self.build_lib) / "centernet_d2" / "model_zoo" / "configs"
        for source in sorted((ROOT / "configs").rglob("*")):
            if source.suffix in (".yaml", ".py"):
                target = destination / source.relative_to(ROOT / "configs")
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(source), str(target))


setup(
    name="centernet_d2",
    version=read_version(),
    description="CornerNet, CenterNet (keypoint triplets) and CenterNet (objects as points) "
    "for detectron2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8")
    if (ROOT / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=("centernet_d2", "centernet_d2.*")),
    package_data={"centernet_d2": ["py.typed"]},
    entry_points={"console_scripts": ["centernet-d2 = centernet_d2.cli:main"]},
    cmdclass={"build_py": BuildWithConfigs},
    install_requires=[
        # The tested pair is pinned in requirements/torch.txt; these are only lower bounds.
        "torch>=2.7",
        "torchvision>=0.22",
        "numpy>=1.26",
        "Pillow>=10.0",
        "pycocotools>=2.0.7",
        "fvcore>=0.1.5,<0.1.6",
        "iopath>=0.1.7,<0.1.10",
        "matplotlib>=3.7",
        "tqdm>=4.60",
        "PyYAML>=6.0",
        "yacs>=0.1.8",
        "omegaconf>=2.1,<2.4",
        "tabulate",
        "termcolor>=1.1",
        "tensorboard",
        "shtab>=1.7",
    ],
    extras_require={
        # Not a requirement: opencv-python and opencv-contrib-python serve as well, and pip would
        # put the headless one beside them. `make install` adds it only where cv2 does not import.
        "opencv": ["opencv-python-headless"],
        "fast-eval": ["faster-coco-eval>=1.6"],
        "safetensors": ["safetensors>=0.4"],  # weights in that form
        "timm": ["timm>=1.0"],  # its backbones, and the ImageNet weights of DLA-34
        "dev": [
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "mypy",
            "shapely>=2.0",  # an independent area of shared polygons
            # Optional back ends, so that they are tested.
            "faster-coco-eval>=1.6",
            "safetensors>=0.4",
            "timm>=1.0",
        ],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
