"""From dataset dicts and a mapper to batches, in training and in evaluation.

A sample that cannot be read is an error that names it, never another image in its place.
"""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.utils.data as torch_data
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetFromList, MetadataCatalog
from detectron2.data.build import (
    filter_images_with_only_crowd_annotations,
    print_instances_class_histogram,
)
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from PIL import Image

from ..progress import clock
from .fields.base import GroundTruthField, build_fields
from .mapper import DetectionMapper, require_file_names
from .records import Record, annotation_place, checked_records
from .samplers import PositionSampler, seeded

DatasetDict = Record
Mapper = Callable[[DatasetDict], DatasetDict]


def load_dataset_dicts(
    names: Sequence[str], *, filter_empty: bool = False, key: str = "DATASETS.TRAIN"
) -> list[DatasetDict]:
    """Load the named datasets, one after the other, as one list.

    `filter_empty` leaves out images that have no annotation but crowd and ignored regions; `key` is
    the config key that gave the names, for messages.

    Raises:
        ValueError: no name is given, or no image is of use; see also `checked_records`.
    """
    if not names:
        raise ValueError(f"{key} is empty. Name a registered dataset or 'coco:<json>:<image dir>'.")
    with clock(f"Reading {', '.join(names)}"):
        loaded = {name: checked_records(name, key=key) for name in names}
    labelled = [name for name, records in loaded.items() if records.labelled]
    if labelled and (without := [name for name in loaded if name not in labelled]):
        raise ValueError(
            f"{key}: dataset '{without[0]}' has no annotations, although '{labelled[0]}' has. Take "
            "it out, or give its images without objects an empty list of 'annotations'."
        )
    dicts = [record for name in names for record in loaded[name]]
    if filter_empty and labelled:
        dicts = filter_images_with_only_crowd_annotations(dicts)
    if not dicts:
        raise ValueError(
            f"{key}: no image of {', '.join(names)} has an annotation. Check the annotation file, "
            "or set DATALOADER.FILTER_EMPTY_ANNOTATIONS False to use images without objects."
        )
    return dicts


@dataclass(eq=False)
class MappedSamples(torch_data.Dataset):
    """Dataset of mapped samples; an item is asked for as an index or as (index, position).

    With a position the mapper draws the same numbers in any worker.
    """

    dicts: Sequence[DatasetDict]
    mapper: Mapper
    seed: int = 0

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, item: int | tuple[int, int]) -> DatasetDict:
        index, *position = item if isinstance(item, tuple) else (item,)
        record = self.dicts[index]
        try:
            with seeded(self.seed, *position) if position else nullcontext():
                sample = self.mapper(record)
        except Exception as error:
            error.add_note(
                f"While reading {describe_image(record)}. Correct it or remove its record from the "
                "dataset; image files are looked for in the image folder given with the dataset "
                "('coco:<json>:<image dir>')."
            )
            raise
        if sample is None:
            raise ValueError(
                f"The mapper returned None for {describe_image(record)}. Raise an error that says "
                "why, or leave the image out of the dataset: no other image is put in its place."
            )
        return sample


def describe_image(record: DatasetDict) -> str:
    """Name a dataset dict or a mapped sample in messages."""
    return f"image {record.get('image_id', '?')} ({record.get('file_name', 'no file name')})"


def _start_worker(pixel_limit: int | None, worker_id: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends it
    Image.MAX_IMAGE_PIXELS = pixel_limit  # of a started process it would be Pillow's own
    # OpenCV would start a pool of one thread per core in every worker.
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)


def _batches(dataset: MappedSamples, num_workers: int, **order: Any) -> torch_data.DataLoader:
    return torch_data.DataLoader(
        dataset,
        num_workers=num_workers,
        collate_fn=list,  # images of a batch differ in size
        worker_init_fn=partial(_start_worker, Image.MAX_IMAGE_PIXELS),
        # Its own generator: drawing the workers' base seed must not move the global stream.
        generator=torch.Generator().manual_seed(dataset.seed),
        **order,
    )


@dataclass(eq=False)
class TrainLoader:
    """Endless iterable of batches; nothing is started before the first batch is asked for.

    detectron2 0.5 calls `iter()` before a resumed run knows where it stands.
    """

    dataset: MappedSamples
    sampler: PositionSampler
    num_workers: int = 0

    def set_position(self, *, start: int, seed: int) -> None:
        """Continue at image `start` of the stream of `seed`; before the first batch."""
        self.sampler.start = start
        self.sampler.seed = self.dataset.seed = seed

    def __iter__(self) -> Iterator[list[DatasetDict]]:
        """Start the workers and yield batches without end; closing the iterator ends them."""
        batches = iter(_batches(self.dataset, self.num_workers, batch_sampler=self.sampler))
        try:
            yield from batches
        finally:
            # Left to the garbage collector, which may close their queues first, workers are waited
            # for in vain, five seconds each.
            if self.num_workers and hasattr(batches, "_shutdown_workers"):
                batches._shutdown_workers()


