"""Texture layers of buildings: wall materials, upper floors, shops, doors, ground-floor windows and garages.

A tile holds one bay (across) of one storey (up).
"""

from __future__ import annotations

import colorsys

import numpy as np

from training.procity.tiles import CANVAS_SIZE, Layer, Tile, fractal_noise, running_bond

MATERIALS = ("brick", "plaster", "stone", "siding", "panel", "tilewall", "timber")
WINDOWS = ("sash", "casement", "french", "arched", "twin", "square", "bay3")
STYLES = (
    *((material, window) for material in ("brick", "plaster", "stone", "siding") for window in WINDOWS),
    ("panel", "strip"),
    ("panel", "square"),
    ("tilewall", "strip"),
    ("panel", "curtainwall"),
    ("panel", "curtainwall"),
    ("plaster", "strip"),
    ("brick", "strip"),
    ("panel", "bay3"),
    ("timber", "casement"),
    ("timber", "square"),
    ("timber", "sash"),
    ("tilewall", "square"),
    ("tilewall", "sash"),
    ("siding", "strip"),
)
FRAME_COLOURS = (
    (0.92, 0.92, 0.90),
    (0.16, 0.15, 0.15),
    (0.36, 0.22, 0.13),
    (0.15, 0.25, 0.18),
    (0.85, 0.82, 0.72),
    (0.28, 0.32, 0.38),
)
GLASS_COLOUR = (0.10, 0.12, 0.14)
WARM_STONE = np.array([1, 0.97, 0.92])
SHUTTER_HUES = (0.33, 0.58, 0.07, 0.0, 0.47)
SHOP_WALLS = ("stone", "plaster", "tilewall", "panel", "brick")


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value))


def _frame_colour(rng: np.random.Generator) -> np.ndarray:
    return np.array(FRAME_COLOURS[rng.integers(len(FRAME_COLOURS))])


def wall(material: str, seed: int) -> Tile:
    """A tile of bare wall; `material` is one of MATERIALS. The grey values are coloured by the building's tint."""
    tile, rng = Tile(), np.random.default_rng(seed)
    colour = tile.albedo[..., :3]
    if material == "brick":
        value, joints = running_bond(32, 11, seed, variation=0.2)
        colour[:] = (value * 0.92)[..., None]
        colour[joints] = 0.80
        tile.albedo[joints, 3] = 0.35
        tile.height[joints] -= 0.05
    elif material == "stone":
        value, joints = running_bond(7, 4, seed, variation=0.08, mortar=0.07)
        colour[:] = value[..., None] * 0.95
        colour[joints] *= 0.62
        tile.height[joints] -= 0.16
    elif material == "panel":
        value, joints = running_bond(2, 2, seed, stagger=False, variation=0.05, mortar=0.02)
        colour[:] = value[..., None] * 0.95
        colour[joints] *= 0.55
        tile.height[joints] -= 0.1
    elif material == "siding":
        board = (np.arange(CANVAS_SIZE) / CANVAS_SIZE * 18) % 1
        colour[:] = (0.82 + 0.18 * board)[:, None, None]
        tile.height += ((board - 0.5) * 0.12)[:, None]
    elif material == "tilewall":
        value, joints = running_bond(20, 20, seed, stagger=False, variation=0.12, mortar=0.1)
        colour[:] = value[..., None] * 0.95
        colour[joints] = 0.75
    elif material == "timber":
        colour[:] = 0.95
        _timber_frame(tile, rng)
    else:  # plaster
        colour[:] = 0.93
    patches = fractal_noise(seed, 1.9)
    streaks = fractal_noise(seed + 7, 1.6, stretch=(1, 0.12))
    grain = rng.standard_normal((CANVAS_SIZE, CANVAS_SIZE)) * 0.02
    colour *= (1 + 0.10 * patches + 0.07 * streaks + grain)[..., None]
    return tile


def _timber_frame(tile: Tile, rng: np.random.Generator) -> None:
    """Dark posts and rails, and braces in some bays."""
    wood = np.array([0.24, 0.15, 0.10]) * rng.uniform(0.7, 1.5)
    for x0, y0, x1, y1 in ((0, 0, 0.05, 1), (0.95, 0, 1, 1), (0, 0, 1, 0.06), (0, 0.93, 1, 1), (0, 0.20, 1, 0.25)):
        tile.relief(x0, y0, x1, y1, wood, 0.56, 0.0)
    ramp = (np.arange(CANVAS_SIZE) + 0.5) / CANVAS_SIZE
    x, y = np.meshgrid(ramp, 1 - ramp)
    form = rng.integers(3)
    if form < 2:
        brace = np.abs(y - (0.25 + x * 2.2)) < 0.05
        brace |= np.abs(y - (0.25 + (1 - x) * 2.2)) < 0.05
        area = (y > 0.25) & (y < 0.93) & ((x < 0.3) | (x > 0.7))
        tile.rect(0, 0, 1, 1, wood, 0, 0, 0.56, 0.0, brace & area)
    if form == 1:
        cross = (np.abs(y - x * 0.2) < 0.02) | (np.abs(y - (1 - x) * 0.2) < 0.02)
        tile.rect(0, 0, 1, 1, wood, 0, 0, 0.56, 0.0, cross & (y < 0.2))


