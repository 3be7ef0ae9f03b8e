"""Describing: batch dependence as published, what is recorded, and several batches at a time by parallel threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scicevpr.config import Preprocessing
from scicevpr.descriptors import batches as photo_batches_module
from scicevpr.descriptors.batches import (
    BATCHES_PER_THREAD,
    Grouping,
    in_parallel_batches,
    parallel_batches_for,
    photo_batches,
)
from scicevpr.descriptors.describe import describe, encode, encode_groups, find_descriptors, region_vectors
from scicevpr.errors import ImageError, UsageError, WeightsError
from scicevpr.files.descriptor_files import save_descriptors
from scicevpr.models.model import WeightsInfo, build_model


def _model(name: str):
    torch.manual_seed(1)
    model = build_model(name)
    model.weights = WeightsInfo(source="test", sha256="0123456789ab", trained_on="nothing", trained=False)
    return model


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return torch.randn(5, 3, 224, 224, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def stable():
    return _model("scicevpr-t")


@pytest.fixture(scope="module")
def baseline():
    return _model("cricavpr-t")


def test_groupings_split_and_label() -> None:
    assert Grouping.alone().split(2) == [(0,), (1,)]
    assert Grouping.sequential(2).split(5) == [(0, 1), (2, 3), (4,)]
    assert Grouping.explicit([[2, 0], [1]]).split(3) == [(2, 0), (1,)]
    assert Grouping.parse("sequential:16").label == "sequential 16"
    assert Grouping.parse("alone") == Grouping.alone()
    assert Grouping.explicit([[0], [1]]).label == "2 explicit groups"


@pytest.mark.parametrize("groups", [[[0, 1]], [[0, 1], [1, 2]], [[0, 1, 2, 3]]])
def test_explicit_groups_must_hold_every_photo_once(groups) -> None:
    with pytest.raises(UsageError, match="exactly one group"):
        Grouping.explicit(groups).split(3)


@pytest.mark.parametrize("text", ["", "sequential:0", "sequential:many", "shuffled", "alone 3"])
def test_unknown_groupings_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="rouping"):
        Grouping.parse(text)


def test_scicevpr_does_not_depend_on_its_batch(stable, photos) -> None:
    alone = describe(stable, photos, grouping=Grouping.alone()).values
    for grouping in (Grouping.sequential(5), Grouping.sequential(2), Grouping.explicit([[4, 0], [3, 1, 2]])):
        assert np.abs(describe(stable, photos, grouping=grouping).values - alone).max() <= 5e-7
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)


def test_cricavpr_depends_on_who_shares_its_batch_but_not_on_their_order(baseline, photos) -> None:
    alone = describe(baseline, photos, grouping=Grouping.alone()).values
    together = describe(baseline, photos, grouping=Grouping.sequential(5)).values
    turned = describe(baseline, photos, grouping=Grouping.explicit([[4, 2, 0, 1, 3]])).values
    assert np.abs(together - alone).max() > 1e-4
    assert np.abs(together - turned).max() <= 5e-7


def test_the_default_grouping_is_recorded(stable, baseline, photos) -> None:
    assert describe(baseline, photos).grouping == "sequential 16"
    result = describe(stable, photos, batch_size=2)
    assert result.grouping == "independent of the batch"
    line = result.protocol_line()
    assert "scicevpr-t" in line
    assert "0123456789ab (NOT trained)" in line
    assert "224x224 bilinear, antialias" in line


def test_progress_and_training_mode(stable, photos) -> None:
    steps = []
    stable.train()
    stable.backbone.eval()  # a frozen part
    describe(stable, photos, batch_size=2, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(2, 5), (4, 5), (5, 5)]
    assert stable.training
    assert stable.encoder.training
    assert not stable.backbone.patch_embed.training
    stable.eval()


def test_another_precision_leaves_the_callers_model_alone(stable, photos) -> None:
    before = {name: tensor.clone() for name, tensor in stable.state_dict().items()}
    half = describe(stable, photos[:2], dtype=torch.bfloat16)
    assert half.dtype == "bfloat16"
    assert all(torch.equal(tensor, before[name]) for name, tensor in stable.state_dict().items())
    full = describe(stable, photos[:2]).values
    assert 0 < np.abs(half.values - full).max() < 0.02


def test_a_model_without_weights_refuses(photos) -> None:
    model = build_model("scicevpr-t")
    with pytest.raises(WeightsError, match="no weights loaded"):
        describe(model, photos)
    model.allow_untrained = True
    assert not describe(model, photos[:1]).trained


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    paths = [folder / f"{number}.png" for number in range(7)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return paths


def test_threads_that_decode_change_nothing(baseline, files) -> None:
    expected = describe(baseline, files, grouping=Grouping.explicit([[6, 0], [5, 1, 2], [3], [4]]), num_workers=0)
    for workers in (1, 4):
        found = describe(
            baseline, files, grouping=Grouping.explicit([[6, 0], [5, 1, 2], [3], [4]]), num_workers=workers
        )
        np.testing.assert_array_equal(found.values, expected.values)
    with pytest.raises(ImageError, match=r"nothing\.jpg"):
        describe(baseline, [*files[:2], files[0].with_name("nothing.jpg"), *files[2:]], num_workers=4)
    with pytest.raises(UsageError, match="at least 0, not -1"):
        describe(baseline, files[:1], num_workers=-1)


def test_decoding_runs_ahead_by_a_few_batches_only(files, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        photo_batches_module, "to_views", lambda path, *_: asked.append(path) or torch.zeros(1, 3, 2, 2)
    )
    batches = photo_batches(files, [(i,) for i in range(7)], Preprocessing(), workers=1)
    next(batches)
    assert len(asked) <= 1 + photo_batches_module.AHEAD
    batches.close()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_written_straight_into_a_file(baseline, files, tmp_path: Path, dtype: str) -> None:
    grouping = Grouping.explicit([[6, 0], [5, 1, 2], [3, 4]])
    expected = describe(baseline, files, grouping=grouping).values
    found = describe(baseline, files, grouping=grouping, out=tmp_path / "d.npy", out_dtype=dtype).values
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, expected.astype(dtype))
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), found)
    with pytest.raises(ImageError):
        describe(baseline, [tmp_path / "nothing.jpg"], out=tmp_path / "e.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["d.npy"]
    with pytest.raises(UsageError, match="not both"):
        describe(baseline, files[:1], out=tmp_path / "e.npy", scratch=tmp_path)


def test_packs_are_found_only_where_everything_agrees(baseline, stable, photos, tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(5)]
    own = baseline.variant.preprocessing
    described = describe(baseline, photos)
    save_descriptors(tmp_path / "a.safetensors", described, names)
    found = find_descriptors(tmp_path, baseline, names, None, own)
    np.testing.assert_allclose(found.values, described.values, atol=1e-3)
    assert find_descriptors(tmp_path, baseline, names, Grouping.alone(), own) is None
    assert find_descriptors(tmp_path, baseline, names[::-1], None, own) is None
    assert find_descriptors(tmp_path, stable, names, None, own) is None
    assert find_descriptors(tmp_path, baseline, names, None, type(own)(antialias=not own.antialias)) is None
    assert find_descriptors(tmp_path / "nowhere", baseline, names, None, own) is None


@pytest.mark.parametrize("name", ["scicevpr-t", "cricavpr-t"])
def test_region_vectors_and_encoder_together_are_describe(name: str, photos) -> None:
    model = _model(name)
    regions = region_vectors(model, photos, batch_size=2)
    assert regions.shape == (5, 14, model.variant.channels)
    for grouping in (Grouping.alone(), Grouping.sequential(2), Grouping.explicit([[4, 0, 2], [1, 3]])):
        whole = describe(model, photos, grouping=grouping).values
        assert np.abs(encode(model, regions, grouping) - whole).max() < 1e-6


@pytest.mark.parametrize("name", ["scicevpr-t", "super-cricavpr-t", "cricavpr-t"])
def test_many_batches_at_once_are_the_batches_one_by_one(name: str, photos) -> None:
    """Only the encoder is run again, and many batches side by side: the whole model must agree (5e-7)."""
    model = _model(name)
    regions = region_vectors(model, photos)
    groups = np.array([[0, 3, 2], [4, 1, 0], [2, 2, 3], [1, 0, 4]])
    found = encode_groups(model, regions, groups, photos_at_once=6)
    assert found.shape == (4, 3, 2688)
    for group, values in zip(groups, found, strict=True):
        whole = describe(model, photos[group], grouping=Grouping.explicit([range(3)])).values
        assert np.abs(values - whole).max() <= 5e-7
    first = encode_groups(model, regions, groups, first_only=True)
    assert first.shape == (4, 2688)
    assert np.abs(first - found[:, 0]).max() <= 5e-7


def test_groups_that_are_no_table_of_photos(baseline, photos) -> None:
    regions = region_vectors(baseline, photos)
    with pytest.raises(UsageError, match="table"):
        encode_groups(baseline, regions, np.array([0, 1]))
    with pytest.raises(UsageError, match=r"0\.\.5"):
        encode_groups(baseline, regions, np.array([[0, 5]]))


CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_they_are_for_many_batches_on_a_processor(two_threads):
    assert parallel_batches_for(2 * BATCHES_PER_THREAD, CPU) == 2
    assert parallel_batches_for(2 * BATCHES_PER_THREAD - 1, CPU) == 1
    assert parallel_batches_for(1000, torch.device("meta")) == 1


def test_results_come_in_order_by_threads_that_compute_alone(two_threads):
    seen = set()

    def run(batch):
        assert torch.is_inference_mode_enabled()
        seen.add((threading.current_thread().name, torch.get_num_threads()))
        time.sleep(0.01 * (3 - int(batch) % 4))  # later ones are done sooner
        return 2 * batch

    found = list(in_parallel_batches(run, (torch.tensor(n) for n in range(12)), 2))
    assert [int(value) for value in found] == list(range(0, 24, 2))
    assert {threads for _, threads in seen} == {1}
    assert len(seen) == 2
    assert torch.get_num_threads() == 2
    assert not torch.is_inference_mode_enabled()
    new = threading.Thread(target=lambda: seen.add(("new", torch.get_num_threads())))
    new.start()
    new.join()
    assert ("new", 2) in seen, "threads that begin later must not be left with one"


def test_an_error_comes_when_its_batch_is_due_and_nothing_runs_on(two_threads):
    running = []

    def run(batch):
        running.append(int(batch))
        if int(batch) == 2:
            raise ImageError("broken")
        time.sleep(0.02)
        running.remove(int(batch))
        return batch

    found, described = [], in_parallel_batches(run, (torch.tensor(n) for n in range(50)), 2)
    with pytest.raises(ImageError, match="broken"):
        found.extend(int(value) for value in described)
    assert found == [0, 1]
    assert running == [2]
    stopped = in_parallel_batches(run, (torch.tensor(n) for n in range(3, 50)), 2)
    next(stopped)
    stopped.close()
    assert running == [2]


@pytest.mark.parametrize("name", ["scicevpr-t", "cricavpr-t"])
def test_describing_in_parallel_is_describing_by_one_thread(models, name, two_threads):
    photos = torch.rand(13, 3, 224, 224, generator=torch.Generator().manual_seed(5))
    grouping = Grouping.sequential(3)
    models[name].allow_untrained = True
    many = describe(models[name], photos, grouping=grouping).values
    torch.set_num_threads(1)
    np.testing.assert_array_equal(many, describe(models[name], photos, grouping=grouping).values)
