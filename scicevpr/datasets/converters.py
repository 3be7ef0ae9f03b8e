"""From what people download to a folder that `read_dataset` reads: one converter a form, in the field's own names.

A converter finds what it needs anywhere below a folder of unpacked files and puts photos into another folder, named as
the VPR-datasets-downloader names them, so that the same photos come in the same order (which decides the batches of
cross-image models) and the published tables hold.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from scicevpr.datasets.photos import EXTENSIONS, format_name, list_photos
from scicevpr.datasets.readers.gt_npz import DRIVES, TRUTH_FILE, write_frames_truth
from scicevpr.datasets.readers.npy_lists import TRUTH_FILE as BENCH_TRUTH
from scicevpr.datasets.zones import from_latitude_longitude, latitude_letter, to_latitude_longitude, utm_zone
from scicevpr.errors import DatasetError

PAIR_DISTANCE = 1000  # metres of stand-in coordinates between pairs of AmsterTime and SPED
FRAME_DISTANCE = 25 / 10.5  # metres of stand-in coordinates between frames of Nordland: ±10 frames are within 25 m
TOKYO_QUERY_SIDE = 480  # pixels of the shorter side of a Tokyo 24/7 query, as the field resizes it
TOKYO, PITTSBURGH = (54, "S"), (17, "T")


@dataclass
class Placer:
    """Puts files into the new folder: moved where the unpacked ones are ours, else linked, or copied to another disk.
    progress: called with the number of files placed."""

    own: bool
    progress: Callable[[int], None] | None = None
    placed: int = 0

    def place(self, source: Path, target: Path) -> None:
        """The file under its new name."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.own:
            os.replace(source, target)
        else:
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)
        self._count()

    def as_jpeg(self, source: Path, target: Path, shorter: int | None = None) -> None:
        """The photo as a JPEG with Pillow's default quality, as the field's downloader writes it. shorter: pixels that
        its shorter side gets."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with Image.open(source) as opened:
                photo = opened.convert("RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
            raise DatasetError(f"{source} cannot be read as a photo ({error}). Get the archive again.") from error
        if shorter is not None:
            factor = shorter / min(photo.size)
            longer = int(max(photo.size) * factor)
            size = (shorter, longer) if photo.width <= photo.height else (longer, shorter)
            photo = photo.resize(size, Image.Resampling.BILINEAR)
        photo.save(target)
        self._count()

    def _count(self) -> None:
        self.placed += 1
        if self.progress is not None:
            self.progress(self.placed)


Converter = Callable[[Path, Path, Placer, str], None]
"""(folder of unpacked files, folder to fill, how files get there, key of the source)."""


def find_folder(root: Path, *children: str) -> Path:
    """The folder nearest to root that holds all these children. DatasetError when there is none."""
    level = [root]
    while level:
        for folder in level:
            if all((folder / child).exists() for child in children):
                return folder
        level = [inner for folder in level for inner in sorted(folder.iterdir()) if inner.is_dir()]
    raise DatasetError(
        f"Below {root} there is no folder that holds {' and '.join(children)}. Is everything there that belongs to "
        "the set?"
    )


def _two_drives(root: Path, out: Path, placer: Placer, key: str) -> None:
    """TU Chemnitz's sets: two drives and GT.npz. The photos keep their names."""
    database, queries = DRIVES[key]
    base = find_folder(root, database, queries)
    others = {f"queries_{name}": name for name in ("day_left",) if (base / name).is_dir()}
    counts = []
    for folder, drive in {"database": database, "queries": queries, **others}.items():
        photos = list_photos(base / drive)
        counts.append(len(photos))
        for photo in photos:
            placer.place(photo, out / "images" / "test" / folder / photo.name)
    if (base / TRUTH_FILE).is_file():
        placer.place(base / TRUTH_FILE, out / TRUTH_FILE)
    elif key == "gardens-point" and counts[0] == counts[1]:
        write_frames_truth(out / TRUTH_FILE, counts[0])
    else:
        raise DatasetError(f"{base} has no {TRUTH_FILE}, which says what is right. Get the archive again.")


def _pairs(root: Path, out: Path, placer: Placer, database: str, queries: str) -> None:
    base = find_folder(root, database, queries)
    sides = {"database": list_photos(base / database), "queries": list_photos(base / queries)}
    first, second = ([photo.stem for photo in photos] for photos in sides.values())
    if first != second or not all(name.isdigit() for name in first):
        raise DatasetError(
            f"{base / database} and {base / queries} should hold pairs of photos with the same number, but they have "
            f"{len(first)} and {len(second)} photos, and {len(set(first) ^ set(second))} numbers stand on one side "
            "only."
        )
    for side, photos in sides.items():
        for photo in photos:
            target = (
                out / "images" / "test" / side / f"@0@{int(photo.stem) * PAIR_DISTANCE}@@@@@{photo.stem}@@@@@@@@.jpg"
            )
            if photo.suffix.lower() in (".jpg", ".jpeg"):
                placer.place(photo, target)
            else:
                placer.as_jpeg(photo, target)


