"""CricaVPR, Super-CricaVPR and SciceVPR at sizes S, B and L on GSV-Cities, by the published recipe.

    python -m training.full_size --model super-cricavpr-b --data gsv-cities --foundation_model_path dinov2-b \
        --val pitts30k --out runs/super-cricavpr-b --check
    torchrun --nproc_per_node 2 -m training.full_size ... the same without --check ...

With ``--check`` nothing is trained: data, model and validation set are verified, memory and time estimated. Options
bear our names and those that people already type for the published codes.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from scicevpr.config import Variant, get_variant
from scicevpr.errors import SciceVPRError, UsageError
from training.batches import ORDERS
from training.distributed import start_processes
from training.estimate import cheap_check, check
from training.full_run import FullSizeRun, RunOptions, make_ready, open_reader
from training.recipes import BEST_BY, FULL_RECIPES, STARTS, FullSizeRecipe, override
from training.steps import PRECISIONS
from training.trainer import EXIT_STOPPED, OPTIMISERS

BACKBONE_SIZES = {"dinov2_vits14": "s", "dinov2_vitb14": "b", "dinov2_vitl14": "l"}
COMMAND = "command.json"
"""Name of the file in a run folder that keeps the command line."""
CHUNKS = {"scicevpr": 72}
"""The cross-image chunk that the published runs of a family saw; 144 for the others."""
EPOCHS = {"scicevpr": 1}
BEST = {"cricavpr": "r1+r5"}
"""What the published code of a family compares epochs by; Recall@5 for the others."""

EXIT_WRONG = 2

log = logging.getLogger("training.full_size")


def recorded_arguments(argv: Sequence[str]) -> list[str]:
    """The command line of the run that ``--resume_run DIR`` goes on with, so that DIR alone is enough."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume_run", "--resume-run", type=Path)
    folder = parser.parse_known_args(list(argv))[0].resume_run
    if folder is None or not (folder / COMMAND).is_file():
        return []
    return [text for text in json.loads((folder / COMMAND).read_text(encoding="utf-8")) if text != "--check"]


