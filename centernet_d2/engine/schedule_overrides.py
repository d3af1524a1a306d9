"""What was given by hand beats what is computed: iterations beat epochs.

A run's length, steps and periods have two keys each: iterations, given by hand, and epochs, from
which iterations are computed. The epochs win where both are set, so a key in iterations that is set
over a config in epochs empties its partner.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

PARTNERS = {
    "SOLVER.MAX_ITER": "SOLVER.EPOCHS",
    "SOLVER.STEPS": "SOLVER.EPOCH_STEPS",
    "TEST.EVAL_PERIOD": "TEST.EVAL_EPOCHS",
    "SOLVER.CHECKPOINT_PERIOD": "SOLVER.CHECKPOINT_EPOCHS",
}


def overridden_epoch_keys(levels: Iterable[Collection[str]]) -> list[str]:
    """Return the keys in epochs that the keys in iterations replace.

    Args:
        levels: the keys that each level sets itself, base first: files, then the command line.
    """
    replaced: dict[str, bool] = {}
    for level in levels:
        for by_hand, in_epochs in PARTNERS.items():
            if in_epochs in level:
                replaced[in_epochs] = False
            elif by_hand in level:
                replaced[in_epochs] = True
    return [key for key, is_replaced in replaced.items() if is_replaced]
