"""A run's folder belongs to one run."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)

# Names of what a run leaves, and of those alone by which a folder is known to hold one.
_OF_A_RUN = re.compile(
    r"config\.yaml|log\.txt.*|metrics\.json|events\.out\.tfevents.*|last_checkpoint|results\.json"
    r"|model_(\d{7}|final|last|best)\.pth|model_best\.json|inference|detections\.jpg|curves\.png"
)
_MARKS = re.compile(r"(metrics|results)\.json|last_checkpoint|model_(\d{7}|final|last|best)\.pth")
NO_WEIGHTS_TO_RESUME = "model_best.pth"  # it has weights alone


def traces_of_run(folder: str) -> list[str]:
    """Return the names of the files in a folder by which it holds a training, sorted."""
    if not PathManager.isdir(folder):
        return []
    names = sorted(name for name in PathManager.ls(folder) if _MARKS.fullmatch(name))
    # A training that stopped before its first step leaves an empty list of metrics.
    return [n for n in names if n != "metrics.json" or _size(os.path.join(folder, n))]


def _size(file: str) -> int:
    with PathManager.open(file, "rb") as stream:
        return len(stream.read(1))


def refuse_used_folder(folder: str) -> None:
    """Raise FileExistsError where a training would mix with that of an earlier run."""
    if traces := traces_of_run(folder):
        shown = ", ".join(traces[:3]) + (", ..." if len(traces) > 3 else "")
        raise FileExistsError(
            f"OUTPUT_DIR '{folder}' holds a run already ({shown}); a second one would overwrite "
            "and mix its files. Go on with that run by --resume (resume_or_load(resume=True)), or "
            "set another OUTPUT_DIR, or move the old run into a folder 'old_1' there by "
            "--overwrite (centernet_d2.engine.run_folder.move_aside)."
        )


def move_aside(folder: str, *, needed: tuple[str, ...] = ()) -> str:
    """Move the files of the run in a folder into a new folder there: `old_1`, `old_2`, ...

    What is not a run's own stays; nothing is deleted. The moved run can be resumed where it is.

    Args:
        folder: a local one, OUTPUT_DIR.
        needed: files that the new run reads, which have to stay where they are.

    Returns:
        The new folder; "" where there is no run.

    Raises:
        FileExistsError: a needed file is one of those to be moved, or the folder is remote.
    """
    if not traces_of_run(folder):
        return ""
    if "://" in folder:
        raise FileExistsError(
            f"OUTPUT_DIR '{folder}' is remote, where nothing can be moved: set another."
        )
    own = [path for path in sorted(Path(folder).iterdir()) if _OF_A_RUN.fullmatch(path.name)]
    for file in filter(os.path.exists, needed):
        if Path(file).resolve() in [path.resolve() for path in own]:
            raise FileExistsError(
                f"'{file}' is part of the run in OUTPUT_DIR '{folder}', which would be moved "
                "aside. Set another OUTPUT_DIR."
            )
    numbers = (int(p.name[4:]) for p in Path(folder).glob("old_*") if p.name[4:].isdecimal())
    aside = Path(folder, f"old_{max(numbers, default=0) + 1}")
    aside.mkdir()
    for path in own:
        path.rename(aside / path.name)
    return str(aside)


def file_to_resume(folder: str, named: str) -> str:
    """Return the checkpoint to resume from, "" where there is none; `named` by `last_checkpoint`.

    Raises:
        FileNotFoundError: `last_checkpoint` names a file that is not there, or is missing beside
            checkpoints; the message lists those.
    """
    if named and PathManager.isfile(named):
        return named
    there = [name for name in traces_of_run(folder) if name.endswith(".pth")]
    there = [name for name in there if name != NO_WEIGHTS_TO_RESUME]
    if not named and not there:
        return ""
    says = f"names '{os.path.basename(named)}', which is not there" if named else "is missing"
    choice = (
        f"There are: {', '.join(there)}. Write one of these names into it"
        if there
        else "No checkpoint that could be resumed is there"
    )
    raise FileNotFoundError(
        f"'{os.path.join(folder, 'last_checkpoint')}' {says}. {choice}, or start a new run in "
        "another OUTPUT_DIR or with --overwrite."
    )


def tell_nothing_to_resume(folder: str) -> None:
    """Warn that a run starts anew although it was to be resumed, and where runs are."""
    above = os.path.dirname(os.path.abspath(folder))
    beside = [] if "://" in folder else [p for p in sorted(Path(above).iterdir()) if p.is_dir()]
    runs = [str(path) for path in beside[:200] if (path / "last_checkpoint").is_file()][:4]
    logger.warning(
        "Nothing to resume in OUTPUT_DIR '%s' (it has no checkpoint): a new run starts.%s",
        folder,
        f" Checkpoints are in {', '.join(runs)}." if runs else "",
    )
