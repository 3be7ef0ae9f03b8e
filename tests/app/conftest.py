"""Fixtures of the app tests: the tiny city, written once, and services over it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import standin


@pytest.fixture(scope="session")
def city_folder(tmp_path_factory):
    return standin.write_city(tmp_path_factory.mktemp("tiny") / "city")


@pytest.fixture(scope="session")
def services(city_folder):
    return standin.city_services(city_folder)
