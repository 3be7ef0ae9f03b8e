"""Texture layers that are not facades: ground, roofs, bark, leaves, railings, shop signs and murals."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.procity.tiles import CANVAS_SIZE, Layer, Tile, fractal_noise, running_bond

GROUND_KINDS = (
    "plain",
    "asphalt",
    "paver",
    "slab",
    "cobble",
    "grass",
    "rooftile",
    "metalroof",
    "gravel",
    "bark",
    "awning",
)
SIGNS_PER_LAYER = 8
# fmt: off
SYLLABLES = (
    "ba", "be", "bo", "ca", "co", "da", "de", "fi", "fo", "ga", "lu", "ma", "mi", "mo", "na", "ne", "no", "pa", "pe",
    "po", "ra", "re", "ri", "ro", "sa", "se", "ta", "te", "ti", "to", "va", "ve", "vi", "zo", "lan", "mar", "tin",
    "ber", "dor",
)
TRADES = (
    "BAKERY", "CAFE", "BOOKS", "OPTIK", "PHARMACY", "BAR", "HOTEL", "FLOWERS", "SHOES", "MARKET", "PIZZA", "BIKES",
    "TEA", "TABAC", "MODE", "BANK", "GRILL", "RADIO", "HAIR", "TOYS",
)
# fmt: on
LIGHT_LETTERS = ((1, 1, 0.95), (1, 0.85, 0.3), (0.95, 0.95, 1))
DARK_LETTERS = (0.08, 0.08, 0.1)


def ground(kind: str, seed: int) -> Layer:
    """A ground, roof or plain layer; `kind` is one of GROUND_KINDS (anything else raises KeyError)."""
    tile = Tile()
    {
        "plain": _plain,
        "asphalt": _asphalt,
        "paver": _paver,
        "slab": _slab,
        "cobble": _cobble,
        "grass": _grass,
        "rooftile": _roof_tile,
        "metalroof": _metal_roof,
        "gravel": _gravel,
        "bark": _bark,
        "awning": _awning,
    }[kind](tile, seed)
    return tile.finish()


def _grain(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((CANVAS_SIZE, CANVAS_SIZE))


def _fill(tile: Tile, value: np.ndarray, colour: tuple[float, float, float] = (1, 1, 1)) -> None:
    tile.albedo[..., :3] = value[..., None] * np.array(colour)


def _joints(tile: Tile, joints: np.ndarray, shade: float, depth: float) -> None:
    tile.albedo[joints, :3] *= shade
    tile.height[joints] -= depth


def _plain(tile: Tile, seed: int) -> None:
    _fill(tile, 0.9 + 0.04 * fractal_noise(seed, 2.0))


def _asphalt(tile: Tile, seed: int) -> None:
    coarse, fine = fractal_noise(seed, 2.0), fractal_noise(seed + 1, 1.0)
    _fill(tile, 0.33 + 0.04 * coarse + 0.03 * fine + 0.035 * _grain(seed), (1, 1, 1.02))
    cracks = np.abs(fractal_noise(seed + 3, 2.2)) < 0.006
    tile.albedo[cracks, :3] *= 0.55


def _paver(tile: Tile, seed: int) -> None:
    value, joints = running_bond(8, 8, seed, stagger=False, variation=0.09, mortar=0.05)
    _fill(tile, value * 0.55 * (1 + 0.1 * fractal_noise(seed, 2.0) + 0.03 * _grain(seed)), (1, 0.98, 0.94))
    _joints(tile, joints, 0.6, 0.1)


def _slab(tile: Tile, seed: int) -> None:
    value, joints = running_bond(5, 3, seed, variation=0.07, mortar=0.03)
    _fill(tile, value * 0.6 * (1 + 0.1 * fractal_noise(seed, 2.0) + 0.03 * _grain(seed)))
    _joints(tile, joints, 0.6, 0.1)


def _cobble(tile: Tile, seed: int) -> None:
    value, joints = running_bond(20, 18, seed, variation=0.22, mortar=0.2)
    _fill(tile, value * 0.40 * (1 + 0.1 * fractal_noise(seed, 2.0) + 0.05 * _grain(seed)), (1, 0.97, 0.93))
    _joints(tile, joints, 0.5, 0.2)


def _grass(tile: Tile, seed: int) -> None:
    coarse, fine = fractal_noise(seed, 2.0), fractal_noise(seed + 1, 1.0)
    _fill(tile, 1 + 0.25 * coarse + 0.3 * fine + 0.15 * _grain(seed), (0.20, 0.29, 0.10))


def _roof_tile(tile: Tile, seed: int) -> None:
    ramp = np.arange(CANVAS_SIZE) / CANVAS_SIZE
    down, across = ((ramp * 16) % 1)[:, None], ((ramp * 14) % 1)[None]
    value, _ = running_bond(16, 14, seed, stagger=False, variation=0.18)
    shape = (0.65 + 0.35 * down) * (0.85 + 0.15 * np.sin(across * np.pi))
    _fill(tile, value * shape * (1 + 0.12 * fractal_noise(seed, 2.0)))
    tile.height += 0.2 * (down - 0.5)


def _metal_roof(tile: Tile, seed: int) -> None:
    _fill(tile, 0.9 + 0.06 * fractal_noise(seed, 2.0))
    seams = (np.arange(CANVAS_SIZE) / CANVAS_SIZE * 6) % 1 < 0.05
    tile.albedo[:, seams, :3] *= 0.7
    tile.height[:, seams] += 0.2


def _gravel(tile: Tile, seed: int) -> None:
    _fill(tile, 0.5 + 0.05 * fractal_noise(seed, 2.0) + 0.1 * _grain(seed))


def _bark(tile: Tile, seed: int) -> None:
    _fill(tile, 1 + 0.4 * fractal_noise(seed, 1.5, stretch=(1, 0.15)), (0.30, 0.25, 0.20))


def _awning(tile: Tile, seed: int) -> None:
    """Stripes that take the tint, and stripes that stay white. The same for every seed."""
    tile.albedo[..., :3] = 0.93
    tile.albedo[..., 3] = (np.arange(CANVAS_SIZE) / CANVAS_SIZE * 8) % 1 < 0.5


def leaves(seed: int) -> Layer:
    """A card of leaves: 420 small ellipses around the middle, opacity in the last albedo channel."""
    rng, size = np.random.default_rng(seed), CANVAS_SIZE
    picture = Image.new("RGBA", (size, size), (90, 130, 50, 0))
    draw = ImageDraw.Draw(picture)
    for _ in range(420):
        angle, distance = rng.random() * 2 * np.pi, abs(rng.normal()) * 0.19
        x, y = size * (0.5 + distance * np.cos(angle) * 1.15), size * (0.5 + distance * np.sin(angle))
        radius, shade = size * rng.uniform(0.02, 0.045), rng.uniform(0.62, 1.15)
        colour = (int(150 * shade), int(165 * shade), int(140 * shade), 255)
        draw.ellipse((x - radius, y - radius * 0.6, x + radius, y + radius * 0.6), fill=colour)
    tile = Tile()
    tile.albedo = np.divide(np.asarray(picture, np.float32), 255, dtype=np.float32)
    return tile.finish(cut_out=True)


def railing(middle_rail: bool) -> Layer:
    """An iron railing of 12 bars, opacity in the last albedo channel."""
    tile = Tile((0.1, 0.1, 0.1), tint=0.0)
    bars = [(x, 0, x + 0.022, 1) for x in np.arange(0, 1, 1 / 12)] + [(0, 0, 1, 0.07), (0, 0.93, 1, 1)]
    for bar in bars + ([(0, 0.45, 1, 0.5)] if middle_rail else []):
        tile.albedo[tile.window(*bar)][..., 3] = 1
    return tile.finish(cut_out=True)


def scaffold() -> Layer:
    """Tubes, planks and a torn net, opacity in the last albedo channel."""
    tile = Tile((0.55, 0.56, 0.57), tint=0.0)
    net = (fractal_noise(41, 1.2) > -0.35) & (np.add.outer(np.arange(CANVAS_SIZE), np.arange(CANVAS_SIZE)) % 3 > 0)
    tile.albedo[..., :3] = (0.20, 0.42, 0.30)
    tile.albedo[..., 3] = net * 1.0
    for bar in ((0, 0, 0.03, 1), (0.5, 0, 0.53, 1), (0, 0.48, 1, 0.51), (0, 0.0, 1, 0.02)):
        area = tile.window(*bar)
        tile.albedo[area] = (0.62, 0.63, 0.64, 1)
    tile.albedo[tile.window(0, 0.0, 1, 0.06)] = (0.55, 0.42, 0.26, 1)
    return tile.finish(cut_out=True)


def _sign_text(rng: np.random.Generator) -> str:
    name = "".join(rng.choice(SYLLABLES, rng.integers(2, 4)))
    name = name.upper() if rng.random() < 0.5 else name.capitalize()
    trade = str(rng.choice(TRADES))
    return (name, f"{name} {trade}", f"{trade} {name}")[rng.integers(3)]


def _rgb(colour: tuple[float, float, float]) -> tuple[int, ...]:
    return tuple(int(255 * channel) for channel in colour)


def signs(seed: int) -> Layer:
    """SIGNS_PER_LAYER shop fascias, each with a random name, one under another (the first at the top)."""
    rng, size, row = np.random.default_rng(seed), CANVAS_SIZE, CANVAS_SIZE // SIGNS_PER_LAYER
    picture = Image.new("RGB", (size, size))
    draw = ImageDraw.Draw(picture)
    for i in range(SIGNS_PER_LAYER):
        board = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 0.95), rng.uniform(0.1, 0.7))
        letters = DARK_LETTERS if sum(board) / 3 > 0.45 else LIGHT_LETTERS[rng.integers(3)]
        text, font_size = _sign_text(rng), int(row * 0.78)
        while ImageFont.load_default(font_size).getlength(text) > size * 0.92:
            font_size -= 2
        draw.rectangle((0, i * row, size, (i + 1) * row), fill=_rgb(board))
        font = ImageFont.load_default(font_size)
        draw.text((size / 2, (i + 0.5) * row), text, _rgb(letters), font, anchor="mm", stroke_width=1)
    tile = Tile(tint=0.0)
    tile.albedo[..., :3] = np.asarray(picture, np.float32) / 255
    tile.emission[:] = 1
    return tile.finish()


def mural(seed: int) -> Layer:
    """A wall painting: 26 discs, triangles and arcs in five colours."""
    rng, size = np.random.default_rng(seed), CANVAS_SIZE

    def colour(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(channel) for channel in rng.integers(low, high, 3))

    picture = Image.new("RGB", (size, size), colour(60, 230))
    draw = ImageDraw.Draw(picture)
    palette = [colour(20, 255) for _ in range(5)]
    for _ in range(26):
        fill, form = palette[rng.integers(5)], rng.integers(3)
        x, y = (int(value) for value in rng.integers(0, size, 2))
        radius = int(rng.uniform(0.05, 0.3) * size)
        box = (x - radius, y - radius, x + radius, y + radius)
        if form == 0:
            draw.ellipse(box, fill=fill)
        elif form == 1:
            draw.polygon([tuple(int(value) for value in rng.integers(0, size, 2)) for _ in range(3)], fill=fill)
        else:
            draw.arc(box, 0, int(rng.integers(90, 360)), fill=fill, width=int(rng.integers(8, 40)))
    tile = Tile(tint=0.0)
    tile.albedo[..., :3] = np.asarray(picture, np.float32) / 255 * (1 + 0.1 * fractal_noise(seed))[..., None] * 0.9
    return tile.finish()
