"""A GPU for machines without one: tensors "on cuda" that behave as such, computed on the processor.

Inside :class:`StandInDevice` a tensor that was sent to "cuda" says so (`device`, `is_cuda`), what is computed from it
is there as well, and to mix it with a tensor of the processor is an error, as on a GPU; so is reading it as a NumPy
array.
As on a GPU allowed: copies, indices and single numbers from the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CUDA = torch.device("cuda", 0)
READ = {"numpy", "__array__"}
FROM_BOTH = {"copy_", "__setitem__", "__getitem__", "index_put_", "data.__set__", "to", "type_as", "is_set_to"}


class MixedDevices(RuntimeError):
    """What torch says where two devices meet."""


def on_cuda(tensor: Tensor) -> bool:
    """Whether a tensor lies on the stand-in. Its memory carries the mark, so views and parameters do as well."""
    return getattr(tensor.untyped_storage(), "on_standin", False)


def _mark(tensor: Tensor) -> Tensor:
    tensor.untyped_storage().on_standin = True
    return tensor


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        if values.device.type != "meta" and values.layout == torch.strided:
            yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


class StandInDevice(TorchFunctionMode):
    """See the module."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        if name in ("__get__", "__set__"):
            name = f"{getattr(func.__self__, '__name__', '')}.{name}"
        if name in ("device.__get__", "is_cuda.__get__", "is_cpu.__get__") and on_cuda(args[0]):
            return {"device": CUDA, "is_cuda": True, "is_cpu": False}[name.partition(".")[0]]
        if func is torch.device or name in ("untyped_storage", "data_ptr"):
            return func(*args, **kwargs)
        found = list(_tensors(args)) + list(_tensors(kwargs))
        there = [tensor for tensor in found if on_cuda(tensor)]
        here = [tensor for tensor in found if tensor.ndim and not on_cuda(tensor)]
        if there and name in READ:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if there and here and name == "_has_compatible_shallow_copy_type":
            return False  # Module.to() then makes new parameters
        if there and here and name not in FROM_BOTH:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in here)
            raise MixedDevices(f"Expected all tensors on the same device: {name} met cuda:0 and, on cpu, {shapes}")
        if name in ("cpu", "cuda", "to"):
            return self._moved(name, args, kwargs)
        if name == "pin_memory":
            return args[0].clone()
        asked = kwargs.pop("device", None)
        result = func(*args, **kwargs)
        if name == "__getitem__":
            there = there if on_cuda(args[0]) else []
        cuda = torch.device(asked).type == "cuda" if asked is not None else bool(there)
        if cuda and name not in ("__set__", "copy_", "__setitem__"):
            for tensor in _tensors(result):
                _mark(tensor)
        return result

    def _moved(self, name: str, args: tuple, kwargs: dict) -> Tensor:
        """`cpu()`, `cuda()`, and `to()` in all its forms."""
        tensor, *rest = args
        places = [value for value in (*rest, kwargs.pop("device", None)) if isinstance(value, str | torch.device)]
        other = next((value for value in rest if isinstance(value, Tensor)), tensor)
        wanted = torch.device(places[0]).type == "cuda" if places else on_cuda(other)
        wanted = {"cpu": False, "cuda": True}.get(name, wanted)
        if places and torch.device(places[0]).type == "meta":
            return tensor.to("meta")
        rest = [torch.device("cpu") if isinstance(value, str | torch.device) else value for value in rest]
        result = tensor.to(*rest, **kwargs) if name == "to" and (rest or kwargs) else tensor
        if wanted != on_cuda(tensor) and on_cuda(result) != wanted:
            result = result.clone()  # whose memory has no mark
        return _mark(result) if wanted else result
