"""A tiny city and untrained models, so that the app's tests need neither the bundled city nor trained weights."""

from __future__ import annotations

import copy
import random
import secrets
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from gradio.utils import get_upload_folder
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from app.core.descriptor_store import DescriptorStore
from app.core.model_slots import BASELINE, STABLE, TEACHER
from app.core.services import Services
from scicevpr.datasets import Dataset, format_name, read_dataset
from scicevpr.errors import WeightsError
from scicevpr.models.model import VPRModel, WeightsInfo, build_model

CONDITIONS = ("day", "overcast", "rain", "fog", "dusk", "night")
ORIGIN = (584_300.0, 4_477_000.0)
PLACES = 16


def facade(place: int, shift: int) -> Image.Image:
    """One made-up street front, 320x240, seen `shift` pixels further to the right."""
    dice = random.Random(place)
    image = Image.new("RGB", (420, 240), tuple(dice.randint(120, 235) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    x = 0
    while x < 420:
        width, top = dice.randint(40, 110), dice.randint(20, 110)
        wall = tuple(dice.randint(40, 220) for _ in range(3))
        draw.rectangle([x, top, x + width, 190], fill=wall)
        for column in range(x + 8, x + width - 14, 22):
            for row in range(top + 10, 170, 30):
                draw.rectangle([column, row, column + 10, row + 16], fill=tuple(value // 3 for value in wall))
        x += width
    draw.rectangle([0, 190, 420, 240], fill=(88, 88, 92))
    return image.crop((50 + shift, 0, 370 + shift, 240))


def weathered(image: Image.Image, condition: str) -> Image.Image:
    """The same view under another condition."""
    if condition == "night":
        return ImageEnhance.Brightness(image).enhance(0.35)
    if condition == "dusk":
        return ImageEnhance.Color(ImageEnhance.Brightness(image).enhance(0.7)).enhance(0.6)
    if condition == "fog":
        return Image.blend(image.filter(ImageFilter.GaussianBlur(2)), Image.new("RGB", image.size, "#c9ccd0"), 0.55)
    if condition == "rain":
        return ImageEnhance.Contrast(image.filter(ImageFilter.GaussianBlur(1))).enhance(0.8)
    return ImageEnhance.Color(image).enhance(0.7) if condition == "overcast" else image


def write_city(root: Path, places: int = PLACES) -> Path:
    """Write the standard layout below root: two database photos and one query per place, 40 m between places."""
    for folder in ("database", "queries"):
        (root / "images" / "test" / folder).mkdir(parents=True, exist_ok=True)
    for place in range(places):
        east, north = ORIGIN[0] + 40.0 * (place % 6), ORIGIN[1] + 40.0 * (place // 6)
        shots = [("database", "day", -12, 0.0), ("database", "day", 12, 3.0)]
        shots.append(("queries", CONDITIONS[place % len(CONDITIONS)], 4, 6.0))
        for folder, condition, shift, offset in shots:
            name = format_name(
                east=east + offset,
                north=north,
                zone_number=32,
                zone_letter="U",
                pano_id=f"{place:03d}{folder[0]}{shift}",
                heading=(place * 37) % 360,
                timestamp="20260501_120000",
                note=condition,
            )
            image = weathered(facade(place, shift), condition)
            image.save(root / "images" / "test" / folder / name, quality=88)
    return root


@cache
def untrained(name: str) -> VPRModel:
    """A T model with random weights (always the same), allowed to describe."""
    torch.manual_seed(7)
    model = build_model(name)
    model.allow_untrained = True
    return model


@cache
def recorded(name: str) -> VPRModel:
    """An untrained model whose weights have a hash, so that its descriptors can be kept and put into packs."""
    model = copy.deepcopy(untrained(name))
    model.weights = WeightsInfo("test", f"hash-{name}", "nothing", trained=False)
    return model


def recorded_services(root: Path) -> Services:
    """Services over the tiny city, whose models' descriptors fit packs and are kept beside the city."""
    models = {STABLE: "scicevpr-t", BASELINE: "cricavpr-t"}
    loaders = {role: (name, partial(recorded, name)) for role, name in models.items()}
    return Services({"Tiny city": read_dataset(root)}, loaders, DescriptorStore(cache=root.parent / "descriptors"))


def load_recorded(source: str, **_: object) -> VPRModel:
    """Stands in for loading weights from anywhere."""
    if source == "nothing":
        raise WeightsError("There is nothing there.")
    return recorded(source)


def models() -> dict:
    """The three roles over untrained T models."""
    return {
        STABLE: ("scicevpr-t", lambda: untrained("scicevpr-t")),
        BASELINE: ("cricavpr-t", lambda: untrained("cricavpr-t")),
        TEACHER: ("super-cricavpr-t", lambda: untrained("super-cricavpr-t")),
    }


def city_services(root: Path, **more: Dataset) -> Services:
    """Services over the tiny city in root."""
    dataset = read_dataset(root)
    return Services({"Tiny city": dataset, **more}, models(), DescriptorStore())


def noise_photo(seed: int = 0) -> Image.Image:
    """A photo of nowhere."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8))


def upload(photo: Image.Image | bytes | Path, name: str) -> Path:
    """A file in gradio's upload cache, as an upload leaves it there."""
    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    path = folder / name
    if isinstance(photo, Image.Image):
        photo.save(path)
    else:
        path.write_bytes(photo if isinstance(photo, bytes) else photo.read_bytes())
    return path
