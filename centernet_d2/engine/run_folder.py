"""A run's folder belongs to one run."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from detectron2.utils.file_io import PathManager

from ..atomic_write import atomic_write

# Names by which a folder is known to hold a run, and of all that one leaves.
_MARKS = r"(metrics|results)\.json|last_checkpoint|model_(\d{7}|final|last|best)\.pth"
_OF_A_RUN = _MARKS + (
    r"|config\.yaml|log\.txt.*|events\.out\.tfevents.*|model_best\.json|inference"
    r"|detections\.jpg|curves\.png|results\.csv|wandb|report|report\.html|report\.json"
)


def traces_of_run(folder: str) -> list[str]:
    """Return the names of the files in a folder by which it holds a training, sorted."""
    names = PathManager.ls(folder) if PathManager.isdir(folder) else []
    traces = sorted(name for name in names if re.fullmatch(_MARKS, name))
    if "metrics.json" in traces:  # it is empty where a training stopped before its first step
        with PathManager.open(os.path.join(folder, "metrics.json")) as stream:
            return traces if stream.read(1) else [n for n in traces if n != "metrics.json"]
    return traces


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

    Returns:
        The new folder; "" where there is no run.

    Raises:
        FileExistsError: a file that the new run needs would be moved, or the folder is remote.
    """
    if not traces_of_run(folder):
        return ""
    if "://" in folder:
        raise FileExistsError(
            f"OUTPUT_DIR '{folder}' is remote, where nothing can be moved: set another."
        )
    own = [path for path in sorted(Path(folder).iterdir()) if re.fullmatch(_OF_A_RUN, path.name)]
    for file in filter(os.path.exists, needed):
        if Path(file).resolve() in [path.resolve() for path in own]:
            raise FileExistsError(
                f"'{file}' is part of the run in OUTPUT_DIR '{folder}', which would be moved "
                "aside. Set another OUTPUT_DIR."
            )
    names = (Path(folder, f"old_{number}") for number in itertools.count(1))
    aside = next(path for path in names if not path.exists())
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
    # That of the best score has weights alone.
    there = [name for name in traces_of_run(folder) if re.fullmatch(r"model_(?!best).*", name)]
    if not named and not there:
        return ""
    says = f"names '{os.path.basename(named)}', which is not there" if named else "is missing"
    choice = "No other is there: "
    if there:
        choice = f"There are: {', '.join(there)}. Write one of these names into it, or "
    raise FileNotFoundError(
        f"'{os.path.join(folder, 'last_checkpoint')}' {says}. {choice}start a new run in "
        "another OUTPUT_DIR or with --overwrite."
    )


@contextlib.contextmanager
def kept(*files: str) -> Iterator[None]:
    """Give files back what they held where the block fails: a run that did not begin leaves all."""
    before = {file: Path(file).read_bytes() for file in files if os.path.isfile(file)}
    try:
        yield
    except BaseException:
        for file, content in before.items():
            with atomic_write(file) as stream:
                stream.write(content)
        raise
