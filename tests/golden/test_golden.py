"""The reference vectors reproduce, a deliberate mistake or a changed number does not, and other input seeds work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scicevpr.errors import DatasetError, UsageError, WeightsError
from scicevpr.evaluation import training_vectors
from scicevpr.evaluation.reference_vectors import crc32, fill_weights, read_arrays, read_reference, reference_images
from scicevpr.evaluation.training_vectors import Steps, compare_steps
from scicevpr.evaluation.verify import compute_arrays, nearest_images, verify_folder
from scicevpr.models import backbone, encoders, key_formats, regions
from scicevpr.models.weights import fill_model

pytestmark = pytest.mark.slow  # whole S and B models; tests/contracts covers the quick run

GOLDEN = Path(__file__).parent
SMALL = "super_cricavpr_vits14"
FILES = [
    "cricavpr_vitb14",
    "super_cricavpr_vits14",
    "super_cricavpr_vitb14",
    "scicevpr_vits14",
    "scicevpr_vitb14",
    pytest.param("scicevpr_vitl14", marks=pytest.mark.slow),
    "losses",
    "eval_protocol",
    "pca",
]
INPUTS = {
    "losses": {"labels", "teacher", "random_desc", "clustered_desc", "easy_desc"},
    "eval_protocol": {f"{case}_{name}" for case in ("random", "geo") for name in ("db", "q", "db_utm", "q_utm")}
    | {"recall_values", "recall_values_over100", "radius_m"},
    "pca": {"fit", "new"},
}


def _misses(checks):
    return [check for check in checks if not check.passed]


@pytest.mark.parametrize("name", FILES)
def test_every_stored_array_is_reproduced(name: str) -> None:
    checks = verify_folder(GOLDEN, only=[name])
    assert _misses(checks) == []
    stored = set(read_arrays(GOLDEN / f"{name}.npz")) - INPUTS.get(name, set())
    assert stored <= {check.array for check in checks}
    if name.startswith("scicevpr"):
        assert [check.array for check in checks if check.array == "alone vs batch"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_precisions(dtype: str) -> None:
    checks = verify_folder(GOLDEN, only=["scicevpr_vits14"], dtype=dtype)
    assert _misses(checks) == []
    batch = next(check for check in checks if check.array == "noise_batch4")
    assert (batch.tolerance > 0.05) == (dtype == "bfloat16")
    assert batch.error > 1e-3 if dtype == "bfloat16" else batch.error < 1e-6


@pytest.fixture(scope="module")
def steps_of_one_family() -> tuple[Steps, dict[str, np.ndarray]]:
    """Three steps of Super-CricaVPR in float32, as `scicevpr verify` takes them, and what is stored of them."""
    found: list[Steps] = []
    stored = {name: array for name, array in read_arrays(GOLDEN / "training.npz").items() if name.startswith("super/")}
    with pytest.MonkeyPatch.context() as patch:
        run = training_vectors.run_steps
        patch.setattr(training_vectors, "run_steps", lambda *given: found.append(run(*given)) or found[-1])
        patch.setattr(training_vectors, "read_arrays", lambda _: stored)
        checks = verify_folder(GOLDEN, only=["training"])
    assert _misses(checks) == []
    assert {check.array for check in checks} >= {f"super/loss64_{step}" for step in range(3)}
    return found[0], stored


@pytest.mark.parametrize(
    ("array", "factor"), [("loss64_1", 1.0001), ("017_grad", 1.5), ("000_after", 1.01), ("038_before", 1.001)]
)
def test_a_changed_training_step_is_caught(steps_of_one_family, array: str, factor: float) -> None:
    found, stored = steps_of_one_family
    changed = stored | {f"super/{array}": stored[f"super/{array}"] * factor}
    missed = _misses(compare_steps("super", found, changed, double=False))
    assert [check.array for check in missed] == [f"super/{array if array.startswith('loss') else array[:3]}"]
    fewer = changed | {"super/names": stored["super/names"][1:]}
    assert _misses(compare_steps("super", found, fewer, double=False))[0].array == "super/names"


def _write_folder(folder: Path, name: str, arrays: dict[str, np.ndarray], **changes) -> Path:
    """A reference folder with one model."""
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    manifest["configs"] = {name: manifest["configs"][name] | changes.pop("config", {})}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    np.savez(folder / f"{name}.npz", **arrays)
    return folder


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest cross-image model with one array, so that a check takes a second or two."""
    arrays = read_arrays(GOLDEN / f"{SMALL}.npz")
    folder = tmp_path_factory.mktemp("small")
    return _write_folder(folder, SMALL, {"noise_batch4": arrays["noise_batch4"], "mid_regions": arrays["mid_regions"]})


