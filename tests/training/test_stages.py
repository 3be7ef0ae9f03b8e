"""The training stages on a toy city of noise photos: what is trained moves, what is frozen stays, runs are seeded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from scicevpr.errors import DatasetError, UsageError, WeightsError
from scicevpr.places import format_name
from training.augment import PublishedAugmentation, StrongAugmentation
from training.cross_image import prepare_model, set_training, train
from training.data import PhotoBank, list_training_photos, load_bank, place_batches, weather_weights
from training.distill import build_pair, distill
from training.pretrain import Batches, PretrainModel, pretrain, save, start_from
from training.recipes import CrossImageRecipe, DistillRecipe, Phase, PretrainRecipe, override
from training.rooms import RoomMaker
from training.trainer import BestModel

PLACES, PHOTOS = 4, 4


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
def backbone(toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    save(PretrainModel(), out, {})
    return out / "backbone.safetensors"


def test_batches_hold_whole_places_of_few_cities(toy_city: Path) -> None:
    bank = load_bank(list_training_photos(toy_city), 30, 40)
    assert bank.photos.shape == (PLACES * PHOTOS, 3, 30, 40)
    batches = list(place_batches(bank, 2, PHOTOS, cities=1, generator=np.random.default_rng(0)))
    assert len(batches) == 2
    for batch in batches:
        assert len(np.unique(bank.cities[batch.rows])) == 1
        assert (bank.places[batch.rows] == batch.labels).all()
        assert len(np.unique(batch.rows)) == 2 * PHOTOS
    assert sorted(np.unique(np.concatenate([b.labels for b in batches]))) == list(range(PLACES))


def test_hard_weather_is_shown_more_often() -> None:
    names = tuple(f"@1@2@@@@@c1p1@0@0@@@@@{note}@.jpg" for note in ("day", "rain", "night_snow", "fog"))
    bank = PhotoBank(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), np.zeros(4, int), np.zeros(4, int), names)
    weights = weather_weights(bank, 3.0)
    assert list(weights) == [1, 1, 3, 3]
    random = np.random.default_rng(0)
    shown = np.zeros(4)
    for _ in range(800):
        batch = next(place_batches(bank, 1, 1, cities=None, generator=random, weights=weights))
        shown[batch.rows[0]] += 1
    assert np.allclose(shown / 800, weights / 8, atol=0.05)


def test_no_photos_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"training\.procity"):
        list_training_photos(tmp_path)


def test_augmentations_keep_shape_and_range(toy_city: Path) -> None:
    bank = load_bank(list_training_photos(toy_city), 60, 80)
    torch.manual_seed(0)
    mirror = torch.zeros(len(bank), dtype=torch.bool)
    strong = StrongAugmentation(56)(bank.photos, mirror)
    published = PublishedAugmentation(56)(bank.photos)
    for x in (strong, published):
        assert x.shape == (len(bank), 3, 56, 56)
        assert torch.isfinite(x).all()
        assert x.std() > 0.2
        assert not torch.equal(x[0], x[1])


@pytest.mark.slow
def test_pretraining_lowers_its_loss_and_is_seeded(toy_city: Path, tmp_path: Path) -> None:
    recipe = PretrainRecipe(phases=(Phase(56, 10, places=4),), warmup=2, mirror=0.0, validate_every=100, lr=1e-3)
    states = []
    for run in ("a", "b"):
        pretrain(toy_city, tmp_path / run, recipe, None)
        states.append(load_file(tmp_path / run / "backbone.safetensors"))
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    log = (tmp_path / "a" / "log.csv").read_text().splitlines()
    first = float(next(line for line in log if "region_loss" in line).split(",")[3])
    assert first < np.log(15)  # 16 photos: chance level is log 15


@pytest.mark.slow
def test_an_interrupted_pretraining_goes_on_exactly(
    toy_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = (Phase(56, 3, places=4), Phase(56, 3, places=4))
    recipe = PretrainRecipe(phases=phases, warmup=2, validate_every=100, save_every=2, lr=1e-3)
    pretrain(toy_city, tmp_path / "whole", recipe, None)

    class Stop(Exception):
        pass

    draw, calls = Batches.draw, []

    def stopping(self: Batches, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(step)
        if len(calls) == 6:
            raise Stop
        return draw(self, step)

    monkeypatch.setattr(Batches, "draw", stopping)
    with pytest.raises(Stop):
        pretrain(toy_city, tmp_path / "cut", recipe, None)
    with pytest.raises(UsageError, match="another recipe"):
        pretrain(toy_city, tmp_path / "cut", replace(recipe, lr=2e-3), None)
    pretrain(toy_city, tmp_path / "cut", recipe, None)
    assert calls[6:] == [4, 5]  # from the state after four steps
    whole, cut = (load_file(tmp_path / run / "backbone.safetensors") for run in ("whole", "cut"))
    assert all(torch.equal(whole[k], cut[k]) for k in whole)
    assert not (tmp_path / "cut" / "state.pt").exists()


@pytest.mark.slow
def test_an_interrupted_teacher_goes_on_exactly(
    toy_city: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = CrossImageRecipe(places=4, epochs=3, views=1, lr=1e-3)
    train(toy_city, backbone, tmp_path / "whole", recipe)
    validate, calls = BestModel.validate, []

    class Stop(Exception):
        pass

    def stopping(self: BestModel, *arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Stop
        validate(self, *arguments)

    monkeypatch.setattr(BestModel, "validate", stopping)
    with pytest.raises(Stop):
        train(toy_city, backbone, tmp_path / "cut", recipe)
    train(toy_city, backbone, tmp_path / "cut", recipe)
    whole, cut = (load_file(tmp_path / run / "best.safetensors") for run in ("whole", "cut"))
    assert all(torch.equal(whole[k], cut[k]) for k in whole)
    logs = [(tmp_path / run / "log.csv").read_text().splitlines() for run in ("whole", "cut")]
    assert [line.split(",")[1:] for line in logs[0]] == [line.split(",")[1:] for line in logs[1]]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "views"), [("super-cricavpr-t", 1), ("cricavpr-t", 0)])
def test_cross_image_stage_trains_only_what_is_published(
    toy_city: Path, backbone: Path, tmp_path: Path, variant: str, views: int
) -> None:
    recipe = CrossImageRecipe(variant=variant, places=4, epochs=1, views=views, lr=1e-3)
    start = prepare_model(recipe, backbone).state_dict()
    torch.manual_seed(recipe.seed)
    train(toy_city, backbone, tmp_path, recipe)
    end = load_file(tmp_path / "best.safetensors")
    moved = {k for k in end if not torch.equal(start[k], end[k])}
    frozen = [k for k in moved if k.startswith("backbone.") and ".adapter." not in k]
    assert frozen == []
    assert any(k.startswith("encoder.") for k in moved)
    assert any(".adapter.D_fc2" in k for k in moved) == (variant == "cricavpr-t")
    assert any(k.startswith("fusion.conv") for k in moved) == (variant == "super-cricavpr-t")


def test_frozen_normalisation_keeps_its_statistics(backbone: Path) -> None:
    model = prepare_model(CrossImageRecipe(variant="cricavpr-t"), backbone)
    set_training(model)
    assert not model.backbone.patch_embed.stem[1].training
    assert model.backbone.blocks[0].adapter.branch1.bn.training


@pytest.mark.slow
def test_distillation_freezes_backbone_and_convolution(toy_city: Path, backbone: Path, tmp_path: Path) -> None:
    train(toy_city, backbone, tmp_path / "teacher", CrossImageRecipe(places=4, epochs=1, views=1))
    teacher_path = tmp_path / "teacher" / "best.safetensors"
    recipe = DistillRecipe(places=4, epochs=2, views=1, lr=1e-3)
    student, teacher = build_pair(recipe, teacher_path)
    assert not teacher.training
    assert not any(p.requires_grad for p in student.fusion.conv.parameters())
    distill(toy_city, teacher_path, tmp_path / "student", recipe)
    end, given = load_file(tmp_path / "student" / "best.safetensors"), load_file(teacher_path)
    for name in end:
        if name.startswith(("backbone.", "fusion.conv.")):
            assert torch.equal(end[name], given[name]), name
    assert not torch.equal(end["fusion.mixers.0.mix.0.weight"], given["fusion.mixers.0.mix.0.weight"])


def test_recipe_overrides() -> None:
    recipe = override(PretrainRecipe(), ["lr=0.001", "phases=112x5,224x2x20x4x1"])
    assert recipe.lr == 0.001
    assert recipe.phases == (Phase(112, 5), Phase(224, 2, places=20, rooms=4, cities=1))
    with pytest.raises(UsageError, match="no 'rate'"):
        override(PretrainRecipe(), ["rate=1"])
    with pytest.raises(UsageError, match="no valid value"):
        override(PretrainRecipe(), ["photos=many"])


def test_pretraining_can_start_from_an_earlier_backbone(backbone: Path, tmp_path: Path) -> None:
    model = PretrainModel()
    start_from(model, [backbone])
    state, given = model.vpr.state_dict(), load_file(backbone)
    assert all(torch.equal(state[name], tensor) for name, tensor in given.items())
    save_file({"gem.p": given["gem.p"]}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        start_from(model, [tmp_path / "other.safetensors"])


@pytest.mark.slow
def test_rooms_are_seeded_and_a_room_looks_like_itself() -> None:
    maker = RoomMaker(seed=1, atlases=0, painted=40)
    batch, again = (maker.batch(places=8, photos=3, pixels=48, seed=5) for _ in range(2))
    assert torch.equal(batch.photos, again.photos)
    assert not torch.equal(batch.photos, maker.batch(places=8, photos=3, pixels=48, seed=6).photos)
    assert batch.photos.shape == (24, 3, 48, 48)
    assert batch.labels.tolist() == [room for room in range(8) for _ in range(3)]
    assert batch.photos.min() >= 0
    assert batch.photos.max() <= 1
    assert batch.photos.std(dim=(2, 3)).mean() > 0.03
    flat = torch.nn.functional.adaptive_avg_pool2d(batch.photos, 6).flatten(1)
    flat = flat / flat.mean(1, keepdim=True)
    distances = torch.cdist(flat, flat)
    same = torch.from_numpy(batch.labels[:, None] == batch.labels[None])
    own = distances[same & ~torch.eye(24, dtype=torch.bool)].median()
    assert own < distances[~same].median()
