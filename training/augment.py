"""Augmentation of training photos on Pillow images: the published RandAugment, and one of light, camera and viewpoint.

Both take an image and a `torch.Generator`, and draw everything from it, so that a seed gives the same photo everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

MAGNITUDES = 31
BLACK = (0, 0, 0)
_BILINEAR = Image.Resampling.BILINEAR

Augmentation = Callable[[Image.Image, torch.Generator], Image.Image]


def _blended(kind: type) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, m: kind(image).enhance(1.0 + m)


def _moved(image: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=BLACK)


OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "Identity": lambda image, m: image,
    "ShearX": lambda image, m: _moved(image, (1, m, 0, 0, 1, 0), _BILINEAR),
    "ShearY": lambda image, m: _moved(image, (1, 0, 0, m, 1, 0), _BILINEAR),
    "TranslateX": lambda image, m: _moved(image, (1, 0, -int(m), 0, 1, 0), _BILINEAR),
    "TranslateY": lambda image, m: _moved(image, (1, 0, 0, 0, 1, -int(m)), _BILINEAR),
    "Rotate": lambda image, m: image.rotate(m, _BILINEAR, fillcolor=BLACK),
    "Brightness": _blended(ImageEnhance.Brightness),
    "Color": _blended(ImageEnhance.Color),
    "Contrast": _blended(ImageEnhance.Contrast),
    "Sharpness": _blended(ImageEnhance.Sharpness),
    "Posterize": lambda image, m: ImageOps.posterize(image, int(m)),
    "Solarize": lambda image, m: ImageOps.solarize(image, m),
    "AutoContrast": lambda image, m: ImageOps.autocontrast(image),
    "Equalize": lambda image, m: ImageOps.equalize(image),
}
"""The 14 operations of RandAugment in torchvision's order: (image, signed magnitude) -> image of the same size."""

SIGNED = frozenset(list(OPERATIONS)[1:10])
"""Operations whose magnitude is negated half of the time."""


def magnitudes(size: tuple[int, int]) -> dict[str, list[float]]:
    """Unsigned magnitude of every bin, 0 to 30, by operation, for images of ``size`` (rows, columns).

    Computed in float32 as the published code's library does; a double formula would round some blends elsewhere.
    """
    rows, columns = size
    most = {"ShearX": 0.3, "ShearY": 0.3, "Rotate": 30.0}
    most |= {"TranslateX": 150.0 / 331.0 * columns, "TranslateY": 150.0 / 331.0 * rows}
    most |= dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.9)
    table = {name: torch.linspace(0.0, most.get(name, 0.0), MAGNITUDES).tolist() for name in OPERATIONS}
    table["Posterize"] = (8 - (torch.arange(MAGNITUDES) / ((MAGNITUDES - 1) / 4)).round().int()).tolist()
    table["Solarize"] = torch.linspace(255.0, 0.0, MAGNITUDES).tolist()
    return table


@dataclass(frozen=True)
class RandAugment:
    """The published augmentation (Cubuk et al., 2020): ``operations`` of the 14, drawn with replacement, at one
    magnitude; after it comes normalisation, before it the resize to the network's input."""

    operations: int = 3
    magnitude: int = 9

    def draw(self, size: tuple[int, int], generator: torch.Generator) -> list[tuple[str, float]]:
        """Names and signed magnitudes for an image of ``size`` (rows, columns)."""
        names, table, drawn = list(OPERATIONS), magnitudes(size), []
        for _ in range(self.operations):
            name = names[int(torch.randint(len(names), (1,), generator=generator))]
            value = table[name][self.magnitude]
            if name in SIGNED and int(torch.randint(2, (1,), generator=generator)):
                value = -value
            drawn.append((name, value))
        return drawn

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Image.Image:
        for name, value in self.draw((image.height, image.width), generator):
            image = OPERATIONS[name](image, value)
        return image


