"""What pyproject.toml cannot say: the configs in the wheel, and links that hold on an index."""

import re
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


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


def readme() -> str:
    """README.md with links to the repository in place of those to files beside it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    home = project["urls"]["Homepage"]

    def absolute(match: re.Match[str]) -> str:
        image, words, target = match.groups()
        return f"{image}[{words}]({home}/{'raw' if image else 'blob'}/HEAD/{target})"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)", absolute, text)


setup(
    cmdclass={"build_py": BuildWithConfigs},
    long_description=readme(),
    long_description_content_type="text/markdown",
)
