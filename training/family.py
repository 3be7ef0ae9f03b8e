"""The whole shipped T family from nothing: backbone, teacher, student, baseline, then the files in ``assets/``.

    python -m training.family --render --data data/procity --runs runs

With ``--render`` the cities are photographed first (train, val and test). A stage that is already finished in the runs
folder is not run again; an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from scicevpr.config import assets_folder
from training import recipes
from training.cross_image import train
from training.distill import distill
from training.pretrain import pretrain
from training.procity.dataset import render_dataset
from training.procity.presets import get_preset
from training.publish import publish
from training.trainer import FINISHED

log = logging.getLogger("training.family")


def render(data: Path, workers: int) -> None:
    """Photograph the train, val and test cities; photos that are there stay."""
    for name in ("train", "val", "test"):
        render_dataset(data, get_preset(name), workers=workers)


def run_family(data: Path, runs: Path, assets: Path, limit_cities: int | None = None) -> None:
    """Run every stage that has no result yet, then write weights, city, descriptors, examples and results."""
    first = runs / "first-t" / "backbone.safetensors"
    rooms = runs / "rooms-t" / "backbone.safetensors"
    city = runs / "city-t" / "backbone.safetensors"
    backbone = runs / "backbone-t" / "backbone.safetensors"
    teacher = runs / "super-cricavpr-t" / "best.safetensors"
    student = runs / "scicevpr-t" / "best.safetensors"
    baseline = runs / "cricavpr-t" / "best.safetensors"
    features = runs / "features.safetensors"
    stages = (
        (first, lambda: pretrain(data, first.parent, recipes.SHIPPED_FIRST, data, limit_cities)),
        (rooms, lambda: pretrain(None, rooms.parent, recipes.SHIPPED_ROOMS, None, start=[first])),
        (city, lambda: pretrain(data, city.parent, recipes.SHIPPED_CITY, data, limit_cities, start=[rooms])),
        (
            backbone,
            lambda: pretrain(data, backbone.parent, recipes.SHIPPED_PRETRAIN, data, limit_cities, start=[city]),
        ),
        (teacher, lambda: train(data, backbone, teacher.parent, recipes.SHIPPED_SUPER, limit_cities, features)),
        (student, lambda: distill(data, teacher, student.parent, recipes.SHIPPED_DISTILL, limit_cities, features)),
        (baseline, lambda: train(data, backbone, baseline.parent, recipes.SHIPPED_CRICA, limit_cities)),
    )
    for result, stage in stages:
        if (result.parent / FINISHED).exists():
            log.info("%s is finished already", result.parent)
            continue
        log.info("making %s", result)
        stage()
    features.unlink(missing_ok=True)
    publish(runs, assets, data)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.family", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data/procity"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--assets", type=Path, default=assets_folder())
    parser.add_argument("--limit-cities", type=int)
    parser.add_argument("--render", action="store_true", help="photograph the cities first")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    if options.render:
        render(options.data, options.threads)
    run_family(options.data, options.runs, options.assets, options.limit_cities)


if __name__ == "__main__":
    main()
