"""What would it take? Changes of a photo by strength, and the smallest of each kind that changes the answer."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from scicevpr.errors import UsageError
from scicevpr.explanations.occlusion import Describe
from scicevpr.files.photos import PhotoSource, open_photo

TRIED = 8  # strengths tried before the bisection, so that a flip that comes and goes is found as well
TOLERANCE = 1 / 128
FOG = (208, 212, 216)
SEED = 0  # of the noise: the same grain at every strength


def _darkness(image: Image.Image, strength: float) -> Image.Image:
    return image.point(lambda value: value * (1 - strength))


def _fog(image: Image.Image, strength: float) -> Image.Image:
    return Image.blend(image, Image.new("RGB", image.size, FOG), strength)


def _blur(image: Image.Image, strength: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(strength * max(image.size) / 20))


def _noise(image: Image.Image, strength: float) -> Image.Image:
    grain = np.random.default_rng(SEED).normal(size=(image.height, image.width, 3)) * 128
    return Image.fromarray((np.asarray(image) + strength * grain).clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image, strength: float) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=max(1, round(95 - 94 * strength)))
    return Image.open(file).convert("RGB")


def _crop(image: Image.Image, strength: float) -> Image.Image:
    left, top = (round(side * strength * 0.45) for side in image.size)
    return image.crop((left, top, max(left + 1, image.width - left), max(top + 1, image.height - top)))


def _rotation(image: Image.Image, strength: float) -> Image.Image:
    fill = np.asarray(image).reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
    return image.rotate(-90 * strength, Image.Resampling.BILINEAR, fillcolor=tuple(fill))


def _occlusion(image: Image.Image, strength: float) -> Image.Image:
    part = image.copy()
    width, height = (round(side * strength**0.5) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    part.paste((110, 110, 110), (left, top, left + width, top + height))
    return part


@dataclass(frozen=True)
class Change:
    """A kind of change. strongest: what strength 1 is, in words; amount: a strength in the unit that people use."""

    apply: Callable[[Image.Image, float], Image.Image]
    strongest: str
    amount: Callable[[float], str]


CHANGES: dict[str, Change] = {
    "darkness": Change(_darkness, "black", lambda s: f"{s:.0%} darker"),
    "fog": Change(_fog, "nothing but fog", lambda s: f"{s:.0%} fog"),
    "blur": Change(_blur, "a twentieth of the longer side", lambda s: f"blur of {5 * s:.1f} % of the longer side"),
    "noise": Change(_noise, "half the range of values", lambda s: f"noise of {128 * s:.0f} grey levels"),
    "jpeg": Change(_jpeg, "quality 1", lambda s: f"JPEG quality {max(1, round(95 - 94 * s))}"),
    "crop": Change(_crop, "90 % of each side cut off", lambda s: f"{90 * s:.0f} % of each side cut off"),
    "rotation": Change(_rotation, "90 degrees", lambda s: f"turned by {90 * s:.0f} degrees"),
    "occlusion": Change(_occlusion, "all of it covered", lambda s: f"{s:.0%} covered in the middle"),
}


def changed(photo: PhotoSource, strengths: dict[str, float]) -> Image.Image:
    """A photo with several changes, in the order of CHANGES. UsageError for a kind or a strength (0..1) that there is
    not."""
    image = open_photo(photo)
    for kind, strength in strengths.items():
        if kind not in CHANGES:
            raise UsageError(f"There is no change {kind!r}; choose one of {', '.join(CHANGES)}.")
        if not 0 <= strength <= 1:
            raise UsageError(f"The strength of {kind} must lie between 0 and 1, not be {strength}.")
    for kind, change in CHANGES.items():
        if strengths.get(kind, 0) > 0:
            image = change.apply(image, strengths[kind])
    return image


@dataclass(frozen=True)
class Flip:
    """The smallest change found that gives another answer. strength: 0..1, None where none does, however strong.
    amount: in words. answer, other: what is answered before and after. tried: photos that were described."""

    kind: str
    strength: float | None
    amount: str
    answer: Any
    other: Any
    tried: int


def smallest_flip(
    model: Describe, answer: Callable[[np.ndarray], Any], photo: PhotoSource, kind: str, *, tolerance: float = TOLERANCE
) -> Flip:
    """Find the smallest strength of one change that changes the answer, by bisection.

    answer: what is answered to a descriptor [D], such as the place of rank 1; answers are compared with ==. First
    strengths are tried evenly, then the first interval in which the answer changes is halved until it is no longer than
    `tolerance`. A change that flips the answer between two strengths tried and back again goes unseen.
    """
    image = open_photo(photo)
    first = answer(model([image])[0])
    strengths = np.linspace(0, 1, TRIED + 1)[1:]
    answers = [answer(values) for values in model([changed(image, {kind: float(s)}) for s in strengths])]
    tried = 1 + len(answers)
    at = next((number for number, found in enumerate(answers) if found != first), None)
    if at is None:
        return Flip(kind, None, f"none, not even {CHANGES[kind].strongest}", first, first, tried)
    low, high, other = (float(strengths[at - 1]) if at else 0.0), float(strengths[at]), answers[at]
    while high - low > tolerance:
        middle = (low + high) / 2
        found = answer(model([changed(image, {kind: middle})])[0])
        tried += 1
        if found == first:
            low = middle
        else:
            high, other = middle, found
    return Flip(kind, high, CHANGES[kind].amount(high), first, other, tried)


def what_would_it_take(
    model: Describe, answer: Callable[[np.ndarray], Any], photo: PhotoSource, kinds: Sequence[str] = tuple(CHANGES)
) -> list[Flip]:
    """The smallest change of each kind that changes the answer."""
    return [smallest_flip(model, answer, photo, kind) for kind in kinds]
