"""Write trained runs into ``assets/``: the backbone once, a head file a model, descriptors of the bundled city.

python -m training.publish --runs runs
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from safetensors.torch import load_file

from scicevpr.config import assets_folder
from scicevpr.describe import describe
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.weights import load_model, save_backbone, save_weights
from scicevpr.places import bundled_city, save_descriptors
from training.results import MODELS, write_results

TRAINED_ON = "ProCity train cities 1-7 (procedural), from scratch by this project; not official"


def _load_run(name: str, runs: Path) -> VPRModel:
    model = build_model(name)
    model.load_state_dict(load_file(runs / name / "best.safetensors"))
    return model


def publish_weights(runs: Path, assets: Path) -> None:
    """Write ``assets/weights``: ``backbone-t.safetensors`` and one head file for each model."""
    folder = assets / "weights"
    date = datetime.now(UTC).date().isoformat()
    backbone = folder / "backbone-t.safetensors"
    for name in MODELS:
        model = _load_run(name, runs)
        recipe = json.loads((runs / name / "recipe.json").read_text())
        info = {"trained_on": TRAINED_ON, "date": date, "recipe": json.dumps(recipe), "licence": "MIT"}
        if name == MODELS[0]:
            pretraining = json.loads((runs / "backbone-t" / "recipe.json").read_text())
            save_backbone(model, backbone, info={**info, "recipe": json.dumps(pretraining)})
        save_weights(model, folder / f"{name}.safetensors", info=info, backbone_file=backbone)


def publish_descriptors(assets: Path) -> None:
    """Describe the bundled database under the published protocol, so that the app starts without doing it."""
    city = bundled_city()
    for name in MODELS:
        model = load_model(name)
        descriptors = describe(model, [place.path for place in city.database])
        save_descriptors(
            assets / "descriptors" / f"procity-test.{name}.safetensors", descriptors, [p.name for p in city.database]
        )


def publish(runs: Path, assets: Path) -> None:
    """Weights, then the descriptors that they give and what they score."""
    publish_weights(runs, assets)
    publish_descriptors(assets)
    write_results(assets / "weights")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.publish", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--assets", type=Path, default=assets_folder())
    options = parser.parse_args()
    publish(options.runs, options.assets)


if __name__ == "__main__":
    main()
