"""Measuring speed, memory and size; `centernet-d2 benchmark` is its command line.

A section is a function that measures one subject, registered under its name in
`BENCHMARK_REGISTRY`.
"""

from . import detector, runtimes  # noqa: F401 - importing a section registers it
from .sections import BENCHMARK_REGISTRY, BenchmarkOptions, run_sections

__all__ = ["BENCHMARK_REGISTRY", "BenchmarkOptions", "run_sections"]
