"""The whole shipped T family from nothing: kept maps, teacher, student, baseline, then the files in ``assets/``.

    python -m training.family --render --publish --data data/procity --runs runs

With ``--render`` the cities are photographed first (train, val and test). A stage that is already finished in the runs
folder is not run again; an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch

from scicevpr.config import assets_folder, get_variant
from scicevpr.models.devices import AUTO
from training import recipes
from training.cross_image import DEVICE_HELP, train
from training.distill import distill
from training.procity.dataset import render_dataset
from training.procity.presets import get_preset
from training.publish import publish
from training.stem_maps import open_maps
from training.trainer import BEST, EXIT_STOPPED, FINISHED

log = logging.getLogger("training.family")


def run_family(data: Path, runs: Path, limit_cities: int | None = None, workers: int = 2, device: str = "cpu") -> bool:
    """Keep the stem's maps and run every stage that has no result yet; False when a signal stopped one.

    The teacher's blocks are the backbone of all three. What a stage needs is there: results of the one before it, or
    the kept maps, which an interrupted run goes on to make. ``device``: where the stages are trained; the stem's maps
    are made on the processors everywhere, so that they are the same bytes.
    """
    teacher, student, baseline = (
        runs / recipe.variant for recipe in (recipes.SHIPPED_SUPER, recipes.SHIPPED_DISTILL, recipes.SHIPPED_CRICA)
    )
    variant = get_variant(recipes.SHIPPED_SUPER.variant)
    maps = open_maps(data, runs / "maps", recipes.SHIPPED_VIEWS, variant, workers, limit_cities)
    stages = (
        (teacher, lambda: train(maps, teacher, recipes.SHIPPED_SUPER, device=device)),
        (student, lambda: distill(maps, student, recipes.SHIPPED_DISTILL, teacher / BEST, device)),
        (baseline, lambda: train(maps, baseline, recipes.SHIPPED_CRICA, teacher / BEST, device)),
    )
    for folder, stage in stages:
        if (folder / FINISHED).exists():
            log.info("%s is finished already", folder)
            continue
        log.info("making %s", folder)
        if not stage():
            return False
    return True


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.family", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data/procity"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--assets", type=Path, default=assets_folder())
    parser.add_argument("--limit-cities", type=int)
    parser.add_argument("--render", action="store_true", help="photograph the cities first")
    parser.add_argument("--publish", action="store_true", help="then write the files of assets/")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default=AUTO, help=DEVICE_HELP)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    for name in ("train", "val", "test") if options.render else ():
        render_dataset(options.data, get_preset(name), workers=options.threads)  # photos that are there stay
    if not run_family(options.data, options.runs, options.limit_cities, options.threads, options.device):
        sys.exit(EXIT_STOPPED)
    if options.publish:
        publish(options.runs, options.assets, options.data)


if __name__ == "__main__":
    main()
