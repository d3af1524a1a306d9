"""All that is to be measured and tested where there is a GPU, by one command.

    python -m benchmarks.on_gpu --output output/cuda

runs the tests that need a GPU and then the sections of `cuda`, network by network, each in a
process of its own, until `--minutes` are over; what was measured until then is in the folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from centernet_d2.cli.parsers.benchmark import DEFAULT_CONFIGS

PARTS = ("cuda_layers", "cuda_networks", "cuda_training", "cuda_compiled")
TESTS = ("layers/test_deform_conv.py", "layers/test_directional_pool.py")
TESTS += ("inference/test_cuda_graph.py",)


def main() -> None:
    """Tests, then section by section and network by network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["tests", *PARTS])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--rounds", default="15")
    parser.add_argument("--batches", nargs="+", default=["1", "8", "32"])
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    root, end = Path(__file__).resolve().parents[1], monotonic() + 60 * args.minutes
    args.output.mkdir(parents=True, exist_ok=True)
    own = ["--rounds", args.rounds, "--batches", *args.batches, "--device", args.device]
    for part, name, more in _commands(args.parts, own, args.output, root):
        left = end - monotonic()
        if left < 10:
            print(f"not begun, as --minutes are over: {name}", flush=True)
            continue
        with open(args.output / f"{name}.log", "w+", encoding="utf-8") as log:
            try:
                done = subprocess.run(more, stdout=log, stderr=log, cwd=root, timeout=left)
                told = f"exit status {done.returncode}"
            except subprocess.TimeoutExpired:
                told = "stopped, as --minutes are over"
            log.seek(0)
            shown = [line for line in log if part == "tests" or line.startswith("|")]
        print(f"\n{name}: {told}\n{''.join(shown[-60:])}", flush=True)


def _commands(
    parts: list[str], own: list[str], folder: Path, root: Path
) -> Iterator[tuple[str, str, list[str]]]:
    """Part, name of what is measured, and the command that does."""
    for part in parts:
        if part == "tests":
            command = [sys.executable, "-m", "pytest", "-q", "-rf"]
            command += ["-k", "(gpu or cuda) and not without"]
            yield part, part, command + [str(root / "tests" / file) for file in TESTS]
            continue
        for config in DEFAULT_CONFIGS[1:] if part != "cuda_layers" else DEFAULT_CONFIGS[1:2]:
            name = f"{part}-{Path(config).stem}"
            command = [sys.executable, str(root / "tools" / "benchmark.py"), "--sections", part]
            command += ["--config-file", config, "--json", str(folder.resolve() / f"{name}.json")]
            yield part, name, command + own


if __name__ == "__main__":
    main()
