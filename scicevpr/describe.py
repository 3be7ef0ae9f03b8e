"""Photos -> descriptors. Which photos share a batch (the grouping) is explicit: CricaVPR's result depends on it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scicevpr.config import Preprocessing, Variant
from scicevpr.errors import UsageError, WeightsError
from scicevpr.models.model import VPRModel
from scicevpr.preprocessing import prepare

DEFAULT_SEQUENTIAL = 16
"""CricaVPR's published evaluation: database and queries in file order, 16 photos a batch."""


@dataclass(frozen=True)
class Grouping:
    """Which photos share a batch: every photo alone, runs of ``size`` in the given order, or an explicit list."""

    kind: str
    size: int | None = None
    groups: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def alone(cls) -> Grouping:
        """Every photo in a batch of its own."""
        return cls("alone")

    @classmethod
    def sequential(cls, size: int) -> Grouping:
        """Runs of ``size`` photos in the given order; the last run may be shorter."""
        if size < 1:
            raise UsageError(f"A sequential grouping needs at least 1 photo a batch, not {size}.")
        return cls("sequential", size=size)

    @classmethod
    def explicit(cls, groups: Sequence[Sequence[int]]) -> Grouping:
        """The given groups of photo indices; together they must hold every photo once."""
        return cls("groups", groups=tuple(tuple(int(i) for i in group) for group in groups))

    @classmethod
    def parse(cls, text: str) -> Grouping:
        """Read ``"alone"``, ``"sequential 16"``, ``"sequential:16"`` or ``"sequential"`` (16)."""
        words = text.replace(":", " ").split()
        if words == ["alone"]:
            return cls.alone()
        if words and words[0] == "sequential" and len(words) <= 2:
            size = words[1] if len(words) == 2 else str(DEFAULT_SEQUENTIAL)
            if size.isdigit():
                return cls.sequential(int(size))
        raise UsageError(f"Grouping {text!r} is not understood. Write 'alone' or 'sequential:16'.")

    @property
    def label(self) -> str:
        """Protocol words, e.g. ``"sequential 16"``."""
        if self.kind == "sequential":
            return f"sequential {self.size}"
        return f"{len(self.groups)} explicit groups" if self.kind == "groups" else self.kind

    def split(self, count: int) -> list[tuple[int, ...]]:
        """Return the groups of ``count`` photos as index tuples.

        Raises:
            UsageError: an explicit list leaves a photo out, names one twice or one that is not there.
        """
        if self.kind == "alone":
            return [(i,) for i in range(count)]
        if self.kind == "sequential":
            return [tuple(range(i, min(i + self.size, count))) for i in range(0, count, self.size)]
        members = sorted(i for group in self.groups for i in group)
        if members != list(range(count)):
            raise UsageError(
                f"The explicit groups hold photos {members[:8]}{'…' if len(members) > 8 else ''}, but every photo "
                f"0..{count - 1} must be in exactly one group."
            )
        return [group for group in self.groups if group]


@dataclass(frozen=True)
class Descriptors:
    """Descriptors [N, D] float32 (unit rows) and the protocol under which they were made."""

    values: np.ndarray
    variant: str
    fingerprint: str
    weights: str
    trained: bool
    grouping: str
    preprocessing: dict[str, Any]
    device: str
    dtype: str
    seconds: float

    def protocol(self) -> dict[str, str]:
        """The protocol as words, in the order in which it is printed."""
        fields = Preprocessing(**self.preprocessing)
        return {
            "variant": self.variant,
            "weights": f"{self.weights} ({'trained' if self.trained else 'NOT trained'})",
            "resize": fields.label(),
            "grouping": self.grouping,
            "dtype": self.dtype,
            "device": self.device,
        }

    def protocol_line(self) -> str:
        """One printable line."""
        return " · ".join(f"{key} {value}" for key, value in self.protocol().items())


def default_grouping(variant: Variant) -> Grouping | None:
    """The published "sequential 16" where a descriptor depends on its batch; None where grouping cannot matter."""
    return Grouping.sequential(DEFAULT_SEQUENTIAL) if variant.cross_image else None


def require_weights(model: VPRModel) -> tuple[str, bool]:
    """Hash of the weights and whether they are trained. WeightsError unless weights are loaded or waived."""
    if model.weights is not None:
        return model.weights.sha256, model.weights.trained
    if model.allow_untrained:
        return "random", False
    raise WeightsError(
        f"{model.variant.title} has no weights loaded, so its descriptors would mean nothing. Load weights with "
        "scicevpr.models.weights.load_model, or set model.allow_untrained = True to describe with random weights."
    )


