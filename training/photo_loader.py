"""Photos of full-size batches: decoded, resized and augmented in loader workers, a cross-image chunk at a time."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scicevpr.config import Preprocessing
from scicevpr.descriptors.preprocessing import to_tensor
from scicevpr.errors import DatasetError
from training.augment import RandAugment
from training.batches import BatchPlan, cut_batch
from training.gsv_cities import GsvCities

PhotoKey = tuple[int, int]
"""Photo number and the seed of what is drawn for it."""


def decode_photo(path: Path, size: tuple[int, int]) -> Image.Image:
    """A photo resized to (rows, columns) in Pillow, bilinear with antialiasing, as the published training does. Raises
    DatasetError: the file cannot be decoded."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"The photo {path} cannot be decoded: {error}. Copy it again, or take its row out of its table in "
            "Dataframes."
        ) from None


class PhotoReader(Dataset):
    """Photo number and seed -> augmented, normalised photo [3, rows, columns], or a sentence on what went wrong."""

    def __init__(self, data: GsvCities, size: tuple[int, int], operations: int) -> None:
        self._data = data
        self._size = size
        self._augmentation = RandAugment(operations)
        self._preprocessing = Preprocessing(size=size)

    def __getitem__(self, key: PhotoKey) -> Tensor | str:
        row, seed = key
        try:
            photo = decode_photo(self._data.path(row), self._size)
        except DatasetError as error:
            return str(error)  # an error raised in a worker would reach the user as a traceback
        photo = self._augmentation(photo, torch.Generator().manual_seed(seed))
        return to_tensor(photo, self._preprocessing)


def load_chunks(
    reader: Dataset,
    plan: BatchPlan,
    epoch: int,
    first_step: int,
    *,
    chunks: int,
    own: range,
    workers: int,
    pin: bool = False,
) -> Iterator[list[Tensor]]:
    """The photos of one process for every step of an epoch: a list of its chunks [n, ...].

    reader: gives what is loaded for a photo number and a seed. chunks: into how many a batch is cut; own: those that
    this process takes. workers: loader processes; 0 reads in this one. pin: keep chunks where a GPU can copy them from.
    Raises DatasetError: a photo cannot be read.
    """

    def own_cuts(photos: int) -> list[slice]:
        return cut_batch(photos, chunks)[own.start : own.stop]

    def keys() -> Iterator[list[PhotoKey]]:  # one chunk after the other
        for batch in plan.batches(epoch, first_step):
            photos = list(zip(batch.rows.tolist(), batch.seeds.tolist(), strict=True))
            yield from (photos[cut] for cut in own_cuts(len(photos)))

    loaded = load_groups(reader, keys(), workers, pin)
    for places in plan.compositions(epoch)[first_step:]:
        yield [next(loaded) for _ in own_cuts(len(places) * plan.photos)]


def load_groups(reader: Dataset, keys: Iterable[list[PhotoKey]], workers: int, pin: bool = False) -> Iterator[Tensor]:
    """What a reader gives for groups of keys, a tensor a group. DatasetError when a photo cannot be read."""
    loader = DataLoader(
        reader,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_leave_signals_to_the_parent,
        pin_memory=pin,
    )
    for loaded in loader:
        if isinstance(loaded, str):
            raise DatasetError(loaded)
        yield loaded


def _collate(photos: list[Tensor | str]) -> Tensor | str:
    return next((photo for photo in photos if isinstance(photo, str)), None) or torch.stack(photos)


def _leave_signals_to_the_parent(_: int) -> None:
    """Ctrl-C and torchrun's SIGTERM reach the workers too, but the step under way still needs their photos."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
