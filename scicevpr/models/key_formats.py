"""The key formats in which weights of this family circulate, and the way from each of them to our own.

A key format is how a file names its tensors. Values never change on the way; only transformers' split query, key and
value are joined. Files read: this project's own names, the released SciceVPR / Super-CricaVPR and CricaVPR code, and
DINOv2 backbones with original, timm or transformers names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, cat

from scicevpr.config import Variant
from scicevpr.errors import WeightsError
from scicevpr.models.model import VPRModel

logger = logging.getLogger(__name__)

OWN = "own"
SCICEVPR = "scicevpr"  # published by the SciceVPR code; Super-CricaVPR checkpoints have it too
CRICAVPR = "cricavpr"
DINOV2 = "dinov2"  # the original DINOv2 release; timm's files use the same names, without `mask_token`
TRANSFORMERS = "transformers"
BACKBONE_ONLY = (DINOV2, TRANSFORMERS)

MASK_TOKEN = "backbone.mask_token"  # carried by some files and never used when describing: it may be missing
POSITION = "backbone.pos_embed"

_WRAPPERS = ("model_state_dict", "state_dict", "model")
_DATAPARALLEL, _COMPILED = "module.", "_orig_mod"
_DEEPEST = 6  # prefixes one after the other

# (published prefix, own prefix); the first match renames.
_PREFIXES = {
    SCICEVPR: (("backbone.dino_model.", "backbone."), ("conv.", "fusion.conv."), ("tokenmix.", "fusion.mixers.")),
    CRICAVPR: (("aggregation.1.p", "gem.p"),),
    DINOV2: (("", "backbone."),),
}

# (transformers, DINOv2) names outside the blocks and inside block N.
_TRANSFORMERS_STEM = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("layernorm.", "norm."),
)
_TRANSFORMERS_BLOCK = (
    ("norm1.", "norm1."),
    ("norm2.", "norm2."),
    ("attention.output.dense.", "attn.proj."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("mlp.fc1.", "mlp.fc1."),
    ("mlp.fc2.", "mlp.fc2."),
)
_QKV = ("query", "key", "value")


def unwrap(content: Mapping[str, Any], source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split a checkpoint into (its named tensors, everything else that it records).

    Takes a bare state dict or a dictionary that holds one as `model_state_dict`, `state_dict` or `model`; removes what
    other programs put in front of every name (DataParallel's `module.`, torch.compile's `_orig_mod.`, Lightning's
    `model.`, ...): see `without_prefix`. `source` is named in the errors. Raises WeightsError when no named tensors are
    found, or two models are.
    """
    state: Mapping[str, Any] = content
    record: dict[str, Any] = {}
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            state = content[wrapper]
            record = {key: value for key, value in content.items() if key != wrapper}
            break
    if not state:
        raise WeightsError(f"{source} holds no tensors at all.")
    odd = [str(name) for name, value in state.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if odd:
        raise WeightsError(
            f"{source} is not a model checkpoint: {_some(odd)} {'is' if len(odd) == 1 else 'are'} not named tensors. "
            f"Expected a state dict, alone or under one of: {', '.join(_WRAPPERS)}."
        )
    named, prefix = without_prefix(state, source)
    if prefix not in ("", _DATAPARALLEL):
        logger.warning("%s: %r in front of the names of its tensors was left off.", source, prefix)
    return named, record


def without_prefix(state: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], str]:
    """Named tensors without what stands in front of the names of a known key format, and what that was ("" for none).
    `_orig_mod.` is removed wherever it stands. Of several modules the one is taken whose names are of a known format;
    the others (a loss with weights of its own) are left out. Raises WeightsError where two fit."""
    compiled = any(_COMPILED in name.split(".") for name in state)
    named = {".".join(part for part in name.split(".") if part != _COMPILED): value for name, value in state.items()}
    if len(named) != len(state):
        raise WeightsError(f"{source} holds tensors of one name twice, with and without '{_COMPILED}.'.")
    found = _known_part(named, source, _DEEPEST)
    if found is None:
        return dict(state), ""
    inner, prefix = found
    if len(inner) < len(named):
        logger.warning("%s: %d tensors outside %r were left out.", source, len(named) - len(inner), prefix)
    return inner, f"{prefix}{_COMPILED}." if compiled else prefix


def _known_part(named: Mapping[str, Tensor], source: str, depth: int) -> tuple[dict[str, Tensor], str] | None:
    """The tensors whose names are of a known key format once what stands before them is left off, and what that is."""
    if key_format_of(named) is not None:
        return dict(named), ""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in named.items():
        first, dot, rest = name.partition(".")
        if dot:
            groups.setdefault(first, {})[rest] = tensor
    large = {first: group for first, group in groups.items() if depth and 3 * len(group) >= len(named)}
    fitting = {first: part for first, group in large.items() if (part := _known_part(group, source, depth - 1))}
    if len(fitting) > 1:
        raise WeightsError(
            f"{source} holds {len(fitting)} models: the names under {', '.join(f'{first}.' for first in fitting)} are "
            "all of a known format. Save the one that is wanted in a file of its own."
        )
    for first, (inner, prefix) in fitting.items():
        return inner, f"{first}.{prefix}"
    return None


