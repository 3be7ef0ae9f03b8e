"""How much faster are many batch compositions when only the encoder is run again?

python benchmarks/groupings.py            writes benchmarks/groupings.json

1,000 random batches of 16 photos of the bundled city. "Encoder alone": region vectors once for all photos (measured
and counted in), then the encoder for all batches. "Full passes": the whole model for a sample of the same batches,
scaled to 1,000; once with photos prepared beforehand (the model alone) and once from files (decoding and resizing
included). Both are measured in turns in one run, and the descriptors of the sample are compared.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from scicevpr import __version__
from scicevpr.datasets import bundled_city
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe, encode_groups, region_vectors
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.hub.load import load_model

BATCHES, SIZE, SAMPLE = 1000, 16, 12


def measure(name: str) -> dict[str, float | str]:
    """Seconds of both ways for one model, and the largest difference between their descriptors."""
    model = load_model(name)
    photos = [place.path for place in bundled_city().queries]
    random = np.random.default_rng(0)
    groups = np.array([random.choice(len(photos), SIZE, replace=False) for _ in range(BATCHES)])
    prepared = prepare(photos, model.variant.preprocessing)
    encode_groups(model, region_vectors(model, prepared[:SIZE]), np.arange(SIZE)[None])  # warm
    started = time.perf_counter()
    regions = region_vectors(model, prepared)
    once = time.perf_counter() - started
    encoder, passes, files, worst = 0.0, 0.0, 0.0, 0.0
    sample = random.choice(BATCHES, SAMPLE, replace=False)
    parts = np.array_split(np.arange(BATCHES), SAMPLE)
    for turn, part in zip(sample, parts, strict=True):  # in turns, so that other load on the machine hits both
        started = time.perf_counter()
        encode_groups(model, regions, groups[part])
        encoder += time.perf_counter() - started
        started = time.perf_counter()
        whole = describe(model, prepared[groups[turn]], grouping=Grouping.explicit([range(SIZE)])).values
        passes += time.perf_counter() - started
        started = time.perf_counter()
        describe(model, [photos[i] for i in groups[turn]], grouping=Grouping.explicit([range(SIZE)]))
        files += time.perf_counter() - started
        worst = max(worst, float(np.abs(encode_groups(model, regions, groups[[turn]])[0] - whole).max()))
    full, from_files = passes * BATCHES / SAMPLE, files * BATCHES / SAMPLE
    return {
        "model": model.variant.title,
        "region_vectors_once_s": once,
        "encoder_s": encoder,
        "full_passes_s": full,
        "full_passes_from_files_s": from_files,
        "speed_up_of_the_groupings": full / encoder,
        "speed_up_with_the_first_pass": full / (encoder + once),
        "speed_up_from_files": from_files / encoder,
        "largest_difference": worst,
    }


def main() -> None:
    """Measure the family and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [measure(name) for name in ("cricavpr-t", "super-cricavpr-t", "scicevpr-t")]
    for row in rows:
        print(", ".join(f"{k} {v:.3g}" if isinstance(v, float) else str(v) for k, v in row.items()))
    content = {
        "what": f"{BATCHES} batches of {SIZE} photos; full passes measured on {SAMPLE} of them and scaled",
        "scicevpr": __version__,
        "torch": torch.__version__,
        "threads": options.threads,
        "rows": rows,
    }
    options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
