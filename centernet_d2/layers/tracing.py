"""What is being made of the layers while they run."""

import torch


def makes_a_graph() -> bool:
    """Whether a graph for other programs is being made, which knows no operators of ours.

    The flag itself is asked: in torch 2.11 `torch.compiler.is_exporting()` is true inside
    `torch.compile` too, where halved ties would be trained with.
    """
    exporting = getattr(torch.compiler, "_is_exporting_flag", False)
    return exporting or torch.onnx.is_in_onnx_export() or torch.jit.is_tracing()
