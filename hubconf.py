"""Entry points for torch.hub: `torch.hub.load("path/to/this/repository", "scicevpr_t", source="local")`.

Each returns a model in evaluation mode whose forward takes normalised photos [B, 3, 224, 224] and gives descriptors
[B, D] of unit length. The Super-CricaVPR and CricaVPR descriptors depend on the photos that share the batch.
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:  # torch.hub lists every callable name of this file as an entry point
    from collections.abc import Callable

    import torch

    from scicevpr.models.model import VPRModel

dependencies = ["huggingface_hub", "numpy", "safetensors", "torch"]


def _entry(name: str) -> Callable[..., VPRModel]:
    def load(pretrained: bool | str = True, device: str | torch.device = "cpu") -> VPRModel:
        from scicevpr.hub.load import load_model
        from scicevpr.models.model import build_model

        if pretrained is False:
            return build_model(name).to(device)
        if pretrained is True:
            return load_model(name, device=device, download=True)
        return load_model(pretrained, variant=name, device=device, download=True)

    load.__name__ = load.__qualname__ = name.replace("-", "_")
    load.__doc__ = f"""{name}: photos [B, 3, 224, 224], normalised with ImageNet's mean and deviation -> [B, D].

    pretrained: True for the weights that are bundled or published, downloaded if need be (WeightsError where there are
    none); False for random ones; or a source of weights: a path, https://…, "org/name" on the Hugging Face Hub.
    device: where the model goes.
    """
    return load


scicevpr_t = _entry("scicevpr-t")
scicevpr_s = _entry("scicevpr-s")
scicevpr_b = _entry("scicevpr-b")
scicevpr_l = _entry("scicevpr-l")
super_cricavpr_t = _entry("super-cricavpr-t")
super_cricavpr_s = _entry("super-cricavpr-s")
super_cricavpr_b = _entry("super-cricavpr-b")
super_cricavpr_l = _entry("super-cricavpr-l")
cricavpr_t = _entry("cricavpr-t")
cricavpr_s = _entry("cricavpr-s")
cricavpr_b = cricavpr = _entry("cricavpr-b")
cricavpr_l = _entry("cricavpr-l")
