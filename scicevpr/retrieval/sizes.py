"""Sizes in words."""

from __future__ import annotations


def words_of_bytes(size: float) -> str:
    """Such as ``"512 bytes"``, ``"9.0 MB"``, ``"21.50 GB"`` (decimal units)."""
    if size < 1e4:
        return f"{int(size)} bytes"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"