def _train_loader_from_config(
    cfg: CfgNode,
    *,
    dataset: Sequence[DatasetDict] | None = None,
    mapper: Mapper | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    dataset = load_training_dicts(cfg) if dataset is None else dataset
    mapper = mapper or DetectionMapper(cfg, is_train=True)
    if isinstance(mapper, DetectionMapper):
        require_file_names(dataset, f"DATASETS.TRAIN {', '.join(cfg.DATASETS.TRAIN)}")
    return {
        "dataset": dataset,
        "mapper": mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "seed": max(cfg.SEED, 0) if seed is None else seed,
    }


@configurable(from_config=_train_loader_from_config)
def build_train_loader(
    dataset: Sequence[DatasetDict],
    *,
    mapper: Mapper,
    total_batch_size: int,
    num_workers: int = 0,
    seed: int = 0,
    start: int = 0,
) -> TrainLoader:
    """Build the endless training loader of this process, from arguments or from `cfg`.

    `mapper` uses numpy's, `random`'s and torch's global generators only; `total_batch_size` is of a
    step over all processes; `num_workers` 0 reads in this process; `seed` is of the order and of
    every sample's randomness; `start` images are consumed already.
    """
    dicts = DatasetFromList(list(dataset), copy=False)  # serialised: workers share its memory
    sampler = PositionSampler(
        len(dicts),
        batch_size=total_batch_size,
        seed=seed,
        start=start,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
    )
    return TrainLoader(MappedSamples(dicts, mapper, seed=seed), sampler, num_workers=num_workers)


def load_training_dicts(cfg: CfgNode) -> list[DatasetDict]:
    """Load DATASETS.TRAIN for training; see `load_dataset_dicts` and `check_training_dicts`."""
    names = cfg.DATASETS.TRAIN
    fields = build_fields(cfg)  # before loading: they say which columns of a file are read
    dicts = load_dataset_dicts(names, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
    keys = ("CROWD_AS_OBJECTS", "DIFFICULT_AS_OBJECTS")
    check_training_dicts(dicts, names, fields, **{key.lower(): cfg.INPUT[key] for key in keys})
    return dicts


def check_training_dicts(
    dicts: Sequence[DatasetDict],
    names: Sequence[str],
    fields: Sequence[GroundTruthField] = (),
    *,
    crowd_as_objects: bool = True,
    difficult_as_objects: bool = True,
) -> None:
    """Print how many objects each class of the datasets `names` has.

    Raises:
        ValueError: no image has an object to learn from, or what a field teaches.
    """
    annotations = (entry for record in dicts for entry in record.get("annotations", ()))
    kinds = {"iscrowd": crowd_as_objects, "difficult": difficult_as_objects, "ignored": False}
    left_out = [key for key, are_objects in kinds.items() if not are_objects]
    if all(any(map(entry.get, left_out)) for entry in annotations):
        labelled = any("annotations" in record for record in dicts)
        what = "Check" if labelled else "Not one has annotations: look for"
        raise ValueError(
            f"DATASETS.TRAIN: the {len(dicts)} images of {', '.join(names)} have no object to "
            f"learn from. {what} {annotation_place(names[0])} (boxes of no size and boxes "
            "outside their image do not count; crowd regions do with INPUT.CROWD_AS_OBJECTS, "
            "difficult objects with INPUT.DIFFICULT_AS_OBJECTS)."
        )
    for field in fields:
        field.check_records(dicts, ", ".join(names))
    class_names = MetadataCatalog.get(names[0]).get("thing_classes")
    if class_names and all("annotations" in record for record in dicts):
        print_instances_class_histogram(dicts, class_names)


def _test_loader_from_config(
    cfg: CfgNode, dataset_name: str | Sequence[str], *, mapper: Mapper | None = None
) -> dict[str, Any]:
    names = [dataset_name] if isinstance(dataset_name, str) else list(dataset_name)
    mapper = mapper or DetectionMapper(cfg, is_train=False)  # before loading, as in training
    dataset = load_dataset_dicts(names, key="DATASETS.TEST")
    if isinstance(mapper, DetectionMapper):
        require_file_names(dataset, f"DATASETS.TEST {', '.join(names)}")
    for field in build_fields(cfg):
        field.check_test_records(dataset, ", ".join(names))
    sizes = {"batch_size": cfg.TEST.IMS_PER_BATCH, "num_workers": cfg.DATALOADER.NUM_WORKERS}
    return {"dataset": dataset, "mapper": mapper, **sizes}


@configurable(from_config=_test_loader_from_config)
def build_test_loader(
    dataset: Sequence[DatasetDict], *, mapper: Mapper, batch_size: int = 1, num_workers: int = 0
) -> torch_data.DataLoader:
    """Build the evaluation loader of this process: each image once, over all processes.

    `batch_size` is of a process and step; detectron2 0.5 knows 1 only.
    """
    samples = MappedSamples(DatasetFromList(list(dataset), copy=False), mapper)
    sampler = InferenceSampler(len(dataset))
    return _batches(samples, num_workers, batch_size=batch_size, sampler=sampler)
