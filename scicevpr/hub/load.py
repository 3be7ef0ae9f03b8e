"""Load a model: bundled weights by a variant's name, anything else from wherever a source says it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from scicevpr.config import VARIANTS, Variant, bundled_path, get_variant
from scicevpr.errors import UsageError, WeightsError
from scicevpr.hub.download import fetch, find_cached
from scicevpr.hub.sources import LocalFile, Source, UrlFile, address, entries_named, parse_source
from scicevpr.models.devices import choose_device
from scicevpr.models.model import VPRModel
from scicevpr.models.weights import bundled_weights, load_backbone_file, load_file, untrained_model

VARIABLE = "SCICEVPR_WEIGHTS"
"""Weights for variants by name, without a change of commands: pairs,
`scicevpr-b=org/name;super-cricavpr-b=/runs/best.safetensors`, or one source alone, which then serves the variant that
it fits, if that has no bundled weights."""


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

    name_or_path: a variant ("scicevpr-t"), or a source of weights: a path, a web address, a Hub repository, a registry
    name (all forms in scicevpr.hub.sources). Files are this project's safetensors, or published SciceVPR,
    Super-CricaVPR or CricaVPR checkpoints, of which nothing is run. A variant's name always means the variant, which
    takes, in this order, what SCICEVPR_WEIGHTS assigns to it, its bundled weights, a single source in SCICEVPR_WEIGHTS
    that fits it, its authors' release if downloaded. variant: which variant the file is for; told from names and shapes
    if not given; a DINOv2 backbone needs it. allow_untrained: also return a model whose weights are random, all of them
    or all but a DINOv2 backbone; its `weights` stays None and its `allow_untrained` is set. download: also get what a
    variant or a registry name stands for; web addresses and Hub repositories are asked for by naming them.
    local_files_only, progress: as in `fetch`.

    Raises UsageError when no variant has that name; WeightsError for no such file, an unsafe or damaged one, one for
    another architecture (names what differs), and where `fetch` raises it.
    """
    name, getting = str(name_or_path), {"local_files_only": local_files_only, "progress": progress}
    named = get_variant(variant) if variant is not None else None
    if name.lower() in VARIANTS:
        if named not in (None, get_variant(name)):
            raise UsageError(f"{name} and variant={variant!r} contradict each other. Give one of them.")
        model = _load_named(get_variant(name), allow_untrained, download, getting)
    else:
        model = _load_source(name_or_path, named, allow_untrained, download, getting)
    return model.to(device=choose_device(device), dtype=dtype)


def load_backbone(
    model: VPRModel,
    source: str | Path,
    *,
    download: bool = False,
    local_files_only: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> str:
    """Fill a model's backbone: DINOv2 (original, timm, transformers), or that of any model of this family.

    Arguments as in `load_model`; of the registry's names, "dinov2-b" is any of "dinov2-b:timm", "dinov2-b:facebook" and
    "dinov2-b:original" that is on this computer. Returns the hash of the loaded backbone (12 hex digits); what is taken
    and what is refused: see `load_backbone_file`.
    """
    getting = {"local_files_only": local_files_only, "progress": progress}
    return load_backbone_file(model, _located(source, download, getting)[0])


def assigned_weights() -> tuple[dict[str, str], str | None]:
    """(variant name -> source, the source for all others or None), as SCICEVPR_WEIGHTS has it now. Raises UsageError
    for a pair whose left side is no variant."""
    pairs: dict[str, str] = {}
    single: str | None = None
    items = [item.strip() for item in os.environ.get(VARIABLE, "").split(";") if item.strip()]
    for item in items:
        name, equals, source = (part.strip() for part in item.partition("="))
        if equals and name.lower() in VARIANTS and source:
            pairs[name.lower()] = source
        elif len(items) == 1 and name.lower() not in VARIANTS:
            single = item
        else:
            raise UsageError(
                f"{VARIABLE} holds {item!r}. Expected VARIANT=SOURCE, several separated by ';', or one SOURCE alone. "
                f"Variants: {', '.join(VARIANTS)}."
            )
    return pairs, single


def _load_named(named: Variant, allow_untrained: bool, download: bool, getting: dict[str, Any]) -> VPRModel:
    assigned, single = assigned_weights()
    if named.name in assigned:
        return _load_source(assigned[named.name], named, allow_untrained, download, getting)
    if bundled_path(named).is_file():
        return load_file(bundled_path(named), named, allow_untrained)
    note = ""
    if single is not None:
        model = _load_source(single, None, False, download, getting)
        if model.variant is named:
            return model
        note = f" {VARIABLE} names {single}, which is for {model.variant.name}."
    published = tuple(entry.place for entry in entries_named(named.name) if entry.kind != "bundled")
    if published:
        release = Source(named.name, published, registered=True)
        if download or find_cached(release):
            return _load_source(release, named, allow_untrained, download, getting)
        note += f" The published weights are not on this computer: get them with `scicevpr weights get {named.name}`."
    return untrained_model(named, allow_untrained, note)


def _load_source(
    source: str | Path | Source, named: Variant | None, allow_untrained: bool, download: bool, getting: dict[str, Any]
) -> VPRModel:
    path, origin = _located(source, download, getting)
    model = load_file(path, named, allow_untrained)
    if model.weights is not None:
        model.weights = replace(model.weights, source=origin)
    return model


def _located(source: str | Path | Source, download: bool, getting: dict[str, Any]) -> tuple[Path, str]:
    """(The file of a source, how to call where it came from)."""
    if not isinstance(source, Source):
        word, path = str(source), Path(source).expanduser()
        if path.name == word and not path.suffix and not path.exists() and not entries_named(word):
            raise WeightsError(
                f"{word!r} is neither a variant nor a file. Variants: {', '.join(VARIANTS)}. "
                f"Bundled weights: {', '.join(bundled_weights()) or 'none'}."
            )
    parsed = parse_source(source)
    name, place = parsed.text, parsed.places[0]
    if parsed.registered and not download and not find_cached(parsed):
        raise WeightsError(
            f"The weights {name} ({address(place)}) are not on this computer. Get them with "
            f"`scicevpr weights get {name}`."
        )
    path = fetch(parsed, **getting)
    if parsed.registered or isinstance(place, LocalFile):
        return path, path.name
    return path, place.url.partition("?")[0] if isinstance(place, UrlFile) else name
