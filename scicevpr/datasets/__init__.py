"""Photos on disk as Photo records: file names, folder layouts, positives, and files of descriptors."""

from __future__ import annotations

from scicevpr.datasets.dataset import Dataset
from scicevpr.datasets.ground_truth_files import GroundTruth
from scicevpr.datasets.layouts import bundled_city, read_dataset, read_folders
from scicevpr.datasets.names import Photo, format_name, parse_name
from scicevpr.datasets.photos import list_photos
from scicevpr.datasets.positives import distances, positives, utm_array

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