def pane(
    tile: Tile,
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    frame: np.ndarray,
    columns: int,
    rows: int,
    seed: int,
    depth: float = 0.22,
    mask: np.ndarray | None = None,
) -> None:
    """A glazed opening, `depth` below the wall, divided into columns x rows panes; often with curtains at its sides."""
    rng, bar = np.random.default_rng(seed), 0.022
    tile.rect(x0, y0, x1, y1, frame, 0, 0, 0.5 - depth * 0.6, 0, mask)
    step_x, step_y = (x1 - x0 - bar) / columns, (y1 - y0 - bar) / rows
    for i in range(columns):
        for j in range(rows):
            x, y = x0 + bar + i * step_x, y0 + bar + j * step_y
            tile.rect(x, y, x + step_x - bar, y + step_y - bar, GLASS_COLOUR, 1, 1, 0.5 - depth, 0, mask)
    curtain_start = rng.uniform(0.28, 0.42)
    if rng.random() < 0.6:
        area = tile.window(x0 + bar, y0 + bar, x1 - bar, y1 - bar)
        glass = tile.glass[area] > 0.5
        across = np.linspace(0, 1, glass.shape[1])[None]
        curtain = (np.abs(across - 0.5) > curtain_start) * (0.5 + 0.5 * np.sin(across * 60) ** 2)
        tile.albedo[area][..., :3] += (np.where(glass, curtain, 0) * 0.28)[..., None]
        tile.emission[area] *= np.where(glass & (curtain > 0), 0.7, 1)


def _window_box(window: str, rng: np.random.Generator) -> tuple[float, float, float, float, int, int]:
    """x0, x1, y0, y1 of a window within its bay, and its panes across and up."""
    if window == "strip":
        return 0.0, 1.0, 0.34, 0.84, int(rng.integers(2, 4)), 1
    if window == "bay3":
        return 0.12, 0.88, 0.28, 0.80, 3, 1
    width, y0, y1, columns, rows = {
        "french": ((0.36, 0.44), 0.06, 0.80, 2, 3),
        "square": ((0.40, 0.52), 0.34, 0.78, 2, 1),
        "arched": ((0.38, 0.46), 0.18, 0.86, 2, 2),
        "sash": ((0.36, 0.46), 0.24, 0.82, 1, 2),
    }.get(window, ((0.40, 0.52), 0.25, 0.80, 2, 0))
    half = rng.uniform(*width) / 2
    return 0.5 - half, 0.5 + half, y0, y1, columns, rows or int(rng.integers(1, 3))


def upper_floor(material: str, window: str, seed: int) -> Layer:
    """One bay of one upper storey of the given style."""
    rng, tile = np.random.default_rng(seed), wall(material, seed)
    frame = _frame_colour(rng)
    surround = rng.uniform(0.75, 1.0) * WARM_STONE
    if window == "curtainwall":
        _curtain_wall(tile, rng, seed)
        return tile.finish()
    x0, x1, y0, y1, columns, rows = _window_box(window, rng)
    spans = [(0.12, 0.44), (0.56, 0.88)] if window == "twin" else [(x0, x1)]
    for left, right in spans:
        mask = _surround(tile, window, left, right, y0, y1, surround, rng)
        pane(tile, left, y0, right, y1, frame, columns, rows, seed + int(left * 100), 0.25, mask)
        if window not in ("strip", "french"):
            tile.relief(left - 0.06, y0 - 0.05, right + 0.06, y0 - 0.005, surround * 0.92, 0.85, 0.1)
        if window in ("french", "casement", "sash") and rng.random() < 0.45:
            _shutters(tile, left, right, y0, y1, rng)
    if rng.random() < 0.5:  # string course
        tile.relief(0, 0.955, 1, 1, surround * 0.95, 0.72, 0.35)
    return tile.finish()


