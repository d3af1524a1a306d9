"""The verb `evaluate`: a training's last part alone, as its parser sets `eval_only`."""

from .train import run

__all__ = ["run"]
