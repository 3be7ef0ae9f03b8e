"""Photos -> descriptors. Which photos share a batch (the grouping) is explicit: CricaVPR's result depends on it."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scicevpr.config import Preprocessing
from scicevpr.descriptors.batches import (
    DEFAULT_WORKERS,
    Grouping,
    default_grouping,
    in_parallel_batches,
    parallel_batches_for,
    photo_batches,
)
from scicevpr.descriptors.precision import best_mode, precision_label, runner
from scicevpr.descriptors.preprocessing import VIEWS
from scicevpr.errors import IndexMismatchError, UsageError, WeightsError
from scicevpr.files.descriptor_files import Descriptors, load_descriptors
from scicevpr.files.photos import require_sound
from scicevpr.files.writing import MEMORY_LIMIT, DescriptorWriter
from scicevpr.models.devices import choose_device
from scicevpr.models.model import VPRModel
from scicevpr.progress import Progress

SMALLEST_GRID = 3  # tokens a side: regions are halves and thirds of the grid


def require_weights(model: VPRModel) -> tuple[str, bool]:
    """Hash of the weights and whether they are trained. WeightsError unless weights are loaded or waived."""
    if model.weights is not None:
        return model.weights.sha256, model.weights.trained
    if model.allow_untrained:
        return "random", False
    raise WeightsError(
        f"{model.variant.title} has no weights loaded, so its descriptors would mean nothing. Load weights with "
        "scicevpr.hub.load.load_model, or set model.allow_untrained = True to describe with random weights."
    )


def require_size(model: VPRModel, preprocessing: Preprocessing) -> None:
    """UsageError for an input size that a model of this project cannot take: no whole patches, or too few of them."""
    if not isinstance(model, VPRModel):
        return
    patch, size = model.variant.backbone.patch, tuple(preprocessing.size)
    if min(size) < SMALLEST_GRID * patch:
        raise UsageError(
            f"An input of {size[0]}x{size[1]} pixels is too small: regions need a grid of at least {SMALLEST_GRID}x"
            f"{SMALLEST_GRID} tokens, which is {SMALLEST_GRID * patch} pixels a side. Choose another --resize."
        )
    if size[0] % patch or size[1] % patch:
        raise UsageError(
            f"An input of {size[0]}x{size[1]} pixels does not divide into patches of {patch}x{patch}. Choose multiples "
            f"of {patch} for --resize."
        )


def require_inside(model: VPRModel) -> None:
    """UsageError unless a model is this project's: of other people's models only the descriptors are known."""
    if not isinstance(model, VPRModel):
        raise UsageError(
            f"{model.variant.title} is not one of this project's models, so only its descriptors are known and nothing "
            "of its inside. Explanations, region vectors and stability experiments need one of them, e.g. scicevpr-t."
        )


@contextmanager
def evaluating(model: VPRModel) -> Iterator[None]:
    """Put a model into evaluation mode for a while; afterwards every module is as it was (frozen stays frozen)."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def describe(
    model: VPRModel,
    images: Sequence[Any] | Tensor,
    *,
    batch_size: int = 16,
    grouping: Grouping | None = None,
    preprocessing: Preprocessing | None = None,
    framing: str = "resize",
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    precision: str | None = None,
    num_workers: int = DEFAULT_WORKERS,
    out: Path | str | None = None,
    out_dtype: str = "float32",
    scratch: Path | str | None = None,
    progress: Progress | None = None,
) -> Descriptors:
    """Describe photos: rows in the order of ``images``, V rows for each photo, V = VIEWS[framing].

    images: paths, PIL images or arrays (see `scicevpr.files.photos.open_photo`), or a prepared tensor [N, 3, H, W].
    batch_size: views per forward pass where that cannot change the result (SciceVPR, whose descriptors depend on their
    own photo alone); with a named grouping the groups are the batches. grouping: which photos share a batch; default:
    "sequential 16" for models whose descriptors depend on it, "independent" (batches of ``batch_size``) for SciceVPR.
    preprocessing: replaces the variant's own. framing: how it views a photo ("resize", "central_crop" or "five_crops",
    see `preprocessing.to_views`); views of a photo share its batch. device, dtype: where and in which precision;
    default: where the model is. precision: instead of `dtype`, a mode of `scicevpr.descriptors.precision` for a float32
    model: "float32" (the same descriptors with less work), "bfloat16", "int8", "float16", or "auto", see `best_mode`.
    num_workers: threads that decode files ahead of the model; the result does not depend on it. out: write the rows
    straight into this .npy file, as ``out_dtype`` ("float32" or "float16"); ``values`` is then a read-only memory map.
    scratch: the same with a nameless temporary file in this folder, which disappears with the last use of ``values``.

    Raises WeightsError when no weights are loaded, ImageError for a photo that cannot be read, UsageError for an
    impossible grouping or framing, a precision that this machine does not have, or a full disk.
    """
    sha, trained = require_weights(model)
    count = len(images)
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}.")
    if framing not in VIEWS:
        raise UsageError(f"The framing {framing!r} is unknown; choose one of {', '.join(VIEWS)}.")
    views = VIEWS[framing]
    grouping = grouping or default_grouping(model.variant)
    groups = (grouping or Grouping.sequential(max(1, batch_size // views))).split(count)
    preprocessing = preprocessing or model.variant.preprocessing
    require_size(model, preprocessing)
    files = [image for image in images if isinstance(image, str | Path)] if isinstance(images, Sequence) else []
    if len(files) > 1:
        require_sound(files, preprocessing.max_pixels)
    started, done = time.perf_counter(), 0
    run, place, kind, dtype_label = _prepared(model, device, dtype, precision)
    shape = (count * views, model.variant.descriptor_dim)
    batches = photo_batches(images, groups, preprocessing, framing, num_workers)
    # code of others may keep something between two lines of its forward: one batch at a time
    parallel = parallel_batches_for(len(groups), place) if isinstance(model, VPRModel) else 1

    def one(batch: Tensor) -> Tensor:
        return run(batch.to(place, kind)).float().cpu()

    with (
        evaluating(run),
        DescriptorWriter(shape, out_dtype if out else "float32", path=out, scratch=scratch) as store,
        closing(batches),
        closing(in_parallel_batches(one, batches, parallel)) as described,
    ):
        for group, part in zip(groups, described, strict=True):
            rows = [photo * views + view for photo in group for view in range(views)]
            store.write(rows, part.numpy())
            done += len(group)
            if progress is not None:
                progress(done, count)
        values = store.finish()
    return Descriptors(
        values=values,
        variant=model.variant.name,
        fingerprint=model.variant.fingerprint,
        weights=sha,
        trained=trained,
        grouping=grouping_label(grouping, views),
        preprocessing=asdict(preprocessing),
        device=str(place),
        dtype=dtype_label,
        seconds=time.perf_counter() - started,
        metadata=getattr(model.variant, "metadata", {}),
    )


def _prepared(
    model: VPRModel, device: str | torch.device | None, dtype: torch.dtype | None, precision: str | None
) -> tuple[torch.nn.Module, torch.device, torch.dtype, str]:
    """What is run for a model, the device and precision of its input, and how a protocol calls the precision; the
    caller's weights stay as they are."""
    weight = next(model.parameters())
    device, wanted = weight.device if device is None else choose_device(device), dtype or weight.dtype
    if precision is None:
        if (device, wanted) != (weight.device, weight.dtype):
            model = copy.deepcopy(model).to(device, wanted)
        return model, device, wanted, str(wanted).removeprefix("torch.")
    if dtype not in (None, torch.float32):
        raise UsageError(f"precision={precision!r} and dtype={dtype} say the same thing. Give one of them.")
    mode = best_mode(model, device).mode if precision == "auto" else precision
    return runner(model, mode, device), device, torch.float32, precision_label(mode)


def grouping_label(grouping: Grouping | None, views: int = 1) -> str:
    """How a protocol calls a grouping (None: of no consequence) of photos with so many views each."""
    if grouping is None:
        return "independent of the batch"
    if views == 1:
        return grouping.label
    together = f"{grouping.size * views} images a batch" if grouping.size else "all in its batch"
    return f"{grouping.label}, {views} crops of each photo ({together})"


def region_vectors(
    model: VPRModel,
    images: Sequence[Any] | Tensor,
    *,
    batch_size: int = 16,
    preprocessing: Preprocessing | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """What enters the encoder, [N, R, C] float32: it depends on each photo alone, in every family. With :func:`encode`
    the descriptors of many batch compositions cost one pass through the backbone. Arguments and errors as in
    :func:`describe`; UsageError for a model of other people."""
    require_inside(model)
    require_weights(model)
    preprocessing = preprocessing or model.variant.preprocessing
    weight, parts = next(model.parameters()), []
    groups = Grouping.sequential(batch_size).split(len(images))
    with evaluating(model), torch.inference_mode():
        for group, x in zip(groups, photo_batches(images, groups, preprocessing, workers=0), strict=True):
            features = model.backbone(x.to(weight.device, weight.dtype), model.variant.taps)
            parts.append(model.regions_of(features).float().cpu())  # (B, R, C)
            if progress is not None:
                progress(group[-1] + 1, len(images))
    return torch.cat(parts)


def encode(model: VPRModel, regions: Tensor, grouping: Grouping) -> np.ndarray:
    """Descriptors [N, D] float32 of region vectors [N, R, C] whose photos share batches as ``grouping`` says."""
    values = np.empty((len(regions), model.variant.descriptor_dim), np.float32)
    by_size: dict[int, list[tuple[int, ...]]] = {}
    for group in grouping.split(len(regions)):
        by_size.setdefault(len(group), []).append(group)
    for groups in by_size.values():
        rows = np.array(groups)
        values[rows] = encode_groups(model, regions, rows)
    return values


def encode_groups(
    model: VPRModel,
    regions: Tensor,
    groups: np.ndarray,
    *,
    first_only: bool = False,
    photos_at_once: int = 1024,
    progress: Progress | None = None,
) -> np.ndarray:
    """Describe many batches by running the encoder alone: [G, S, D] float32 with unit rows.

    regions: region vectors [N, R, C] of N photos (see :func:`region_vectors`). groups: [G, S] rows of ``regions`` that
    share a batch, else UsageError; a photo may be in many batches. first_only: describe the first photo of every batch
    only, [G, D] (less work, the same values). progress: called with (batches done, batches in all).
    """
    groups = np.asarray(groups)
    if groups.ndim != 2 or groups.size == 0 or not np.issubdtype(groups.dtype, np.integer):
        raise UsageError(f"Groups must be a table [batches, photos] of whole numbers, not {list(groups.shape)}.")
    if groups.min() < 0 or groups.max() >= len(regions):
        raise UsageError(f"Groups name rows {groups.min()}..{groups.max()}, but there are {len(regions)} photos.")
    weight = next(model.parameters())
    count, size = groups.shape
    values = np.empty((count, 1 if first_only else size, model.variant.descriptor_dim), np.float32)
    step = max(1, photos_at_once // size)
    with evaluating(model), torch.inference_mode():
        for start in range(0, count, step):
            part = regions[groups[start : start + step]].to(weight.device, weight.dtype)
            encoded = model.encoder.encode_groups(part, first_only).flatten(2)  # (G, S or 1, R*C)
            values[start : start + step] = F.normalize(encoded, dim=-1).float().cpu().numpy()
            if progress is not None:
                progress(min(start + step, count), count)
    return values[:, 0] if first_only else values


def find_descriptors(
    folder: Path | str,
    model: VPRModel,
    names: Sequence[str],
    grouping: Grouping | None,
    preprocessing: Preprocessing,
    dtype: str | None = None,
) -> Descriptors | None:
    """The descriptors of the first file in a folder that was made by this model, for these photos, under this grouping
    (None: the default of `describe`), preprocessing and precision; None where there is no such file.

    dtype: the precision as a protocol calls it (`precision_label`; default: the model's own). Values that would take
    more than MEMORY_LIMIT stay in the file, as a float16 memory map. Files that belong to something else are passed
    over silently; a model without weights never matches.
    """
    if model.weights is None or not Path(folder).is_dir():
        return None
    wanted = grouping or default_grouping(model.variant)
    dtype = dtype or str(next(model.parameters()).dtype).removeprefix("torch.")
    for path in sorted(Path(folder).glob("*.safetensors")):
        try:
            large = 2 * path.stat().st_size > MEMORY_LIMIT  # as float32
            descriptors, _ = load_descriptors(path, model, names, mapped=large)
        except IndexMismatchError:
            continue
        same_type = descriptors.dtype == dtype
        same_batches = not model.variant.cross_image or descriptors.grouping == (wanted and wanted.label)
        if same_type and same_batches and descriptors.preprocessing == asdict(preprocessing):
            return descriptors
    return None
