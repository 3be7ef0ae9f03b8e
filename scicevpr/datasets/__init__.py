"""Data sets: photos on disk as records, the folder layouts they come in, and which of them are positives."""

from __future__ import annotations

from scicevpr.datasets.dataset import Dataset
from scicevpr.datasets.ground_truth import GroundTruth, distances, positives, utm_array
from scicevpr.datasets.photos import Photo, format_name, list_photos, parse_name
from scicevpr.datasets.readers import bundled_city, read_dataset, read_folders

__all__ = [
    "Dataset",
    "GroundTruth",
    "Photo",
    "bundled_city",
    "distances",
    "format_name",
    "list_photos",
    "parse_name",
    "positives",
    "read_dataset",
    "read_folders",
    "utm_array",
]
