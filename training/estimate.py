"""Before a long run: is everything there, and what will it take? (``python -m training.full_size --check``)

Every number is either counted (places, parameters, bytes on disk) or measured here on a few photos or steps and
extrapolated; the text says which.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scicevpr.datasets import Dataset
from scicevpr.descriptors.describe import describe
from scicevpr.errors import DatasetError, SciceVPRError, UsageError
from scicevpr.files.writing import bytes_label
from training.distributed import Processes
from training.full_run import FullSizeRun, Parts, RunOptions, build_networks, check_folder, read_photos, read_validation
from training.gsv_cities import GsvCities
from training.kept_maps import cache_bytes, check_space, free_bytes
from training.photo_loader import PhotoReader, decode_photo
from training.recipes import FullSizeRecipe
from training.steps import Networks, chunks_in, set_training, trainable
from training.trainer import duration_label

SAMPLE = 32  # photos that are decoded to see whether they can be
PROBE = 4  # photos with which a slow device is measured
STEPS = 3  # steps measured where they are fast enough, after one that is not counted
VALIDATION_SAMPLE = 16
ADAM_COPIES = 2


@dataclass
class Report:
    """What a check found, line by line: a name, whether it is right, and a sentence."""

    lines: list[tuple[str, bool, str]] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """True when nothing is wrong."""
        return all(right for _, right, _ in self.lines)

    def say(self, name: str, text: str, right: bool = True) -> None:
        """Add a line."""
        self.lines.append((name, right, text))

    @contextmanager
    def item(self, name: str, processes: Processes) -> Iterator[None]:
        """Check one thing: an error of any process becomes a line, and the check goes on."""
        try:
            with processes.together():
                yield
        except (SciceVPRError, OSError) as error:
            self.say(name, str(error), right=False)

    def text(self) -> str:
        """The report as it is printed, with the verdict in its last line."""
        width = max(len(name) for name, _, _ in self.lines)
        lines = [f"{'ok   ' if right else 'WRONG'} {name:<{width}}  {text}" for name, right, text in self.lines]
        wrong = sum(not right for _, right, _ in self.lines)
        verdict = f"Wrong: {wrong} of {len(lines)}." if wrong else "OK: the run can start."
        return "\n".join([*lines, verdict])


def sample_rows(data: GsvCities) -> list[int]:
    """The numbers of a few photos spread evenly over the data."""
    return np.unique(np.linspace(0, len(data) - 1, min(SAMPLE, len(data))).astype(int)).tolist()


def check_samples(data: GsvCities, size: tuple[int, int]) -> int:
    """Decode a few photos spread evenly over the data; returns how many. DatasetError names the first bad one."""
    rows, bad = sample_rows(data), []
    for row in rows:
        try:
            decode_photo(data.path(row), size)
        except DatasetError as error:
            bad.append(str(error))
    if bad:
        raise DatasetError(f"{len(bad)} of {len(rows)} photos tried cannot be read. {bad[0]}")
    return len(rows)


def check_disk(networks: Networks, out: Path) -> str:
    """What state and weights take on the disk, as a sentence. UsageError when there is too little."""
    model = networks.model
    state = size_of(trainable(model)) * (1 + ADAM_COPIES)
    weights = size_of(model.state_dict().values())
    needed = 2 * (state + weights)  # while a file is replaced, there are two
    free = free_bytes(out)
    text = f"state {bytes_label(state)}, weights {bytes_label(weights)}, both twice while replaced; "
    text += f"{bytes_label(free)} free"
    if needed > free:
        raise UsageError(f"Too little disk at {out}: {text}. Give another --out.")
    return text


def check(recipe: FullSizeRecipe, options: RunOptions, processes: Processes) -> Report:
    """Look at everything a run needs, and measure what it will take; nothing is written."""
    report, data, plan, networks, validation = Report(), None, None, None, None
    with report.item("folder", processes):
        check_folder(options)
    with report.item("data", processes):
        data, plan = read_photos(recipe, options)
        note = f", {data.missing} missing and left out" if data.missing else ", none missing"
        report.say(
            "data",
            f"{len(data.cities)} cities, {data.places} places, {len(data)} photos{note}; {data.too_few} places have "
            f"fewer than {recipe.min_photos} photos and are left out",
        )
    if data is not None:
        with report.item("photos", processes):
            report.say("photos", f"{check_samples(data, recipe.pixels)} tried, all decode")
    with report.item("batches", processes):
        chunks = chunks_in(recipe)
        own = len(processes.share(chunks))
        text = f"{recipe.places} places x {recipe.photos} photos in {chunks} cross-image chunks of {recipe.chunk}, "
        text += f"{own} for each of {processes.count} processes" if processes.count > 1 else "one process"
        report.say("batches", text + (f"; {plan.steps} steps an epoch, {recipe.epochs} epochs" if plan else ""))
    with report.item("model", processes):
        networks, recipe = build_networks(recipe, options, processes.device)
        report.say("model", _model_line(networks, recipe))
    with report.item("validation", processes):
        validation, test = read_validation(options)
        tested = "" if test is None else f"; {len(test.queries)} queries of its test split at the end"
        report.say(
            "validation",
            "none: the last epoch's weights are kept. Name a set with --val to keep the best Recall@5"
            if validation is None
            else f"{validation.name} / {validation.split}: {len(validation.database)} database photos, "
            f"{len(validation.queries)} queries{tested}",
        )
    if options.feature_cache is not None and data is not None:
        with report.item("cache", processes):
            needed = cache_bytes(recipe, len(data))
            check_space(options.feature_cache, needed)
            report.say("cache", f"{bytes_label(needed)} in {options.feature_cache}")
    if networks is not None:
        with report.item("disk", processes):
            report.say("disk", check_disk(networks, options.out))
    if report.right:
        parts = Parts(replace(recipe, data=data.digest), data, plan, networks, validation)
        try:
            _estimate(report, parts, options, processes)
        except SciceVPRError as error:
            report.say("steps", str(error), right=False)
    return report


def cheap_check(parts: Parts, options: RunOptions, processes: Processes) -> None:
    """What a run looks at before it starts: a sample of photos and the disk. DatasetError, UsageError."""
    with processes.together():
        if processes.first:
            check_samples(parts.data, parts.recipe.pixels)
            check_disk(parts.networks, options.out)


def _model_line(networks: Networks, recipe: FullSizeRecipe) -> str:
    model = networks.model
    learned = sum(p.numel() for p in trainable(model))
    whole = sum(p.numel() for p in model.parameters())
    teacher = f", teacher {recipe.teacher}" if networks.teacher is not None else ""
    return (
        f"{model.variant.name} on {networks.device}, {whole / 1e6:.2f} M parameters, {learned / 1e6:.2f} M of them "
        f"trained; backbone {recipe.backbone}{teacher}"
    )


def _estimate(report: Report, parts: Parts, options: RunOptions, processes: Processes) -> None:
    """Measure a few passes, and steps where they are fast enough; lines on memory, time and validation. Raises
    DatasetError: a photo cannot be read. UsageError: the device has too little memory."""
    recipe, networks = parts.recipe, parts.networks
    run = FullSizeRun(parts, options, processes, PhotoReader(parts.data, recipe.pixels, recipe.operations), networks)
    set_training(networks.model)
    batches = run.batches(0)
    chunks, labels = next(batches)
    probe = chunks[0][:PROBE]
    with processes.together():
        _pass_through(networks, probe)  # the first pass is slower
        started = time.perf_counter()
        _pass_through(networks, probe)
        a_step = (time.perf_counter() - started) / len(probe) * sum(map(len, chunks))
        memory = _memory(parts, options, len(chunks))
        held = held_bytes(networks, probe, recipe.chunk)
    at_once = min(options.accumulate or len(chunks), len(chunks))
    room = _device_memory(networks.device)
    too_much = sum(memory.values()) + at_once * held > room
    slow = processes.any(too_much or a_step * (STEPS + 2) > options.check_seconds)
    how = f"measured here on {len(probe)} photos, extrapolated"
    if not slow:
        with processes.together():
            held = held_bytes(networks, chunks[0], recipe.chunk)
        seconds = []
        for number in range(STEPS + 1):
            started = time.perf_counter()
            if number:
                chunks, labels = next(batches, (chunks, labels))
            run.take_step((chunks, labels))
            seconds.append(time.perf_counter() - started)
        a_step = float(np.median(seconds[1:]))
    total = sum(memory.values()) + at_once * held
    parts_of_it = ", ".join(f"{name} {bytes_label(count)}" for name, count in memory.items())
    report.say(
        "memory",
        f"about {bytes_label(total)} of {bytes_label(room)} on {networks.device}: graphs {at_once} x "
        f"{bytes_label(held)} ({how if slow else 'one chunk measured here'}), {parts_of_it}; passing buffers not "
        "counted" + (". Hold fewer chunks at once (--accumulate 1), or use --precision bf16" if total > room else ""),
        right=total <= room,
    )
    loaded = 2 * max(1, options.workers) * recipe.chunk * 3 * recipe.pixels[0] * recipe.pixels[1] * 4  # ahead
    report.say("loader", f"{options.workers} workers hold up to {bytes_label(loaded)} of photos")
    steps = parts.plan.steps * recipe.epochs
    measured = how if slow else f"median of {STEPS} measured here, extrapolated"
    without = "" if options.feature_cache is None else ", without the gain of the feature cache"
    report.say(
        "time", f"{a_step:.2f} s a step ({measured}): {steps} steps take {duration_label(a_step * steps)}{without}"
    )
    if not slow and networks.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(networks.device)
        report.say("peak", f"{bytes_label(peak)} of GPU memory in the steps measured here")
    if parts.validation is not None and processes.first:
        report.say("validation time", _validation_time(networks, parts.validation))


def _memory(parts: Parts, options: RunOptions, own: int) -> dict[str, int]:
    """What a process with ``own`` chunks holds, in bytes, but for the graphs of its chunks."""
    networks, recipe = parts.networks, parts.recipe
    model = networks.model
    weights = {id(p): p for module in (model, networks.teacher) if module is not None for p in module.parameters()}
    maps = 0
    if networks.frozen_backbone:
        width = len(model.variant.taps) * model.variant.channels * int(np.prod(model.variant.grid))
        waiting = own - min(options.accumulate or own, own)
        maps = waiting * recipe.chunk * width * (4 if recipe.precision == "none" else 2)
    copies = 4 if networks.teacher is None else 5  # own, gathered, their gradient, normalised; the teacher's
    return {
        "weights": size_of(weights.values()),
        "gradients and optimiser": size_of(trainable(model)) * (1 + ADAM_COPIES),
        "maps of other chunks": maps,
        "descriptors": 4 * recipe.places * recipe.photos * model.variant.descriptor_dim * copies,
    }


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
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = networks.begin(loaded)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        networks.describe(start, 0, keep_statistics=False)
    return sum(count for place, count in held.items() if place not in known)


def _validation_time(networks: Networks, validation: Dataset) -> str:
    model = networks.model
    photos = [photo.path for photo in validation.database[:VALIDATION_SAMPLE]]
    started = time.perf_counter()
    describe(model, photos)
    each = (time.perf_counter() - started) / len(photos)
    count = len(validation.database) + len(validation.queries)
    return f"{duration_label(each * count)} an epoch for {count} photos ({len(photos)} measured here, extrapolated)"


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of all tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _device_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
