"""``--recipe published``: first weights, best epoch and ending as in the published code, and where ours differ."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from scicevpr.models.checkpoint import read_metadata
from scicevpr.models.model import VPRModel, build_model
from training import full_size
from training.full_run import FullSizeRun
from training.full_size import read_options
from training.steps import freeze_published, start_published

pytestmark = pytest.mark.usefixtures("tiny_variants", "one_thread")


def _fresh(published: bool) -> VPRModel:
    torch.manual_seed(5)
    model = build_model("cricavpr-x")
    freeze_published(model)
    if published:
        start_published(model)
    return model


def test_adapters_and_encoder_start_as_published() -> None:
    for published in (True, False):
        model = _fresh(published)
        first, second = (layer.state_dict() for layer in model.encoder.layers)
        assert all(torch.equal(first[name], second[name]) for name in first) == published
        for block in model.backbone.blocks:
            adapter = block.adapter
            assert not adapter.D_fc2.weight.any()
            assert not adapter.D_fc2.bias.any()
            convolutions = [module for module in adapter.modules() if isinstance(module, nn.Conv2d)]
            assert len(convolutions) == 5
            for part in convolutions:
                constant = torch.tensor(1e-5)
                assert (part.weight == constant).all() == published
                assert (part.bias == (constant if published else 0)).all()
            assert (not adapter.D_fc1.bias.any()) == published
            assert (0.017 < adapter.D_fc1.weight.std() < 0.023) == published
            assert adapter.D_fc1.weight.requires_grad


def test_the_copies_of_a_layer_learn_on_their_own() -> None:
    model = _fresh(published=True)
    pointers = [parameter.data_ptr() for parameter in model.encoder.parameters()]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--model super-cricavpr-b", ("published", "published", "r5", "adam")),
        ("--model cricavpr-b", ("published", "published", "r1+r5", "adam")),
        ("--model cricavpr-b --optim sgd", ("published", "published", "r1+r5", "sgd")),
        ("--model cricavpr-b --recipe reshuffled", ("reshuffled", "fresh", "r5,r1", "adam")),
        ("--model cricavpr-b --recipe reshuffled --set start=published", ("reshuffled", "published", "r5,r1", "adam")),
    ],
)
def test_a_recipe_is_a_set_of_named_choices(words: str, expected: tuple[str, ...]) -> None:
    recipe, _ = read_options(["--data", "g", "--out", "o", "--foundation_model_path", "f", *words.split()])
    assert (recipe.order, recipe.start, recipe.best, recipe.optim) == expected


def _run(gsv: Path, backbone: Path, out: Path, *more: str) -> list[tuple[int, str, float]]:
    words = "--model super-cricavpr-x --resize 56 56 --train_batch_size 4 --cross_image_chunk 8 --threads 1"
    start = ["--num_workers", "0", "--foundation_model_path", str(backbone), "--data", str(gsv), "--out", str(out)]
    assert full_size.main([*words.split(), *start, *more]) == 0
    return [(int(row[1]), row[2], float(row[3])) for row in csv.reader((out / "log.csv").open(newline=""))]


@pytest.mark.parametrize(("best", "epoch"), [("r5", 1), ("r1+r5", 4), ("r5,r1", 2)])
def test_only_a_better_epoch_is_the_best(
    gsv_cities: Path, tiny_backbone: Path, validation_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    best: str, epoch: int,
) -> None:  # fmt: skip
    """Recall@1 and @5 of four epochs; Recall@5 is equal in the first two."""
    recalls = iter([(20.0, 60.0), (30.0, 60.0), (10.0, 50.0), (70.0, 59.0)])
    monkeypatch.setattr(FullSizeRun, "measure", lambda _: dict(zip((1, 5, 10), (*next(recalls), 100.0), strict=True)))
    more = ("--epochs", "4", "--val", str(validation_tree), "--set", f"best={best}", "--cities", "Btown")
    log = _run(gsv_cities, tiny_backbone, tmp_path, *more)
    steps = max(step for step, _, _ in log) // 4
    assert steps == 2  # five places: the short batch of one is kept
    assert read_metadata(tmp_path / "best.safetensors")["step"] == str(epoch * steps)
    assert read_metadata(tmp_path / "last.safetensors")["step"] == str(4 * steps)


def test_best_and_last_weights_are_tested_at_the_end(
    gsv_cities: Path, tiny_backbone: Path, validation_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = shutil.copytree(validation_tree, tmp_path / "tiny30k")
    shutil.copytree(sets / "images" / "val", sets / "images" / "test")
    recalls = iter([(20.0, 60.0), (10.0, 50.0)])
    monkeypatch.setattr(FullSizeRun, "measure", lambda _: dict(zip((1, 5, 10), (*next(recalls), 100.0), strict=True)))
    more = ("--epochs", "2", "--val", str(sets), "--lr", "1e-2", "--optim", "sgd")
    log = _run(gsv_cities, tiny_backbone, tmp_path / "run", *more)
    assert sum(name == "loss" for _, name, _ in log) == 2 * 4
    tested = {name for _, name, _ in log if name.startswith("test_")}
    assert tested == {f"test_{which}_recall_{n}" for which in ("best", "last") for n in (1, 5, 10)}
    best, last = (load_file(tmp_path / "run" / f"{which}.safetensors") for which in ("best", "last"))
    assert not torch.equal(best["fusion.conv.weight"], last["fusion.conv.weight"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--out_indices 11", r"--out_indices \[11\]: super-cricavpr-b has \[8, 9, 10, 11\]; other fused blocks are"),
        ("--token_num 1", r"--token_num 1: super-cricavpr-b has 2; another number of token mixers is another network"),
        ("--token_ratio 2", r"--token_ratio 2: super-cricavpr-b has 1; wider token mixers are another network"),
        ("--layer1 7", r"--layer1 7: super-cricavpr-b has 11; the blocks up to that one are frozen"),
        ("--set best=r10", r"best='r10' is none of: r5, r1\+r5, r5,r1"),
        ("--set optim=lamb", r"optim='lamb' is none of: adam, sgd"),
        ("--no-gather_negatives", "--recipe reshuffled"),
    ],
)
def test_what_the_published_command_line_may_say_is_refused_with_its_reason(words: str, message: str) -> None:
    given = ["--model", "super-cricavpr-b", "--data", "g", "--out", "o", "--foundation_model_path", "f"]
    with pytest.raises(full_size.UsageError, match=message):
        read_options([*given, *words.split()])
