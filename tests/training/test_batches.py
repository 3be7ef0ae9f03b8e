"""Batches at full size: pure functions of seed, epoch and step, whatever reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gsv_photos import write_gsv_cities

from scicevpr.errors import DatasetError, UsageError
from training.batches import RESHUFFLED, BatchPlan, Draw, cut_batch, keyed_seed
from training.gsv_cities import read_gsv_cities
from training.photo_loader import PhotoReader, load_chunks
from training.recipes import FullSizeRecipe
from training.trainer import halving


@pytest.fixture(scope="module")
def data(gsv_cities: Path):
    return read_gsv_cities(gsv_cities)


def test_our_batches_are_whole_places_of_one_city(data) -> None:
    plan = BatchPlan(data, places=3, photos=3, seed=1, order=RESHUFFLED)
    assert plan.steps == 8 // 3 + 5 // 3
    batches = list(plan.batches(0))
    assert len(batches) == plan.steps
    seen = []
    for batch in batches:
        places = batch.labels[::3]
        assert len(np.unique(data.place_cities[places])) == 1
        assert len(np.unique(batch.rows)) == 9
        assert (np.searchsorted(data.first, batch.rows, side="right") - 1 == batch.labels).all()
        seen += places.tolist()
    assert len(set(seen)) == len(seen) == 9


def test_batches_depend_on_seed_epoch_and_step_only(data) -> None:
    plan = BatchPlan(data, places=2, photos=2, seed=1, order=RESHUFFLED)
    whole, rest = list(plan.batches(3)), list(plan.batches(3, first_step=2))
    for one, other in zip(whole[2:], rest, strict=True):
        assert (one.rows == other.rows).all()
        assert (one.seeds == other.seeds).all()
    other_epoch, other_seed = list(plan.batches(4)), list(BatchPlan(data, 2, 2, 2, RESHUFFLED).batches(3))
    assert any((a.rows != b.rows).any() for a, b in zip(whole, other_epoch, strict=True))
    assert any((a.rows != b.rows).any() for a, b in zip(whole, other_seed, strict=True))
    seeds = np.concatenate([batch.seeds for batch in (*whole, *other_epoch, *other_seed)])
    assert len(np.unique(seeds)) == len(seeds)


def test_published_batches_are_those_of_the_published_loader(tmp_path: Path) -> None:
    """27 places in four cities, 4 a batch; recorded with the published loader (torch's DataLoader and StepLR)."""
    recorded = json.loads((Path(__file__).parent / "published_batches.json").read_text())
    root = write_gsv_cities(tmp_path / "gsv", {"Rome": 8, "Miami": 7, "Boston": 9, "Osaka": 7})
    data = read_gsv_cities(root)
    assert data.cities == ("Boston", "Miami", "Osaka", "Rome")
    assert list(data.listed) == recorded["cities"]
    plan = BatchPlan(data, recorded["places a batch"], 4, recorded["seed"])
    assert plan.steps == 7
    for epoch in (0, 6):
        found = []
        for batch in plan.batches(epoch):
            names = [data.path(row).name.split("_")[:2] for row in batch.rows[::4]]
            found.append([[city, int(place)] for city, place in names])
            assert (np.searchsorted(data.first, batch.rows, side="right") - 1 == batch.labels).all()
        assert found == recorded["batches of every epoch"]
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = halving(optimiser, plan.steps, FullSizeRecipe("x").decay_epochs, FullSizeRecipe("x").decay)
    for steps, rate in recorded["rates"]:
        for _ in range(steps):
            assert optimiser.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-12)
            optimiser.step()
            schedule.step()
    other = BatchPlan(read_gsv_cities(root, ["Osaka", "Rome"]), 4, 4, 0)
    assert other.data.listed == ("Osaka", "Rome")
    assert {other.data.cities[other.data.place_cities[place]] for place in other.compositions(0)[0]} == {"Osaka"}


def test_published_batches_repeat_their_places_not_their_photos(data) -> None:
    plan = BatchPlan(data, places=2, photos=2, seed=1)
    first, second = list(plan.batches(0)), list(plan.batches(1))
    assert [len(batch.rows) for batch in first] == [4] * 6 + [2]
    assert all((a.labels == b.labels).all() for a, b in zip(first, second, strict=True))
    assert any((a.rows != b.rows).any() for a, b in zip(first, second, strict=True))
    seeds = np.concatenate([batch.seeds for batch in (*first, *second)])
    assert len(np.unique(seeds)) == len(seeds)


@pytest.mark.parametrize(("photos", "chunks"), [(288, 2), (288, 4), (116, 2), (12, 4), (5, 4), (1, 4)])
def test_a_batch_is_cut_as_data_parallel_cuts_it(photos: int, chunks: int) -> None:
    rows = torch.arange(photos)
    cuts = [rows[cut] for cut in cut_batch(photos, chunks)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(cuts, rows.chunk(chunks), strict=True))


def test_impossible_batches_are_refused(data) -> None:
    with pytest.raises(DatasetError, match=r"no city .* has 9 places \(the largest has 8\).*--train_batch_size"):
        BatchPlan(data, places=9, photos=4, seed=0, order=RESHUFFLED)
    with pytest.raises(UsageError, match="no order of batches 'mixed'"):
        BatchPlan(data, places=9, photos=4, seed=0, order="mixed")
    with pytest.raises(UsageError, match=r"5 photos .* no place has more than 4. Lower --photos"):
        BatchPlan(data, places=2, photos=5, seed=0)
    with pytest.raises(UsageError, match="at least 2 places"):
        BatchPlan(data, places=1, photos=4, seed=0)


def test_seeds_of_different_draws_differ() -> None:
    seeds = {keyed_seed(0, draw, *keys) for draw in Draw for keys in ((0,), (1,), (0, 1), (1, 0))}
    assert len(seeds) == len(Draw) * 4
    assert max(seeds) < 2**63


def _load(plan: BatchPlan, reader: PhotoReader, own: range, chunks: int, workers: int, first_step: int = 0) -> list:
    return list(load_chunks(reader, plan, 1, first_step, chunks=chunks, own=own, workers=workers))


def test_neither_workers_nor_processes_move_an_augmentation(data) -> None:
    plan, reader = BatchPlan(data, places=2, photos=4, seed=1), PhotoReader(data, (28, 28), 3)
    whole = _load(plan, reader, range(2), 2, workers=0)
    by_workers = _load(plan, reader, range(1, 2), 2, workers=2, first_step=3)
    assert len(by_workers) == plan.steps - 3
    assert [tuple(len(chunk) for chunk in step) for step in whole] == [(4, 4)] * 6 + [(2, 2)]
    for one, other in zip(whole[3:], by_workers, strict=True):
        assert torch.equal(one[1], other[0])
    state = torch.get_rng_state()
    assert not torch.equal(reader[0, 5], reader[0, 6])
    assert torch.equal(torch.get_rng_state(), state)
    assert whole[0][0].shape == (4, 3, 28, 28)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_photo_is_named(gsv_cities: Path, tmp_path: Path, workers: int) -> None:
    data = read_gsv_cities(shutil.copytree(gsv_cities, tmp_path / "gsv"))
    for row in range(4):
        data.path(row).write_bytes(b"\xff\xd8 broken")
    plan, reader = BatchPlan(data, places=8, photos=4, seed=1), PhotoReader(data, (28, 28), 3)
    with pytest.raises(DatasetError, match=r"^The photo \S+\.jpg cannot be decoded"):
        _load(plan, reader, range(1), 1, workers)
