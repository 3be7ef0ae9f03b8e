"""The camera: projection, the sun's direction, and what a real camera adds (exposure, white balance, noise, JPEG)."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

NEAR_PLANE = 0.15  # metres
FAR_PLANE = 900.0


def perspective(field_of_view: float, aspect: float, near: float = NEAR_PLANE, far: float = FAR_PLANE) -> np.ndarray:
    """OpenGL projection [4,4] for a vertical field of view in degrees and width / height."""
    scale = 1 / np.tan(np.radians(field_of_view) / 2)
    depth = far - near
    return np.array(
        [
            [scale / aspect, 0, 0, 0],
            [0, scale, 0, 0],
            [0, 0, -(far + near) / depth, -2 * far * near / depth],
            [0, 0, -1, 0],
        ]
    )


def look_at(eye: np.ndarray, forward: np.ndarray, up: tuple[float, float, float] = (0, 0, 1)) -> np.ndarray:
    """View matrix [4,4]: world -> camera, which looks along its own -z."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[0, :3], matrix[1, :3], matrix[2, :3] = right, np.cross(right, forward), -forward
    matrix[:3, 3] = -matrix[:3, :3] @ np.asarray(eye, float)
    return matrix


def direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector [3] (east, north, up) from degrees clockwise from north and degrees above the horizon."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.cos(e) * np.sin(a), np.cos(e) * np.cos(a), np.sin(e)])


@dataclass(frozen=True)
class Development:
    """What differs from photo to photo with the same camera in the same place."""

    exposure: float  # factor
    white_balance: tuple[float, float, float]
    vignette: float
    blur: float  # pixels, added to the reconstruction filter
    weather_seed: float  # where in the rain and snow picture
    noise_seed: int
    quality: int  # JPEG
    noise: float = 1.0  # times the condition's
    detail: float = 1.0  # share of the photo's resolution that is left
    smear: int = 0  # pixels of motion blur along a row

    @classmethod
    def draw(cls, seed: int, camera: str = "good") -> Development:
        """A good camera: exposure +-13 %, white balance +-3.5 %, JPEG quality 72 to 92.

        A poor one: exposure +-40 %, white balance +-10 %, noise three to six times, soft or smeared, a quarter to two
        thirds of the resolution, JPEG quality 18 to 45.
        """
        random, poor = np.random.default_rng([seed, 77]), camera == "poor"
        vignette, blur = ((0.5, 1.2), (0.5, 2.5)) if poor else ((0.25, 0.6), (0.0, 0.5))
        drawn = cls(
            exposure=float(np.exp(random.normal(0, 0.4 if poor else 0.13))),
            white_balance=tuple(float(w) for w in np.exp(random.normal(0, 0.1 if poor else 0.035, 3))),
            vignette=float(random.uniform(*vignette)),
            blur=float(random.uniform(*blur)),
            weather_seed=float(random.random() * 10),
            noise_seed=int(random.integers(1 << 31)),
            quality=int(random.integers(*((18, 46) if poor else (72, 93)))),
        )
        if not poor:
            return drawn
        return replace(
            drawn,
            noise=float(random.uniform(3, 6)),
            detail=float(random.uniform(0.25, 0.66)),
            smear=int(random.integers(0, 8)),
        )


def add_noise(photo: np.ndarray, amount: float, seed: int) -> np.ndarray:
    """Noise that grows with the signal: uint8 [H,W,3] -> uint8 [H,W,3]; `amount` is a share of full scale."""
    values = photo.astype(np.float32)
    noise = np.random.default_rng(seed).standard_normal(values.shape, dtype=np.float32)
    values += noise * (255 * amount) * (0.4 + 0.6 * np.sqrt(np.maximum(values, 1) / 255))
    return np.clip(values, 0, 255).astype(np.uint8)


def degrade(photo: np.ndarray, development: Development) -> np.ndarray:
    """Motion blur and lost resolution of a poor camera: uint8 [H,W,3] -> uint8 [H,W,3]; a good one changes nothing."""
    if development.smear > 1:
        shifted = [np.roll(photo, shift, axis=1).astype(np.float32) for shift in range(development.smear)]
        photo = np.mean(shifted, axis=0).astype(np.uint8)
    if development.detail < 1:
        height, width = photo.shape[:2]
        small = round(width * development.detail), round(height * development.detail)
        picture = Image.fromarray(photo).resize(small, Image.Resampling.BILINEAR)
        photo = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return photo


def encode_jpeg(photo: np.ndarray, quality: int) -> bytes:
    """uint8 [H,W,3] -> the bytes of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
