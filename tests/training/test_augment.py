"""The published augmentation, byte for byte as the published code's library computes it (tests/golden/randaugment.npz).

The vectors were recorded with torchvision on Pillow images; see tests/golden/README.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.augment import OPERATIONS, SIGNED, CameraAugmentation, RandAugment, magnitudes

FILE = Path(__file__).parents[1] / "golden" / "randaugment.npz"


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(FILE))


def test_operations_and_magnitudes_are_the_published_ones(golden):
    assert list(golden["op_names"]) == list(OPERATIONS)
    assert [name in SIGNED for name in OPERATIONS] == golden["op_signed"].astype(bool).tolist()
    for size in ((48, 64), (224, 224)):
        np.testing.assert_array_equal(list(magnitudes(size).values()), golden[f"magnitudes_{size[0]}x{size[1]}"])


def test_every_operation_gives_the_recorded_bytes(golden):
    image = Image.fromarray(golden["image"])
    names = list(OPERATIONS)
    for op, value, wanted in zip(golden["single_op"], golden["single_magnitude"], golden["single_result"], strict=True):
        name = names[op] if np.issubdtype(type(op), np.integer) else str(op)
        result = OPERATIONS[name](image, float(value))
        np.testing.assert_array_equal(np.asarray(result), wanted, err_msg=f"{name} {value}")


@pytest.mark.parametrize("kind", ["small", "full"])
def test_pipelines_give_the_recorded_draws_and_bytes(golden, kind):
    image = Image.fromarray(golden["image"])
    names = list(OPERATIONS)
    if kind == "full":
        image = image.resize((224, 224), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(np.asarray(image), golden["resized"])
    recorded = (golden[f"{kind}_{name}"] for name in ("seed", "op", "magnitude", "result"))
    for seed, ops, values, wanted in zip(*recorded, strict=True):
        drawn = RandAugment().draw((image.height, image.width), torch.Generator().manual_seed(int(seed)))
        assert drawn == [(names[op], value) for op, value in zip(ops.tolist(), values.tolist(), strict=True)]
        result = RandAugment()(image, torch.Generator().manual_seed(int(seed)))
        np.testing.assert_array_equal(np.asarray(result), wanted)


def test_a_seed_gives_one_photo_and_another_seed_another(golden):
    image = Image.fromarray(golden["resized"])
    once, again, other = (
        np.asarray(CameraAugmentation()(image, torch.Generator().manual_seed(seed))) for seed in (3, 3, 4)
    )
    assert once.shape == (224, 224, 3)
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
