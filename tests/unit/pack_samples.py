"""A small described data set for the tests of packs; nothing in it needs a real model."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from scicevpr.config import get_variant
from scicevpr.datasets import Dataset, read_dataset
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.packs.build import Content, build_pack
from scicevpr.packs.pack import Pack

WIDTH = 32
VARIANT, OTHER = "scicevpr-t", "cricavpr-t"


def stand_in(name: str = VARIANT, weights: str = "a" * 12) -> SimpleNamespace:
    """What a pack asks of a model: its variant and the hash of its weights."""
    return SimpleNamespace(variant=get_variant(name), weights=SimpleNamespace(sha256=weights))


def described(count: int, model: SimpleNamespace, seed: int = 0, width: int = WIDTH) -> Descriptors:
    """Random unit descriptors under a model's protocol."""
    values = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    variant = model.variant
    return Descriptors(
        values=values / np.linalg.norm(values, axis=1, keepdims=True),
        variant=variant.name,
        fingerprint=variant.fingerprint,
        weights=model.weights.sha256,
        trained=True,
        grouping="sequential 16" if variant.cross_image else "independent of the batch",
        preprocessing=asdict(variant.preprocessing),
        device="cpu",
        dtype="float32",
        seconds=0.5,
    )


def content(dataset: Dataset, model: SimpleNamespace | None = None, **options) -> Content:
    """Descriptors of a data set's database and queries."""
    model = model or stand_in()
    queries = described(len(dataset.queries), model, seed=1) if dataset.queries else None
    return Content(described(len(dataset.database), model), queries, **options)


def small_pack(folder: Path, city: Path, benchmark: str | None = None, **options) -> Pack:
    """A pack of the tiny city with one model."""
    dataset = replace(read_dataset(city), benchmark=benchmark)
    return build_pack(folder, dataset, [content(dataset)], **options)
