"""Rename table for ExtremeNet's hourglass, from which the points hourglass was trained.

Only the trunk is taken, as a start; ExtremeNet itself is not part of this package.
"""

from __future__ import annotations

from .points_repository import BATCH_COUNTERS, HOURGLASS
from .rename import Drop, Keep, RenameTable

TRUNK = RenameTable(
    name="extremenet hourglass trunk",
    rules=(
        *HOURGLASS,
        # ExtremeNet's own names, and those after the points repository's conversion.
        Drop(
            r"(?:[tlbr]_heats|hm_[tlbr])\.\d+\..+",
            "heatmaps of extreme points, which the points detector does not predict",
        ),
        Drop(
            r"(?:[tlbr]_regrs|reg_[tlbr])\.\d+\..+",
            "offsets of extreme points, which the points detector does not predict",
        ),
        Drop(
            r"(?:ct_heats|hm_c)\.\d+\..+",
            "heatmap of geometric centers; the published training started its heatmap anew",
        ),
    ),
    kept=(BATCH_COUNTERS, Keep(r"head\..+", "ExtremeNet has no heads of boxes")),
)
