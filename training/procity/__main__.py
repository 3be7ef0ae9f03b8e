"""Command line: `python -m training.procity --out FOLDER --preset test` renders a split, `... contact --out FILE.png`
makes a contact sheet of every condition."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from scicevpr.errors import SciceVPRError, UsageError
from training.procity.conditions import CONDITIONS, get_condition
from training.procity.presets import PRESETS, Preset, get_preset


def contact_sheet(
    out: Path,
    cities: Sequence[int],
    blocks: tuple[int, int],
    conditions: Sequence[str],
    places: int,
    columns: int,
    supersampling: float = 2.0,
) -> None:
    """Write a picture of some database places of each city (rows of photos), each place in every condition."""
    from training.procity.atlas import build_atlas
    from training.procity.plan import build_city
    from training.procity.renderer import Renderer
    from training.procity.sampler import Sampler

    photos = []
    for seed in cities:
        atlas = build_atlas(seed)
        city = build_city(atlas, seed, *blocks)
        renderer = Renderer(atlas, city, supersampling=supersampling)
        photos += [
            renderer.photo(replace(shot, condition=condition, visit=shot.visit + number))
            for shot in Sampler(city, f"c{seed}", seed).database(3 * places, 10.0)[1::3]  # not the streets' ends
            for number, condition in enumerate(conditions)
        ]
    height, width = photos[0].shape[:2]
    sheet = np.zeros((-(-len(photos) // columns) * height, columns * width, 3), np.uint8)
    for i, photo in enumerate(photos):
        row, column = divmod(i, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = photo
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(out, quality=86)


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers like 1,2,3") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.procity", description="Photograph procedural cities.")
    parser.add_argument(
        "what", nargs="?", choices=("render", "contact"), default="render", help="a dataset, or a contact sheet"
    )
    parser.add_argument("--out", type=Path, required=True, help="dataset folder, or the contact sheet's .png or .jpg")
    parser.add_argument("--preset", default="test", help=f"one of: {', '.join(PRESETS)}")
    parser.add_argument("--cities", type=_whole_numbers, help="city seeds instead of the preset's, like 1,2,3")
    parser.add_argument("--seed", type=int, default=0, help="of places and visits")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--conditions", help=f"of a contact sheet, any of: {','.join(CONDITIONS)}")
    parser.add_argument("--places", type=int, default=1, help="of each city, on a contact sheet")
    parser.add_argument("--columns", type=int, default=4, help="photos across a contact sheet")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        preset = get_preset(options.preset)
        if options.cities:
            preset = replace(preset, cities=options.cities)
        if options.workers < 1:
            raise UsageError(f"--workers must be at least 1, not {options.workers}")
        if options.what == "contact":
            names = options.conditions.split(",") if options.conditions else list(CONDITIONS)
            conditions = [get_condition(name).name for name in names]
            contact_sheet(options.out, preset.cities, preset.blocks, conditions, options.places, options.columns)
            print(f"wrote {options.out}")
            return 0
        for table in _render_with_progress(options, preset):
            print(f"wrote {table}")
    except SciceVPRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _render_with_progress(options: argparse.Namespace, preset: Preset) -> list[Path]:
    from training.procity.dataset import render_dataset

    if not sys.stderr.isatty():
        return render_dataset(options.out, preset, seed=options.seed, workers=options.workers)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(f"photographing ({preset.name})")
        return render_dataset(
            options.out,
            preset,
            seed=options.seed,
            workers=options.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


if __name__ == "__main__":
    sys.exit(main())
