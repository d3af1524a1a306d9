"""Saving that never damages the last good checkpoint; loading that says what fitted."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.utils.file_io import PathManager
from torch import nn

from ..atomic_write import atomic_write
from ..checkpoint import files
from ..checkpoint.detect_source import looks_like
from ..checkpoint.heads import FORMS, last_layers, middle_of_cells, same_names, taken_by_name
from ..checkpoint.model_info import BLOCK, ModelInfo
from ..checkpoint.pixels import turned_for
from ..checkpoint.published import detectron2_form
from ..checkpoint.unwrap import plain_name, shorten, unwrap
from ..model_zoo.path_handlers import PUBLISHED, local_file
from ..progress import SHOWN
from ..structures.names import plural
from ..structures.skeleton import Skeleton

# Constants that detectron2's models keep as buffers; absent from older checkpoints and set from the
# config anyway.
_SET_FROM_CONFIG = ("pixel_mean", "pixel_std")


class CheckpointMismatchError(ValueError):
    """A checkpoint's tensors do not fit the model."""


class Checkpointer(DetectionCheckpointer):
    """detectron2's checkpointer: whole files or none, tensors only, and a short report.

    Attributes:
        class_names, skeleton: saved with every checkpoint, so that an application without the
            dataset can name and draw its detections; None: there are no joints.
        averaged_state: where set, gives the tensors that are saved as "model".
        model_info: where set, gives what else is saved of the model, so that the file is all that
            a predictor needs.
        mismatch: "fail" or "report", see `load`; by "report" a training starts, and takes what
            there is of its classes and joints by their names.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        class_names: Sequence[str] = (),
        skeleton: Skeleton | None = None,
        mismatch: str = "report",
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.class_names, self.skeleton, self.mismatch = list(class_names), skeleton, mismatch
        self.averaged_state: Callable[[], Mapping[str, torch.Tensor]] | None = None
        self.model_info: Callable[[], ModelInfo] | None = None

    # -------------------------------------------------------------------------------------- saving
    def save(self, name: str, *, weights_only: bool = False, **extras: Any) -> None:
        """Write `<save_dir>/<name>.pth`, with further plain values, whole or not at all.

        A run resumes from the last one, unless `weights_only` leaves out what that needs.

        Raises:
            OSError: the file cannot be written; earlier checkpoints are untouched.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        model_state = self.averaged_state() if self.averaged_state else self.model.state_dict()
        rest = {} if weights_only else self.checkpointables
        data = {
            "model": {plain_name(name): value for name, value in model_state.items()},
            "class_names": self.class_names,
            **(self.skeleton.saved() if self.skeleton else {"joint_names": []}),
            **({BLOCK: self.model_info().block()} if self.model_info else {}),
            **{key: item.state_dict() for key, item in rest.items()},
            **extras,
        }
        file = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", file)
        try:
            with atomic_write(file) as stream:
                torch.save(data, stream)
            if not weights_only:
                self.tag_last_checkpoint(os.path.basename(file))
        except (OSError, RuntimeError) as error:  # torch reports a failed write as either
            last = self.get_checkpoint_file() or "none yet"
            raise OSError(
                f"Could not save checkpoint {file}: {error.__cause__ or error}. Free some space or "
                "set OUTPUT_DIR to a disk that has it, and continue with --resume; the last good "
                f"checkpoint is untouched: {last}"
            ) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write the name of the checkpoint to resume from, whole or not at all."""
        with atomic_write(os.path.join(self.save_dir, "last_checkpoint"), "w") as stream:
            stream.write(last_filename_basename)

    def remove(self, name: str) -> None:
        """Remove `<save_dir>/<name>.pth`, which another checkpoint has replaced, if it is there."""
        file = os.path.join(self.save_dir, f"{name}.pth")
        if self.save_dir and self.save_to_disk and PathManager.isfile(file):
            PathManager.rm(file)

    # ------------------------------------------------------------------------------------- loading
    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load weights (and, for a resumed run, the rest) from `path`; "" loads nothing.

        A report says how many tensors matched. `mismatch` "fail" makes missing and misshaped
        tensors an error; "report" keeps their start values. Weights of which less than half of the
        smaller of the two is used are an error in either case, before the model is touched.

        `path` may also be a file as its authors published it (see `detectron2_form`).

        Returns:
            What else the file holds, for example "class_names".

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, of a kind that is not loaded here, of another model, or has
                NaN or infinity among what the model takes.
        """
        self._source = path
        if path:
            name = without_query(path)  # 0.5 would look for a file of that name
            path = str(local_file(name))
            if not os.path.isfile(path):
                what = "is a folder, not a file" if os.path.isdir(path) else "does not exist"
                raise FileNotFoundError(f"Checkpoint '{name}' {what}. Check MODEL.WEIGHTS.")
        try:
            return super().load(path, checkpointables)
        finally:  # main keeps it when loading fails, and then asserts
            self._parsed_url_during_load = None

    def _load_file(self, filename: str) -> dict[str, Any]:
        queries = parse_qs(self._source.removeprefix(without_query(self._source))[1:])
        heuristics = queries.pop("matching_heuristics", ["False"]) == ["True"]
        if queries:
            raise ValueError(f"MODEL.WEIGHTS '{self._source}': unknown query {sorted(queries)}.")
        known = [plain_name(name) for name in self.model.state_dict()]
        content = files.read_tensors(filename)
        if not heuristics:
            return detectron2_form(content, filename, known)
        unwrapped = unwrap(content, known)  # its own names, to be matched
        return unwrapped.beside | {"model": unwrapped.state, "matching_heuristics": True}

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        model, state = self.model.state_dict(), turned_for(self.model, checkpoint)
        if checkpoint.pop("matching_heuristics", False):
            from_caffe = checkpoint.get("__author__") == "Caffe2"
            try:
                state = align_and_update_state_dicts(model, state, c2_conversion=from_caffe)
            except ValueError as error:  # one tensor for several places
                raise CheckpointMismatchError(f"'{self._source}': {error}") from error
        names = {plain_name(name): name for name in model}  # of a compiled model
        if offsets := middle_of_cells({n: model[names[n]] for n in names}, state):
            told = "'%s' was trained without offsets: they start in the middle of each cell."
            self.logger.info(told, self._source, extra=SHOWN)
            state = {**state, **offsets}
        if self.mismatch == "report":
            saved = ModelInfo.of(checkpoint, self._source)
            state = self._by_name(saved, state, {n: model[names[n]] for n in names})
        checkpoint["model"] = {names.get(name, name): value for name, value in state.items()}
        report = LoadReport.of(model, checkpoint["model"])
        origin = str(checkpoint.get("__author__", ""))
        looks = "" if report.matched or origin else f" They {looks_like(state)}."
        report.check(self._source, fail=self.mismatch == "fail", origin=origin, looks=looks)
        files.check_finite(
            {name: checkpoint["model"][name] for name in report.matched}, self._source
        )
        (self.logger.info if report.complete else self.logger.warning)(report.describe())
        return super()._load_model(checkpoint)

    def _by_name(
        self, saved: ModelInfo, state: dict[str, Any], model: dict[str, Any]
    ) -> dict[str, Any]:
        """The tensors, of which those with channels per class or joint are put together by name.

        Names that are a guess, as many as ours and none the same, tell nothing.
        """
        state = self._of_our_form(saved, state)
        joints = self.skeleton.names if self.skeleton else ()
        for what, ours in (("class", self.class_names), ("joint", joints)):
            theirs, guess = saved.names(what), saved.guess_of(what)
            rows, numbers = same_names(ours, theirs), (len(ours), len(theirs))
            is_unclear = guess and not rows and len(ours) == len(theirs)
            if list(ours) == theirs or not (ours and theirs) or is_unclear:
                continue
            kinds = getattr(self.model, "named_branches", {}).items()
            for name in last_layers(model, [branch for branch, kind in kinds if kind == what]):
                if name in state:
                    taken = taken_by_name(model[name], state[name], rows, *numbers)
                    state = state if taken is None else state | {name: taken}
            found, new = (
                shorten([n for i, n in enumerate(ours) if (i in rows) == is_in], 8) or "none"
                for is_in in (True, False)
            )
            told = f"{len(rows)} of {len(ours)} {plural(what)} taken from the checkpoint's"
            guessed = " (a guess from their number)" if guess else ""
            self.logger.info(f"{told} {len(theirs)}{guessed}: {found}; new: {new}.", extra=SHOWN)
        return state

    def _of_our_form(self, saved: ModelInfo, state: dict[str, Any]) -> dict[str, Any]:
        """The tensors without the last layers that say something in another form than ours."""
        known = saved.config_values() if saved.config and not saved.is_lazy else {}
        for branch, ours in getattr(self.model, "branch_forms", {}).items():
            key, first = FORMS[branch]
            theirs = ours if saved.is_lazy else known.get(key, first)
            if theirs != ours and (lost := last_layers(state, [branch])):
                state = {name: value for name, value in state.items() if name not in lost}
                told = "%s is '%s', the checkpoint's '%s': the last layer of '%s' starts anew."
                self.logger.warning(told, key, ours, theirs, branch)
        return state

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        """Say nothing: `_load_model` has given the report."""