@contextmanager
def evaluating(model: VPRModel) -> Iterator[None]:
    """Put a model into evaluation mode for a while; afterwards every module is as it was (frozen stays frozen)."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def describe(
    model: VPRModel,
    images: Sequence[Any] | Tensor,
    *,
    batch_size: int = 16,
    grouping: Grouping | None = None,
    preprocessing: Preprocessing | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Descriptors:
    """Describe photos.

    Args:
        model: a loaded model. images: paths, PIL images or arrays (see :mod:`scicevpr.preprocessing`), or a prepared
            tensor [N, 3, H, W].
        batch_size: photos per forward pass where that cannot change the result (SciceVPR, whose descriptors depend on
            their own photo alone). With a named grouping the groups are the batches.
        grouping: which photos share a batch. Default: "sequential 16" for models whose descriptors depend on it,
            "independent" (batches of ``batch_size``) for SciceVPR.
        preprocessing: replaces the variant's own. device, dtype: where and in which precision; default: where
            the model is. progress: called with (photos done, photos in all).

    Returns:
        :class:`Descriptors`, rows in the order of ``images``.

    Raises:
        WeightsError: no weights are loaded. ImageError: a photo cannot be read. UsageError: an impossible grouping.
    """
    sha, trained = require_weights(model)
    count = len(images)
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}.")
    grouping = grouping or default_grouping(model.variant)
    groups = grouping.split(count) if grouping else Grouping.sequential(batch_size).split(count)
    preprocessing = preprocessing or model.variant.preprocessing
    weight = next(model.parameters())
    wanted = (torch.device(device or weight.device), dtype or weight.dtype)
    if wanted != (weight.device, weight.dtype):
        model = copy.deepcopy(model).to(*wanted)  # the caller's weights stay as they are
        weight = next(model.parameters())
    values = np.empty((count, model.variant.descriptor_dim), dtype=np.float32)
    started, done = time.perf_counter(), 0
    with evaluating(model), torch.inference_mode():
        for group in groups:
            rows = list(group)
            batch = images[rows] if isinstance(images, Tensor) else prepare([images[i] for i in rows], preprocessing)
            values[rows] = model(batch.to(weight.device, weight.dtype)).float().cpu().numpy()
            done += len(rows)
            if progress is not None:
                progress(done, count)
    return Descriptors(
        values=values,
        variant=model.variant.name,
        fingerprint=model.variant.fingerprint,
        weights=sha,
        trained=trained,
        grouping=grouping.label if grouping else "independent of the batch",
        preprocessing=asdict(preprocessing),
        device=str(weight.device),
        dtype=str(weight.dtype).removeprefix("torch."),
        seconds=time.perf_counter() - started,
    )


def region_vectors(
    model: VPRModel,
    images: Sequence[Any] | Tensor,
    *,
    batch_size: int = 16,
    preprocessing: Preprocessing | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """What enters the encoder, [N, 14, C] float32: it depends on each photo alone, in every family.

    With :func:`encode` the descriptors of many batch compositions cost one pass through the backbone.
    Arguments and errors as in :func:`describe`.
    """
    require_weights(model)
    preprocessing = preprocessing or model.variant.preprocessing
    weight, parts = next(model.parameters()), []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            x = batch if isinstance(batch, Tensor) else prepare(list(batch), preprocessing)
            features = model.backbone(x.to(weight.device, weight.dtype), model.variant.taps)
            parts.append(model.regions_of(features).float().cpu())
            if progress is not None:
                progress(min(start + batch_size, len(images)), len(images))
    return torch.cat(parts)


def encode(model: VPRModel, regions: Tensor, grouping: Grouping) -> np.ndarray:
    """Descriptors [N, D] float32 of region vectors [N, 14, C] whose photos share batches as ``grouping`` says."""
    values = np.empty((len(regions), model.variant.descriptor_dim), np.float32)
    by_size: dict[int, list[tuple[int, ...]]] = {}
    for group in grouping.split(len(regions)):
        by_size.setdefault(len(group), []).append(group)
    for groups in by_size.values():
        rows = np.array(groups)
        values[rows] = encode_groups(model, regions, rows)
    return values


def encode_groups(
    model: VPRModel,
    regions: Tensor,
    groups: np.ndarray,
    *,
    first_only: bool = False,
    photos_at_once: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Describe many batches by running the encoder alone.

    Args:
        regions: region vectors [N, 14, C] of N photos (see :func:`region_vectors`).
        groups: rows of ``regions`` that share a batch, [G, S]; a photo may be in many batches.
        first_only: describe the first photo of every batch only (less work, the same values).
        progress: called with (batches done, batches in all).

    Returns:
        [G, S, D] float32 with unit rows, or [G, D] with ``first_only``.

    Raises:
        UsageError: groups are not a table of rows of ``regions``.
    """
    groups = np.asarray(groups)
    if groups.ndim != 2 or groups.size == 0 or not np.issubdtype(groups.dtype, np.integer):
        raise UsageError(f"Groups must be a table [batches, photos] of whole numbers, not {list(groups.shape)}.")
    if groups.min() < 0 or groups.max() >= len(regions):
        raise UsageError(f"Groups name rows {groups.min()}..{groups.max()}, but there are {len(regions)} photos.")
    weight = next(model.parameters())
    count, size = groups.shape
    values = np.empty((count, 1 if first_only else size, model.variant.descriptor_dim), np.float32)
    step = max(1, photos_at_once // size)
    with evaluating(model), torch.inference_mode():
        for start in range(0, count, step):
            part = regions[groups[start : start + step]].to(weight.device, weight.dtype)
            encoded = model.encoder.encode_groups(part, first_only).flatten(2)
            values[start : start + step] = torch.nn.functional.normalize(encoded, dim=-1).float().cpu().numpy()
            if progress is not None:
                progress(min(start + step, count), count)
    return values[:, 0] if first_only else values
