"""Photos on disk as Place records: file names, folder layouts, positives, and packs of descriptors."""

from __future__ import annotations

from scicevpr.places.layouts import Dataset, bundled_city, list_photos, read_dataset, read_folders
from scicevpr.places.names import Place, format_name, parse_name
from scicevpr.places.packs import find_descriptors, load_descriptors, save_descriptors
from scicevpr.places.positives import distances, positives, utm_array
from scicevpr.places.truth import Truth

__all__ = [
    "Dataset",
    "Place",
    "Truth",
    "bundled_city",
    "distances",
    "find_descriptors",
    "format_name",
    "list_photos",
    "load_descriptors",
    "parse_name",
    "positives",
    "read_dataset",
    "read_folders",
    "save_descriptors",
    "utm_array",
]
