"""How much of anything the page takes: every number once, and the table of them that docs/security.md shows."""

from __future__ import annotations

from scicevpr.datasets.intake import Limits, megabytes
from scicevpr.files.photos import MAX_PIXELS
from scicevpr.models.checkpoint import MOST_HEADER_BYTES, MOST_TENSORS, MOST_UNPACKED_RATIO, UNPACKED_SMALL

HOUR = 3600.0
UPLOAD_BYTES = 200_000_000
"""One uploaded file of any kind: a zip for My places may be as large as all its photos together."""
CACHE_BYTES = 4_000_000_000
"""All uploads and all files made for download together; beyond it the oldest go, and then uploads are refused."""
PHOTO_BYTES = Limits().file
DEEP_PIXELS = 16_000_000
"""Pixels of a photo with more than 8 bits a channel: its values are worked on as floating-point numbers."""
REQUEST_BYTES = 40_000_000
"""A question as JSON; a photo of PHOTO_BYTES as a data URI fits."""
REQUEST_DEPTH = 40
RESULT_FILES = 8
RESULT_BYTES = 5_000_000
LABELS = 1_000
VISITS = 20
VISITORS = 2_000
"""Visits that have uploaded something, with or without a database; beyond it the oldest end."""
KEPT_S = 6 * HOUR
"""How long uploads, files for download and visitors' own places stay at most."""
SESSIONS = 500
QUEUE = 64
BUDGET_S = 600.0
"""Seconds that one long piece of work may take where the page is shared with others."""
WORST_BATCH_S = 120.0


def table() -> list[tuple[str, str]]:
    """What is limited, and to what, for people to read."""
    own, hours = Limits(), f"{KEPT_S / HOUR:g} hours"
    all_photos = f"{own.photos:,}, {megabytes(own.total)} together, {megabytes(own.file)} each"
    return [
        ("one uploaded file", megabytes(UPLOAD_BYTES)),
        ("uploads and downloads on disk together", megabytes(CACHE_BYTES)),
        ("uploads, downloads and own places stay", hours),
        ("one query photo", f"{megabytes(PHOTO_BYTES)}, {MAX_PIXELS / 1e6:g} million pixels"),
        ("a photo with more than 8 bits a channel", f"{DEEP_PIXELS / 1e6:g} million pixels"),
        ("a question as JSON", f"{megabytes(REQUEST_BYTES)}, {REQUEST_DEPTH} levels deep"),
        ("photos of My places", all_photos),
        ("files in a zip", f"{own.entries:,}, unpacking to at most {own.ratio:g} times its size"),
        ("tables in a zip", f"{own.tables:,}, {megabytes(own.table)} each"),
        ("visitors with own places at once", f"{VISITS}; the one that was idle longest gives way"),
        ("files of results for a figure", f"{RESULT_FILES}, {megabytes(RESULT_BYTES)} each"),
        ("header of a safetensors file", f"{megabytes(MOST_HEADER_BYTES)}, {MOST_TENSORS:,} tensors"),
        ("a packed checkpoint", f"at most {MOST_UNPACKED_RATIO:g} times its size, above {megabytes(UNPACKED_SMALL)}"),
        ("one long piece of work on a shared page", f"{BUDGET_S / 60:g} minutes"),
        ("the search for the worst batch", f"{WORST_BATCH_S / 60:g} minutes"),
        ("questions that wait", f"{QUEUE}"),
        ("pages whose state is kept", f"{SESSIONS}"),
    ]