def _curtain_wall(tile: Tile, rng: np.random.Generator, seed: int) -> None:
    """Glass from side to side above a spandrel panel."""
    tile.relief(0, 0, 1, 1, (0.30, 0.33, 0.36), 0.45, 0.0)
    columns, spandrel = int(rng.integers(2, 4)), rng.uniform(0.12, 0.3)
    frame = np.array((0.55, 0.57, 0.6) if rng.random() < 0.5 else (0.13, 0.13, 0.14))
    pane(tile, 0, spandrel, 1, 0.97, frame, columns, 1, seed, 0.06)
    tile.rect(0, 0, 1, spandrel, (0.35, 0.4, 0.42) if rng.random() < 0.5 else (0.6, 0.58, 0.52), 0.45, 0, 0.45)


def _surround(
    tile: Tile, window: str, x0: float, x1: float, y0: float, y1: float, colour: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """Paint what frames the opening. Returns the mask of an arched opening, else None."""
    if window == "arched":
        ramp = (np.arange(CANVAS_SIZE) + 0.5) / CANVAS_SIZE
        x, y = np.meshgrid(ramp, 1 - ramp)
        radius = (x1 - x0) / 2
        below, distance = y < y1 - radius, np.hypot(x - (x0 + x1) / 2, y - (y1 - radius))
        ring = below | (distance < radius + 0.05)
        tile.rect(x0 - 0.05, y0, x1 + 0.05, y1 + 0.05, colour * 0.95, 0, 0, 0.6, 0.25, ring)
        return below | (distance < radius)
    if window == "strip":
        tile.relief(0, y0 - 0.05, 1, y1 + 0.05, colour * 0.8, 0.56, 0.3)
        return None
    form = int(rng.integers(0, 4))  # 0 bare, 1 flat surround, 2 with a lintel, 3 with a stepped pediment
    if form >= 1:
        tile.relief(x0 - 0.045, y0 - 0.02, x1 + 0.045, y1 + 0.05, colour * 0.95, 0.58, 0.25)
    if form == 2:
        tile.relief(x0 - 0.08, y1 + 0.05, x1 + 0.08, y1 + 0.10, colour, 0.8, 0.2)
    if form == 3:
        for step in range(6):
            inset, bottom = 0.08 - step * 0.025, y1 + 0.05 + step * 0.012
            tile.relief(x0 - inset, bottom, x1 + inset, bottom + 0.012, colour, 0.8, 0.2)
    return None


def _shutters(tile: Tile, x0: float, x1: float, y0: float, y1: float, rng: np.random.Generator) -> None:
    colour = _hsv(rng.choice(SHUTTER_HUES), rng.uniform(0.2, 0.6), rng.uniform(0.25, 0.7))
    leaf = (x1 - x0) * 0.5
    for left, right in ((x0 - leaf - 0.01, x0 - 0.01), (x1 + 0.01, x1 + leaf + 0.01)):
        left, right = max(0, left), min(1, right)
        tile.relief(left, y0, right, y1, colour, 0.62, 0.0)
        for slat in np.arange(y0 + 0.03, y1 - 0.02, 0.03):
            tile.relief(left + 0.015, slat, right - 0.015, slat + 0.012, colour * 0.72, 0.58, 0.0)


def shop(seed: int) -> Layer:
    """A shop front: display windows around a door, and a fascia that a sign is mounted on."""
    rng = np.random.default_rng(seed)
    tile = wall(str(rng.choice(SHOP_WALLS)), seed)
    painted = rng.random() < 0.7
    colour = _hsv(rng.random(), rng.uniform(0.1, 0.75), rng.uniform(0.12, 0.6)) if painted else _frame_colour(rng)
    base, top = rng.uniform(0.05, 0.22), 0.74
    door_x, door_width = float(rng.choice([0.06, 0.38, 0.70])), 0.24
    tile.relief(0.03, 0, 0.97, 0.98, colour, 0.6, 0.0)
    for left, right in ((0.06, door_x - 0.02), (door_x + door_width + 0.02, 0.94)):
        if right - left >= 0.08:
            _display_window(tile, left, base, right, top, colour * 0.8, seed + 1, rng)
    tile.relief(door_x, 0, door_x + door_width, top, colour * 0.7, 0.3, 0.0)
    pane(tile, door_x + 0.02, 0.03, door_x + door_width - 0.02, top - 0.02, colour * 0.9, 1, 2, seed + 2, 0.3)
    handle = tile.window(door_x + 0.1, 0.3, door_x + 0.12, 0.42)
    tile.albedo[handle][..., :3] = 0.7
    tile.relief(0.03, top + 0.02, 0.97, 0.97, colour * 1.15, 0.68, 0.0)  # fascia
    if rng.random() < 0.3:  # a roller shutter over the left window
        for slat in np.arange(base, top, 0.025):
            tile.relief(0.06, slat, max(0.07, door_x - 0.02), slat + 0.018, (0.55, 0.56, 0.57), 0.55, 0.0)
    return tile.finish()


def _display_window(
    tile: Tile, x0: float, y0: float, x1: float, y1: float, frame: np.ndarray, seed: int, rng: np.random.Generator
) -> None:
    """A shop window: a warm interior, brighter at the top, with goods on its floor."""
    pane(tile, x0, y0, x1, y1, frame, max(1, int((x1 - x0) / 0.3)), 1, seed, 0.18)
    area = tile.window(x0, y0, x1, y1)
    glass, colour = tile.glass[area] > 0.5, tile.albedo[area][..., :3]
    colour[glass] = (0.2, 0.19, 0.17)
    colour *= np.where(glass, np.linspace(1.2, 0.6, len(glass))[:, None], 1)[..., None]
    x, shelf, limit = x0 + 0.04, y0 + 0.02, x1 - 0.04
    while x < limit - 0.02:
        width, height = rng.uniform(0.03, 0.09), rng.uniform(0.1, 0.65) * (y1 - y0 - 0.07)
        goods = _hsv(rng.random(), rng.uniform(0.1, 0.75), rng.uniform(0.2, 0.75))
        if rng.random() < 0.8:
            tile.rect(x, shelf, min(x + width, limit), shelf + height, goods, 0.45, 0.85)
        x += width + rng.uniform(0.005, 0.05)


def door(material: str, seed: int) -> Layer:
    """A panelled house door with a fanlight, in a wall of the given material."""
    rng, tile = np.random.default_rng(seed), wall(material, seed)
    colour = _hsv(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.15, 0.6))
    surround = WARM_STONE * rng.uniform(0.7, 1)
    width, top = rng.uniform(0.36, 0.5), rng.uniform(0.66, 0.74)
    x0, x1 = 0.5 - width / 2, 0.5 + width / 2
    tile.relief(x0 - 0.06, 0, x1 + 0.06, top + 0.13, surround, 0.64, 0.2)
    tile.relief(x0 - 0.1, top + 0.13, x1 + 0.1, top + 0.18, surround, 0.85, 0.2)
    tile.relief(x0, 0, x1, top, colour, 0.28, 0.0)
    pane(tile, x0, top + 0.01, x1, top + 0.11, np.array(FRAME_COLOURS[0]), 3, 1, seed, 0.2)
    for i in range(2):
        for j in range(3):
            left, bottom = x0 + 0.03 + i * width / 2, 0.05 + j * 0.22
            glass, light = (0.4, 0.8) if j == 2 else (0, 0)
            tile.rect(left, bottom, left + width / 2 - 0.06, bottom + 0.17, colour * 0.82, glass, light, 0.22)
    tile.rect(0.52, 0.3, 0.55, 0.34, (0.8, 0.7, 0.35), 0.5, 0, 0.4)  # handle
    for left, right in ((0, x0 - 0.08), (x1 + 0.08, 1)):  # plinth
        tile.relief(left, 0, right, 0.12, surround * 0.6, 0.6, 0.2)
    return tile.finish()


