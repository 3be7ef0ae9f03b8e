"""Load models of other people: by a known name, from torch.hub, from a package or as an object, in the shape in which
`describe`, `evaluate`, `search` and the app take models.

Loading by name runs code of other people with the user's rights, so it must be allowed explicitly. What its authors say
about a model is not believed but measured when it is loaded: the length of its descriptors, whether they are unit
vectors, whether the same photo gives the same descriptor twice, and whether the photos in its batch change it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import Preprocessing
from scicevpr.errors import SciceVPRError, UsageError, WeightsError
from scicevpr.external_models.entry_points import ONE_AT_A_TIME, build, explain, request
from scicevpr.external_models.registry import ExternalSource, is_external, parse_source
from scicevpr.hub.load import load_model
from scicevpr.models.devices import choose_device
from scicevpr.models.model import VPRModel, WeightsInfo
from scicevpr.models.native_checkpoints import NOT_RECORDED, hash_tensors

BATCH_TOLERANCE = 1e-4
"""A unit descriptor that moves further than this (largest entry, float32) counts as moved by its batch."""

UNIT_TOLERANCE = 1e-3
PROBE_PHOTOS = 3

_guard, _fallback = threading.Lock(), threading.RLock()
_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()


@dataclass(frozen=True)
class ExternalVariant:
    """What a Variant is for this project's models: all that must agree between model, descriptors and indexes.

    ``code`` says where the model comes from; ``batch_dependence`` is the measured largest difference of a descriptor
    alone and with others in the batch, and ``cross_image`` whether it exceeds BATCH_TOLERANCE; ``unit_output`` whether
    the model gives unit vectors by itself. ``fingerprint`` covers the code's name, arguments and tensor shapes.
    """

    name: str
    title: str
    descriptor_dim: int
    preprocessing: Preprocessing
    fingerprint: str
    code: str
    batch_dependence: float = 0.0
    unit_output: bool = False

    @property
    def cross_image(self) -> bool:
        """True if a descriptor depends on the photos that share its batch."""
        return self.batch_dependence > BATCH_TOLERANCE

    @property
    def metadata(self) -> dict[str, str]:
        """What a protocol adds for a model that is not this project's."""
        verdict = "depends on its batch" if self.cross_image else "independent of its batch"
        return {
            "code": self.code,
            "batch probe": f"{verdict} (moved by {self.batch_dependence:.1e}, measured)",
            "model's own output": "unit vectors" if self.unit_output else "not unit vectors, normalised here",
        }


class ExternalModel(nn.Module):
    """Any module or callable [B, 3, H, W] -> [B, D], with unit descriptors and what else the library asks of a model.

    ``inner`` may give a tuple, of which the first element is taken. A callable that is no module must find its own way
    to device and precision of its input; a module is moved with this one.
    """

    def __init__(
        self, inner: Callable[[Tensor], Any], variant: ExternalVariant, weights: WeightsInfo | None = None
    ) -> None:
        super().__init__()
        where = first_tensor(inner)
        # first of the parameters: it tells device and precision even of a model that has no tensors
        self.placement = nn.Parameter(where.new_empty(0), requires_grad=False)
        self.inner = inner
        self.variant = variant
        self.weights = weights
        self.allow_untrained = False

    def forward(self, x: Tensor) -> Tensor:
        """Unit descriptors [B, D] of photos [B, 3, H, W], at least in float32. Raises WeightsError when the model
        fails, or gives something else than finite [B, D]."""
        with _lock_of(self.inner):  # it may keep something between two lines of its forward
            output = run(self.inner, x, self.variant.title)
        if output.shape[1] != self.variant.descriptor_dim:
            rows, columns = x.shape[-2:]
            raise WeightsError(
                f"{self.variant.title} gives {output.shape[1]} dimensions for photos of {rows}x{columns} pixels, but "
                f"{self.variant.descriptor_dim} are expected. Use the input size it was loaded for."
            )
        return unit(output)


def _lock_of(inner: Callable[[Tensor], Any]) -> threading.RLock:
    """The lock of one model of others, the same for everybody who wraps it."""
    with _guard:
        try:
            return _locks.setdefault(getattr(inner, "__self__", inner), threading.RLock())
        except TypeError:  # it cannot be hashed or referred to weakly: all such take turns
            return _fallback


def first_tensor(inner: Callable[[Tensor], Any]) -> Tensor:
    """A tensor with the device and precision of a model; on the CPU in float32 where it has none."""
    if isinstance(inner, nn.Module):
        for tensor in (*inner.parameters(), *inner.buffers()):
            if tensor.is_floating_point():
                return tensor.detach()
    return torch.empty(0)


