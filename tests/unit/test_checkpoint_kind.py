"""A weights file's kind is told from its first bytes, whatever the length of its header."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scicevpr.models.checkpoint import read_checkpoint


@pytest.mark.parametrize("offset", range(0, 256, 8))
def test_every_header_length_is_a_safetensors_file(tmp_path: Path, offset: int) -> None:
    """The first byte is the header's length modulo 256, among them 0x80, with which pickles begin."""
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"note": "x" * offset})
    tensors, metadata = read_checkpoint(path)
    assert metadata == {"note": "x" * offset}
    assert torch.equal(tensors["a"], torch.ones(2))
