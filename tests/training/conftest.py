"""A small GSV-Cities of generated photos, and a tiny backbone, for the tests of training at full size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_family
import torch
from gsv_photos import write_gsv_cities
from PIL import Image

from scicevpr.datasets import format_name
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import save_backbone, save_weights


@pytest.fixture(scope="session")
def gsv_cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cities with 8 and 5 usable places of 4 photos."""
    return write_gsv_cities(tmp_path_factory.mktemp("gsv") / "gsv-cities")


@pytest.fixture(scope="session")
def validation_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six places with positions: a database photo and a query each."""
    root = tmp_path_factory.mktemp("val") / "tiny30k"
    rng = np.random.default_rng(6)
    for folder in ("database", "queries"):
        (root / "images" / "val" / folder).mkdir(parents=True)
    for place in range(6):
        pattern = np.kron(rng.integers(0, 255, (6, 8, 3)), np.ones((8, 8, 1)))
        for folder, north in (("database", 5e6), ("queries", 5e6 + 3)):
            picture = np.clip(pattern + rng.normal(0, 10, pattern.shape), 0, 255).astype(np.uint8)
            name = format_name(east=4e5 + 100 * place, north=north, zone_number=32, zone_letter="U", pano_id=place)
            Image.fromarray(picture).save(root / "images" / "val" / folder / name)
    return root


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in the same order in every process, and no contention where tests share cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_variants() -> Iterator[None]:
    """The tiny size X of all families."""
    tiny_family.register()
    yield
    tiny_family.unregister()


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random backbone of size X, as a file."""
    return _write(tmp_path_factory, save_backbone)


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Super-CricaVPR of size X, as a file."""
    return _write(tmp_path_factory, save_weights)


def _write(factory: pytest.TempPathFactory, save: Callable[..., object]) -> Path:
    """A random Super-CricaVPR of size X through one of the writing functions."""
    path = factory.mktemp("tiny") / f"{save.__name__}.safetensors"
    tiny_family.register()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            save(build_model("super-cricavpr-x"), path, info={})
    finally:
        tiny_family.unregister()
    return path
