"""Before a long run: is everything there, and what will it take? (``python -m training.full_size --check``)

Every number is either counted (places, parameters, bytes on disk) or measured here on a few photos and extrapolated;
the text says which.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from scicevpr.datasets import Dataset
from scicevpr.errors import DatasetError, SciceVPRError, UsageError
from training.chunked_step import Networks, chunks_in
from training.distributed import Processes
from training.estimate import ADAM_COPIES, Line, estimate, size_of, size_words
from training.full_parts import Parts, build_networks, check_folder, read_photos, read_validation
from training.full_size_options import RunOptions
from training.gsv_cities import GsvCities
from training.kept_maps import check_space
from training.map_cache import cache_bytes
from training.photo_loader import decode_photo
from training.recipes import FullSizeRecipe
from training.trainer import trainable

SAMPLE = 32  # photos that are decoded to see whether they can be


@dataclass
class Report:
    """What a check found, line by line: a name, whether it is right, and words."""

    lines: list[Line] = field(default_factory=list)

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


def sample_rows(data: GsvCities) -> np.ndarray:
    """The numbers of a few photos spread evenly over the data."""
    return np.unique(np.linspace(0, len(data) - 1, min(SAMPLE, len(data))).astype(int))


def check_samples(data: GsvCities, size: tuple[int, int]) -> int:
    """Decode a few photos spread evenly over the data; returns how many. DatasetError names the first bad one."""
    rows, bad = sample_rows(data), []
    for row in rows.tolist():
        try:
            decode_photo(data.path(row), size)
        except DatasetError as error:
            bad.append(str(error))
    if bad:
        raise DatasetError(f"{len(bad)} of {len(rows)} photos tried cannot be read. {bad[0]}")
    return len(rows)


def check_disk(networks: Networks, out: Path) -> str:
    """Words on the disk that state and weights take. UsageError when there is too little."""
    model = networks.model
    state = size_of(trainable(model)) * (1 + ADAM_COPIES)
    weights = size_of(model.state_dict().values())
    needed = 2 * (state + weights)  # while a file is replaced, there are two
    existing = next(place for place in (out, *out.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    text = (
        f"state {size_words(state)}, weights {size_words(weights)}, both twice while replaced; {size_words(free)} free"
    )
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
        words = f"{recipe.places} places x {recipe.photos} photos in {chunks} cross-image chunks of {recipe.chunk}, "
        words += f"{own} for each of {processes.count} processes" if processes.count > 1 else "one process"
        report.say("batches", words + (f"; {plan.steps} steps an epoch, {recipe.epochs} epochs" if plan else ""))
    with report.item("model", processes):
        networks, recipe = build_networks(recipe, options, processes.device)
        report.say("model", _model_words(networks, recipe))
    with report.item("validation", processes):
        validation = read_validation(options)
        report.say("validation", _validation_words(validation))
    if options.feature_cache is not None and data is not None:
        with report.item("cache", processes):
            needed = cache_bytes(recipe, len(data))
            check_space(options.feature_cache, needed)
            report.say("cache", f"{size_words(needed)} in {options.feature_cache}")
    if networks is not None:
        with report.item("disk", processes):
            report.say("disk", check_disk(networks, options.out))
    if report.right:
        parts = Parts(replace(recipe, data=data.digest), data, plan, networks, validation)
        try:
            report.lines += estimate(parts, options, processes)
        except SciceVPRError as error:
            report.say("steps", str(error), right=False)
    return report


def cheap_check(parts: Parts, options: RunOptions, processes: Processes) -> None:
    """What a run looks at before it starts: a sample of photos and the disk. DatasetError, UsageError."""
    with processes.together():
        if processes.first:
            check_samples(parts.data, parts.recipe.pixels)
            check_disk(parts.networks, options.out)


def _model_words(networks: Networks, recipe: FullSizeRecipe) -> str:
    model = networks.model
    learned = sum(p.numel() for p in trainable(model))
    whole = sum(p.numel() for p in model.parameters())
    teacher = f", teacher {recipe.teacher}" if networks.teacher is not None else ""
    return (
        f"{model.variant.name} on {networks.device}, {whole / 1e6:.2f} M parameters, {learned / 1e6:.2f} M of them "
        f"trained; backbone {recipe.backbone}{teacher}"
    )


def _validation_words(validation: Dataset | None) -> str:
    if validation is None:
        return "none: the last epoch's weights are kept. Name a set with --val to keep the best Recall@5"
    photos = f"{len(validation.database)} database photos, {len(validation.queries)} queries"
    return f"{validation.name} / {validation.split}: {photos}"