def read_options(argv: Sequence[str]) -> tuple[FullSizeRecipe, RunOptions]:
    """Parse a command line. Wrong syntax ends the program as argparse does; UsageError: values that contradict."""
    argv = [*recorded_arguments(argv), *argv]
    given = build_parser().parse_args(argv)
    variant = _variant(given)
    _check_architecture(variant, given)
    named = dict(FULL_RECIPES[given.recipe])
    if given.recipe == "published":
        named["best"] = BEST.get(variant.family, named["best"])
    recipe = FullSizeRecipe(variant=variant.name, chunk=CHUNKS.get(variant.family, 144), **named)
    recipe = override(recipe, [f"epochs={EPOCHS.get(variant.family, recipe.epochs)}", *given.set])
    start = ("backbone", "teacher", "data", "cities")  # paths and names here, hashes and the order in the recipe
    names = {f.name for f in fields(FullSizeRecipe)}.difference(start)
    changes = {name: value for name, value in vars(given).items() if name in names and value is not None}
    if given.feature_cache is not None:
        changes.setdefault("views", max(1, recipe.views))
    recipe = FullSizeRecipe(**{**vars(recipe), **changes, "pixels": tuple(given.pixels or recipe.pixels)})
    _check_recipe(variant, recipe, given)
    names = {f.name for f in fields(RunOptions)}
    values: dict[str, Any] = {name: value for name, value in vars(given).items() if name in names and value is not None}
    values["out"] = given.resume_run or given.out
    values["resume_only"] = given.resume_run is not None
    values["cities"] = None if given.cities is None else tuple(given.cities)
    values["validation"] = _validation_folder(given)
    values["arguments"] = tuple(argv)
    if values["out"] is None:
        raise UsageError("Say where the run is to be kept: --out DIR (or --save_dir DIR).")
    return recipe, RunOptions(**values)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.full_size",
        description="Train CricaVPR, Super-CricaVPR or SciceVPR on GSV-Cities by the published recipe.",
        allow_abbrev=False,
    )
    # fmt: off
    add = parser.add_argument_group("model").add_argument
    add("--model", required=True, metavar="NAME", help="e.g. super-cricavpr-b, scicevpr-l, cricavpr-b")
    add("--backbone_arch", choices=BACKBONE_SIZES, help="the size, where --model names the family only")
    add("--backbone", "--foundation_model_path", metavar="FILE_OR_NAME",
        help="DINOv2 weights for CricaVPR and Super-CricaVPR: a file, or a registry name such as dinov2-b")
    add("--teacher", "--crica_path", "--resume", metavar="FILE",
        help="trained Super-CricaVPR of the same size (ours or a published .pth), for SciceVPR")
    for name in FIXED_REASONS:
        add(f"--{name}", type=int, nargs="+" if name == "out_indices" else None,
            help="accepted from the released commands where it says what the model has; another value is refused")
    add = parser.add_argument_group("data").add_argument
    add("--data", type=Path, required=True, help="GSV-Cities folder with Dataframes and Images")
    add("--cities", nargs="+", metavar="CITY", help="these only (default: all)")
    add("--skip_missing_photos", dest="skip_missing", action="store_true", default=None,
        help="leave photos out whose file is missing, instead of refusing")
    add("--val", type=Path, metavar="DIR", help="UTM tree with images/val, e.g. pitts30k")
    add("--eval_datasets_folder", type=Path, metavar="DIR", help="with --eval_dataset_name: another --val")
    add("--eval_dataset_name", metavar="NAME")
    add = parser.add_argument_group("recipe (defaults are the published values)").add_argument
    add("--recipe", choices=tuple(FULL_RECIPES), default="published",
        help="order of the batches, first weights and best epoch: as published (default), or ours, with batches of one "
        "city that are shuffled anew every epoch")
    add("--places", "--train_batch_size", type=_from(1), metavar="P", help="places a batch: 72")
    add("--photos", type=_from(1), metavar="K", help="photos a place: 4")
    add("--min_photos", type=_from(1), help="places with fewer photos are left out: 4")
    add("--epochs", "--epochs_num", type=_from(1), help="10; SciceVPR 1")
    add("--lr", type=float, help="1e-4, halved every 3 epochs")
    add("--optim", choices=tuple(OPTIMISERS), help="adam; sgd with momentum 0.9 and weight decay 0.001")
    add("--patience", type=_from(1), help="epochs without a better Recall@5 before stopping: 10")
    add("--seed", type=_from(0), help="0")
    add("--resize", dest="pixels", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="224 224")
    add("--cross_image_chunk", dest="chunk", type=_from(1), metavar="N",
        help="photos that attend to each other: 144; SciceVPR, for its teacher: 72")
    add("--gather_negatives", action=argparse.BooleanOptionalAction,
        help="the loss compares the whole batch (default), or each process's own photos")
    add("--precision", choices=tuple(PRECISIONS), help="mixed precision of the networks: none")
    add("--views", type=_from(1), metavar="V", help="augmented views a photo in --feature_cache: 1")
    add("--set", action="extend", nargs="*", default=[], metavar="NAME=VALUE", help="other numbers of the recipe")
    add = parser.add_argument_group("run").add_argument
    add("--out", "--save_dir", type=Path, metavar="DIR", help="run folder; an unfinished run there goes on")
    add("--resume_run", type=Path, metavar="DIR", help="go on with the run in DIR, and only that")
    add("--check", action="store_true", help="verify everything and estimate memory, time and disk; no run")
    add("--check_seconds", type=float, help="how long --check may measure steps: 60")
    add("--accumulate", type=_from(1), metavar="N",
        help="hold the graphs of N chunks at once (default: all); changes memory, not the result")
    add("--feature_cache", type=Path, metavar="DIR", help="keep the frozen backbone's maps there")
    add("--save_every", type=_from(1), metavar="STEPS", help="save the state every so many steps: 200")
    add("--num_workers", "--workers", dest="workers", type=_from(0), metavar="N",
        help="loader processes for each process (default: 4, or the number of cores)")
    add("--device", default="auto", help="cpu, cuda, cuda:N, mps; auto, the default: a GPU if there is one")
    add("--threads", type=_from(1), help="CPU threads a process")
    # fmt: on
    return parser


def _from(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} on")
        return int(text)

    return whole


def _variant(given: argparse.Namespace) -> Variant:
    name = given.model.lower()
    size = BACKBONE_SIZES.get(given.backbone_arch)
    if size is None:
        return get_variant(name)
    if name in ("cricavpr", "super-cricavpr", "scicevpr"):
        return get_variant(f"{name}-{size}")
    variant = get_variant(name)
    if variant.size.lower() != size:
        raise UsageError(f"--model {name} and --backbone_arch {given.backbone_arch} contradict each other.")
    return variant


FIXED_REASONS = {
    "layer1": "the blocks up to that one are frozen, and training any of them is another method",
    "backbone_out_dim": "it follows from the fused blocks",
    "mix_in_dim": "the published sizes fuse to the backbone's own width; another one gives descriptors that no file, "
    "index or variant here describes",
    "token_num": "another number of token mixers is another network, whose weights no variant here could load",
    "token_ratio": "wider token mixers are another network, whose weights no variant here could load",
    "out_indices": "other fused blocks are another network, whose weights no variant here could load",
}
"""What a variant fixes and the released commands spell out, and why another value is refused."""


