"""Pictures of no place, drawn from a seed: what a database of streets should say it does not know."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (320, 240)


def unrelated_pictures(count: int = 200, seed: int = 0) -> list[Image.Image]:
    """`count` pictures [320x240 RGB]: textures, gradients, shapes, stripes, writing, blossoms, circuits, in turn."""
    random = np.random.default_rng(seed)
    return [KINDS[number % len(KINDS)](random) for number in range(count)]


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = random.integers(0, 256, 3).tolist()
    return red, green, blue


def _texture(random: np.random.Generator) -> Image.Image:
    """Noise of several sizes, one over the other."""
    values = np.zeros((SIZE[1], SIZE[0], 3))
    for cells in (4, 8, 16, 32, 64):
        grain = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        values += np.asarray(grain.resize(SIZE, Image.Resampling.BICUBIC), float) * random.random()
    values -= values.min()
    return Image.fromarray((255 * values / max(values.max(), 1)).astype(np.uint8))


def _gradient(random: np.random.Generator) -> Image.Image:
    """Two colours and a disc, as of a sky."""
    down = np.linspace(0, 1, SIZE[1])[:, None, None]
    one, other = (np.array(_colour(random), float) for _ in range(2))
    image = Image.fromarray(np.broadcast_to(one * (1 - down) + other * down, (SIZE[1], SIZE[0], 3)).astype(np.uint8))
    x, y, radius = random.integers(20, 220, 3).tolist()
    ImageDraw.Draw(image).ellipse((x, y, x + radius // 3, y + radius // 3), fill=_colour(random))
    return image


def _shapes(random: np.random.Generator) -> Image.Image:
    """Discs and boxes, one over the other."""
    image = Image.new("RGB", SIZE, _colour(random))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(10, 60))):
        x, y = random.integers(0, SIZE[0]), random.integers(0, SIZE[1])
        box = (int(x), int(y), int(x + random.integers(5, 90)), int(y + random.integers(5, 90)))
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)(box, fill=_colour(random))
    return image


def _stripes(random: np.random.Generator) -> Image.Image:
    """Waves in two directions."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    angle, period = random.uniform(0, np.pi), random.uniform(6, 50)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period) * np.sin(y / random.uniform(5, 60))
    one, other = (np.array(_colour(random), float) for _ in range(2))
    share = (wave[..., None] + 1) / 2
    return Image.fromarray((one * share + other * (1 - share)).astype(np.uint8))


def _writing(random: np.random.Generator) -> Image.Image:
    """A page of letters."""
    image = Image.new("RGB", SIZE, (250, 248, 240))
    draw = ImageDraw.Draw(image)
    for top in range(6, SIZE[1], int(random.integers(12, 22))):
        letters = "".join(chr(code) for code in random.integers(97, 123, 48))
        draw.text((8, top), letters, fill=(20, 20, 30))
    return image.rotate(float(random.uniform(-10, 10)), fillcolor=(90, 80, 70))


def _blossom(random: np.random.Generator) -> Image.Image:
    """Petals around a middle, out of focus behind."""
    image = _texture(random).filter(ImageFilter.GaussianBlur(8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 5))):
        x, y, size = int(random.integers(60, 260)), int(random.integers(60, 180)), int(random.integers(15, 45))
        petal, count = _colour(random), int(random.integers(5, 12))
        for turn in np.linspace(0, 2 * np.pi, count, endpoint=False):
            px, py = x + size * np.cos(turn), y + size * np.sin(turn)
            draw.ellipse((px - size / 2, py - size / 2, px + size / 2, py + size / 2), fill=petal)
        draw.ellipse((x - size / 2, y - size / 2, x + size / 2, y + size / 2), fill=_colour(random))
    return image


def _circuit(random: np.random.Generator) -> Image.Image:
    """Lines at right angles with dots at their ends."""
    image = Image.new("RGB", SIZE, (10, 60, 40))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = (int(value) for value in random.integers(0, SIZE[0], 2))
        across, down = (int(value) for value in random.integers(-90, 90, 2))
        draw.line(((x, y), (x + across, y), (x + across, y + down)), fill=(180, 150, 60), width=2)
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(220, 200, 120))
    return image


KINDS: tuple[Callable[[np.random.Generator], Image.Image], ...] = (
    _texture,
    _gradient,
    _shapes,
    _stripes,
    _writing,
    _blossom,
    _circuit,
)
