"""Registered names whose module is imported when their records or classes are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata


class LazyMetadata(Metadata):
    """detectron2's metadata of one dataset, read by a function at the first use."""

    def __init__(self, name: str, read: Callable[[], dict[str, Any]]) -> None:
        super().__init__(name=name)
        self.__dict__["_read"] = read

    def __getattr__(self, key: str) -> Any:
        """Fill in what `read` returns; afterwards this is detectron2's own error."""
        read = self.__dict__.pop("_read", None)
        if read is None:
            return super().__getattr__(key)
        self.set(**read())
        return getattr(self, key)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it."""
        self.get("thing_classes")
        return super().as_dict()


def register_lazily(
    name: str, load: Callable[[], list[dict]], metadata: Callable[[], dict[str, Any]]
) -> None:
    """Register a dataset by functions that import what they need: its records, its metadata."""
    DatasetCatalog.register(name, load)
    MetadataCatalog[name] = LazyMetadata(name, metadata)
