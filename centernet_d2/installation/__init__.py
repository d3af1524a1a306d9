"""Brings detectron2, which is not on the package index: by the standard library, pip and git."""
