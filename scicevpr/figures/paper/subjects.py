"""The photo that a figure is about, models with their databases, and the sentences of a figure's protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from scicevpr.config import Preprocessing
from scicevpr.datasets import Dataset, Photo, parse_name, positives, utm_array
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.errors import SciceVPRError
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.photos import open_photo
from scicevpr.retrieval.exact import ExactIndex


@dataclass(frozen=True)
class Subject:
    """The photo that a figure is about. row: in the data set's query list, or None. utm: metres, or None."""

    image: Image.Image
    name: str
    row: int | None
    utm: tuple[float, float] | None


@dataclass(frozen=True)
class Described:
    """A model with the database as it describes it."""

    title: str
    model: Any
    descriptors: Descriptors
    index: ExactIndex
    preprocessing: Preprocessing | None = None

    def query(self, photo: Any) -> np.ndarray:
        """The descriptor [D] of one photo, described alone."""
        alone = Grouping.alone()
        return describe(self.model, [photo], grouping=alone, preprocessing=self.preprocessing).values[0]

    def first_match(self, photo: Any) -> int:
        """The database row that is most similar to a photo."""
        return int(self.index.search(self.query(photo)[None], 1).indices[0, 0])


def subject_of(dataset: Dataset, photo: Any, name: str) -> Subject:
    """A photo and what the data set knows about it. Raises ImageError for one that cannot be read."""
    row = next((row for row, query in enumerate(dataset.queries) if name and query.name == name), None)
    known = dataset.queries[row] if row is not None else parse_name(name or "photo")
    return Subject(open_photo(photo), known.name, row, known.utm if dataset.use_labels else None)


def right_rows(dataset: Dataset, subject: Subject) -> np.ndarray | None:
    """Database rows that are right answers, by the data set's rule; None where nobody knows."""
    if not dataset.labelled:
        return None
    if subject.row is not None:
        return dataset.positives()[subject.row]
    rule = dataset.truth
    if subject.utm is None or rule.listed is not None or rule.max_heading_difference is not None:
        return None
    return positives(utm_array(dataset.database), np.array([subject.utm]), rule.radius)[0]


def data_sentence(dataset: Dataset) -> str:
    """The data set as a sentence."""
    rule = f"right within {dataset.truth.label()}" if dataset.labelled else "no ground truth"
    if dataset.truth.listed is not None and dataset.labelled:
        rule = f"right: {dataset.truth.label()}"
    return f"{dataset.name} ({dataset.split}): {len(dataset.database)} database photos; {rule}."


def model_sentences(models: Sequence[tuple[str, Any, str]], preprocessing: Preprocessing | None = None) -> str:
    """Each model, its weights and its input as a sentence: (title, model, what else there is to say)."""
    sentences = []
    for title, model, more in models:
        weights = getattr(model, "weights", None)
        known = f"weights {weights.sha256}" if weights is not None else "random weights"
        trained = "" if weights is not None and weights.trained else ", NOT trained"
        label = (preprocessing or model.variant.preprocessing).label()
        sentences.append(f"{title}: {known}{trained}, {label}{'; ' + more if more else ''}.")
    return " ".join(sentences)


def grouped(model: Any, grouping: str) -> str:
    """A grouping as words; for a model that does not feel it, just that."""
    return grouping if model.variant.cross_image else "independent of the batch"


def short_name(name: str) -> str:
    """A photo's name for a caption: pano and condition of the field's long file names, else the name as it is."""
    photo, fields = parse_name(name), name.split("@")
    if len(fields) < 9 or not fields[7]:
        return name
    return " ".join(filter(None, (fields[7], photo.condition)))


def photo_of(photo: Photo) -> Image.Image | None:
    """The picture of a photo; None where it is not here."""
    try:
        return open_photo(photo.path)
    except SciceVPRError:  # a pack without photos
        return None