def ground_window(material: str, seed: int) -> Layer:
    """A ground-floor window above a plinth, sometimes barred."""
    rng, tile = np.random.default_rng(seed), wall(material, seed)
    frame, surround = _frame_colour(rng), WARM_STONE * rng.uniform(0.7, 1)
    width = rng.uniform(0.4, 0.55)
    x0, x1 = 0.5 - width / 2, 0.5 + width / 2
    tile.relief(0, 0, 1, 0.2, surround * 0.62, 0.62, 0.2)
    tile.relief(x0 - 0.05, 0.3, x1 + 0.05, 0.86, surround, 0.6, 0.2)
    pane(tile, x0, 0.33, x1, 0.82, frame, 2, 2, seed, 0.25)
    tile.relief(x0 - 0.08, 0.27, x1 + 0.08, 0.32, surround, 0.85, 0.1)
    if rng.random() < 0.35:
        for bar in np.linspace(x0, x1, 7):
            tile.relief(bar, 0.33, bar + 0.012, 0.82, (0.08, 0.08, 0.08), 0.6, 0.0)
    return tile.finish()


def garage(seed: int) -> Layer:
    """A garage door of horizontal slats."""
    rng, tile = np.random.default_rng(seed), wall("panel", seed)
    colour = _hsv(rng.random(), 0.25, rng.uniform(0.3, 0.7))
    tile.relief(0.1, 0, 0.9, 0.8, colour, 0.35, 0.0)
    for slat in np.arange(0, 0.78, 0.08):
        tile.relief(0.1, slat, 0.9, slat + 0.012, colour * 0.6, 0.3, 0.0)
    return tile.finish()
