"""What several unit tests use: reference arrays, T models filled by the reference rule, a tiny city of patterns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from filled_models import INFO, T_VARIANTS, descriptors, filled_model, random_images
from PIL import Image, ImageFilter
from stand_in_server import StandIn, stand_in

from scicevpr.datasets import format_name, read_dataset
from scicevpr.models.model import VPRModel
from scicevpr.models.native_checkpoints import save_weights

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
sys.path.append(str(ROOT / "benchmarks"))  # for its synthetic city


@pytest.fixture(scope="session")
def golden():
    """Opens a file of reference arrays by name."""
    return lambda name: np.load(GOLDEN / f"{name}.npz")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return random_images(3, seed=1)


@pytest.fixture(scope="module")
def models() -> dict[str, VPRModel]:
    return {name: filled_model(name) for name in T_VARIANTS}


@pytest.fixture(scope="module")
def expected(models, images) -> dict[str, torch.Tensor]:
    return {name: descriptors(model, images) for name, model in models.items()}


@pytest.fixture(scope="session")
def tiny_city(tmp_path_factory) -> Path:
    """Data set folder of twelve places, eight of them queried in two conditions.

    The place of the last query is not in the database. The folder's name holds an "@".
    """
    root = tmp_path_factory.mktemp("tiny@city")
    database, queries = root / "images" / "test" / "database", root / "images" / "test" / "queries"
    database.mkdir(parents=True)
    queries.mkdir()
    rng = np.random.default_rng(0)
    for place in range(12):
        pattern = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((80, 60), Image.BICUBIC)
        name = {"north": 4e6, "zone_number": 32, "zone_letter": "U", "pano_id": place}
        pattern.save(database / format_name(east=500_000 + 100 * place, **name))
        if place < 8:
            photo = pattern.filter(ImageFilter.GaussianBlur(1))
            if place % 2:
                photo = photo.point(lambda value: value * 0.5)
            east = 500_000 + 100 * place + (50 if place == 7 else 10)
            photo.save(queries / format_name(east=east, note="night" if place % 2 else "day", **name))
    return root


@pytest.fixture
def few(tiny_city: Path, tmp_path: Path) -> Path:
    """A part of the tiny city: what is described by real models should be little."""
    for part, count in (("database", 4), ("queries", 2)):
        folder = tmp_path / "few" / "images" / "test" / part
        folder.mkdir(parents=True)
        for photo in getattr(read_dataset(tiny_city), part)[:count]:
            (folder / photo.name).symlink_to(photo.path)
    return tmp_path / "few"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The only Hub and host there is, with caches of the test's own."""
    for name in ("HF_HUB_OFFLINE", "SCICEVPR_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(
        huggingface_hub.constants, "HF_HUB_DISABLE_XET", True
    )  # large files by LFS: Xet has no stand-in
    with stand_in() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    """A weights file of this project."""
    path = tmp_path / "mine.safetensors"
    save_weights(filled_model("scicevpr-t"), path, info=INFO)
    return path