def _check_architecture(variant: Variant, given: argparse.Namespace) -> None:
    fixed = {
        "layer1": variant.backbone.depth - 1,
        "backbone_out_dim": len(variant.taps) * variant.channels,
        "mix_in_dim": variant.channels,
        "token_num": variant.mixers,
        "token_ratio": 1,
        "out_indices": sorted(variant.taps),
    }
    for name, value in fixed.items():
        asked = getattr(given, name)
        asked = sorted(asked) if isinstance(asked, list) else asked
        if asked is not None and asked != value:
            raise UsageError(
                f"--{name} {asked}: {variant.name} has {value}; {FIXED_REASONS[name]}. Leave the option out, or add "
                "your network to VARIANTS in scicevpr/config.py."
            )


def _check_recipe(variant: Variant, recipe: FullSizeRecipe, given: argparse.Namespace) -> None:
    taught = variant.family == "scicevpr"
    if taught and given.teacher is None:
        raise UsageError(f"{variant.name} learns from a trained Super-CricaVPR: give it with --teacher (--crica_path).")
    if not taught and given.teacher is not None:
        raise UsageError(
            f"{variant.name} has no teacher, so --teacher (--crica_path, --resume) means nothing. To go on with an "
            "interrupted run, give the same --out again, or --resume_run."
        )
    if not taught and given.backbone is None:
        raise UsageError(
            f"{variant.name} starts from a trained backbone: give --foundation_model_path, "
            + ("a file." if variant.size == "T" else f"a file or a name such as dinov2-{variant.size.lower()}.")
        )
    for name, known in (("order", ORDERS), ("start", STARTS), ("best", BEST_BY), ("optim", OPTIMISERS)):
        if getattr(recipe, name) not in known:
            raise UsageError(f"{name}={getattr(recipe, name)!r} is none of: {', '.join(known)}.")
    if recipe.order == "published" and not recipe.gather_negatives:
        raise UsageError(
            "--no-gather_negatives compares parts of a batch, which the published batches are not made for: their last "
            "one is short. Leave it out, or give --recipe reshuffled."
        )
    pixels, patch = recipe.pixels, variant.backbone.patch
    if variant.mixers and pixels != variant.preprocessing.size:
        rows, columns = variant.preprocessing.size
        raise UsageError(f"--resize {pixels[0]} {pixels[1]}: the token mixers of {variant.name} need {rows} {columns}.")
    if any(side < patch or side % patch for side in pixels):
        raise UsageError(f"--resize {pixels[0]} {pixels[1]}: both must be multiples of {patch}.")
    if given.feature_cache is not None and variant.class_token:
        raise UsageError(f"--feature_cache keeps a frozen backbone's maps; {variant.name} trains adapters inside it.")
    if given.views is not None and given.feature_cache is None:
        raise UsageError(
            "--views counts the views kept in --feature_cache DIR; without it every photo is drawn afresh."
        )


def _validation_folder(given: argparse.Namespace) -> Path | None:
    if given.val is not None:
        return given.val
    if given.eval_dataset_name is None:
        return None
    if given.eval_datasets_folder is None:
        raise UsageError("--eval_dataset_name needs --eval_datasets_folder, the folder in which the data set lies.")
    return given.eval_datasets_folder / given.eval_dataset_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 2 (something is wrong), 130 (stopped by a signal)."""
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("training").setLevel(logging.INFO if first else logging.CRITICAL)
    try:
        recipe, options = read_options(sys.argv[1:] if argv is None else argv)
        return _start(recipe, options)
    except (SciceVPRError, OSError) as error:
        log.error("full_size: %s", error)
        return EXIT_WRONG
    except KeyboardInterrupt:
        log.error("full_size: stopped.")
        return EXIT_STOPPED


def _start(recipe: FullSizeRecipe, options: RunOptions) -> int:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with start_processes(options.device) as processes:
        if processes.device.type == "cuda":  # a resumed run shall go on exactly
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False
        if options.check:
            report = check(recipe, options, processes)
            if processes.first:
                sys.stdout.write(report.text() + "\n")
            return 0 if report.right else EXIT_WRONG
        parts = make_ready(recipe, options, processes)
        cheap_check(parts, options, processes)
        reader, networks = open_reader(parts, options, processes)
        log.info("%d steps an epoch, %d epochs, in %s", parts.plan.steps, parts.recipe.epochs, options.out)
        run = FullSizeRun(parts, options, processes, reader, networks)
        command = options.out / COMMAND
        if processes.first and not command.exists():
            command.parent.mkdir(parents=True, exist_ok=True)
            command.write_text(json.dumps(options.arguments), encoding="utf-8")  # for --resume_run
        return 0 if run.train() else EXIT_STOPPED


if __name__ == "__main__":
    sys.exit(main())
