"""Where the cosines of right and of wrong first answers lie, per model, on the bundled test city.

    python -m benchmarks.similarities [--output assets/weights/similarities.json]

Every query is described alone, the database as the app describes it. The Find tab draws the numbers beside its answers,
for models with the very weights that were measured; run it again after weights were published.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from app.core.model_slots import BASELINE, STABLE, TEACHER
from app.start import CITY_NAME, make_services, read_arguments
from scicevpr.config import assets_folder
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=assets_folder() / "weights" / "similarities.json")
    output = parser.parse_args().output
    services = make_services(read_arguments([]))
    dataset = services.datasets[CITY_NAME]
    positives, models = dataset.positives(), {}
    for role in (STABLE, BASELINE, TEACHER):
        model, database = services.model(role), services.described(role, CITY_NAME)
        queries = describe(model, [photo.path for photo in dataset.queries], grouping=Grouping.alone())
        found = database.index.search(queries.values, 1)
        right: list[float] = []
        wrong: list[float] = []
        for row, index, cosine in zip(positives, found.indices[:, 0], found.similarities[:, 0], strict=True):
            (right if index in row else wrong).append(round(float(cosine), 4))
        models[queries.weights] = {"model": model.variant.title, "right": sorted(right), "wrong": sorted(wrong)}
        print(f"{model.variant.title}: {len(right)} right, {len(wrong)} wrong")
    measured_on = f"the {len(dataset.queries)} queries of the {CITY_NAME}, each described alone"
    output.write_text(json.dumps({"measured_on": measured_on, "models": models}) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
