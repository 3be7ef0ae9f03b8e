"""`scicevpr evaluate` under the names that other tools of the field use, and what contradicts what."""

from __future__ import annotations

import json

import pytest
import torch
from filled_models import INFO, filled_model

from scicevpr.cli import chosen_models
from scicevpr.cli.chosen_models import (
    chosen_grouping,
    chosen_preprocessing,
    chosen_query_grouping,
    chosen_sources,
    load_models,
)
from scicevpr.cli.main import build_parser, main
from scicevpr.datasets import read_dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.errors import UsageError
from scicevpr.models import key_formats
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import save_weights

DEFAULT = ("scicevpr-t", "cricavpr-t")


def _parse(*arguments, command: str = "evaluate"):
    return build_parser().parse_args([command, *(str(argument) for argument in arguments)])


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(chosen_models, "pca_cache_folder", lambda: tmp_path / "pca")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A SciceVPR-T checkpoint as the published code writes it."""
    state = key_formats.state_to_published(filled_model("scicevpr-t"))
    path = tmp_path_factory.mktemp("run") / "best_model.pth"
    torch.save({"epoch_num": 1, "model_state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path


@pytest.mark.parametrize(
    ("arguments", "sources"),
    [
        ([], [("scicevpr-t", None), ("cricavpr-t", None)]),
        (["--model", "scicevpr-b"], [("scicevpr-b", None)]),
        (["--resume", "best.pth"], [("best.pth", None)]),
        (["--model", "best.pth", "--variant", "scicevpr-b"], [("best.pth", "scicevpr-b")]),
        (["--weights", "org/name", "--model", "SciceVPR-B"], [("org/name", "scicevpr-b")]),
        (
            ["--model", "scicevpr-b", "--weights", "a.pth", "--model", "cricavpr-b", "--weights", "b.pth"],
            [("a.pth", "scicevpr-b"), ("b.pth", "cricavpr-b")],
        ),
        (["--method", "cricavpr"], [("cricavpr-t", None)]),
        (["--method", "SuperVLAD"], [("SuperVLAD", None)]),
        (["--method", "super-cricavpr", "--backbone", "B"], [("super-cricavpr-b", None)]),
        (["--method=scicevpr", "--backbone=dinov2_vitl14", "--weights", "c.pth"], [("c.pth", "scicevpr-l")]),
        (["--method", "scicevpr", "--resume", "c.pth"], [("c.pth", None)]),
        (["--backbone_arch", "dinov2_vits14"], [("scicevpr-s", None)]),
        (["--backbone_arch", "dinov2_vitb14", "--resume", "c.pth"], [("c.pth", None)]),
    ],
)
def test_which_models_are_meant(arguments, sources):
    assert chosen_sources(_parse(*arguments), DEFAULT) == sources


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "a.pth", "--weights", "b.pth"], "a.pth is itself a source"),
        (["--model", "scicevpr-b", "--weights", "a", "--resume", "b"], "1 models and 2 weights"),
        (["--model", "scicevpr-b", "--weights", "a", "--variant", "scicevpr-b"], "say the same thing"),
        (["--method", "scicevpr", "--model", "scicevpr-t"], "say the same thing"),
        (["--method", "scicevpr", "--backbone", "resnet50"], "'resnet50' is none of this project's"),
    ],
)
def test_models_that_contradict_each_other(arguments, words):
    with pytest.raises(UsageError, match=words):
        chosen_sources(_parse(*arguments), DEFAULT)


def test_what_the_weights_decide_is_checked_against_them(checkpoint):
    right = (
        "--backbone_arch", "t", "--layer1", 3, "--out_indices", 3, 0, 1, 2, "--backbone_out_dim", 960,
        "--mix_in_dim", 192, "--token_num", 2, "--token_ratio", 1, "--descriptors_dimension", 2688,
    )  # fmt: skip
    [(title, model)] = load_models(_parse("--resume", checkpoint, *right), DEFAULT)
    assert model.variant.name == "scicevpr-t"
    assert title == f"SciceVPR-T ({checkpoint})"
    for wrong, words in (
        (["--backbone_arch", "dinov2_vitb14"], "whose backbone is a ViT-T, not 'dinov2_vitb14'"),
        (["--out_indices", 7, 8, 9, 10], "--out_indices is 7 8 9 10, but SciceVPR-T has 0 1 2 3"),
        (["--token_num", 1], "--token_num is 1, but SciceVPR-T has 2"),
        (["--descriptors_dimension", 4096], "has 2688. For shorter descriptors use --pca-dim"),
        (["--method", "cricavpr"], "for scicevpr-t, not for --method cricavpr"),
    ):
        with pytest.raises(UsageError, match=words):
            chosen_models.check_architecture(_parse("--resume", checkpoint, *wrong), model.variant)
    with pytest.raises(UsageError, match="--token_num is 1"):
        load_models(_parse("--resume", checkpoint, "--token_num", 1), DEFAULT)


def test_hub_and_external_sources_are_passed_on(monkeypatch):
    asked = []

    def load_any(source, **options):
        asked.append((source, options))
        return build_model("scicevpr-t")

    monkeypatch.setattr(chosen_models, "load_any", load_any)
    load_models(_parse("--weights", "org/name@main", "--model", "scicevpr-t", "--dtype", "bfloat16"), DEFAULT)
    load_models(_parse("--model", "megaloc", "--trust-remote-code"), DEFAULT)
    (hub, hub_options), (external, external_options) = asked
    assert (hub, external) == ("org/name@main", "megaloc")
    assert (hub_options["variant"], hub_options["dtype"]) == ("scicevpr-t", torch.bfloat16)
    assert external_options["trust"] is True
    assert "allow_untrained" not in external_options


def test_sizes_and_batches():
    stable, cross = build_model("scicevpr-t"), build_model("cricavpr-t")
    assert chosen_preprocessing(stable, _parse("--image_size", 210)).size == (210, 210)
    assert chosen_preprocessing(stable, _parse("--resize", 196, 224)).size == (196, 224)
    with pytest.raises(UsageError, match="not 1 2 3"):
        chosen_preprocessing(stable, _parse("--image_size", 1, 2, 3))
    assert chosen_preprocessing(stable, _parse("--published")).antialias is False
    both = _parse("--infer_batch_size", 8)
    assert both.batch_size == 8
    assert chosen_grouping(cross, both) == Grouping.sequential(8)
    assert chosen_grouping(stable, both) is None
    assert chosen_grouping(cross, _parse("--batch_size", 8)) is None
    assert chosen_grouping(cross, _parse("--infer_batch_size", 8, "--grouping", "alone")) == Grouping.alone()
    assert _parse("q.jpg", "--infer-batch-size", 4, command="search").batch_size == 4


def test_queries_grouped_by_place(tiny_city):
    cross, dataset = build_model("cricavpr-t"), read_dataset(tiny_city)
    assert chosen_query_grouping("place", cross, dataset).label == "by place 16"
    assert chosen_query_grouping("place:3", cross, dataset).split(8)[0] == (0, 1, 2)
    assert chosen_query_grouping("sequential:4", cross, dataset) == Grouping.sequential(4)
    assert chosen_query_grouping(None, cross, dataset) is None
    with pytest.raises(UsageError, match="'place:many' is not understood"):
        chosen_query_grouping("place:many", cross, dataset)


@pytest.mark.slow
def test_a_published_command_line_works_whole(tiny_city, checkpoint, tmp_path, capsys):
    """What people type for the published code, on one fixture; the results are written as ours."""
    code = main([
        "evaluate", f"--eval_datasets_folder={tiny_city.parent}", f"--eval_dataset_name={tiny_city.name}",
        f"--resume={checkpoint}", "--foundation_model_path=dinov2_vitb14_pretrain.pth", "--infer_batch_size", "4",
        "--resize", "224", "224", "--test_method", "majority_voting", "--majority_weight", "0.02",
        "--efficient_ram_testing", "--val_positive_dist_threshold", "25", "--train_positives_dist_threshold", "10",
        "--recall_values", "1", "5", "10", "100", "--num_workers", "1", "--device", "cpu", "--seed", "0",
        "--pca_dim", "3", f"--pca_dataset_folder={tiny_city.name}/images/test/database", "--published",
        "--json", str(tmp_path / "r.json"), "--storage", str(tmp_path), "--no-intervals",
    ])  # fmt: skip
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert shown.err.count("without effect here: --foundation_model_path, --train_positives_dist_threshold") == 1
    [result] = json.loads((tmp_path / "r.json").read_text())["results"]
    protocol = result["protocol"]
    assert protocol["test method"] == "maj_voting (four corners and middle vote, weight 0.02)"
    assert protocol["UTM rounding"] == "float32 (as published)"
    assert "no antialias" in protocol["resize"]
    assert protocol["PCA"] == "2688 to 3 (exact solver, fitted on 12 photos)"
    assert result["overall"]["recall_percent"]["100"] == 87.5  # a query has nothing to find
    assert len(list((tmp_path / "pca").iterdir())) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pca", "r.json"]


@pytest.mark.slow
def test_folder_mode_with_a_pca_file(tiny_city, tmp_path, capsys):
    base = tiny_city / "images/test"
    save_weights(filled_model("scicevpr-t"), tmp_path / "own.safetensors", info=INFO)
    arguments = [
        "evaluate", "--method", "scicevpr", "--backbone", "t", f"--weights={tmp_path / 'own.safetensors'}",
        f"--database_folder={base / 'database'}", f"--queries_folder={base / 'queries'}", "--image_size", "224",
        "--positive_dist_threshold", "25", "--batch_size", "4", f"--pca-file={tmp_path / 'p.safetensors'}",
    ]  # fmt: skip
    assert main(arguments) == 2
    assert "no PCA file" in capsys.readouterr().err
    assert main([*arguments, "--pca-dim", "2", f"--pca-folder={base / 'queries'}"]) == 0
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("PCA 2688 to 2 (exact solver, fitted on 8 photos)") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--published", "--antialias"], "--published decides what --antialias would change"),
        (["--published", "--query-grouping", "place"], "--published decides what --query-grouping"),
        (["--test_method", "ten_crops"], "no test method 'ten_crops'"),
        (["--pca-dim", "4"], "belong together"),
        (["--efficient_ram_testing", "--storage", "/nowhere/at/all", "--model", "scicevpr-t", "--allow-untrained"],
         "/nowhere/at/all for descriptors does not exist"),
        (["--test_method", "single_query", "--query-grouping", "sequential:4", "--model", "scicevpr-t",
          "--allow-untrained"], "single_query puts every query in a batch of its own"),
    ],
)  # fmt: skip
def test_contradictions_are_one_clear_line(tiny_city, capsys, arguments, words):
    assert main(["evaluate", "--dataset", str(tiny_city), *arguments]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1
