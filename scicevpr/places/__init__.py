"""Photos on disk as Place records: file names, folder layouts, positives, and files of descriptors."""

from __future__ import annotations

from scicevpr.places.dataset import Dataset
from scicevpr.places.descriptor_files import find_descriptors, load_descriptors, save_descriptors
from scicevpr.places.layouts import bundled_city, read_dataset, read_folders
from scicevpr.places.names import Place, format_name, parse_name
from scicevpr.places.photos import list_photos
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
