"""Load weights: bundled ones by name, this project's files and published checkpoints from any source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scicevpr.config import VARIANTS, Variant, bundled_path, get_variant
from scicevpr.errors import UsageError, WeightsError
from scicevpr.models import key_formats
from scicevpr.models.checkpoint import read_checkpoint
from scicevpr.models.efficientnet_lite import imagenet_weights
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.native_checkpoints import (
    NOT_RECORDED,
    backbone_fingerprint,
    backbone_part,
    check_fingerprint,
    hash_tensors,
    own_metadata,
    save_backbone,
    save_weights,
    variant_of,
    weights_info,
    with_backbone,
    with_stem,
)
from scicevpr.models.state_dict_check import KeyReport, compare, nearest_variant, shapes_of

if TYPE_CHECKING:
    from scicevpr.hub import Source

__all__ = [
    "bundled_path",
    "bundled_weights",
    "fill_model",
    "fill_stem",
    "hash_tensors",
    "load_backbone",
    "load_model",
    "save_backbone",
    "save_weights",
]


def load_model(
    name_or_path: str | Path,
    *,
    variant: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    allow_untrained: bool = False,
    download: bool = False,
    local_files_only: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> VPRModel:
    """Load a model, in evaluation mode, with its `weights` filled in.

    Args:
        name_or_path: a variant ("scicevpr-t"), or a source of weights: a path, a web address, a Hub repository, a
            registry name (all forms in scicevpr.hub.sources). Files are this project's safetensors, or published
            SciceVPR, Super-CricaVPR or CricaVPR checkpoints, of which nothing is run. A variant's name always means
            the variant, which takes, in this order, what SCICEVPR_WEIGHTS assigns to it (scicevpr.hub.environment),
            its bundled weights, a single source in SCICEVPR_WEIGHTS that fits it, its authors' release if downloaded.
        variant: which variant the file is for; told from names and shapes if not given. A DINOv2 backbone needs it.
        device, dtype: where the model goes and in which precision.
        allow_untrained: also return a model whose weights are random: all of them (no weights for that name), or all
            but a DINOv2 backbone. Its `weights` stays None and its `allow_untrained` is set.
        download: also get what a variant or a registry name stands for. Web addresses and Hub repositories are asked
            for by naming them.
        local_files_only, progress: as in `scicevpr.hub.fetch`.

    Raises:
        UsageError: no variant has that name.
        WeightsError: no such file, an unsafe or damaged one, or one for another architecture (names what differs); or
            the download failed (see scicevpr.hub.fetch).
    """
    name, getting = str(name_or_path), _Getting(download, local_files_only, progress)
    named = get_variant(variant) if variant is not None else None
    if name.lower() in VARIANTS:
        if named not in (None, get_variant(name)):
            raise UsageError(f"{name} and variant={variant!r} contradict each other. Give one of them.")
        model = _load_named(get_variant(name), allow_untrained, getting)
    else:
        model = _load_source(name_or_path, named, allow_untrained, getting)
    return model.to(device=device, dtype=dtype)


def bundled_weights() -> dict[str, Path]:
    """Name -> file of every variant whose weights come with the project."""
    return {name: bundled_path(variant) for name, variant in VARIANTS.items() if bundled_path(variant).is_file()}


def load_backbone(
    model: VPRModel,
    source: str | Path,
    *,
    download: bool = False,
    local_files_only: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> str:
    """Fill a model's backbone from a file: DINOv2 (original, timm, transformers), or any model of this family.

    `source`: as in `load_model`; of the registry's names, "dinov2-b" is any of "dinov2-b:timm", "dinov2-b:facebook" and
    "dinov2-b:original" that is on this computer. `download`, `local_files_only`, `progress` as in `load_model` too.

    Strict over all backbone tensors but the adapters, which keep their values. A position embedding on another square
    grid than the variant's is taken as it is: the backbone resamples it, or uses it unchanged at the right size. The
    rest of the model stays as it was, and so does `model.weights`.

    Returns the hash of the loaded backbone (12 hex digits). Raises WeightsError like `load_model`.
    """
    path, _ = _located(source, _Getting(download, local_files_only, progress))
    return _fill_backbone(model, path)


def _fill_backbone(model: VPRModel, path: Path) -> str:
    variant = model.variant
    what = f"the backbone of {variant.name}"
    own, layout, metadata, _ = _read(path)
    if metadata.get("kind") == "backbone":
        check_fingerprint(path, metadata, backbone_fingerprint(variant.backbone), what)
    if metadata.get("backbone_file"):
        own = with_backbone(path, metadata, own, variant)
    if layout not in key_formats.BACKBONE_ONLY:
        own = with_stem(backbone_part(own), variant.backbone)
    report = compare(shapes_of(backbone_part(model.state_dict())), shapes_of(own), grids=None)
    if report.count:
        raise _mismatch(path, what, report, layout)
    _check_values(path, own, layout)
    _take_position_grid(model, own[key_formats.POSITION])
    model.load_state_dict(own, strict=False)
    return hash_tensors(backbone_part(model.state_dict()))


def fill_stem(model: VPRModel) -> VPRModel:
    """Give a model whose backbone has a frozen stem the weights of the stem's package; others stay as they are.

    Raises WeightsError when the package is missing or changed.
    """
    if model.variant.backbone.hybrid:
        model.backbone.patch_embed.features.load_state_dict(imagenet_weights())
    return model


def fill_model(
    variant: Variant, state: Mapping[str, Tensor], source: str | Path, layout: str = key_formats.OWN
) -> VPRModel:
    """Build a variant and fill it strictly from tensors under this project's names; `weights` stays None.

    `source` and `layout` (how the file called its tensors) are for the message. Raises WeightsError, which names the
    missing, unexpected and mis-shaped tensors, and the variant that fits better if there is one.
    """
    with torch.random.fork_rng(devices=[]):  # loading must not move anybody's random numbers
        model = build_model(variant)
    found = shapes_of(state)
    report = compare(shapes_of(model.state_dict()), found, grids=(variant.grid[0],))
    if report.count:
        nearest, rest = nearest_variant(found)
        hint = ""
        if rest.count < report.count:
            hint = f" It fits {nearest.name} {'better' if rest.count else 'exactly'}; load it with that variant."
        raise _mismatch(source, variant.name, report, layout, hint)
    _check_values(source, state, layout)
    _take_position_grid(model, state[key_formats.POSITION])
    model.load_state_dict(dict(state), strict=key_formats.MASK_TOKEN in state)
    return model


@dataclass(frozen=True)
class _Getting:
    """What may be done to get weights that are not here."""

    download: bool
    local_files_only: bool
    progress: Callable[[int, int | None], None] | None


def _load_named(named: Variant, allow_untrained: bool, getting: _Getting) -> VPRModel:
    from scicevpr.hub import Source, find_cached
    from scicevpr.hub.environment import VARIABLE, assigned_weights
    from scicevpr.hub.sources import entries_named

    assigned, single = assigned_weights()
    if named.name in assigned:
        return _load_source(assigned[named.name], named, allow_untrained, getting)
    if bundled_path(named).is_file():
        return _load_file(bundled_path(named), named, allow_untrained)
    note = ""
    if single is not None:
        model = _load_source(single, None, False, getting)
        if model.variant is named:
            return model
        note = f" {VARIABLE} names {single}, which is for {model.variant.name}."
    published = tuple(entry.place for entry in entries_named(named.name) if entry.kind != "bundled")
    if published:
        release = Source(named.name, published, registered=True)
        if getting.download or find_cached(release):
            return _load_source(release, named, allow_untrained, getting)
        note += f" The published weights are not on this computer: get them with `scicevpr weights get {named.name}`."
    return _untrained(named, allow_untrained, note)


def _load_source(
    source: str | Path | Source, named: Variant | None, allow_untrained: bool, getting: _Getting
) -> VPRModel:
    path, origin = _located(source, getting)
    model = _load_file(path, named, allow_untrained)
    if model.weights is not None:
        model.weights = replace(model.weights, source=origin)
    return model


def _located(source: str | Path | Source, getting: _Getting) -> tuple[Path, str]:
    """(The file of a source, how to call where it came from)."""
    from scicevpr.hub import Source, fetch, find_cached, parse_source
    from scicevpr.hub.sources import LocalFile, UrlFile, address, entries_named

    if not isinstance(source, Source):
        word, path = str(source), Path(source).expanduser()
        if path.name == word and not path.suffix and not path.exists() and not entries_named(word):
            raise WeightsError(
                f"{word!r} is neither a variant nor a file. Variants: {', '.join(VARIANTS)}. "
                f"Bundled weights: {', '.join(bundled_weights()) or 'none'}."
            )
    parsed = parse_source(source)
    name, place = parsed.text, parsed.places[0]
    if parsed.registered and not getting.download and not find_cached(parsed):
        raise WeightsError(
            f"The weights {name} ({address(place)}) are not on this computer. Get them with "
            f"`scicevpr weights get {name}`."
        )
    path = fetch(parsed, local_files_only=getting.local_files_only, progress=getting.progress)
    if parsed.registered or isinstance(place, LocalFile):
        return path, path.name
    return path, place.url.partition("?")[0] if isinstance(place, UrlFile) else name


def _load_file(path: Path, named: Variant | None, allow_untrained: bool) -> VPRModel:
    own, layout, metadata, facts = _read(path)
    if metadata.get("kind") == "backbone" or layout in key_formats.BACKBONE_ONLY:
        if named is None or not allow_untrained:
            raise WeightsError(
                f"{path} holds a backbone only, without a SciceVPR or CricaVPR head, so it cannot describe places. "
                "Load a whole checkpoint. To start training from this file, use load_backbone."
            )
        model = _untrained(named, allow_untrained)
        _fill_backbone(model, path)
        return model
    if metadata:
        named = variant_of(path, metadata, named)
    if metadata.get("backbone_file"):
        own = with_backbone(path, metadata, own, named)
    model = fill_model(named or nearest_variant(shapes_of(own))[0], own, path, layout)
    sha = hash_tensors(model.state_dict())
    if metadata.get("sha256", sha) != sha:
        raise WeightsError(
            f"{path} is damaged: its tensors have hash {sha}, but it was written with {metadata['sha256']}. "
            "Download or copy it again."
        )
    if not metadata and isinstance(facts.get("epoch_num"), int):
        metadata = {"trained_on": f"{NOT_RECORDED} (epoch {facts['epoch_num']})"}
    model.weights = weights_info(path, metadata, sha)
    return model


def _read(path: Path) -> tuple[dict[str, Tensor], str, dict[str, str], dict[str, Any]]:
    """(Tensors under our names, the file's layout, metadata if it is one of ours, what else a checkpoint records.)"""
    content, metadata = read_checkpoint(path)
    metadata = own_metadata(path, metadata)
    state, facts = key_formats.unwrap(content, str(path))
    layout = key_formats.OWN if metadata else key_formats.detect(state, str(path))
    return key_formats.to_own(state, layout, str(path)), layout, metadata, facts


def _untrained(variant: Variant, allowed: bool, note: str = "") -> VPRModel:
    if not allowed:
        raise WeightsError(
            f"No weights for {variant.name} come with the project ({variant.weights_note}). Bundled: "
            f"{', '.join(bundled_weights()) or 'none'}.{note} To use your own, give the path of a checkpoint."
        )
    model = fill_stem(build_model(variant))
    model.allow_untrained = True
    return model


def _check_values(source: str | Path, state: Mapping[str, Tensor], layout: str) -> None:
    for name, tensor in state.items():
        theirs = key_formats.name_in(layout, name)
        counter = name.endswith("num_batches_tracked")
        if tensor.is_meta or tensor.layout != torch.strided or not (tensor.is_floating_point() or counter):
            raise WeightsError(f"{source}: {theirs} is stored as {tensor.dtype}, {tensor.layout}, not as numbers.")
        if not counter and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{source}: {theirs} holds values that are not finite: a failed training or damage.")


def _mismatch(source: str | Path, needed_by: str, report: KeyReport, layout: str, hint: str = "") -> WeightsError:
    differences = report.sentence(lambda name: key_formats.name_in(layout, name))
    return WeightsError(f"{source} does not fit {needed_by}: {differences}.{hint}")


def _take_position_grid(model: VPRModel, position: Tensor) -> None:
    """Make room for a position embedding on another grid than the variant stores."""
    old = model.backbone.pos_embed
    if old.shape != position.shape:
        model.backbone.pos_embed = nn.Parameter(old.new_empty(position.shape), requires_grad=old.requires_grad)
