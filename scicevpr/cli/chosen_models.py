"""What the options of a command say about models: which, with which weights, and how they describe photos."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scicevpr.cli.outputs import print_note, show_progress
from scicevpr.config import STEM_TAP, VARIANTS, Preprocessing, Variant
from scicevpr.datasets import Dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.precision import best_mode, precision_label
from scicevpr.errors import UsageError
from scicevpr.evaluation.pca_fit import fit_pca, named_pca, pca_cache_folder
from scicevpr.evaluation.protocols import place_groups, published_batch, published_grouping
from scicevpr.external_models.loading import load_any
from scicevpr.external_models.registry import is_external
from scicevpr.models.devices import choose_device
from scicevpr.models.model import VPRModel
from scicevpr.progress import StageProgress
from scicevpr.retrieval.pca import PCA

FAMILIES = ("scicevpr", "super-cricavpr", "cricavpr")
BACKBONE = re.compile(r"(?:dinov2[_-])?(?:vit[_-]?)?([tsbl])(?:[/_-]?14)?", re.IGNORECASE)
ARCHITECTURE = (
    "descriptors_dimension",
    "layer1",
    "out_indices",
    "backbone_out_dim",
    "mix_in_dim",
    "token_num",
    "token_ratio",
)
"""Options of the published codes that the weights decide."""


def load_models(arguments: argparse.Namespace, default: tuple[str, ...]) -> list[tuple[str, VPRModel]]:
    """Titles and models. A title names the source where the weights are not a variant's own."""
    prepare_machine(arguments)
    loaded: list[tuple[str, Any]] = []  # a model of other people answers to the same calls as a VPRModel
    for source, variant in chosen_sources(arguments, default or ("scicevpr-t",)):
        torch.manual_seed(arguments.seed)  # only random weights feel it
        options: dict[str, Any] = {"variant": variant}
        with show_progress(source) as step:
            if is_external(source):
                options["trust"] = arguments.trust_remote_code
                if arguments.resize:  # it is measured at the size at which it is used
                    options["size"] = (arguments.resize[0], arguments.resize[-1])
            else:
                options["allow_untrained"] = arguments.allow_untrained
                options["progress"] = partial(step, "download")
            model = load_any(source, device=arguments.device, dtype=getattr(torch, arguments.dtype), **options)
        check_architecture(arguments, model.variant)
        plain = source.lower() in VARIANTS or is_external(source)
        loaded.append((model.variant.title if plain else f"{model.variant.title} ({source})", model))
    return loaded