def detect(names: Iterable[str], source: str) -> str:
    """Tell the key format from the names: OWN, SCICEVPR, CRICAVPR, DINOV2 (timm included) or TRANSFORMERS. Raises
    WeightsError for names of no known key format, and for DINOv2 with registers, which is another architecture."""
    names = list(names)
    if any(name.rpartition(".")[2] in ("register_tokens", "reg_token") for name in names):
        raise WeightsError(f"{source} is a DINOv2 with registers. Load the one without registers.")
    key_format = key_format_of(names)
    if key_format is not None:
        return key_format
    raise WeightsError(
        f"{source} holds weights of no model known here: its tensors are called {_some(names)}. Expected SciceVPR, "
        "Super-CricaVPR, CricaVPR or DINOv2 ViT/14 (original, timm or transformers names)."
    )


def key_format_of(names: Iterable[str]) -> str | None:
    """The key format that names are of, as `detect` tells it; None for no known one."""
    names = list(names)
    rules = (
        (SCICEVPR, ("backbone.dino_model.", "tokenmix.")),
        (CRICAVPR, ("aggregation.",)),
        (OWN, ("backbone.", "fusion.", "gem.p")),
        (TRANSFORMERS, ("embeddings.", "encoder.layer.")),
        (DINOV2, ("cls_token", "pos_embed", "patch_embed.", "blocks.")),
    )
    return next((key_format for key_format, marks in rules if any(name.startswith(marks) for name in names)), None)


def to_own(state: Mapping[str, Tensor], key_format: str, source: str = "the file") -> dict[str, Tensor]:
    """Rename the tensors of any key format to this project's names (a backbone's become `backbone.*`). Names that the
    key format does not know are kept, so that strict loading can report them. Raises WeightsError when a transformers
    file lacks a part of a query, key, value triple."""
    if key_format == OWN:
        return dict(state)
    if key_format == TRANSFORMERS:
        return _from_transformers(state, source)
    return {_swap_prefix(name, _PREFIXES[key_format]): tensor for name, tensor in state.items()}


def name_in(key_format: str, own_name: str) -> str:
    """How a tensor with this project's name is called in another key format."""
    if key_format == OWN:
        return own_name
    if key_format != TRANSFORMERS:
        return _swap_prefix(own_name, [(own, published) for published, own in _PREFIXES[key_format]])
    name = own_name.removeprefix("backbone.")
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if not block:
        return _swap_prefix(name, [(dinov2, theirs) for theirs, dinov2 in _TRANSFORMERS_STEM])
    number, rest = block.groups()
    if rest.startswith("attn.qkv."):
        rest = "attention.attention.{query,key,value}." + rest.removeprefix("attn.qkv.")
    else:
        rest = _swap_prefix(rest, [(dinov2, theirs) for theirs, dinov2 in _TRANSFORMERS_BLOCK])
    return f"encoder.layer.{number}.{rest}"


def published_format(variant: Variant) -> str:
    """The key format of the released code of a variant's family."""
    return CRICAVPR if variant.family == "cricavpr" else SCICEVPR


def state_to_published(model: VPRModel) -> dict[str, Tensor]:
    """The model's tensors under the names of its family's released code, ready for `torch.save`. SciceVPR and
    Super-CricaVPR: `backbone.dino_model.*`, `conv.*`, `tokenmix.*`; CricaVPR: `backbone.*`, `aggregation.1.p`. The
    released training code adds `module.` in front and stores it as `model_state_dict`."""
    key_format = published_format(model.variant)
    return {name_in(key_format, name): tensor.detach() for name, tensor in model.state_dict().items()}


def _from_transformers(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    own: dict[str, Tensor] = {}
    triples: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        block = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name)
        if not block:
            own["backbone." + _swap_prefix(name, _TRANSFORMERS_STEM)] = tensor
            continue
        number, rest = block.groups()
        part = re.fullmatch(r"attention\.attention\.(query|key|value)\.(weight|bias)", rest)
        if part:
            joined = f"backbone.blocks.{number}.attn.qkv.{part.group(2)}"
            triples.setdefault(joined, {})[part.group(1)] = tensor
        else:
            own[f"backbone.blocks.{number}." + _swap_prefix(rest, _TRANSFORMERS_BLOCK)] = tensor
    for joined, parts in triples.items():
        missing = [part for part in _QKV if part not in parts]
        if missing or len({part.shape for part in parts.values()}) > 1:
            where = name_in(TRANSFORMERS, joined)
            what = f"lacks {', '.join(missing)}" if missing else "has parts of different shapes"
            raise WeightsError(f"{source} is incomplete: {where} {what}.")
        own[joined] = cat([parts[part] for part in _QKV])
    return own


def _swap_prefix(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def _some(names: list[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown + (f" … ({len(names)} in all)" if len(names) > limit else "")
