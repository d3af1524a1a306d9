"""The verb `check`."""

from ..check import main as run

__all__ = ["run"]
