"""A pack says which photos it means; which files of the user's folder are taken for them is decided here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scicevpr.datasets import Photo
from scicevpr.errors import DatasetError
from scicevpr.packs import tables as pack_photos
from scicevpr.packs.tables import PhotoFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    (own / "images" / "test").mkdir(parents=True)
    photo = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    photo.save(own / "images" / "test" / "a.jpg")
    photo.save(tmp_path / "secret.jpg")
    (own / "notes.txt").write_text("not a photo")
    return own


def place(name: str) -> Photo:
    return Photo(Path(name), Path(name).name)


def test_the_split_of_a_pack_is_one_folder_name(folder: Path) -> None:
    found, notes = PhotoFolder(folder, "test").find([place("a.jpg")], [Path("other")])
    assert (found, notes) == ([folder / "images" / "test" / "a.jpg"], ())
    for split in ("/", "..", "../..", "a/b", "a\\b", "C:"):
        with pytest.raises(DatasetError, match="no name of a folder"):
            PhotoFolder(folder, split)


def test_only_photos_inside_the_folder_are_taken(folder: Path) -> None:
    for name in ("notes.txt", "../secret.jpg", "../../secret.jpg", str(folder.parent / "secret.jpg"), "/etc/hostname"):
        with pytest.raises(DatasetError, match="holds none"):
            PhotoFolder(folder, "test").find([place(name)], [Path("other")])
    (folder / "link.jpg").symlink_to(folder.parent / "secret.jpg")  # as the Hub's cache and many data sets are laid out
    assert PhotoFolder(folder, "test").find([place("link.jpg")], [Path("other")])[0] == [folder / "link.jpg"]


def test_links_in_a_circle_end_and_so_does_a_folder_without_end(folder: Path, monkeypatch) -> None:
    (folder / "again").symlink_to(folder, target_is_directory=True)
    found, _ = PhotoFolder(folder).find([place("elsewhere/a.jpg")], [Path("other")])
    assert found == [folder / "images" / "test" / "a.jpg"]
    monkeypatch.setattr(pack_photos, "MOST_FILES", 3)
    with pytest.raises(DatasetError, match="more than 3 files"):
        PhotoFolder(folder).find([place("elsewhere/b.jpg")], [Path("other")])