def _gem_with_fixed_exponent(self, x, boxes):
    powers = x.clamp(min=1e-6).pow(3)
    means = [powers[..., r.top : r.bottom, r.left : r.right].mean(dim=(-2, -1)) for r in boxes]
    return torch.stack(means, dim=1).pow(1 / 3)


def _grid_by_size(position, grid):
    side = round((position.shape[1] - 1) ** 0.5)
    patches = position[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=grid, mode="bicubic")
    return torch.cat((position[:, :1], patches.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)


def _attention_inside_an_image(self, regions, outputs=None, attention=None):
    x = regions.transpose(0, 1)
    for layer in self.layers:
        x = layer(x)
        if outputs is not None:
            outputs.append(x.transpose(0, 1))
    return x.transpose(0, 1)


def _mlp_with_relu(self, x):
    return self.fc2(self.fc1(x).relu())


MISTAKES = {
    "GeM exponent fixed at 3": lambda patch: patch.setattr(regions.GeM, "forward", _gem_with_fixed_exponent),
    "8 heads in the encoder": lambda patch: patch.setattr(encoders, "ENCODER_HEADS", 8),
    "position grid by size": lambda patch: patch.setattr(backbone, "resize_position_grid", _grid_by_size),
    "attention inside an image": lambda patch: patch.setattr(
        encoders.RegionEncoder, "forward", _attention_inside_an_image
    ),
    "ReLU for GELU in the ViT": lambda patch: patch.setattr(backbone.Mlp, "forward", _mlp_with_relu),
}


def test_the_small_folder_verifies_without_a_mistake(small_folder: Path) -> None:
    assert _misses(verify_folder(small_folder)) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_model_is_caught(mistake: str, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MISTAKES[mistake](monkeypatch)
    missed = {check.array: check for check in _misses(verify_folder(small_folder))}
    assert missed["noise_batch4"].error > 100 * missed["noise_batch4"].tolerance


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("losses", "clustered_ms_grad"),
        ("losses", "random_mined"),
        ("losses", "easy_ms_loss"),
        ("eval_protocol", "geo_positives"),
        ("eval_protocol", "geo_positives_float64"),
        ("eval_protocol", "random_predictions_over100"),
        ("eval_protocol", "geo_mrr"),
        ("eval_protocol", "random_f1_over100"),
        ("pca", "projector"),
        ("pca", "explained_variance"),
    ],
)
def test_a_changed_number_is_caught(name: str, array: str, tmp_path: Path) -> None:
    arrays = read_arrays(GOLDEN / f"{name}.npz")
    changed = arrays[array].copy()
    first = (0,) * changed.ndim
    changed[first] = changed[first] * 1.01 + 1 if changed.dtype.kind != "f" else changed[first] * 1.01 + 1e-4
    shutil.copy(GOLDEN / "manifest.json", tmp_path)
    np.savez(tmp_path / f"{name}.npz", **arrays | {array: changed})
    assert [check.array for check in _misses(verify_folder(tmp_path, only=[name]))] == [array]