@dataclass(frozen=True)
class LoadReport:
    """How a checkpoint fits a model: names, and the share used of the smaller of the two."""

    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    misshaped: dict[str, str]
    share: float

    @classmethod
    def of(cls, model: Mapping[str, Any], given: Mapping[str, Any]) -> Self:
        """Compare the tensors of a model with those of a checkpoint, by name and shape."""
        shapes = {name: tuple(value.shape) for name, value in model.items()}
        others = {name: tuple(value.shape) for name, value in given.items()}
        matched = [name for name, shape in shapes.items() if others.get(name) == shape]
        smaller = min(sum(map(math.prod, each.values())) for each in (shapes, others))
        used = sum(math.prod(shapes[name]) for name in matched)
        return cls(
            matched=matched,
            missing=[name for name in shapes if name not in {*others, *_SET_FROM_CONFIG}],
            unexpected=[name for name in others if name not in shapes],
            misshaped={
                name: f"{others[name]} -> {shape}"
                for name, shape in shapes.items()
                if others.get(name, shape) != shape
            },
            share=used / smaller if smaller else float(not model),
        )

    @property
    def complete(self) -> bool:
        """Whether every tensor of the model was given."""
        return not self.missing and not self.misshaped

    def describe(self) -> str:
        """Return the report: one line of counts and one line for each kind of misfit."""
        total = len(self.matched) + len(self.missing) + len(self.misshaped)
        misfits = {
            "start anew, their shapes differ": [" ".join(pair) for pair in self.misshaped.items()],
            "start anew, not in the checkpoint": self.missing,
            "of the checkpoint not used": self.unexpected,
        }
        lines = [f"Checkpoint: {len(self.matched)} of the model's {total} tensors loaded."]
        lines += [f"  {len(x)} {what}: {shorten(x, 4)}" for what, x in misfits.items() if x]
        return "\n".join(lines)

    def check(self, source: str, *, fail: bool, origin: str = "", looks: str = "") -> None:
        """Raise CheckpointMismatchError for weights of another model, and with `fail` for any gap.

        `origin` says what the weights are, or `looks` in a sentence what they look like.
        """
        source += f" ({origin})" if origin else ""
        if self.share < 0.5:
            raise CheckpointMismatchError(
                f"'{source}' holds the weights of another model: only {self.share:.0%} fits. Use "
                "the config that the checkpoint was trained with, or other MODEL.WEIGHTS."
                f"{looks}\n{self.describe()}"
            )
        if fail and not self.complete:
            raise CheckpointMismatchError(
                f"'{source}' does not fill this model. Use the config that the checkpoint was "
                "trained with, which a file of this package carries (leave --config-file out); to "
                "start a training from the part that fits, set "
                f"MODEL.CHECKPOINT_MISMATCH 'report'.\n{self.describe()}"
            )


def without_query(path: str) -> str:
    """Drop detectron2's queries from a name; those of a published address belong to it."""
    return path if path.startswith(PUBLISHED) else path.partition("?")[0]
