"""A model of other people in the shape in which `describe`, `evaluate`, `search` and the app take models.

What its authors say about it is not believed but measured when it is loaded: the length of its descriptors, whether
they are unit vectors, whether the same photo gives the same descriptor twice, and whether the photos in its batch
change it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import Preprocessing
from scicevpr.errors import SciceVPRError, WeightsError
from scicevpr.external_models.entry_points import explain
from scicevpr.models.model import VPRModel, WeightsInfo

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
        """Unit descriptors [B, D] of photos [B, 3, H, W], at least in float32.

        Raises WeightsError when the model fails, or gives something else than finite [B, D].
        """
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
    """Largest difference of an entry of a unit descriptor when its photo is described alone and with others.

    Measured on artificial photos of the model's own input size, where the model is and in its precision. Rounding alone
    gives about 1e-7 in float32; a model whose photos see each other gives far more.
    """
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