@pytest.fixture(scope="module")
def other_seed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder made from our own model with another input seed."""
    name, seed = "scicevpr_vits14", 4711
    reference = next(model for model in read_reference(GOLDEN).models if model.name == name)
    published = {key: torch.from_numpy(np.asarray(value)) for key, value in fill_weights(reference.keys)[0].items()}
    model = fill_model(reference.variant, key_formats.to_own(published, key_formats.SCICEVPR), "the formula")
    pixels = {kind: reference_images(kind, seed) for kind in ("noise", "blocks")}
    stored = read_arrays(GOLDEN / f"{name}.npz")
    arrays = compute_arrays(model, *(torch.from_numpy(images) for images in pixels.values()), stored)
    arrays = {key: value.astype(np.float32) for key, value in arrays.items()}
    assert np.abs(arrays["noise_batch4"] - stored["noise_batch4"]).max() > 1e-3
    checksums = {"input_crc32": {kind: crc32(images) for kind, images in pixels.items()}}
    folder = tmp_path_factory.mktemp("seed")
    return _write_folder(folder, name, arrays, input_seed=seed, config=checksums), arrays


def test_another_input_seed_verifies(other_seed: tuple[Path, dict]) -> None:
    folder, arrays = other_seed
    checks = verify_folder(folder)
    assert _misses(checks) == []
    assert set(arrays) <= {check.array for check in checks}


def test_a_corrupted_array_and_a_wrong_seed_are_caught(other_seed: tuple[Path, dict], tmp_path: Path) -> None:
    folder, arrays = other_seed
    corrupted = arrays["noise_batch4"].copy()
    corrupted[2, 100] += 1e-4
    name = "scicevpr_vits14"
    _write_folder(tmp_path / "array", name, {"noise_batch4": corrupted}, input_seed=4711, config={"input_crc32": {}})
    assert [check.array for check in _misses(verify_folder(tmp_path / "array"))] == ["noise_batch4"]
    checksums = json.loads((folder / "manifest.json").read_text())["configs"][name]["input_crc32"]
    kept = {"noise_batch4": arrays["noise_batch4"]}
    _write_folder(tmp_path / "seed", name, kept, input_seed=4712, config={"input_crc32": checksums})
    missed = [check.array for check in _misses(verify_folder(tmp_path / "seed"))]
    assert missed == ["noise images", "blocks images", "noise_batch4"]


def test_wrong_weights_checksum_unknown_array_and_missing_descriptors_are_misses(tmp_path: Path) -> None:
    arrays = {"mid_pos_embed": read_arrays(GOLDEN / f"{SMALL}.npz")["mid_pos_embed"], "mid_surprise": np.zeros(3)}
    _write_folder(tmp_path, SMALL, arrays, config={"fill_crc32": 1})
    missed = [check.array for check in _misses(verify_folder(tmp_path))]
    assert missed == ["weights", "mid_surprise", "noise_batch4"]


def _changed_manifest(change) -> str:
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    change(manifest)
    return json.dumps(manifest)


BAD_MANIFESTS = {
    "not JSON": ("<html>", "cannot be read as JSON"),
    "another format": ('{"format": 9}', "format 1"),
    "a list": ("[1]", "format 1"),
    "no seed": (_changed_manifest(lambda m: m.pop("input_seed")), "input_seed"),
    "another model": (
        _changed_manifest(lambda m: m["configs"]["scicevpr_vits14"]["hyper"].update(embed_dim=512)),
        "512 channels",
    ),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_foreign_manifests_are_refused(case: str, tmp_path: Path) -> None:
    text, message = BAD_MANIFESTS[case]
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        verify_folder(tmp_path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no manifest\.json"):
        verify_folder(tmp_path)
    shutil.copy(GOLDEN / "manifest.json", tmp_path)
    with pytest.raises(DatasetError, match=r"scicevpr_vits14\.npz is missing"):
        verify_folder(tmp_path, only=["scicevpr_vits14.npz"])
    (tmp_path / "pca.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DatasetError, match=r"pca\.npz cannot be read"):
        verify_folder(tmp_path, only=["pca"])
    np.savez(tmp_path / "pca.npz", fit=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DatasetError, match="plain arrays"):
        verify_folder(tmp_path, only=["pca"])
    np.savez(tmp_path / "losses.npz", labels=np.arange(3), teacher=np.zeros((3, 4)))
    with pytest.raises(DatasetError, match="lacks the array"):
        verify_folder(tmp_path, only=["losses"])


def test_a_foreign_key_list_is_refused_by_name(tmp_path: Path) -> None:
    keys = json.loads((GOLDEN / "manifest.json").read_text())["configs"][SMALL]["keys_in_order"]
    keys = [[key.replace("conv.weight", "conv.kernel"), shape] for key, shape in keys]
    arrays = {"noise_batch4": np.zeros((4, 5376), np.float32)}
    _write_folder(tmp_path, SMALL, arrays, config={"keys_in_order": keys})
    with pytest.raises(WeightsError, match=r"1 missing: conv\.weight; 1 unexpected: (fusion\.)?conv\.kernel"):
        verify_folder(tmp_path)


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no file called salad\. It has: cricavpr_vitb14"):
        verify_folder(GOLDEN, only=["salad", "pca"])
    with pytest.raises(UsageError, match="int8"):
        verify_folder(GOLDEN, dtype="int8")
    with pytest.raises(UsageError, match="nonsense"):
        verify_folder(GOLDEN, device="nonsense")


def test_progress_names_every_file() -> None:
    steps: list[tuple[str, int, int]] = []
    verify_folder(GOLDEN, only=["losses", "pca"], progress=lambda *step: steps.append(step))
    assert steps == [("losses", 0, 2), ("pca", 1, 2), ("done", 2, 2)]


def test_distance_between_the_nearest_images() -> None:
    assert nearest_images(np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])) == pytest.approx(np.sqrt(0.4))
