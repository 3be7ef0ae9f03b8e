"""Photos of full-size batches: decoded, resized and augmented in loader workers, a cross-image chunk at a time."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scicevpr.config import Preprocessing
from scicevpr.descriptors.preprocessing import to_tensor
from scicevpr.errors import DatasetError
from training.augment import RandAugment
from training.batches import BatchPlan
from training.gsv_cities import GsvCities

PhotoKey = tuple[int, int]
"""Photo number and the seed of what is drawn for it."""


def decode_photo(path: Path, size: tuple[int, int]) -> Image.Image:
    """A photo resized to (rows, columns) in Pillow, bilinear with antialiasing, as the published training does.

    Raises:
        DatasetError: the file cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"The photo {path} cannot be decoded: {error}. Copy it again, or take its row out of its table in "
            "Dataframes."
        ) from None


class PhotoReader(Dataset):
    """Photo number and seed -> augmented, normalised photo [3, rows, columns], or the words of what went wrong."""

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
    chunk: int,
    own: range,
    workers: int,
    pin: bool = False,
) -> Iterator[list[Tensor]]:
    """The photos of one process for every step of an epoch: a list of its chunks [chunk, ...].

    Args:
        reader: gives what is loaded for a photo number and a seed. own: the chunks of a batch that this process takes.
        workers: loader processes; 0 reads in this one. pin: keep chunks where a GPU can copy them from.

    Raises:
        DatasetError: a photo cannot be read.
    """
    loader = _loader(reader, _ChunkKeys(plan, epoch, first_step, chunk, own), workers, pin)
    chunks: list[Tensor] = []
    for loaded in loader:
        chunks.append(_checked(loaded))
        if len(chunks) == len(own):
            yield chunks
            chunks = []


def load_in_order(reader: Dataset, keys: Sequence[PhotoKey], size: int, workers: int) -> Iterator[Tensor]:
    """What a reader gives for a list of keys, ``size`` at a time. DatasetError when a photo cannot be read."""
    for loaded in _loader(reader, [keys[i : i + size] for i in range(0, len(keys), size)], workers, pin=False):
        yield _checked(loaded)


class _ChunkKeys:
    """What the loader asks the reader for: the keys of one chunk after the other."""

    def __init__(self, plan: BatchPlan, epoch: int, first_step: int, chunk: int, own: range) -> None:
        self._plan, self._epoch, self._first_step, self._chunk, self._own = plan, epoch, first_step, chunk, own

    def __iter__(self) -> Iterator[list[PhotoKey]]:
        for batch in self._plan.batches(self._epoch, self._first_step):
            for number in self._own:
                part = slice(number * self._chunk, (number + 1) * self._chunk)
                yield list(zip(batch.rows[part].tolist(), batch.seeds[part].tolist(), strict=True))


def _loader(reader: Dataset, keys: Any, workers: int, pin: bool) -> DataLoader:
    return DataLoader(
        reader,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_leave_signals_to_the_parent,
        pin_memory=pin,
    )


def _collate(photos: list[Tensor | str]) -> Tensor | str:
    errors = [photo for photo in photos if isinstance(photo, str)]
    return errors[0] if errors else torch.stack(photos)


def _checked(loaded: Tensor | str) -> Tensor:
    if isinstance(loaded, str):
        raise DatasetError(loaded)
    return loaded


def _leave_signals_to_the_parent(_: int) -> None:
    """Ctrl-C and torchrun's SIGTERM reach the workers too, but the step under way still needs their photos."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