def _amstertime(root: Path, out: Path, placer: Placer, key: str) -> None:
    """new/NUMBER.png of today and old/NUMBER.jpg from archives."""
    _pairs(root, out, placer, "new", "old")


def _sped(root: Path, out: Path, placer: Placer, key: str) -> None:
    """ref/NUMBER.jpg and query/NUMBER.jpg."""
    _pairs(root, out, placer, "ref", "query")


def _tokyo(root: Path, out: Path, placer: Placer, key: str) -> None:
    """247query_subset_v2/NUMBER.jpg with NUMBER.csv (name, latitude, longitude, ...); for the whole set the database
    panoramas of tokyo247.mat as well."""
    tables = sorted(path for path in root.rglob("*.csv") if path.with_suffix(".jpg").is_file())
    if not tables:
        raise DatasetError(f"Below {root} there are no queries of Tokyo 24/7 (photos with a .csv of the same name).")
    for table in tables:
        cells = table.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0].split(",")
        try:
            latitude, longitude = float(cells[1]), float(cells[2])
        except (IndexError, ValueError) as error:
            raise DatasetError(
                f"{table} should say name,latitude,longitude; it says {','.join(cells)[:80]!r}."
            ) from error
        name = _degrees_name(latitude, longitude, pano_id=table.stem)
        placer.as_jpeg(table.with_suffix(".jpg"), out / "images" / "test" / "queries" / name, TOKYO_QUERY_SIDE)
    if key == "tokyo247":
        content = _structure(root, "tokyo247.mat")
        for text, utm in zip(content["database"], content["database utm"], strict=True):
            photo = _below(root, re.sub(r"\.jpg$", ".png", text))
            tile = re.search(r"_012_(\d+)\.png$", photo.name)
            name = _metres_name(utm, TOKYO, pano_id=photo.name[:22], tile=int(tile[1]) // 30 if tile else None)
            placer.as_jpeg(photo, out / "images" / "test" / "database" / name)


def _pittsburgh(root: Path, out: Path, placer: Placer, key: str) -> None:
    """The views that KEY_train.mat, KEY_val.mat and KEY_test.mat list; queries lie in queries_real. At least one split
    must be there."""
    splits = [split for split in ("train", "val", "test") if next(root.rglob(f"{key}_{split}.mat"), None)]
    if not splits:
        raise DatasetError(
            f"Below {root} there is no {key}_test.mat, which lists the photos. Unpack the archive with it there."
        )
    for split in splits:
        content = _structure(root, f"{key}_{split}.mat")
        for side, folder in (("database", ""), ("queries", "queries_real/")):
            for text, utm in zip(content[side], content[f"{side} utm"], strict=True):
                photo = _below(root, folder + text)
                view = re.fullmatch(r"([^_]+)_(pitch(\d+)_yaw(\d+))\.\w+", photo.name)
                if view is None:
                    raise DatasetError(f"{photo.name} is not named like a view of Pittsburgh (000829_pitch1_yaw1.jpg).")
                tile = (int(view[3]) - 1) * 24 + int(view[4]) - 1
                name = _metres_name(utm, PITTSBURGH, pano_id=view[1], tile=tile, note=view[2])
                # the same photo may be in several splits: it is linked, and moved nowhere
                Placer(own=False).place(photo, out / "images" / split / side / name)
                placer.placed += 1
                if placer.progress is not None:
                    placer.progress(placer.placed)


def _nordland(root: Path, out: Path, placer: Placer, key: str) -> None:
    """summer/ and winter/ with the frames that nordland_imageNames.txt keeps (no tunnels, no stops)."""
    base = find_folder(root, "summer", "winter")
    lists = sorted({*root.rglob("nordland_imageNames.txt"), *root.rglob("cleanImageNames.txt")})
    if not lists:
        raise DatasetError(f"Below {root} there is no nordland_imageNames.txt, which says which frames count.")
    wanted = {line.strip() for line in lists[0].read_text(encoding="utf-8").splitlines() if line.strip()}
    for side, season in (("database", "summer"), ("queries", "winter")):
        frames = [photo for photo in list_photos(base / season) if photo.name in wanted]
        if len(frames) != len(wanted):
            raise DatasetError(f"{base / season} holds {len(frames)} of the {len(wanted)} frames of {lists[0].name}.")
        for number, photo in enumerate(frames):
            name = f"@0@{number * FRAME_DISTANCE:07.1f}@@@@@{number}@@@@@@@@.jpg"
            placer.as_jpeg(photo, out / "images" / "test" / side / name)


def _photo_lists(root: Path, out: Path, placer: Placer, key: str) -> None:
    """OpenVPRLab's validation sets: photos, and .npy lists of them and of their positives. Read as layout npy, for
    which the lists of MSLS get the names that those of the others have."""
    names = {"ref_image_names": "dbImages", "query_image_names": "qImages", "ground_truth_25m": "gt_25m"}
    lists = sorted(path for path in root.rglob("*.npy") if path.stem.endswith((*names, *names.values())))
    if len(lists) < 3:
        raise DatasetError(f"Below {root} there are no three .npy lists: database photos, queries, right answers.")
    base = lists[0].parent
    for path in lists:
        new = path.stem
        for old, ours in names.items():
            new = new.replace(old, ours)
        placer.place(path, out / f"{new}.npy")
    _tree(base, out, placer)


def _tree(base: Path, out: Path, placer: Placer) -> None:
    """All photos and tables below a folder, as they lie."""
    kept = (*EXTENSIONS, ".csv", ".npy", ".txt")
    for path in sorted(base.rglob("*")):
        if path.is_file() and path.suffix.lower() in kept and not path.name.startswith("."):
            placer.place(path, out / path.relative_to(base))


def _as_it_lies(*children: str) -> Converter:
    """A converter for a set whose own layout is read: the folder that holds these children."""

    def convert(root: Path, out: Path, placer: Placer, key: str) -> None:
        _tree(find_folder(root, *children), out, placer)

    return convert


def _utm_tree(root: Path, out: Path, placer: Placer, key: str) -> None:
    """images/test/gallery (or database) and queries, as SVOX has them."""
    base = next((path.parent.parent for path in sorted(root.rglob("test")) if path.parent.name == "images"), None)
    if base is None:
        raise DatasetError(f"Below {root} there is no folder images/test.")
    _tree(base, out, placer)


def _sf_xl(root: Path, out: Path, placer: Placer, key: str) -> None:
    """processed/{val,test} or raw/train, as CosPlace reads them."""
    found = next((name for name in ("processed", "raw") if next(root.rglob(name), None)), None)
    _tree(find_folder(root, found or "processed"), out, placer)


def _vpr_bench(root: Path, out: Path, placer: Placer, key: str) -> None:
    """query/, ref/ and ground_truth_new.npy below a folder of the set's name."""
    folders = [
        path for path in sorted(root.rglob(key)) if all((path / c).exists() for c in ("query", "ref", BENCH_TRUTH))
    ]
    base = folders[0] if folders else find_folder(root, "query", "ref", BENCH_TRUTH)
    _tree(base, out, placer)


CONVERTERS: dict[str, Converter] = {
    "two-drives": _two_drives,
    "amstertime": _amstertime,
    "sped": _sped,
    "tokyo247": _tokyo,
    "pittsburgh": _pittsburgh,
    "nordland": _nordland,
    "photo-lists": _photo_lists,
    "gsv-cities": _as_it_lies("Dataframes", "Images"),
    "msls": _as_it_lies("train_val"),
    "utm-tree": _utm_tree,
    "sf-xl": _sf_xl,
    "vpr-bench": _vpr_bench,
}


# ---- names and tables ------------------------------------------------------------------------------------------------


def _degrees_name(latitude: float, longitude: float, **pieces: Any) -> str:
    """A file name for a point in degrees."""
    zone = utm_zone(latitude, longitude)
    east, north = from_latitude_longitude(latitude, longitude, zone)
    return format_name(
        east=east,
        north=north,
        zone_number=zone,
        zone_letter=latitude_letter(latitude),
        latitude=latitude,
        longitude=longitude,
        **pieces,
    )


def _metres_name(utm: Sequence[float], zone: tuple[int, str], **pieces: Any) -> str:
    """A file name for a point in metres of a zone."""
    east, north = float(utm[0]), float(utm[1])
    latitude, longitude = to_latitude_longitude(east, north, zone[0])
    return format_name(
        east=east,
        north=north,
        zone_number=zone[0],
        zone_letter=zone[1],
        latitude=latitude,
        longitude=longitude,
        **pieces,
    )


def _structure(root: Path, name: str) -> dict[str, list]:
    """Photo names and UTM positions of one of NetVLAD's .mat files. DatasetError when it is missing or different."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    path = next(iter(sorted(root.rglob(name))), None)
    if path is None:
        raise DatasetError(
            f"Below {root} there is no {name}, which lists the photos. Unpack the archive with it there."
        )
    try:
        _, database, database_utm, queries, query_utm, *_ = loadmat(path)["dbStruct"].item()
        return {
            "database": [str(cell.item()) for cell in database.reshape(-1)],
            "database utm": list(database_utm.T),
            "queries": [str(cell.item()) for cell in queries.reshape(-1)],
            "queries utm": list(query_utm.T),
        }
    except (MatReadError, KeyError, ValueError, AttributeError, TypeError, NotImplementedError) as error:
        raise DatasetError(f"{path} cannot be read as a dbStruct of NetVLAD's ({error}). Get it again.") from error


def _below(root: Path, name: str) -> Path:
    """A photo that a table names, wherever its folder was unpacked below root."""
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise DatasetError(f"A table names the photo {name!r}, which leads out of the data set's folder.")
    for base in (root, *(path for path in sorted(root.iterdir()) if path.is_dir())):
        if (base / name).is_file():
            return base / name
    raise DatasetError(f"{name} is listed but not below {root}. Unpack the archive that holds it there.")
