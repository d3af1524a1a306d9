"""What BENCHMARKS.md says of layers and algorithms; `tools/benchmark.py` is its command line.

A section is a function that measures one subject, registered under its name in
`BENCHMARK_REGISTRY`; a new subject is a new file here and its import below. What measures, and the
sections of whole detectors, are in `centernet_d2.benchmark`.
"""

from centernet_d2.benchmark import BENCHMARK_REGISTRY, BenchmarkOptions, run_sections

from . import (  # noqa: F401 - importing a section registers it
    corner_decoding,
    corner_form,
    cpu_threads,
    data_checks,
    deform_conv,
    directional_pool,
    joints,
    kitti_scores,
    layers,
    protocols,
    published_form,
    soft_nms,
    training_input,
    training_step,
)

__all__ = ["BENCHMARK_REGISTRY", "BenchmarkOptions", "run_sections"]
