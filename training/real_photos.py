"""A look beyond the city: the few real photographs that ship with scikit-learn and Gradio, as a tiny place set.

Every photo is cut into overlapping crops; a crop is a place. A query shows the same place shifted, zoomed and
recoloured: dusk, night, haze, a poor camera. This is no benchmark (a crop has no parallax, no traffic, no other
season), only a check that descriptors learned on drawings alone say something about photographs.

    python -m training.real_photos --out assets/weights/real-photos.json [--picture sheet.jpg]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from scicevpr.describe import describe
from scicevpr.errors import DatasetError
from scicevpr.evaluation.baselines import BASELINES
from scicevpr.models.model import build_model
from scicevpr.models.weights import load_model

PHOTOS = {
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "gradio": ("media_assets/images/tower.jpg", "media_assets/images/lion.jpg", "media_assets/images/cheetah1.jpg"),
}
COLUMNS, ROWS = 4, 2  # crops of a photo
CROP = 0.5  # of the photo's width and height
LOOKS = ("shifted", "dusk", "night", "haze", "poor camera")
SIZE = (320, 240)


def sample_photos(packages: Sequence[str] = tuple(PHOTOS)) -> list[tuple[str, Image.Image]]:
    """The photos that are installed with some packages, by name. DatasetError when there are none."""
    found = []
    for package in packages:
        files = PHOTOS[package]
        spec = importlib.util.find_spec(package)
        root = Path(spec.origin).parent if spec and spec.origin else None
        for file in files:
            if root is not None and (root / file).exists():
                found.append((Path(file).stem, Image.open(root / file).convert("RGB")))
    if not found:
        raise DatasetError("Neither scikit-learn nor Gradio is installed, whose sample photos are used here.")
    return found


def _cut(photo: Image.Image, x: float, y: float, share: float) -> Image.Image:
    """A crop whose middle is at (x, y), in shares of the photo, kept inside it."""
    width, height = photo.width * share, photo.height * share
    left = float(np.clip(x * photo.width - width / 2, 0, photo.width - width))
    top = float(np.clip(y * photo.height - height / 2, 0, photo.height - height))
    return photo.resize(SIZE, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))


def _recolour(crop: Image.Image, look: str, rng: np.random.Generator) -> Image.Image:
    values = np.asarray(crop, np.float32) / 255
    if look == "dusk":
        values = values**1.3 * (1.0, 0.72, 0.55)
    elif look == "night":
        values = (values**1.6 * 0.28 * (0.8, 0.85, 1.1)) + rng.normal(0, 0.02, values.shape)
    elif look == "haze":
        depth = np.linspace(0.75, 0.35, values.shape[0])[:, None, None]
        values = values * (1 - depth) + 0.78 * depth
    elif look == "poor camera":
        small = crop.filter(ImageFilter.GaussianBlur(2)).resize((80, 60)).resize(SIZE)
        values = np.asarray(small, np.float32) / 255 * rng.uniform(0.7, 1.3) + rng.normal(0, 0.06, values.shape)
    return Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))


def build_set(
    seed: int = 0, packages: Sequence[str] = tuple(PHOTOS)
) -> tuple[list[Image.Image], list[Image.Image], list[int], list[str]]:
    """Database crops, queries, the place of each query, and its look."""
    rng, database, queries, places, looks = np.random.default_rng(seed), [], [], [], []
    for _, photo in sample_photos(packages):
        for row in range(ROWS):
            for column in range(COLUMNS):
                x, y = (column + 1) / (COLUMNS + 1), (row + 1) / (ROWS + 1)
                for look in LOOKS:
                    moved = x + rng.normal(0, 0.02), y + rng.normal(0, 0.02)
                    crop = _cut(photo, *moved, CROP * float(np.exp(rng.normal(0, 0.08))))
                    queries.append(_recolour(crop, look, rng))
                    places.append(len(database))
                    looks.append(look)
                database.append(_cut(photo, x, y, CROP))
    return database, queries, places, looks


def _recall(database: np.ndarray, queries: np.ndarray, places: list[int], looks: list[str]) -> dict[str, float]:
    right = (queries @ database.T).argmax(1) == np.array(places)
    each = {look: 100 * float(right[np.array(looks) == look].mean()) for look in LOOKS}
    return {"all": 100 * float(right.mean()), **each}


def measure(untrained: bool = True) -> dict[str, Any]:
    """Recall@1 in percent, over all queries and by look, of SciceVPR-T, the same network untrained, and HOG.

    untrained: False leaves that one out.
    """
    database, queries, places, looks = build_set()
    rows = {}
    models = {"SciceVPR-T": load_model("scicevpr-t")}
    if untrained:
        torch.manual_seed(0)
        models["SciceVPR-T, untrained"] = build_model("scicevpr-t")
        models["SciceVPR-T, untrained"].allow_untrained = True
    for title, model in models.items():
        values = [describe(model, photos, precision="float32").values for photos in (database, queries)]
        rows[title] = _recall(*values, places, looks)
    hog = BASELINES["hog"]
    rows[hog.title] = _recall(hog.describe(database), hog.describe(queries), places, looks)
    rows["chance"] = {"all": 100 / len(database)}
    names = [name for name, _ in sample_photos()]
    return {"photos": names, "places": len(database), "queries": len(queries), "recall_at_1_percent": rows}


def picture(path: Path) -> None:
    """A sheet: in each row a query and its five nearest crops, right ones framed green, wrong ones red.

    It shows scikit-learn's photos only, whose licence (CC BY) allows it to be passed on with their authors' names.
    """
    database, queries, places, _ = build_set(packages=("sklearn",))
    model = load_model("scicevpr-t")
    similarity = describe(model, queries).values @ describe(model, database).values.T
    rows = []
    for query in range(0, len(queries), 9):
        tiles = [np.pad(np.asarray(queries[query]), ((6, 6), (6, 22), (0, 0)), constant_values=255)]
        for row in np.argsort(-similarity[query])[:5]:
            tile = np.empty((SIZE[1] + 12, SIZE[0] + 12, 3), np.uint8)
            tile[:] = (30, 140, 70) if row == places[query] else (190, 50, 45)
            tile[6:-6, 6:-6] = np.asarray(database[row])
            tiles.append(tile)
        rows.append(np.concatenate(tiles, 1))
    sheet = Image.fromarray(np.concatenate(rows, 0))
    sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS).save(path, quality=85)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.real_photos", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--picture", type=Path, help="JPEG sheet of queries and their nearest crops")
    options = parser.parse_args()
    torch.set_num_threads(2)
    options.out.write_text(json.dumps(measure(), indent=1) + "\n")
    if options.picture:
        picture(options.picture)


if __name__ == "__main__":
    main()