def unit(output: Tensor) -> Tensor:
    """Rows of unit length, computed at least in float32."""
    return F.normalize(output.to(torch.promote_types(output.dtype, torch.float32)), dim=-1)


def run(inner: Callable[[Tensor], Any], x: Tensor, title: str) -> Tensor:
    """What a model makes of photos [B, 3, H, W]: [B, D] as it comes, checked. Raises WeightsError."""
    try:
        output = inner(x)
    except SciceVPRError:
        raise
    except Exception as error:  # the code is not ours: it may raise anything
        doing = f"run on a batch {list(x.shape)} ({str(x.dtype).removeprefix('torch.')}, {x.device})"
        raise explain(error, title, doing) from error
    if isinstance(output, (tuple, list)) and len(output):
        output = output[0]
    if not isinstance(output, Tensor):
        raise WeightsError(f"{title} gives {_described(output)}; one tensor [photos, dimensions] is needed.")
    if output.ndim != 2 or len(output) != len(x) or not output.shape[1] or not output.is_floating_point():
        kind = str(output.dtype).removeprefix("torch.")
        raise WeightsError(
            f"{title} gives a {kind} tensor of the shape {list(output.shape)} for {len(x)} photos; floating-point "
            f"values of the shape [{len(x)}, D] are needed. Wrap the model so that it gives one descriptor a photo."
        )
    if not bool(torch.isfinite(output).all()):
        raise WeightsError(
            f"{title} gives values that are not finite (NaN or infinite) in {str(output.dtype).removeprefix('torch.')}."
            " Its weights are damaged or did not load, or it needs another precision (--dtype float32)."
        )
    return output


def probe_batch_dependence(model: ExternalModel | VPRModel, *, photos: int = PROBE_PHOTOS, seed: int = 0) -> float:
    """Largest difference of an entry of a unit descriptor when its photo is described alone and with others. Measured
    on artificial photos of the model's own input size, where the model is and in its precision. Rounding alone gives
    about 1e-7 in float32; a model whose photos see each other gives far more."""
    weight = next(model.parameters())
    x = probe_photos(model.variant.preprocessing, photos, seed).to(weight.device, weight.dtype)
    with torch.inference_mode():
        together = model(x)
        alone = torch.cat([model(photo[None]) for photo in x])
    return float((together.float() - alone.float()).abs().max())


def probe_photos(preprocessing: Preprocessing, count: int, seed: int = 0) -> Tensor:
    """Normalised artificial photos [count, 3, H, W]: large soft patches with fine noise."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(count, 3, 8, 8, generator=generator)
    noise = torch.randn(count, 3, *preprocessing.size, generator=generator)
    return F.interpolate(patches, size=preprocessing.size, mode="bilinear", align_corners=False) + 0.1 * noise


def _described(output: Any) -> str:
    if output is None:
        return "nothing"
    if isinstance(output, dict):
        return f"a dict with the keys {', '.join(map(str, output)) or '(none)'}"
    return f"an object of the type {type(output).__name__}"


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
    """Load whatever a user names: what `is_external` accepts by `load_external`, all else by
    `scicevpr.hub.load.load_model`.

    trust, size: for models of other people (ours take any size as an option of `describe`). variant, options: for ours.
    """
    where = {"device": choose_device(device), "dtype": dtype, "local_files_only": local_files_only}
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

    what: a known name (`KNOWN`: "megaloc"); "hub:owner/repo:entry" or "hub:owner/repo@branch:entry" (GitHub, by
    torch.hub); "hub:/folder:entry" (a folder with a hubconf.py); "python:module:function" (an importable function that
    gives the model); or the model itself: any callable [B, 3, H, W] -> [B, D], or a tuple that begins with that; a
    module is taken as it is, not copied. kwargs: for the entry point; more than, or in place of, those of the name
    ("cosplace?fc_output_dim=512"). name: for a model given as an object: its name in protocols and files; two models
    without tensors are told apart by it alone. size: input pixels, rows and columns or one number for both.
    preprocessing: replaces all of it; default: the registry's; 224x224 with antialiasing for others. descriptor_dim:
    refuse the model if its descriptors have another length; default: the registry's. trained, trained_on: what is known
    of its weights; recorded, not checked. trust: allow code of other people to run on this machine; needed for every
    name. local_files_only: do not fetch its repository (what its own code downloads cannot be prevented). device,
    dtype: where the model goes and in which precision; it is measured there in float32 first.

    Raises UsageError for no such form of name, or code that was not allowed to run; WeightsError: not here and no
    connection, a missing package, an error in its code, an output that is not one finite descriptor a photo or has
    another length than stated, or a descriptor that differs every time.
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
