"""The training stages on a toy city of noise photos: what is trained moves, what is frozen stays, runs are seeded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from scicevpr.errors import DatasetError, UsageError
from scicevpr.places import format_name
from training.augment import PublishedAugmentation, StrongAugmentation
from training.cross_image import prepare_model, set_training, train
from training.data import list_training_photos, load_bank, place_batches
from training.distill import build_pair, distill
from training.pretrain import PretrainModel, pretrain, save
from training.recipes import CrossImageRecipe, DistillRecipe, Phase, PretrainRecipe, override

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
    save(PretrainModel(), out, 0)
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
    recipe = PretrainRecipe(phases=(Phase(56, 10),), places=4, warmup=2, mirror=0.0, validate_every=100, lr=1e-3)
    states = []
    for run in ("a", "b"):
        pretrain(toy_city, tmp_path / run, recipe, None, None)
        states.append(load_file(tmp_path / run / "backbone.safetensors"))
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    log = (tmp_path / "a" / "log.csv").read_text().splitlines()
    first = float(next(line for line in log if "region_loss" in line).split(",")[3])
    assert first < np.log(15)  # 16 photos: chance level is log 15


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
    recipe = override(PretrainRecipe(), ["lr=0.001", "phases=112x5,224x2x1"])
    assert recipe.lr == 0.001
    assert recipe.phases == (Phase(112, 5), Phase(224, 2, 1))
    with pytest.raises(UsageError, match="no 'rate'"):
        override(PretrainRecipe(), ["rate=1"])
    with pytest.raises(UsageError, match="no valid value"):
        override(PretrainRecipe(), ["places=many"])