@dataclass(frozen=True)
class CameraAugmentation:
    """What another visit and another camera change: viewpoint, exposure, white balance, noise, blur, JPEG.

    ``strength`` scales the ranges of light and colour, ``geometry`` those of crop and rotation; an occluder covers a
    corner of one photo in five. A mirrored place is another place, so nothing is mirrored.
    """

    strength: float = 1.0
    geometry: float = 1.0
    grey: float = 0.05

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Image.Image:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        rng = np.random.default_rng(seed)
        size = image.size
        image = self._viewpoint(image, rng)
        image = self._camera(self._light(image, rng), rng)
        return image if image.size == size else image.resize(size, _BILINEAR)

    def _viewpoint(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Four corners of the photo moved: crop, shift, zoom, perspective; a few degrees of roll."""
        width, height = image.size
        share = 1 - self.geometry * rng.uniform(0.0, 0.28)
        stretch = np.exp(self.geometry * rng.uniform(-0.1, 0.1))
        wide, high = min(1.0, share * stretch), min(1.0, share / stretch)
        left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
        corners = np.array([[left, top], [left, top + high], [left + wide, top + high], [left + wide, top]])
        if rng.random() < 0.5:
            corners = corners + rng.uniform(-0.05, 0.05, (4, 2)) * self.geometry
        corners = np.clip(corners, 0, 1) * (width, height)
        image = image.transform(size=image.size, method=Image.Transform.QUAD, data=corners.ravel().tolist(),
                                resample=_BILINEAR)  # fmt: skip
        if rng.random() < 0.3:
            angle = float(rng.uniform(-6, 6)) * self.geometry
            image = image.rotate(angle, _BILINEAR, fillcolor=(110, 110, 110))
        return image

    def _light(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Exposure, contrast, gamma, saturation and white balance, as one table a channel where that is possible."""
        s = self.strength
        values = np.arange(256) / 255.0
        exposure = np.exp(s * min(rng.normal(-0.05, 0.3), 0.3)) if rng.random() < 0.7 else 1.0
        gamma = np.exp(s * rng.normal(0, 0.3)) if rng.random() < 0.5 else 1.0
        balance = np.exp(s * rng.normal(0, 0.1, 3)) if rng.random() < 0.4 else np.ones(3)
        contrast = np.exp(s * rng.normal(0, 0.25)) if rng.random() < 0.5 else 1.0
        table: list[int] = []
        for gain in balance:
            curve = np.clip(exposure * gain * values, 0, 1) ** gamma
            curve = np.clip((curve - 0.45) * contrast + 0.45, 0, 1)
            table += (curve * 255 + 0.5).astype(int).tolist()
        image = image.point(table)
        if rng.random() < self.grey:
            return image.convert("L").convert("RGB")
        if rng.random() < 0.5:
            image = ImageEnhance.Color(image).enhance(float(np.exp(s * rng.normal(0, 0.35))))
        return image

    def _camera(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Blur or fewer pixels, noise, an occluder, JPEG."""
        size = image.size
        kind = rng.random()
        if kind < 0.2:
            image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.8))))
        elif kind < 0.45:
            factor = rng.uniform(0.3, 0.9)
            small = (max(8, round(size[0] * factor)), max(8, round(size[1] * factor)))
            image = image.resize(small, _BILINEAR).resize(size, Image.Resampling.BICUBIC)
        if rng.random() < 0.35:
            pixels = np.asarray(image, np.float32)
            grains = pixels.shape if rng.random() < 0.5 else (*pixels.shape[:2], 1)
            grainy = pixels + rng.normal(0, rng.uniform(2, 12), grains)
            image = Image.fromarray(grainy.clip(0, 255).astype(np.uint8))
        if rng.random() < 0.2:
            image = image.copy()
            wide, high = (int(rng.uniform(0.1, 0.35) * n) for n in size)
            left, top = int(rng.uniform(0, size[0] - wide)), int(rng.uniform(0, size[1] - high))
            colour = tuple(int(v) for v in rng.integers(0, 256, 3))
            image.paste(colour, (left, top, left + wide, top + high))
        if rng.random() < 0.25:
            packed = io.BytesIO()
            image.save(packed, "JPEG", quality=int(rng.integers(20, 80)))
            image = Image.open(packed).convert("RGB")
        return image
