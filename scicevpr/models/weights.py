"""Weights files into models: strict comparison of what a file holds with what a variant needs, then filling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scicevpr.config import VARIANTS, Variant, bundled_path
from scicevpr.errors import WeightsError
from scicevpr.models import key_formats
from scicevpr.models.backbone import HybridEmbed
from scicevpr.models.checkpoint import read_checkpoint
from scicevpr.models.efficientnet_lite import imagenet_weights
from scicevpr.models.key_formats import MASK_TOKEN, POSITION
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.native_checkpoints import (
    NOT_RECORDED,
    backbone_fingerprint,
    backbone_part,
    check_fingerprint,
    hash_tensors,
    own_metadata,
    variant_of,
    weights_info,
    with_backbone,
    with_stem,
)

Shape = tuple[int, ...]
NAMES_SHOWN = 8


def load_file(path: Path, variant: Variant | None = None, allow_untrained: bool = False) -> VPRModel:
    """A model from a weights file of this project or a published checkpoint, its `weights` filled in.

    variant: what it is for; told from names and shapes if not given. allow_untrained: also take a file with a DINOv2
    backbone alone, and leave the rest random; `variant` must be given then. Raises WeightsError for an unsafe or
    damaged file, or one for another architecture (names what differs).
    """
    own, key_format, metadata, record = _read(path)
    if metadata.get("kind") == "backbone" or key_format in key_formats.BACKBONE_ONLY:
        if variant is None or not allow_untrained:
            raise WeightsError(
                f"{path} holds a backbone only, without a SciceVPR or CricaVPR head, so it cannot describe places. "
                "Load a whole checkpoint. To start training from this file, use load_backbone."
            )
        model = untrained_model(variant, allow_untrained)
        load_backbone_file(model, path)
        return model
    if metadata:
        variant = variant_of(path, metadata, variant)
    if metadata.get("backbone_file"):
        own = with_backbone(path, metadata, own, variant)
    model = fill_model(variant or nearest_variant(shapes_of(own))[0], own, path, key_format)
    sha = hash_tensors(model.state_dict())
    if metadata.get("sha256", sha) != sha:
        raise WeightsError(
            f"{path} is damaged: its tensors have hash {sha}, but it was written with {metadata['sha256']}. "
            "Download or copy it again."
        )
    if not metadata and isinstance(record.get("epoch_num"), int):
        metadata = {"trained_on": f"{NOT_RECORDED} (epoch {record['epoch_num']})"}
    model.weights = weights_info(path, metadata, sha)
    return model


def load_backbone_file(model: VPRModel, path: Path) -> str:
    """Fill a model's backbone from a file: DINOv2, or any model of this family. Returns the backbone's hash.

    Strict over all backbone tensors but the adapters, which keep their values. A position embedding on another square
    grid than the variant's is taken as it is: the backbone resamples it, or uses it unchanged at the right size. The
    rest of the model stays as it was, and so does `model.weights`. Raises WeightsError as `load_file`.
    """
    variant = model.variant
    what = f"the backbone of {variant.name}"
    own, key_format, metadata, _ = _read(path)
    if metadata.get("kind") == "backbone":
        check_fingerprint(path, metadata, backbone_fingerprint(variant.backbone), what)
    if metadata.get("backbone_file"):
        own = with_backbone(path, metadata, own, variant)
    if key_format not in key_formats.BACKBONE_ONLY:
        own = with_stem(backbone_part(own), variant.backbone)
    report = compare(shapes_of(backbone_part(model.state_dict())), shapes_of(own), grids=None)
    if report.count:
        raise _mismatch(path, what, report, key_format)
    _check_values(path, own, key_format)
    _take_position_grid(model, own[POSITION])
    model.load_state_dict(own, strict=False)
    return hash_tensors(backbone_part(model.state_dict()))


def fill_model(
    variant: Variant, state: Mapping[str, Tensor], source: str | Path, key_format: str = key_formats.OWN
) -> VPRModel:
    """Build a variant and fill it strictly from tensors under this project's names; `weights` stays None. `source` and
    `key_format` (how the file called its tensors) are for the message. Raises WeightsError, which names the missing,
    unexpected and mis-shaped tensors, and the variant that fits better if there is one."""
    with torch.random.fork_rng(devices=[]):  # loading must not move anybody's random numbers
        model = build_model(variant)
    found = shapes_of(state)
    report = compare(shapes_of(model.state_dict()), found, grids=(variant.grid[0],))
    if report.count:
        nearest, rest = nearest_variant(found)
        hint = ""
        if rest.count < report.count:
            hint = f" It fits {nearest.name} {'better' if rest.count else 'exactly'}; load it with that variant."
        raise _mismatch(source, variant.name, report, key_format, hint)
    _check_values(source, state, key_format)
    _take_position_grid(model, state[POSITION])
    model.load_state_dict(dict(state), strict=MASK_TOKEN in state)
    return model


def fill_stem(model: VPRModel) -> VPRModel:
    """Give a model whose backbone has a frozen stem the weights of the stem's package; others stay as they are. Raises
    WeightsError when the package is missing or changed."""
    if isinstance(embed := model.backbone.patch_embed, HybridEmbed):
        embed.features.load_state_dict(imagenet_weights())
    return model


def untrained_model(variant: Variant, allowed: bool, note: str = "") -> VPRModel:
    """A variant with random weights; WeightsError, which says why there are no others, unless that is allowed."""
    if not allowed:
        raise WeightsError(
            f"No weights for {variant.name} come with the project ({variant.weights_note}). Bundled: "
            f"{', '.join(bundled_weights()) or 'none'}.{note} To use your own, give the path of a checkpoint."
        )
    model = fill_stem(build_model(variant))
    model.allow_untrained = True
    return model


def bundled_weights() -> dict[str, Path]:
    """Name -> file of every variant whose weights come with the project."""
    return {name: bundled_path(variant) for name, variant in VARIANTS.items() if bundled_path(variant).is_file()}


@dataclass(frozen=True)
class KeyReport:
    """The differences between the tensors a model needs and those a file holds, under this project's names."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[tuple[str, Shape, Shape], ...]
    """(name, shape in the file, shape needed)"""

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)

    def sentence(self, rename: Callable[[str], str] = str) -> str:
        """All differences with counts, the first 8 of each kind by name; `rename` turns our names into the file's."""
        shapes = [f"{rename(name)} is {list(has)} instead of {list(needs)}" for name, has, needs in self.misshaped]
        kinds = {
            "missing": [rename(name) for name in self.missing],
            "unexpected": [rename(name) for name in self.unexpected],
            "mis-shaped": shapes,
        }
        return "; ".join(
            f"{len(names)} {kind}: {', '.join(names[:NAMES_SHOWN])}" + (" …" if len(names) > NAMES_SHOWN else "")
            for kind, names in kinds.items()
            if names
        )


