"""The canvas every texture layer is painted on, with noise and brick patterns to paint with.

Positions on a tile are in tile units: x from 0 (left) to 1 (right), y from 0 (floor) to 1 (top).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

TILE_SIZE = 256
CANVAS_SIZE = 2 * TILE_SIZE  # tiles are painted at twice their size and then halved
OCCLUSION_BLUR = 10  # radius in canvas pixels of the blurred height that baked occlusion compares with

Colour = tuple[float, float, float] | np.ndarray


@dataclass(frozen=True, eq=False)
class Layer:
    """One finished texture layer, row 0 at the bottom (as OpenGL reads it).

    `albedo` [256, 256, 4] uint8: colour, and in the last channel how much the building's tint applies
    (for leaves and railings: opacity). `material` [256, 256, 4] uint8: glass, emission, and the x and y of the
    surface normal around 127.5. `height` [256, 256] uint8.
    """

    albedo: np.ndarray
    material: np.ndarray
    height: np.ndarray


def tile_seed(seed: int, offset: int) -> int:
    """A seed for one layer: every (seed, offset) pair gives an unrelated number. Negative values raise ValueError."""
    return int(np.random.SeedSequence([seed, offset]).generate_state(1)[0]) >> 1


def fractal_noise(seed: int, roughness: float = 1.8, stretch: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Tileable 1/f noise [512, 512] within -1..1 (a third of one standard deviation per unit before clipping).

    A larger `roughness` exponent gives softer noise. `stretch` scales the x and y frequencies: a value below 1 draws
    the noise out along that axis.
    """
    size = CANVAS_SIZE
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((size, size)))
    frequency_y = np.fft.fftfreq(size)[:, None] * size * stretch[1]
    frequency_x = np.fft.rfftfreq(size)[None] * size * stretch[0]
    frequency = np.hypot(frequency_x, frequency_y)
    spectrum /= np.maximum(frequency, 1) ** (roughness * 0.6)
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (size, size))
    return np.clip(noise / (noise.std() * 3), -1, 1)


def running_bond(
    rows: int, columns: int, seed: int, stagger: bool = True, mortar: float = 0.12, variation: float = 0.14
) -> tuple[np.ndarray, np.ndarray]:
    """Blocks laid in rows, every other row shifted by half a block when `stagger`.

    Returns the brightness of the block at each pixel [512, 512], 1 ± variation, and the mortar mask [512, 512].
    `mortar` is the joint's width as a share of a block's height.
    """
    rng = np.random.default_rng(seed)
    ramp = (np.arange(CANVAS_SIZE) + 0.5) / CANVAS_SIZE
    y, x = ramp * rows, ramp * columns
    row = y.astype(int)
    shifted = x[None] + (0.5 * (row % 2) if stagger else np.zeros(CANVAS_SIZE))[:, None]
    column = shifted.astype(int) % columns
    value = rng.uniform(1 - variation, 1 + variation, (rows, columns))[row[:, None], column]
    in_row, in_column = (y % 1)[:, None], shifted % 1
    joint_x = mortar * columns / rows
    joints = (np.minimum(in_row, 1 - in_row) < mortar / 2) | (np.minimum(in_column, 1 - in_column) < joint_x / 2)
    return value, joints


class Tile:
    """A 512 x 512 canvas with albedo, tint mask, glass, emission and height. `finish` turns it into a Layer."""

    def __init__(self, colour: Colour = (0.8, 0.8, 0.8), tint: float = 1.0) -> None:
        shape = (CANVAS_SIZE, CANVAS_SIZE)
        self.albedo = np.empty((*shape, 4), np.float32)
        self.albedo[..., :3] = colour
        self.albedo[..., 3] = tint
        self.glass = np.zeros(shape, np.float32)
        self.emission = np.zeros(shape, np.float32)
        self.height = np.full(shape, 0.5, np.float32)

    def window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
        """The canvas rows and columns of a rectangle given in tile units (cut off at the tile's edges)."""

        def pixel(value: float) -> int:
            return min(CANVAS_SIZE, max(0, round(value * CANVAS_SIZE)))

        return slice(pixel(1 - y1), pixel(1 - y0)), slice(pixel(x0), pixel(x1))

    def rect(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        colour: Colour | None = None,
        glass: float | None = None,
        emission: float | None = None,
        height: float | None = None,
        tint: float = 0.0,
        mask: np.ndarray | None = None,
    ) -> None:
        """Fill a rectangle (tile units). None leaves a channel as it is; `mask` [512, 512] limits the fill."""
        area = self.window(x0, y0, x1, y1)
        inside = np.ones(self.glass[area].shape, bool) if mask is None else mask[area]
        if colour is not None:
            self.albedo[area][..., :3][inside] = colour
            self.albedo[area][..., 3][inside] = tint
        for channel, value in ((self.glass, glass), (self.emission, emission), (self.height, height)):
            if value is not None:
                channel[area][inside] = value

    def relief(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, height: float, tint: float) -> None:
        """A solid part (no glass, no light) of the given height: surrounds, sills, bands."""
        self.rect(x0, y0, x1, y1, colour, 0.0, 0.0, height, tint)

    def finish(self, occlusion: float = 0.45, normal_strength: float = 5.0, cut_out: bool = False) -> Layer:
        """Bake occlusion (not for cut-outs) and normals from the height, halve the size, and quantise to bytes."""
        if not cut_out:
            self._bake_occlusion(occlusion)
        albedo, height = _halve(self.albedo), _halve(self.height)
        slope_x = (np.roll(height, 1, 1) - np.roll(height, -1, 1)) * normal_strength
        slope_y = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) * normal_strength
        normals = [0.5 + 0.5 * np.clip(slope, -1, 1) for slope in (slope_x, slope_y)]
        material = np.stack([_halve(self.glass), _halve(self.emission), *normals], -1)
        return Layer(_to_bytes(albedo), _to_bytes(material), _to_bytes(height))

    def _bake_occlusion(self, strength: float) -> None:
        """Darken what lies lower than its surroundings: blurred height minus height."""
        picture = Image.fromarray((self.height * 255).astype(np.uint8))
        blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(OCCLUSION_BLUR)), np.float32) / 255
        hidden = np.clip((blurred - self.height) * 2.2, 0, 1)
        self.albedo[..., :3] *= (1 - strength * hidden * 1.6)[..., None].clip(0.25, 1)


def _halve(values: np.ndarray) -> np.ndarray:
    """Mean over 2 x 2 pixels: [512, 512, ...] -> [256, 256, ...]."""
    return values.reshape(TILE_SIZE, 2, TILE_SIZE, 2, *values.shape[2:]).mean((1, 3))


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """0..1 to bytes, flipped so that row 0 is the bottom of the tile."""
    return np.ascontiguousarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)[::-1])
