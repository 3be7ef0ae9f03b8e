"""What a full-size run will take: memory, time, validation; measured here on a few photos or steps and extrapolated."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scicevpr.descriptors.describe import describe
from training.chunked_step import Networks
from training.cross_image import set_training
from training.distributed import Processes
from training.full_parts import Parts
from training.full_run import FullSizeRun
from training.full_size_options import RunOptions
from training.photo_loader import PhotoReader
from training.trainer import trainable

PROBE = 4  # photos with which a slow device is measured
STEPS = 3  # steps measured where they are fast enough, after one that is not counted
VALIDATION_SAMPLE = 16
ADAM_COPIES = 2

Line = tuple[str, bool, str]
"""A line of a report: what it is about, whether it is right, words."""


def estimate(parts: Parts, options: RunOptions, processes: Processes) -> list[Line]:
    """Measure a few passes, and steps where they are fast enough; lines on memory, time and validation.

    Raises:
        DatasetError: a photo cannot be read. UsageError: the device has too little memory.
    """
    recipe, networks = parts.recipe, parts.networks
    run = FullSizeRun(parts, options, processes, PhotoReader(parts.data, recipe.pixels, recipe.operations), networks)
    set_training(networks.model)
    batches = run.load(0, 0)
    chunks, labels = next(batches)
    probe = chunks[0][:PROBE]
    with processes.together():
        _pass_through(networks, probe)  # the first pass is slower
        started = time.perf_counter()
        _pass_through(networks, probe)
        per_photo = (time.perf_counter() - started) / len(probe)
        memory = _memory(parts, options, held_bytes(networks, probe, recipe.chunk), len(chunks))
    a_step = per_photo * sum(len(chunk) for chunk in chunks)
    room = _device_memory(networks.device)
    slow = processes.any(memory.total > room or a_step * (STEPS + 2) > options.check_seconds)
    how = f"measured here on {len(probe)} photos, extrapolated"
    if not slow:
        with processes.together():
            memory = replace(memory, held=held_bytes(networks, chunks[0], recipe.chunk))
        seconds = []
        for number in range(STEPS + 1):
            started = time.perf_counter()
            if number:
                chunks, labels = next(batches, (chunks, labels))
            run.take_step(chunks, labels)
            seconds.append(time.perf_counter() - started)
        a_step = float(np.median(seconds[1:]))
    steps = parts.plan.steps * recipe.epochs
    text = (
        f"{a_step:.2f} s a step ({how if slow else f'median of {STEPS} measured here, extrapolated'}): {steps} steps "
    )
    text += f"take {_duration(a_step * steps)}"
    if options.feature_cache is not None:
        text += ", without the gain of the feature cache"
    lines = [
        (
            "memory",
            memory.total <= room,
            memory.words(room, networks.device, how if slow else "one chunk measured here"),
        ),
        ("loader", True, f"{options.workers} workers hold up to {size_words(_loader_bytes(parts, options))} of photos"),
        ("time", True, text),
    ]
    if not slow and networks.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(networks.device)
        lines.append(("peak", True, f"{size_words(peak)} of GPU memory in the steps measured here"))
    if parts.validation is not None and processes.first:
        lines.append(("validation time", True, _validation_time(parts)))
    return lines


@dataclass(frozen=True)
class Memory:
    """What a process holds, in bytes: see :meth:`words`. ``held``: the graph of one chunk."""

    weights: int
    learned: int
    held: int
    at_once: int
    kept: int
    descriptors: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.learned + self.held * self.at_once + self.kept + self.descriptors

    def words(self, room: int, device: torch.device, how: str) -> str:
        """A sentence, with what to do where it is more than ``room``."""
        text = (
            f"about {size_words(self.total)} of {size_words(room)} on {device}: weights {size_words(self.weights)}, "
            f"gradients and optimiser {size_words(self.learned)}, graphs {self.at_once} x {size_words(self.held)} "
            f"({how}), maps of other chunks {size_words(self.kept)}, descriptors {size_words(self.descriptors)}; "
            "passing buffers not counted"
        )
        if self.total > room:
            text += ". Hold fewer chunks at once (--accumulate 1), or use --precision bf16"
        return text


def _memory(parts: Parts, options: RunOptions, held: int, own: int) -> Memory:
    networks, recipe = parts.networks, parts.recipe
    model = networks.model
    weights = {id(p): p for module in (model, networks.teacher) if module is not None for p in module.parameters()}
    at_once = min(options.accumulate or own, own)
    kept = 0
    if networks.frozen_backbone:
        width = len(model.variant.taps) * model.variant.channels * int(np.prod(model.variant.grid))
        kept = (own - at_once) * recipe.chunk * width * (4 if recipe.precision == "none" else 2)
    copies = 4 if networks.teacher is None else 5  # own, gathered, their gradient, normalised; the teacher's
    return Memory(
        weights=size_of(weights.values()),
        learned=size_of(trainable(model)) * (1 + ADAM_COPIES),
        held=held,
        at_once=at_once,
        kept=kept,
        descriptors=4 * recipe.places * recipe.photos * model.variant.descriptor_dim * copies,
    )


def _loader_bytes(parts: Parts, options: RunOptions) -> int:
    rows, columns = parts.recipe.pixels
    prefetched = 2 * max(1, options.workers)
    return prefetched * parts.recipe.chunk * 3 * rows * columns * 4


def _pass_through(networks: Networks, loaded: Tensor) -> None:
    """One forward and backward pass, with the teacher if there is one."""
    start = networks.begin(loaded)
    if networks.teacher is not None:
        networks.target(start)
    networks.describe(start, 0, keep_statistics=False).sum().backward()
    networks.model.zero_grad(set_to_none=True)
    if networks.device.type == "cuda":
        torch.cuda.synchronize(networks.device)


def held_bytes(networks: Networks, loaded: Tensor, chunk: int) -> int:
    """Bytes that the graph of a chunk holds for its backward pass, weights not counted.

    From fewer photos [n, ...] than a chunk it is extrapolated: two measurements tell what grows with the photos from
    what does not (weights rounded to bfloat16, say).
    """
    whole = _held_by(networks, loaded)
    if len(loaded) == chunk:
        return whole
    half = _held_by(networks, loaded[: len(loaded) // 2])
    each = (whole - half) / (len(loaded) - len(loaded) // 2)
    return round(whole + each * (chunk - len(loaded)))


def _held_by(networks: Networks, loaded: Tensor) -> int:
    known = {p.untyped_storage().data_ptr() for p in networks.model.parameters()}
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = networks.begin(loaded)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        descriptors = networks.describe(start, 0, keep_statistics=False)
    del descriptors
    return sum(held.values())


def _validation_time(parts: Parts) -> str:
    model, validation = parts.networks.model, parts.validation
    photos = [place.path for place in validation.database[:VALIDATION_SAMPLE]]
    allowed, model.allow_untrained = model.allow_untrained, True
    started = time.perf_counter()
    describe(model, photos)
    model.allow_untrained = allowed
    each = (time.perf_counter() - started) / len(photos)
    count = len(validation.database) + len(validation.queries)
    return f"{_duration(each * count)} an epoch for {count} photos ({len(photos)} measured here, extrapolated)"


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of all tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _device_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def size_words(count: int) -> str:
    """``1.57 GB`` or ``2.5 MB``."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
