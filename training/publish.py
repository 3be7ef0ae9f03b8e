"""Write trained runs into ``assets/``: the backbone once, a head file a model, the bundled part of the test city, its
descriptors, the examples and the measured results.

python -m training.publish --runs runs --data data/procity
"""

from __future__ import annotations

import argparse
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from scicevpr.config import assets_folder
from scicevpr.datasets import Dataset, bundled_city, positives, utm_array
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe, encode, region_vectors
from scicevpr.files.descriptor_files import save_descriptors
from scicevpr.hub.load import load_model
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.native_checkpoints import save_backbone, save_weights
from scicevpr.retrieval.exact import ExactIndex
from training.procity.dataset import read_csv, write_csv
from training.procity.querysets import benchmark_sets
from training.results import MODELS, fill_tables, write_results
from training.trainer import BEST

TRAINED_ON = "ImageNet features (EfficientNet-Lite0, frozen) and drawn cities (ProCity), by this project; not official"
BUNDLED_QUERIES = 18  # of each query set
BATCH = Grouping.sequential(16)  # shows whether the baseline's answer to an example depends on other photos
SHOWN_FIRST = ("years", "dusk", "night", "snow", "rain", "day", "combined", "autumn")  # fill the gallery


def _load_run(name: str, runs: Path) -> VPRModel:
    model = build_model(name)
    model.load_state_dict(load_file(runs / name / BEST))
    return model


def publish_weights(runs: Path, assets: Path) -> None:
    """Write ``assets/weights``: ``backbone-t.safetensors`` and one head file for each model, as float16."""
    folder = assets / "weights"
    date = datetime.now(UTC).date().isoformat()
    backbone = folder / "backbone-t.safetensors"
    for name in MODELS:
        model = _load_run(name, runs)
        recipe = json.loads((runs / name / "recipe.json").read_text())
        info = {"trained_on": TRAINED_ON, "date": date, "recipe": json.dumps(recipe), "licence": "MIT"}
        if name == MODELS[0]:
            save_backbone(model, backbone, info=info, half=True)
        save_weights(model, folder / f"{name}.safetensors", info=info, backbone_file=backbone, half=True)


def publish_city(data: Path, assets: Path, queries: int = BUNDLED_QUERIES) -> None:
    """Copy the test city's database and ``queries`` photos of each query set, evenly thinned, with their table."""
    rows = read_csv(data / "images" / "test" / "procity.csv")
    chosen = [row for row in rows if row["role"] == "database"]
    for query_set in benchmark_sets(1):
        members = [row for row in rows if row["query_set"] == query_set.name]
        chosen += [members[i] for i in (np.arange(queries) * len(members) // queries)]
    folder = assets / "procity"
    shutil.rmtree(folder / "images", ignore_errors=True)
    for row in chosen:
        target = folder / row["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / row["file"], target)
    table = folder / "procity.csv"
    table.unlink(missing_ok=True)
    write_csv(table, chosen)


def publish_descriptors(assets: Path) -> None:
    """Describe the bundled database under the published protocol, so that the app starts without doing it."""
    city = bundled_city()
    for name in MODELS:
        model = load_model(name)
        descriptors = describe(model, [photo.path for photo in city.database])
        file = assets / "descriptors" / f"procity-test.{name}.safetensors"
        save_descriptors(file, descriptors, [photo.name for photo in city.database])


def publish_examples(assets: Path) -> None:
    """Choose one query of each set for the app's gallery: where possible one that SciceVPR-T answers and whose
    CricaVPR-T answer changes in a batch; and one that both miss, so that visitors see that too."""
    city = bundled_city()
    right = [set(rows.tolist()) for rows in positives(utm_array(city.database), utm_array(city.queries))]
    stable = _first_answers(load_model("scicevpr-t"), city, Grouping.alone())
    baseline = load_model("cricavpr-t")
    alone, in_batch = (_first_answers(baseline, city, grouping) for grouping in (Grouping.alone(), BATCH))
    examples: list[dict[str, str | None]] = []
    missed = None
    first = {name: number for number, name in enumerate(SHOWN_FIRST)}
    for query_set in sorted(city.conditions, key=lambda name: first.get(name, len(first))):
        rows = [row for row, photo in enumerate(city.queries) if photo.condition == query_set]
        best = min(
            rows,
            key=lambda row: (
                stable[row] not in right[row],
                (alone[row] in right[row]) == (in_batch[row] in right[row]),
                alone[row] == in_batch[row],
            ),
        )
        examples.append({"name": city.queries[best].name, "condition": query_set})
        both = [row for row in rows if stable[row] not in right[row] and alone[row] not in right[row]]
        missed = both[0] if both and missed is None and query_set == "fog" else missed
    if missed is not None:
        examples.append({"name": city.queries[missed].name, "condition": city.queries[missed].condition})
    (assets / "examples.json").write_text(json.dumps(examples, indent=1) + "\n")


def _first_answers(model: VPRModel, city: Dataset, grouping: Grouping) -> np.ndarray:
    """Database row of every query's best match, [Q]."""
    database, queries = (region_vectors(model, [p.path for p in photos]) for photos in (city.database, city.queries))
    index = ExactIndex(encode(model, database, BATCH))
    return index.search(encode(model, queries, grouping), 1).indices[:, 0]


def publish(runs: Path, assets: Path, data: Path | None) -> None:
    """Weights, then the bundled city, the descriptors that they give, the examples and what they score."""
    publish_weights(runs, assets)
    if data is not None:
        publish_city(data, assets)
    publish_descriptors(assets)
    publish_examples(assets)
    write_results(assets / "weights" / "results.json")
    if data is not None:
        write_results(assets / "weights" / "results-full.json", data)
    for page in (assets / "weights" / "README.md", assets.parent / "docs" / "models.md"):
        if page.exists():
            fill_tables(page, assets / "weights")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.publish", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--data", type=Path, help="dataset folder with images/test; without it the bundled city stays")
    parser.add_argument("--assets", type=Path, default=assets_folder())
    options = parser.parse_args()
    publish(options.runs, options.assets, options.data)


if __name__ == "__main__":
    main()
