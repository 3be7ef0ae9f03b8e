"""The dry run, and what can be typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scicevpr.errors import UsageError
from training import full_size
from training.full_size import read_options

NEEDED = ["--data", "gsv", "--out", "run"]


def _read(text: str):
    return read_options([*NEEDED, *text.split()])


def test_the_published_recipes_are_the_defaults() -> None:
    teacher, options = _read("--model super-cricavpr-b --foundation_model_path dinov2-b")
    assert (teacher.places, teacher.photos, teacher.chunk, teacher.epochs, teacher.lr) == (72, 4, 144, 10, 1e-4)
    assert (teacher.decay_epochs, teacher.patience, teacher.gather_negatives) == (3, 10, True)
    assert (teacher.precision, teacher.order, teacher.start, teacher.best) == ("none", "published", "published", "r5")
    assert options.backbone == "dinov2-b"
    student, options = _read("--model scicevpr-l --teacher teacher.pth")
    assert (student.chunk, student.epochs, options.teacher) == (72, 1, "teacher.pth")


def test_names_that_people_type_are_understood() -> None:
    recipe, options = _read(
        "--model scicevpr --backbone_arch dinov2_vitb14 --layer1 11 --out_indices 8 9 10 11 --backbone_out_dim 3072 "
        "--mix_in_dim 768 --token_num 2 --token_ratio 1 --crica_path crica.pth --train_batch_size 36 --epochs_num 3 "
        "--lr 2e-4 --optim adam --patience 5 --seed 7 --save_dir elsewhere --num_workers 8 --device cuda "
        "--resize 224 224 --eval_datasets_folder sets --eval_dataset_name pitts30k --cities London OSL "
        "--recipe reshuffled --no-gather_negatives --set gamma=0.5 --set miner_epsilon=0.2"
    )
    assert (recipe.variant, recipe.places, recipe.epochs, recipe.lr, recipe.seed) == ("scicevpr-b", 36, 3, 2e-4, 7)
    assert (recipe.patience, recipe.gather_negatives, recipe.gamma, recipe.miner_epsilon) == (5, False, 0.5, 0.2)
    assert options.out == Path("elsewhere")
    assert options.validation == Path("sets/pitts30k")
    assert (options.workers, options.device, options.teacher) == (8, "cuda", "crica.pth")
    assert options.cities == ("London", "OSL")
    assert options.arguments[:2] == ("--data", "gsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--model scicevpr-b", r"learns from a trained Super-CricaVPR.*--teacher"),
        ("--model cricavpr-b", r"starts from a trained backbone.*--foundation_model_path.*dinov2-b"),
        ("--model cricavpr-b --foundation_model_path f --resume last.pth", r"no teacher.*same --out again"),
        ("--model scicevpr-x --teacher t", "no model variant 'scicevpr-x'"),
        ("--model scicevpr-l --teacher t --backbone_arch dinov2_vitb14", "contradict"),
        ("--model scicevpr-l --teacher t --mix_in_dim 768", r"--mix_in_dim 768: scicevpr-l has 1024"),
        ("--model scicevpr-b --teacher t --resize 322 322", r"token mixers of scicevpr-b need 224 224"),
        ("--model cricavpr-b --foundation_model_path f --resize 300 300", "multiples of 14"),
        ("--model cricavpr-b --foundation_model_path f --feature_cache c", "trains adapters inside"),
        ("--model scicevpr-b --teacher t --views 2", r"--feature_cache"),
        ("--model scicevpr-b --teacher t --set rate=1", "no 'rate'"),
        ("--model scicevpr-b --teacher t --eval_dataset_name pitts30k", "--eval_datasets_folder"),
    ],
)
def test_contradictions_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _read(text)


def _arguments(gsv: Path, backbone: Path, out: Path, *more: str) -> list[str]:
    words = "--check --model super-cricavpr-x --resize 56 56 --places 4 --cross_image_chunk 8 --num_workers 0"
    return [*words.split(), "--backbone", str(backbone), "--data", str(gsv), "--out", str(out), *more]


@pytest.mark.usefixtures("tiny_variants", "one_thread")
class TestCheck:
    def test_all_is_well(self, gsv_cities, validation_tree, tiny_backbone, tmp_path, capsys) -> None:
        more = ["--val", str(validation_tree), "--feature_cache", str(tmp_path / "kept"), "--views", "3"]
        assert full_size.main(_arguments(gsv_cities, tiny_backbone, tmp_path / "run", *more)) == 0
        said = capsys.readouterr().out
        assert "WRONG" not in said
        assert said.endswith("OK: the run can start.\n")
        for words in (
            "2 cities, 13 places, 52 photos, none missing; 2 places have fewer than 4",
            "2 cross-image chunks of 8, one process; 4 steps an epoch, 10 epochs",
            "0.32 M parameters, 0.28 M of them trained",
            "tiny30k / val: 6 database photos, 6 queries",
            "median of 3 measured here, extrapolated): 40 steps take",
            "one chunk measured here",
        ):
            assert words in said
        assert not (tmp_path / "run").exists()
        assert not (tmp_path / "kept").exists()

    def test_a_slow_device_is_measured_on_few_photos(self, gsv_cities, tiny_backbone, tmp_path, capsys) -> None:
        more = ["--check_seconds", "0", "--accumulate", "1"]
        assert full_size.main(_arguments(gsv_cities, tiny_backbone, tmp_path, *more)) == 0
        said = capsys.readouterr().out
        assert said.count("measured here on 4 photos, extrapolated") == 2  # memory and time

    def test_everything_that_is_wrong_is_said(self, gsv_cities, tmp_path, capsys) -> None:
        data = shutil.copytree(gsv_cities, tmp_path / "gsv")
        next((data / "Images" / "Aville").iterdir()).unlink()
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "finished").touch()
        more = ["--val", str(tmp_path / "no-val"), "--set", "chunk=5", "--cross_image_chunk", "5"]
        assert full_size.main(_arguments(data, tmp_path / "no.pth", tmp_path / "run", *more)) == full_size.EXIT_WRONG
        said = capsys.readouterr().out
        assert said.count("WRONG") == 5
        for words in (
            "holds a finished run",
            "1 photos that are listed",
            "chunks of 5",
            "no.pth",
            "no-val does not exist",
        ):
            assert words in said

    def test_corrupt_photos_are_found_before_a_run(self, gsv_cities, tiny_backbone, tmp_path, capsys, caplog) -> None:
        data = shutil.copytree(gsv_cities, tmp_path / "gsv")
        first = sorted((data / "Images" / "Aville").iterdir())[0]
        first.write_bytes(b"broken")
        arguments = _arguments(data, tiny_backbone, tmp_path / "run")
        assert full_size.main(arguments) == full_size.EXIT_WRONG
        assert f"1 of 32 photos tried cannot be read. The photo {first}" in capsys.readouterr().out
        assert full_size.main([word for word in arguments if word != "--check"]) == full_size.EXIT_WRONG
        assert f"The photo {first} cannot be decoded" in caplog.text
        assert not (tmp_path / "run").exists()
