"""Region vectors of photos (what enters the encoder), computed once per model and remembered.

They depend on each photo alone, so every composition of batches starts from them. Whole lists are also kept in this
user's cache folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.core.query_resolution import files_of
from scicevpr.datasets import Photo
from scicevpr.descriptors.describe import region_vectors
from scicevpr.errors import SciceVPRError
from scicevpr.models.checkpoint import read_metadata
from scicevpr.models.model import VPRModel
from scicevpr.models.native_checkpoints import hash_tensors

logger = logging.getLogger(__name__)

BATCH = 16
KEPT_PHOTOS = 20_000
Progress = Callable[[int, int], None]


class RegionStore:
    """Region vectors by model and photo. cache: folder for whole lists, or None."""

    def __init__(self, cache: Path | None = None) -> None:
        self.cache = cache
        self._kept: dict[tuple[str, str, int], Tensor] = {}
        self._lock = threading.Lock()

    def get(
        self, model: VPRModel, photos: Sequence[Photo], progress: Progress | None = None, private: bool = False
    ) -> Tensor:
        """Region vectors [N, 14, C] of photos on disk, in order.

        progress: called with (photos done, photos in all) while some are computed. private: keep them in memory only.
        Raises ImageError for an unreadable photo.
        """
        keys = [self._key(model, photo) for photo in photos]
        with self._lock:  # what is asked for is held here, so that nobody can clear it on the way
            here = {key: self._kept[key] for key in keys if key in self._kept}
        missing = [row for row, key in enumerate(keys) if key not in here]
        file = self._file(model, keys) if len(missing) > 2 * BATCH and not private else None
        if file is not None and (loaded := self._load(file, keys)):
            here, missing = loaded, []
        for start in range(0, len(missing), BATCH):
            rows = missing[start : start + BATCH]
            vectors = region_vectors(model, files_of([photos[row] for row in rows]), batch_size=BATCH)
            here |= {keys[row]: vector for row, vector in zip(rows, vectors, strict=True)}
            if progress is not None:
                progress(start + len(rows), len(missing))
        found = torch.stack([here[key] for key in keys])
        if file is not None and missing:
            self._save(file, found)
        with self._lock:
            if len(self._kept) + len(here) > KEPT_PHOTOS:
                self._kept.clear()
            self._kept |= {key: vector for key, vector in here.items() if os.path.exists(key[1])}
        return found

    def forget(self, paths: Iterable[Path]) -> None:
        """Forget what was kept of these photos."""
        gone = {str(path.resolve()) for path in paths}
        with self._lock:
            self._kept = {key: vector for key, vector in self._kept.items() if key[1] not in gone}

    @staticmethod
    def _key(model: VPRModel, photo: Photo) -> tuple[str, str, int]:
        weights = model.weights.sha256 if model.weights else f"random {id(model)}"
        modified = photo.path.stat().st_mtime_ns if photo.path.exists() else 0
        return f"{model.variant.fingerprint} {weights}", str(photo.path.resolve()), modified

    def _file(self, model: VPRModel, keys: Sequence[tuple[str, str, int]]) -> Path | None:
        if self.cache is None or model.weights is None:
            return None
        digest = hashlib.sha256("\n".join(map(str, keys)).encode()).hexdigest()[:20]
        return self.cache / "regions" / f"{model.variant.name}-{digest}.safetensors"

    @staticmethod
    def _load(file: Path, keys: Sequence[tuple[str, str, int]]) -> dict[tuple[str, str, int], Tensor]:
        if not file.is_file():
            return {}
        try:
            vectors = load_file(file)["regions"]
            if read_metadata(file).get("sha256") != hash_tensors({"regions": vectors}):
                raise ValueError("its values are not those that were written")
        except (SafetensorError, KeyError, OSError, ValueError, SciceVPRError) as error:
            logger.warning("%s cannot be read (%s); computing again", file, error)
            return {}
        return dict(zip(keys, vectors, strict=True)) if len(vectors) == len(keys) else {}

    @staticmethod
    def _save(file: Path, vectors: Tensor) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
                pass
            kept = {"regions": vectors.contiguous()}
            save_file(kept, part.name, {"sha256": hash_tensors(kept)})
            os.replace(part.name, file)
        except OSError as error:  # a full or read-only disk must not spoil the answer
            logger.warning("region vectors could not be cached: %s", error)
