"""Load models of other people: by a known name, from torch.hub, from a package or as an object.

Loading by name runs code of other people with the user's rights, so it must be allowed explicitly.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scicevpr.config import Preprocessing
from scicevpr.errors import UsageError, WeightsError
from scicevpr.external_models.adapter import (
    BATCH_TOLERANCE,
    PROBE_PHOTOS,
    UNIT_TOLERANCE,
    ExternalModel,
    ExternalVariant,
    probe_batch_dependence,
    probe_photos,
    run,
    unit,
)
from scicevpr.external_models.entry_points import ONE_AT_A_TIME, build, explain, request
from scicevpr.external_models.registry import ExternalSource, is_external, parse_source
from scicevpr.hub.load import load_model
from scicevpr.models.model import VPRModel, WeightsInfo
from scicevpr.models.native_checkpoints import NOT_RECORDED, hash_tensors

DEFAULT_PREPROCESSING = Preprocessing(antialias=True)


def load_any(
    name_or_path: str | Path,
    *,
    trust: bool = False,
    size: int | tuple[int, int] | None = None,
    variant: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    local_files_only: bool = False,
    **options: Any,
) -> VPRModel | ExternalModel:
    """Load whatever a user names: this project's models, or one of other people.

    Args:
        name_or_path: what `is_external` accepts goes to :func:`load_external`, everything else to
            :func:`scicevpr.hub.load.load_model`.
        trust, size: for models of other people only (ours take any size as an option of `describe`).
        variant, options: for this project's models only.
    """
    where = {"device": device, "dtype": dtype, "local_files_only": local_files_only}
    if is_external(name_or_path):
        if variant is not None:
            raise UsageError(f"{name_or_path} is no model of this project: leave out the variant {variant!r}.")
        return load_external(str(name_or_path), size=size, trust=trust, **where)
    return load_model(name_or_path, variant=variant, **where, **options)


def load_external(
    what: str | Callable[[Tensor], Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    size: int | tuple[int, int] | None = None,
    preprocessing: Preprocessing | None = None,
    descriptor_dim: int | None = None,
    trained: bool = True,
    trained_on: str | None = None,
    trust: bool = False,
    local_files_only: bool = False,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ExternalModel:
    """Load a model of other people, measure what it does (on 3 artificial photos), and wrap it for this library.

    Args:
        what: a known name ("megaloc", see :data:`scicevpr.external_models.KNOWN`); "hub:owner/repo:entry" or
            "hub:owner/repo@branch:entry" (GitHub, by torch.hub); "hub:/folder:entry" (a folder with a hubconf.py);
            "python:module:function" (an importable function that gives the model); or the model itself: any callable
            [B, 3, H, W] -> [B, D], or a tuple that begins with that. A module is taken as it is, not copied.
        kwargs: for the entry point; more than, or in place of, those of the name ("cosplace?fc_output_dim=512").
        name: for a model given as an object: its name in protocols and files. Two models without tensors are told
            apart by it alone.
        size: input pixels, rows and columns or one number for both. preprocessing: replaces all of it. Default: the
            registry's; 224x224 with antialiasing for others.
        descriptor_dim: refuse the model if its descriptors have another length. Default: the registry's.
        trained, trained_on: what is known of its weights; recorded, not checked.
        trust: allow code of other people to run on this machine. Needed for every name; a model object needs none.
        local_files_only: do not fetch its repository (what its own code downloads cannot be prevented).
        device, dtype: where the model goes and in which precision. It is measured there in float32 first.

    Raises:
        UsageError: no such form of name, or code that was not allowed to run.
        WeightsError: not here and no connection, a missing package, an error in its code, an output that is not one
            finite descriptor a photo or has another length than stated, or a descriptor that differs every time.
    """
    if isinstance(what, str):
        source = parse_source(what)
        source = replace(source, kwargs={**source.kwargs, **(kwargs or {})})
        if not trust:
            raise UsageError(request(source))
        inner = build(source, local_files_only)
    else:
        if kwargs:
            raise UsageError("Arguments are for an entry point, but the model was given as an object. Leave them out.")
        source = ExternalSource("object", "", name or getattr(what, "__qualname__", type(what).__qualname__))
        inner = what
    inner, known = _ready(inner, source.title), source.known
    if descriptor_dim is None and known is not None and source.kwargs == known.kwargs:
        descriptor_dim = known.descriptor_dim
    state = inner.state_dict() if isinstance(inner, nn.Module) else {}
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    variant = ExternalVariant(
        name=source.name,
        title=source.title,
        descriptor_dim=descriptor_dim or 0,
        preprocessing=_preprocessing(preprocessing or (known.preprocessing if known else DEFAULT_PREPROCESSING), size),
        fingerprint=_fingerprint(source, tensors),
        code=source.label,
    )
    weights = WeightsInfo(
        source=source.label,
        sha256=hash_tensors(tensors),
        trained_on=trained_on or (known.trained_on if known else NOT_RECORDED),
        trained=trained,
    )
    try:
        model = ExternalModel(inner, variant, weights).eval().to(device=device, dtype=torch.float32)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise explain(error, source.title, f"moved to {device}") from error
    with ONE_AT_A_TIME, redirect_stdout(sys.stderr), torch.random.fork_rng(devices=[]):
        _measure(model, required=descriptor_dim)
    return model.to(dtype)


def _measure(model: ExternalModel, required: int | None) -> None:
    """Fill in what only running the model can tell. Raises WeightsError."""
    variant = model.variant
    photo = probe_photos(variant.preprocessing, PROBE_PHOTOS)[:1].to(model.placement.device)
    with torch.inference_mode():
        first = run(model.inner, photo, variant.title)
        if required is not None and first.shape[1] != required:
            raise WeightsError(
                f"{variant.title} gives descriptors of {first.shape[1]} dimensions, but {required} are expected. Check "
                f"the arguments of {variant.code}, or state the length."
            )
        norm = float(first.float().norm())
        if norm == 0:
            raise WeightsError(f"{variant.title} gives a descriptor of zeros. Its weights did not load.")
        unit_output = abs(norm - 1) <= UNIT_TOLERANCE
        model.variant = replace(variant, descriptor_dim=first.shape[1], unit_output=unit_output)
        drift = float((model(photo) - unit(first)).abs().max())
    if drift > BATCH_TOLERANCE:
        raise WeightsError(
            f"{variant.title} describes the same photo differently each time (by {drift:.1e}), though it is in "
            "evaluation mode: something in it is random. Results would not repeat, so it is refused."
        )
    model.variant = replace(model.variant, batch_dependence=probe_batch_dependence(model))


def _ready(inner: Any, title: str) -> Callable[[Tensor], Any]:
    """The model itself, out of what an entry point gave, in evaluation mode."""
    if isinstance(inner, nn.DataParallel):
        inner = inner.module
    if not callable(inner):
        raise WeightsError(f"{title} is an object of the type {type(inner).__name__}; a model is called with photos.")
    return inner.eval() if isinstance(inner, nn.Module) else inner


def _preprocessing(chosen: Preprocessing, size: int | tuple[int, int] | None) -> Preprocessing:
    if size is None:
        return chosen
    rows, columns = (size, size) if isinstance(size, int) else size
    if min(rows, columns) < 1:
        raise UsageError(f"The input size must be at least 1x1 pixel, not {rows}x{columns}.")
    return replace(chosen, size=(rows, columns))


def _fingerprint(source: ExternalSource, tensors: Mapping[str, Tensor]) -> str:
    shapes = {key: list(tensor.shape) for key, tensor in tensors.items()}
    text = json.dumps([source.label, source.kwargs, shapes], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
