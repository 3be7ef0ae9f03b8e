"""This project's weights files: safetensors whose metadata say what the tensors are for.

A file carries the variant, the fingerprint of its architecture and a hash of the tensors, so that one made for
something else is refused. Models that share a backbone store it once: a head file then names its backbone file and the
hash that file must have, and reading puts the two together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from scicevpr.config import EFFICIENTNET_LITE0, VARIANTS, BackboneConfig, Variant
from scicevpr.errors import UsageError, WeightsError
from scicevpr.files.writing import written_whole
from scicevpr.models.checkpoint import read_checkpoint, read_metadata
from scicevpr.models.efficientnet_lite import imagenet_weights
from scicevpr.models.key_formats import MASK_TOKEN
from scicevpr.models.model import VPRModel, WeightsInfo

STEM_PREFIX = "backbone.patch_embed.features."
FILE_FORMAT = "scicevpr-weights"
FORMAT_VERSION = "1"
NOT_RECORDED = "not recorded in the file"
_RESERVED = {
    *("format", "format_version", "kind", "variant", "family", "fingerprint"),
    *("sha256", "backbone_file", "backbone_sha256"),
}


def save_weights(
    model: VPRModel,
    path: str | Path,
    *,
    info: Mapping[str, Any],
    backbone_file: str | Path | None = None,
    half: bool = False,
) -> WeightsInfo:
    """Write a model as safetensors with what is needed to load it again, and set `model.weights`.

    info: what to record, e.g. trained_on, command, seed, date; `trained="false"` marks weights that mean nothing.
    backbone_file: a file of `save_backbone`, in the same folder; tensors that it holds with exactly the same values are
    left out of this one and taken from there when loading. half: store float16; the model's own tensors are rounded
    too, so that it stays what the file holds.

    Raises UsageError when info overwrites the format's own fields, WeightsError for an unsuitable backbone file.
    """
    path, variant = Path(path), model.variant
    state = _to_save(model, half)
    metadata = _metadata("model", variant.fingerprint, hash_tensors(state), info)
    metadata |= {"variant": variant.name, "family": variant.family}
    if backbone_file is not None:
        name = Path(backbone_file).name
        shared = _read_backbone_file(path.parent / name, variant)
        metadata |= {"backbone_file": name, "backbone_sha256": hash_tensors(shared)}
        state = {
            key: tensor for key, tensor in state.items() if not (key in shared and torch.equal(tensor, shared[key]))
        }
    _write(path, state, metadata)
    model.weights = weights_info(path, metadata, metadata["sha256"])
    return model.weights


def save_backbone(model: VPRModel, path: str | Path, *, info: Mapping[str, Any], half: bool = False) -> str:
    """Write a model's backbone, without adapters, to a file that several models share. Returns its hash. A frozen stem
    that is its package's is left out: reading takes it from there, and the hash covers it. `half` stores float16 and
    rounds the model, as in `save_weights`."""
    state = backbone_part(_to_save(model, half))
    metadata = _metadata("backbone", backbone_fingerprint(model.variant.backbone), hash_tensors(state), info)
    stem = with_stem({}, model.variant.backbone)
    own = {name: tensor for name, tensor in state.items() if name not in stem or not torch.equal(tensor, stem[name])}
    _write(Path(path), own, metadata)
    return metadata["sha256"]


def _write(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        save_file(state, part, metadata=metadata)


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """12 hex digits of a SHA-256 over the sorted names, shapes and float32 bytes; the unused mask token is left out."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if name == MASK_TOKEN:
            continue
        tensor = state[name].detach().cpu()
        values = (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        digest.update(f"{name}{list(tensor.shape)}".encode())
        digest.update(values.reshape(-1).numpy().view("uint8"))
    return digest.hexdigest()[:12]


def backbone_fingerprint(config: BackboneConfig) -> str:
    """12 hex digits over a backbone's architecture, adapters not counted."""
    text = json.dumps(asdict(replace(config, adapters=False)), sort_keys=True)
    if config.hybrid:
        text += EFFICIENTNET_LITE0.sha256
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def backbone_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors of a model, under our names, without CricaVPR's adapters."""
    return {name: tensor for name, tensor in state.items() if name.startswith("backbone.") and ".adapter." not in name}


def own_metadata(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata if a file is one of ours, else an empty dict. WeightsError if a later version wrote it."""
    if metadata.get("format") != FILE_FORMAT:
        return {}
    if metadata.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{path} has weights format {metadata.get('format_version')}, this version reads {FORMAT_VERSION}. "
            "Update the program."
        )
    return dict(metadata)


def variant_of(path: Path, metadata: Mapping[str, str], wanted: Variant | None) -> Variant:
    """The variant that one of our files is for. WeightsError if it is not `wanted` or has another architecture."""
    name = metadata.get("variant", "no variant")
    if name not in VARIANTS:
        raise WeightsError(f"{path} is for {name!r}, which this version does not know. Update the program.")
    stated = VARIANTS[name]
    if wanted is not None and wanted is not stated:
        raise WeightsError(
            f"{path} was made for {stated.name}, not {wanted.name}. Load it as {stated.name}, or give a file made for "
            f"{wanted.name}."
        )
    check_fingerprint(path, metadata, stated.fingerprint, stated.name)
    return stated


def check_fingerprint(path: Path, metadata: Mapping[str, str], needed: str, what: str) -> None:
    """Refuse a file whose architecture is not that of `what`. WeightsError."""
    if metadata.get("fingerprint") != needed:
        raise WeightsError(
            f"{path} was written for another architecture: fingerprint {metadata.get('fingerprint')}, but {what} has "
            f"{needed} in this version. Use the program version that wrote the file, or train again."
        )


def with_backbone(
    path: Path, metadata: Mapping[str, str], head: dict[str, Tensor], variant: Variant
) -> dict[str, Tensor]:
    """Join a head file's tensors with those of the backbone file that it names, after checking that file's hash."""
    name = metadata["backbone_file"]
    if Path(name).name != name:
        raise WeightsError(f"{path} names its backbone file {name!r}; that file must lie in the same folder.")
    shared = _read_backbone_file(path.parent / name, variant)
    found = hash_tensors(shared)
    if found != metadata.get("backbone_sha256"):
        raise WeightsError(
            f"{path} was made with another backbone than {path.parent / name}: it needs hash "
            f"{metadata.get('backbone_sha256')}, the file has {found}. Take both files from the same release."
        )
    return {**shared, **head}


def weights_info(path: Path, metadata: Mapping[str, str], sha: str) -> WeightsInfo:
    """What is recorded about a file's weights."""
    trained = metadata.get("trained", "true").strip().lower() not in ("false", "no", "0")
    more = tuple(sorted((k, v) for k, v in metadata.items() if k not in _RESERVED | {"trained", "trained_on"}))
    return WeightsInfo(path.name, sha, metadata.get("trained_on", NOT_RECORDED), trained, more)


def _read_backbone_file(path: Path, variant: Variant) -> dict[str, Tensor]:
    metadata = own_metadata(path, read_metadata(path))
    if metadata.get("kind") != "backbone":
        raise WeightsError(f"{path} is not a shared backbone file of this project (see save_backbone).")
    check_fingerprint(path, metadata, backbone_fingerprint(variant.backbone), f"the backbone of {variant.name}")
    return with_stem(read_checkpoint(path)[0], variant.backbone)


def with_stem(state: dict[str, Tensor], config: BackboneConfig) -> dict[str, Tensor]:
    """A backbone's tensors with those of its frozen stem, from the stem's package where they are not there. Raises
    WeightsError when the package is missing or changed."""
    if not config.hybrid or any(name.startswith(STEM_PREFIX) for name in state):
        return state
    return {**{STEM_PREFIX + name: tensor for name, tensor in imagenet_weights().items()}, **state}


@torch.no_grad()
def _to_save(model: VPRModel, half: bool) -> dict[str, Tensor]:
    """A model's tensors; with `half` in float16, but for a frozen stem, which stays what its package holds."""

    def rounded(name: str, tensor: Tensor) -> bool:
        return half and tensor.is_floating_point() and not name.startswith(STEM_PREFIX)

    state = model.state_dict()
    for name, tensor in state.items():
        if rounded(name, tensor):
            tensor.copy_(tensor.half())
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return {name: tensor.half() if rounded(name, tensor) else tensor for name, tensor in state.items()}


def _metadata(kind: str, fingerprint: str, sha: str, info: Mapping[str, Any]) -> dict[str, str]:
    taken = sorted(_RESERVED.intersection(info))
    if taken:
        raise UsageError(f"The program itself writes these fields of a weights file: {', '.join(taken)}. Rename yours.")
    own = {"format": FILE_FORMAT, "format_version": FORMAT_VERSION, "kind": kind}
    own |= {"fingerprint": fingerprint, "sha256": sha}
    return own | {str(key): str(value) for key, value in info.items()}
