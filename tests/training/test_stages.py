"""The training stages on a toy city of noise photos: what is trained moves, what is frozen stays, runs are seeded."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from scicevpr.config import get_variant
from scicevpr.datasets import format_name
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.errors import DatasetError, UsageError
from scicevpr.models.model import build_model
from scicevpr.models.weights import fill_stem
from training.batches import TrainingPhotos, list_training_photos, place_batches
from training.cross_image import CrossImageTrainer, describe_maps, prepare_model, train
from training.distill import build_pair, distill
from training.recipes import CrossImageRecipe, DistillRecipe, ViewsRecipe, override
from training.stem_maps import StemMaps, open_maps, stem_maps
from training.steps import set_training

PLACES, PHOTOS = 4, 4
VIEWS = ViewsRecipe(views=2)
TEACHER = CrossImageRecipe(places=2, cities=1, epochs=3, lr=1e-3, warmup=0, validate_every=1)


def _write(folder: Path, place: int, photo: int, generator: np.random.Generator, picture: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = format_name(
        east=450000.0 + 60 * place,
        north=5400000.0 + photo,
        zone_number=32,
        zone_letter="U",
        latitude=48.7,
        longitude=8.3,
        pano_id=f"c{1 + place % 2}p{place:04d}",
        tile=None,
        heading=0.0,
        pitch=0.0,
        timestamp="20240101_120000",
        note="day",
    )
    noisy = np.clip(picture + generator.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(folder / name, quality=90)


@pytest.fixture(scope="module")
def toy_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    generator = np.random.default_rng(3)
    pictures = [np.kron(generator.integers(0, 255, (6, 8, 3)), np.ones((10, 10, 1))) for _ in range(PLACES)]
    for place in range(PLACES):
        for photo in range(PHOTOS):
            _write(root / "images/train/database", place, photo, generator, pictures[place])
        _write(root / "images/val/database", place, 10, generator, pictures[place])
        _write(root / "images/val/queries", place, 11, generator, pictures[place])
    return root


@pytest.fixture(scope="module")
def maps(toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> StemMaps:
    folder = tmp_path_factory.mktemp("kept") / "maps"
    return open_maps(toy_city, folder, VIEWS, get_variant("scicevpr-t"), workers=1)


@pytest.fixture(scope="module")
def photos(maps: StemMaps) -> TrainingPhotos:
    return maps.photos


@pytest.fixture(scope="module")
def teacher(maps: StemMaps, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher")
    assert train(maps, out, TEACHER)
    return out / "best.safetensors"


def test_batches_hold_whole_places_of_few_cities(photos: TrainingPhotos) -> None:
    batches = list(place_batches(photos, 2, PHOTOS, cities=1, generator=np.random.default_rng(0)))
    assert len(batches) == 2
    for batch in batches:
        assert len(np.unique(photos.cities[batch.rows])) == 1
        assert (photos.places[batch.rows] == batch.labels).all()
        assert len(np.unique(batch.rows)) == 2 * PHOTOS
    assert sorted(np.unique(np.concatenate([b.labels for b in batches]))) == list(range(PLACES))


def test_no_photos_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"training\.procity"):
        list_training_photos(tmp_path)


def test_kept_maps_are_those_of_the_model_and_go_on_where_they_stopped(maps: StemMaps, tmp_path: Path) -> None:
    photos = maps.photos
    variant = get_variant("scicevpr-t")
    model = fill_stem(build_model(variant))
    kept = maps.draw(np.arange(3))
    assert torch.equal(kept, stem_maps(model.backbone.patch_embed, photos.paths[:3], variant))
    direct = model(prepare(photos.paths[:3], variant.preprocessing))
    torch.testing.assert_close(describe_maps(model, kept), direct, atol=2e-3, rtol=0)  # float16 kept
    assert (maps.maps[0] != maps.maps[1]).any(axis=(1, 2, 3)).all()  # every view is another one

    folder = tmp_path / "maps"
    whole = np.array(open_maps(maps.data, folder, VIEWS, variant, workers=2).maps)
    np.testing.assert_array_equal(whole, maps.maps)
    done = np.fromfile(folder / "done.bool", dtype=bool)
    done[1] = False
    done.tofile(folder / "done.bool")
    (folder / "maps.f16").write_bytes(whole.tobytes()[: whole.nbytes // 2] + bytes(whole.nbytes // 2))
    np.testing.assert_array_equal(open_maps(maps.data, folder, VIEWS, variant, workers=1).maps, maps.maps)
    with pytest.raises(UsageError, match="views 2 there, 3 here"):
        open_maps(maps.data, folder, ViewsRecipe(views=3), variant, workers=1)


def test_the_teacher_starts_with_the_stem_passing_through(maps: StemMaps) -> None:
    model = prepare_model(TEACHER, maps.draw(np.arange(16)), None)
    embed, width = model.backbone.patch_embed, model.variant.channels
    values = embed.project(maps.draw(np.arange(16)).float()).permute(0, 2, 3, 1).reshape(-1, width).double()
    covariance = values.T @ values / len(values)
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 1e-2 * covariance.diagonal().max()
    weight = model.fusion.conv.weight[:, :, 0, 0]
    assert torch.equal(weight[:, :width], torch.eye(width))
    assert 0 < weight[:, width:].abs().max() < 0.3 / (5 * width) ** 0.5 * 1.01


@pytest.mark.parametrize(("stopped_in", "call"), [("measure", 2), ("take_step", 3)])
def test_an_interrupted_teacher_goes_on_exactly(
    maps: StemMaps, teacher: Path, tmp_path: Path, stopped_in: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the validation of its second epoch, or asked to stop in the middle of it."""
    do, calls = getattr(CrossImageTrainer, stopped_in), []

    class Stop(Exception):
        pass

    def stopping(self: CrossImageTrainer, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == call:
            if stopped_in == "measure":
                raise Stop
            os.kill(os.getpid(), signal.SIGTERM)
        return do(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(CrossImageTrainer, stopped_in, stopping)
        with pytest.raises(Stop) if stopped_in == "measure" else nullcontext():
            assert not train(maps, tmp_path, TEACHER)
    with pytest.raises(UsageError, match="another recipe"):
        train(maps, tmp_path, replace(TEACHER, lr=2e-3))
    assert train(maps, tmp_path, TEACHER)
    folders = teacher.parent, tmp_path
    whole, cut = (load_file(folder / "best.safetensors") for folder in folders)
    assert all(torch.equal(whole[k], cut[k]) for k in whole)
    logs = [(folder / "log.csv").read_text().splitlines() for folder in folders]
    assert [line.split(",")[1:] for line in logs[0]] == [line.split(",")[1:] for line in logs[1]]


def test_the_teacher_trains_blocks_and_heads_but_not_the_stem(maps: StemMaps, teacher: Path) -> None:
    start, end = prepare_model(TEACHER, maps.draw(np.arange(16)), None).state_dict(), load_file(teacher)
    moved = {k for k in end if not torch.equal(start[k], end[k])}
    assert not [k for k in moved if k.startswith("backbone.patch_embed.features.")]
    for part in ("backbone.blocks.0.", "backbone.patch_embed.proj", "fusion.conv", "encoder."):
        assert any(k.startswith(part) for k in moved), part


def test_the_baseline_trains_adapters_and_encoder_on_the_teachers_blocks(
    maps: StemMaps, teacher: Path, tmp_path: Path
) -> None:
    recipe = replace(TEACHER, variant="cricavpr-t", epochs=1)
    with pytest.raises(UsageError, match="--backbone"):
        train(maps, tmp_path, recipe)
    train(maps, tmp_path, recipe, teacher)
    start, end = load_file(teacher), load_file(tmp_path / "best.safetensors")
    kept = [k for k in end if k.startswith("backbone.") and ".adapter." not in k]
    assert all(torch.equal(start[k], end[k]) for k in kept)
    assert end["backbone.blocks.0.adapter.D_fc2.weight"].abs().max() > 0


def test_frozen_normalisation_keeps_its_statistics(teacher: Path) -> None:
    model = prepare_model(CrossImageRecipe(variant="cricavpr-t"), None, teacher)
    set_training(model)
    assert not model.backbone.patch_embed.training
    assert model.backbone.blocks[0].adapter.branch1.bn.training


def test_distillation_freezes_backbone_and_convolution(maps: StemMaps, teacher: Path, tmp_path: Path) -> None:
    recipe = DistillRecipe(places=4, cities=None, epochs=2, lr=1e-3)
    student, frozen = build_pair(recipe, teacher)
    assert not frozen.training
    assert not any(p.requires_grad for p in student.fusion.conv.parameters())
    assert distill(maps, tmp_path / "student", recipe, teacher)
    end, given = load_file(tmp_path / "student" / "best.safetensors"), load_file(teacher)
    for name in end:
        if name.startswith(("backbone.", "fusion.conv.")):
            assert torch.equal(end[name], given[name]), name
    assert not torch.equal(end["fusion.mixers.0.mix.0.weight"], given["fusion.mixers.0.mix.0.weight"])


def test_recipe_overrides() -> None:
    recipe = override(CrossImageRecipe(), ["lr=0.001", "cities=none", "places=20"])
    assert (recipe.lr, recipe.cities, recipe.places) == (0.001, None, 20)
    with pytest.raises(UsageError, match="no 'rate'"):
        override(CrossImageRecipe(), ["rate=1"])
    with pytest.raises(UsageError, match="no valid value"):
        override(CrossImageRecipe(), ["photos=many"])
