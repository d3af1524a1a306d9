"""Generated data sets: shapes, stick figures and street scenes, made on first use.

Importing this registers their names and draws nothing: a world's modules are imported when one of
its splits is loaded.
"""

from . import registration  # noqa: F401  (registers the splits)
