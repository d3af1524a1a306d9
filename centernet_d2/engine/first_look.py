"""What is looked at before the first step, beside what loading tells."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..data.image_files import check_image_files, find_faults, united
from ..data.loader import DatasetDict
from .processes import told_by


def usable_records(
    cfg: CfgNode, records: Sequence[DatasetDict], source: str, *, skip: bool | None = None
) -> list[DatasetDict]:
    """Return the records whose image files can be used, as DATASETS.CHECK_IMAGES says.

    One process of each machine looks; see `check_image_files` for the rest.
    """
    level = cfg.DATASETS.CHECK_IMAGES
    faults = united(told_by(comm.get_local_rank() == 0, lambda: find_faults(records, level)))
    return check_image_files(records, faults, source=source, skip=skip)


def check_best_metric(cfg: CfgNode) -> None:
    """Raise ValueError where no evaluation will ever give SOLVER.BEST_METRIC, or in time."""
    metric, datasets = cfg.SOLVER.BEST_METRIC, cfg.DATASETS.TEST
    if metric and not datasets:
        raise ValueError(
            f"SOLVER.BEST_METRIC is '{metric}', but DATASETS.TEST is empty: nothing is evaluated. "
            "Name a dataset there, or set SOLVER.BEST_METRIC ''."
        )
    if patience := cfg.SOLVER.EARLY_STOPPING:
        lacks = {
            "SOLVER.BEST_METRIC is '': name the result to watch, such as 'bbox/AP'": metric,
            "TEST.EVAL_PERIOD is 0: set it": cfg.TEST.EVAL_PERIOD or cfg.TEST.EVAL_EPOCHS,
        }
        for what in (what for what, given in lacks.items() if not given):
            raise ValueError(
                f"SOLVER.EARLY_STOPPING is {patience}, but {what}, or EARLY_STOPPING 0."
            )
    if "keypoints" not in metric.split("/"):
        return
    from ..data.datasets.skeletons import skeleton_of  # only what is asked for is imported
    from ..structures.skeleton import HOW_TO_NAME_JOINTS

    if not any(map(skeleton_of, datasets)):
        raise ValueError(
            f"SOLVER.BEST_METRIC is '{metric}', but {', '.join(datasets)} of DATASETS.TEST names "
            f"no joints, so that boxes alone are scored. {HOW_TO_NAME_JOINTS}; or set "
            "SOLVER.BEST_METRIC 'bbox/AP'."
        )
