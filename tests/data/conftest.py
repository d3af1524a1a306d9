from __future__ import annotations

from catalogs import unregistered  # noqa: F401
