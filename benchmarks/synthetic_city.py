"""Synthetic descriptors for measurements at sizes for which nobody has photos: streets, places, photos.

They imitate what the bundled city's descriptors by SciceVPR-T look like (840 photos; assets/descriptors): a mean of
length 0.28, variance that falls as 1 / (i + 1.7) over the principal directions, a cosine of about 0.58 between photos
of one place and 0.36 between places of one street, 0.08 +- 0.12 between any two. Neighbours in a street are the hard
negatives. What they cannot imitate is everything that real photos have in common beyond that; recall measured on them
means nothing, agreement of two searches and their cost do.

The principal directions are an orthonormal cosine transform with fixed random signs, so that a chunk costs a transform
and not a matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MEAN = 0.28  # length of the mean descriptor
SHARES = (0.30, 0.25, 0.45)  # of the variance: street, place, photo
HEAD = 1.7
SIGNAL = 2048  # directions with a falling variance; the others share NOISE
NOISE = 0.03
PLACES, PHOTOS = 10, 4  # of a street, of a place
STREETS = 50  # of a chunk
CHUNK = STREETS * PLACES * PHOTOS
BANK_ROWS = 64


@dataclass(frozen=True)
class City:
    """A synthetic database of ``count`` descriptors with ``dimension`` dimensions; the same for the same seed."""

    count: int
    dimension: int = 10_752
    seed: int = 0

    def chunks(self, first: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, unit descriptors [R, D] float32) from the chunk in which row ``first`` lies."""
        for chunk in range(first // CHUNK, math.ceil(self.count / CHUNK)):
            yield chunk * CHUNK, self.chunk(chunk)

    def chunk(self, number: int) -> np.ndarray:
        """Rows number * CHUNK and following, [R, D] float32; the last chunk may be shorter."""
        rows = min(CHUNK, self.count - number * CHUNK)
        places = self._places(number)
        rng = np.random.default_rng([self.seed, 2, number])
        values = np.repeat(places, PHOTOS, axis=0)[:rows]
        return self._finished(values, rng)

    def queries(self, count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """New photos [Q, D] float32 of ``count`` places of the city, and the first database row of each place."""
        rng = np.random.default_rng([self.seed, 3, seed])
        first = np.sort(rng.choice(max(1, self.count // PHOTOS), count, replace=count > self.count // PHOTOS)) * PHOTOS
        values = np.empty((count, self._signal), np.float32)
        for number in np.unique(first // CHUNK):
            here = first // CHUNK == number
            values[here] = self._places(int(number))[first[here] % CHUNK // PHOTOS]
        return self._finished(values, rng), first

    @property
    def label(self) -> str:
        """What the data are, for a protocol."""
        return (
            f"synthetic: streets of {PLACES} places with {PHOTOS} photos each, {self.dimension} dimensions, variance "
            f"1 / (i + {HEAD}) over {self._signal} directions and {NOISE:.0%} of noise in the others, seed {self.seed}"
        )

    @property
    def _signal(self) -> int:
        return min(SIGNAL, self.dimension)

    def _spectrum(self) -> np.ndarray:
        """Standard deviation [S] of each principal direction; the variances sum to 1."""
        variance = 1 / (np.arange(self._signal) + 1 + HEAD)
        return np.sqrt(variance / variance.sum()).astype(np.float32)

    def _places(self, chunk: int) -> np.ndarray:
        """Street and place parts [STREETS * PLACES, S] of a chunk's places."""
        rng = np.random.default_rng([self.seed, 1, chunk])
        streets = rng.standard_normal((STREETS, 1, self._signal), dtype=np.float32)
        places = rng.standard_normal((STREETS, PLACES, self._signal), dtype=np.float32)
        values = math.sqrt(SHARES[0]) * streets + math.sqrt(SHARES[1]) * places
        return values.reshape(-1, self._signal)

    def _finished(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add the photos' own part to the places' [R, S]; turn, add the mean, normalise: [R, D]."""
        from scipy.fft import idct

        city = np.random.default_rng([self.seed, 0])
        mean = city.standard_normal(self.dimension, dtype=np.float32)
        mean *= MEAN / np.linalg.norm(mean)
        signs = city.choice(np.array([-1, 1], np.float32), self.dimension)
        tail = self.dimension - self._signal
        share = 1 - MEAN**2
        noise = NOISE if tail else 0.0
        result = np.empty((len(values), self.dimension), np.float32)
        starts = rng.integers(0, (BANK_ROWS - 1) * tail + 1, max(CHUNK, len(result)))  # the same in a shorter chunk
        photo = rng.standard_normal(values.shape, dtype=np.float32)
        photo *= math.sqrt(SHARES[2])
        photo += values
        np.multiply(photo, self._spectrum() * math.sqrt(share * (1 - noise)), out=result[:, : self._signal])
        if tail:  # drawing all of it anew would take longer than everything else: pieces of a bank of noise
            bank = city.standard_normal(BANK_ROWS * tail, dtype=np.float32) * math.sqrt(share * noise / tail)
            for row, start in enumerate(starts[: len(result)].tolist()):
                result[row, self._signal :] = bank[start : start + tail]
        result = idct(result, axis=1, norm="ortho", overwrite_x=True, workers=-1)
        result *= signs
        result += mean
        result /= np.sqrt(np.einsum("rd,rd->r", result, result))[:, None]
        return result