def chosen_sources(arguments: argparse.Namespace, default: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """What to load: sources as `load_any` takes them, and the variant that each is for (None: as the source tells).

    Raises UsageError for options that contradict each other.
    """
    models = _named_models(arguments)
    weights = arguments.weights or []
    if not weights:
        names = models or list(default)
        return [(name, None if name.lower() in VARIANTS else arguments.variant) for name in names]
    if not models:
        return [(source, arguments.variant) for source in weights]
    other = next((name for name in models if name.lower() not in VARIANTS), None)
    if other is not None:
        raise UsageError(
            f"--model {other} is itself a source of weights, so --weights {weights[0]} contradicts it. Give a variant "
            f"({', '.join(VARIANTS)}) as --model, or leave one of the two out."
        )
    if len(models) != len(weights):
        raise UsageError(
            f"{len(models)} models and {len(weights)} weights were given. Give one --weights (or --resume) for each "
            "--model, in the same order."
        )
    if arguments.variant is not None:
        raise UsageError(f"--variant {arguments.variant} and --model {models[0]} say the same thing. Give one of them.")
    return [(source, name.lower()) for name, source in zip(models, weights, strict=True)]


def _named_models(arguments: argparse.Namespace) -> list[str]:
    """--model, or what --method and --backbone stand for."""
    models = [arguments.model] if isinstance(arguments.model, str) else list(arguments.model or ())
    method, backbone = (getattr(arguments, name, None) for name in ("method", "backbone"))
    size = _size(backbone) if backbone else None
    if method is None:
        return models if models or size is None or arguments.weights else [f"scicevpr-{size.lower()}"]
    if models:
        raise UsageError(f"--method {method} and --model {models[0]} say the same thing. Give one of them.")
    if method.lower() not in FAMILIES:
        return [method]
    if arguments.weights and size is None:
        return []  # the weights tell the size
    return [f"{method.lower()}-{(size or 'T').lower()}"]


def _size(backbone: str) -> str:
    found = BACKBONE.fullmatch(backbone)
    if not found:
        raise UsageError(
            f"The backbone {backbone!r} is none of this project's: t, s, b, l, dinov2_vits14, dinov2_vitb14 or "
            "dinov2_vitl14."
        )
    return found.group(1).upper()


def check_architecture(arguments: argparse.Namespace, variant: Variant) -> None:
    """Raise UsageError where an option of another tool describes another architecture than the weights have."""
    given = {name: getattr(arguments, name, None) for name in ("method", "backbone", *ARCHITECTURE)}
    expected: dict[str, Any] = {"descriptors_dimension": getattr(arguments, "pca_dim", None) or variant.descriptor_dim}
    if isinstance(variant, Variant):
        expected |= {
            "layer1": variant.backbone.depth - 1,
            "out_indices": [tap for tap in variant.taps if tap != STEM_TAP] or None,
            "backbone_out_dim": len(variant.taps) * variant.channels or None,
            "mix_in_dim": variant.channels,
            "token_num": variant.mixers or None,
            "token_ratio": 1.0,
        }
        if given["method"] is not None and given["method"].lower() != variant.family:
            raise UsageError(f"The weights are for {variant.name}, not for --method {given['method']}. Leave it out.")
        if given["backbone"] is not None and _size(given["backbone"]) != variant.size:
            raise UsageError(
                f"The weights are for {variant.name}, whose backbone is a ViT-{variant.size}, not "
                f"{given['backbone']!r}. Leave --backbone (--backbone_arch) out, or give other weights."
            )
    for name in ARCHITECTURE:
        found, wanted = given[name], expected.get(name)
        found = sorted(found) if isinstance(found, list) else found
        if found is not None and wanted is not None and found != wanted:
            advice = "For shorter descriptors use --pca-dim." if name == "descriptors_dimension" else "Leave it out."
            raise UsageError(f"--{name} is {_spoken(found)}, but {variant.title} has {_spoken(wanted)}. {advice}")


def _spoken(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else f"{value:g}"


def prepare_machine(arguments: argparse.Namespace) -> None:
    """Threads, and a device that is really there instead of "auto"."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.device = str(choose_device(arguments.device))


# ---- how photos are described ----------------------------------------------------------------------------------------


def chosen_preprocessing(model: VPRModel, arguments: argparse.Namespace) -> Preprocessing:
    """The variant's preprocessing with the options' changes."""
    chosen = model.variant.preprocessing
    if arguments.resize:
        if len(arguments.resize) > 2:
            raise UsageError(f"--resize takes rows and columns, or one number, not {_spoken(arguments.resize)}.")
        chosen = replace(chosen, size=(arguments.resize[0], arguments.resize[-1]))
    antialias = False if getattr(arguments, "published", False) else arguments.antialias
    return chosen if antialias is None else replace(chosen, antialias=antialias)


def chosen_grouping(model: VPRModel, arguments: argparse.Namespace, dataset: Dataset | None = None) -> Grouping | None:
    """Which photos share a batch; None where the options leave it to the model. dataset: that they belong to."""
    if arguments.grouping:
        return Grouping.parse(arguments.grouping)
    if arguments.infer_batch_size and model.variant.cross_image:
        size = arguments.infer_batch_size
        return Grouping.sequential(size if dataset is None else published_batch(model.variant, dataset, size))
    return None


def chosen_query_grouping(text: str | None, model: VPRModel, dataset: Dataset) -> Grouping | None:
    """Which queries share a batch: as `Grouping.parse`, or "place" and "place:16"; None where the option is not given.

    Raises UsageError for other words, DatasetError for "place" without positions.
    """
    if text is None:
        return None
    kind, _, size = text.replace(" ", ":").partition(":")
    if kind != "place":
        return Grouping.parse(text)
    if size and not (size.isdigit() and int(size) > 0):
        raise UsageError(f"Query grouping {text!r} is not understood. Write 'place' or 'place:16'.")
    published = published_grouping(model.variant, dataset)
    return place_groups(dataset, int(size) if size else published.size if published else 16)


def chosen_precision(model: VPRModel, arguments: argparse.Namespace) -> str | None:
    """The mode of --precision, with auto resolved and its reason told; None where the option is not given."""
    mode = getattr(arguments, "precision", None)
    if mode != "auto":
        return mode
    choice = best_mode(model)
    print_note(f"Note: {model.variant.title} in {choice.mode}: {choice.reason}.")
    return choice.mode


def dtype_label(model: VPRModel, mode: str | None) -> str:
    """How a protocol calls the precision in which a model describes, in a mode or (None) as it was loaded."""
    return precision_label(mode) if mode else str(next(model.parameters()).dtype).removeprefix("torch.")


def loading_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """How photos are loaded and where descriptors lie in the meantime; none of it changes a result."""
    return {
        "batch_size": arguments.batch_size,
        "num_workers": arguments.num_workers,
        "storage": arguments.storage,
        "memory_limit": 0 if arguments.efficient_ram_testing else arguments.memory_limit * 2**20,
    }


def check_published(arguments: argparse.Namespace) -> None:
    """Raise UsageError for an option that contradicts --published, which it would replace silently."""
    for option in ("antialias", "grouping", "query_grouping") if arguments.published else ():
        if getattr(arguments, option):
            raise UsageError(
                f"--published decides what --{option.replace('_', '-')} would change. Leave one of the two out."
            )


# ---- PCA -------------------------------------------------------------------------------------------------------------


def check_pca_options(arguments: argparse.Namespace) -> None:
    """Raise UsageError for PCA options that leave open what is to be fitted, or on which photos."""
    given = [option is not None for option in (arguments.pca_dim, arguments.pca_folder)]
    if arguments.pca_file is not None:
        if not arguments.pca_file.exists() and not all(given):
            raise UsageError(
                f"There is no PCA file at {arguments.pca_file}. To fit one and write it there, add --pca-dim and "
                "--pca-folder."
            )
    elif any(given) and not all(given):
        raise UsageError("--pca-dim and --pca-folder belong together: the PCA is fitted on the photos of that folder.")


def chosen_pca(
    model: VPRModel, arguments: argparse.Namespace, step: StageProgress, precision: str | None, dataset: Dataset
) -> PCA | None:
    """The PCA that the options ask for: of a file, of the user's cache, or fitted now, in the precision given and in
    batches as large as the data set's, as published."""
    if arguments.pca_dim is None and arguments.pca_file is None:
        return None
    folder = arguments.pca_folder
    parent = arguments.eval_datasets_folder or os.environ.get("DATASETS_FOLDER")
    if folder is not None and not folder.exists() and parent:
        folder = Path(parent) / folder  # as the published codes read it
    options = {
        "solver": arguments.pca_solver,
        "seed": arguments.seed,
        "grouping": chosen_grouping(model, arguments, dataset) or published_grouping(model.variant, dataset),
        "preprocessing": chosen_preprocessing(model, arguments),
        "precision": precision,
        "progress": lambda done, total: step("PCA photos", done, total),
        **loading_options(arguments),
    }
    if arguments.pca_file is not None:
        return named_pca(arguments.pca_file, model, folder, arguments.pca_dim, **options)
    return fit_pca(model, folder, arguments.pca_dim, cache=pca_cache_folder(), **options)
