"""Measuring speed, memory and size; `tools/benchmark.py` is its command line.

A section is a function that measures one subject, registered under its name in
`BENCHMARK_REGISTRY`; a new subject is a new file here and its import below.
"""

from . import (  # noqa: F401 - importing a section registers it
    corner_decoding,
    corner_form,
    data_checks,
    deform_conv,
    detector,
    directional_pool,
    joints,
    kitti_scores,
    protocols,
    published_form,
    soft_nms,
)
from .sections import BENCHMARK_REGISTRY, BenchmarkOptions, run_sections

__all__ = ["BENCHMARK_REGISTRY", "BenchmarkOptions", "run_sections"]
