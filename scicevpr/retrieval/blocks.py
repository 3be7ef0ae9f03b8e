"""Descriptors read a block at a time, wherever they lie: arrays, memory maps, slices of safetensors files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.files.descriptor_writer import release

BLOCK_BYTES = 64 * 2**20
LARGEST = 1e15  # of a value: the squares of thousands of them still have room in float32
CONVERTED_BYTES = 4 * 2**20  # of float32 made of float16: they are used while the processor's cache holds them


def shape_of(values: Any, what: str) -> tuple[int, int]:
    """(N, D) of anything that can be sliced by rows. Raises UsageError for another shape."""
    shape = tuple(values.get_shape() if hasattr(values, "get_shape") else np.shape(values))
    if len(shape) != 2 or shape[1] == 0:
        raise UsageError(f"The {what} must have the shape [N, D], not {list(shape)}.")
    return shape


def check_finite(values: Any, what: str, rows: int | None = None) -> None:
    """Raise UsageError when descriptors [N, D] hold NaN, infinite or absurdly large values."""
    for start, block in row_blocks(values, rows):
        problem = value_problem(block, start)
        if problem:
            raise UsageError(f"The {what} {problem}")


def value_problem(block: np.ndarray, first: int = 0) -> str:
    """What makes descriptors [R, D] impossible to compare, as the rest of a sentence; empty for sound ones."""
    if block.size == 0 or (block.min() >= -LARGEST and block.max() <= LARGEST):  # False for NaN as well
        return ""
    if not np.isfinite(block).all():
        return "contain NaN or infinite values; describe the photos again."
    row = int(np.argmax(np.abs(block).max(axis=1)))
    return (
        f"contain the value {np.abs(block[row]).max():.3g} (row {first + row}), so distances would overflow; "
        "descriptors have values of about 1. Are the bytes of another type? Describe the photos again."
    )


def zero_rows(values: Any) -> int:
    """How many descriptors [N, D] are zero in all their values: they are equally far from everything."""
    return sum(int((~block.any(axis=1)).sum()) for _, block in row_blocks(values))


def row_blocks(
    values: Any, rows: int | None = None, dtype: type[np.floating] = np.float32
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, block [R, D] of ``dtype``) for all rows in order; an array of that type is not copied.

    rows: rows a block; default: as many as fit into 64 MiB of float32, or 4 MiB where they are converted to it. What
    reading a memory map has brought into memory is given back after each block.
    """
    count, width = shape_of(values, "descriptors")
    converted = dtype is np.float32 and getattr(values, "dtype", None) == np.float16
    rows = rows or max(1, (CONVERTED_BYTES if converted else BLOCK_BYTES) // (4 * width))
    for start in range(0, count, rows):
        block = values[start : min(start + rows, count)]
        yield start, np.ascontiguousarray(in_single(block) if dtype is np.float32 else block, dtype=dtype)
        release(values)


def rows_as_stored(values: Any, rows: np.ndarray) -> np.ndarray:
    """Copy the given rows [R, D]."""
    if hasattr(values, "take_rows"):
        return values.take_rows(rows)
    if isinstance(values, np.ndarray):
        taken = values[rows]
        release(values)
        return taken
    return np.concatenate([values[row : row + 1] for row in rows.tolist()])


def in_single(rows: Any) -> np.ndarray:
    """Rows [R, D] as float32. From float16 by torch: the same numbers as NumPy's, many times as fast."""
    if getattr(rows, "dtype", None) != np.float16:
        with np.errstate(over="ignore"):  # what becomes infinite is refused where values are checked
            return np.asarray(rows, np.float32)
    import torch

    return torch.from_numpy(np.array(rows)).to(torch.float32).numpy()  # a copy: torch warns about read-only memory


def in_double(rows: np.ndarray) -> np.ndarray:
    """Rows [R, D] as float64 numbers of float32 precision."""
    return in_single(rows).astype(np.float64)