def compare(needed: Mapping[str, Shape], found: Mapping[str, Shape], grids: tuple[int, ...] | None = ()) -> KeyReport:
    """Compare name -> shape tables. The unused mask token may be missing. The position embedding may also have one of
    the square `grids` (side lengths in tokens; None: any square), because the backbone resamples it or, at the right
    size, takes it as it is."""
    missing = tuple(name for name in needed if name not in found and name != MASK_TOKEN)
    unexpected = tuple(name for name in found if name not in needed)
    misshaped = tuple(
        (name, found[name], shape)
        for name, shape in needed.items()
        if name in found and found[name] != shape and not (name == POSITION and _other_grid(shape, found[name], grids))
    )
    return KeyReport(missing, unexpected, misshaped)


def nearest_variant(found: Mapping[str, Shape]) -> tuple[Variant, KeyReport]:
    """The registered variant that a file's tensors fit best, and what is still different."""
    reports = ((each, compare(_needed(each), found, grids=(each.grid[0],))) for each in VARIANTS.values())
    return min(reports, key=lambda pair: pair[1].count)


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@cache
def _needed(variant: Variant) -> dict[str, Shape]:
    with torch.device("meta"):  # names and shapes without memory for the values
        return shapes_of(build_model(variant).state_dict())


def _other_grid(needed: Shape, found: Shape, grids: tuple[int, ...] | None) -> bool:
    if len(found) != 3 or (found[0], found[2]) != (needed[0], needed[2]):
        return False
    side = round((found[1] - 1) ** 0.5) if found[1] > 1 else 0
    return side > 0 and side * side == found[1] - 1 and (grids is None or side in grids)


def _read(path: Path) -> tuple[dict[str, Tensor], str, dict[str, str], dict[str, Any]]:
    """(Tensors under our names, the file's key format, metadata if it is one of ours, what else it records.)"""
    content, metadata = read_checkpoint(path)
    metadata = own_metadata(path, metadata)
    state, record = key_formats.unwrap(content, str(path))
    key_format = key_formats.OWN if metadata else key_formats.detect(state, str(path))
    return key_formats.to_own(state, key_format, str(path)), key_format, metadata, record


def _check_values(source: str | Path, state: Mapping[str, Tensor], key_format: str) -> None:
    for name, tensor in state.items():
        theirs = key_formats.name_in(key_format, name)
        counter = name.endswith("num_batches_tracked")
        if tensor.is_meta or tensor.layout != torch.strided or not (tensor.is_floating_point() or counter):
            raise WeightsError(f"{source}: {theirs} is stored as {tensor.dtype}, {tensor.layout}, not as numbers.")
        if not counter and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{source}: {theirs} holds values that are not finite: a failed training or damage.")


def _mismatch(source: str | Path, needed_by: str, report: KeyReport, key_format: str, hint: str = "") -> WeightsError:
    differences = report.sentence(lambda name: key_formats.name_in(key_format, name))
    return WeightsError(f"{source} does not fit {needed_by}: {differences}.{hint}")


def _take_position_grid(model: VPRModel, position: Tensor) -> None:
    """Make room for a position embedding on another grid than the variant stores."""
    old = model.backbone.pos_embed
    if old.shape != position.shape:
        model.backbone.pos_embed = nn.Parameter(old.new_empty(position.shape), requires_grad=old.requires_grad)
