"""Where data sets can be had without a login, and what is done with what comes: one entry a set.

Addresses and forms are facts read from public code in November 2026; links move. No authors publish checksums of these
archives, so an archive is checked by its size and by the checksums inside it, and its SHA-256 is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

from scicevpr.errors import UsageError

NOT_STATED = "its authors' terms; read them on the page before you accept"
CHEMNITZ = "https://www.tu-chemnitz.de/etit/proaut/datasets"
VPR_TUTORIAL = "https://github.com/stschubert/VPR_Tutorial"
DOWNLOADER = "https://github.com/gmberton/VPR-datasets-downloader"
OPEN_VPR_LAB = "https://github.com/amaralibey/OpenVPRLab/releases"
NORDLAND = "https://huggingface.co/datasets/Somayeh-h/Nordland"
VPR_BENCH = "https://github.com/MubarizZaffar/VPR-Bench"
NETVLAD = "https://www.di.ens.fr/willow/research/netvlad/"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set. name: what it is called here. sha256: None where nobody publishes one."""

    url: str
    name: str
    sha256: str | None = None


@dataclass(frozen=True)
class DataSource:
    """A data set that can be had. key: what it is called on the command line. folder: what its folder is called, by
    which `catalogue.recognise` knows it. files: none for a set that everybody must get by hand (a login, a form).
    needs: disk space that download and photos take, in words. page: where its authors tell about it and people ask.
    converter: name in `scicevpr.datasets.converters.CONVERTERS`."""

    key: str
    title: str
    folder: str
    page: str
    converter: str
    files: tuple[RemoteFile, ...] = ()
    needs: str = "not known"
    licence: str = NOT_STATED
    split: str = "test"
    wanted: str = "what the page offers, unpacked or not"


def _chemnitz(key: str, title: str, folder: str, archive: str, needs: str) -> DataSource:
    file = RemoteFile(f"{CHEMNITZ}/{archive}.zip", f"{archive}.zip")
    return DataSource(key, title, folder, VPR_TUTORIAL, "two-drives", (file,), needs)


def _openvprlab(key: str, title: str, folder: str, needs: str, split: str) -> DataSource:
    file = RemoteFile(f"{OPEN_VPR_LAB}/download/v0.1/{key}.zip", f"{key}.zip")
    page = f"{OPEN_VPR_LAB}/tag/v0.1"
    return DataSource(
        key, title, folder, page, "photo-lists" if split == "val" else "gsv-cities", (file,), needs, split=split
    )


_ALL = (
    _chemnitz(
        "gardens-point",
        "Gardens Point Walking",
        "GardensPoint_Walking",
        "GardensPoint_Walking",
        "90 MB, and as much again",
    ),
    _chemnitz("st-lucia-small", "St Lucia, small", "StLucia_small", "StLucia_small", "not known"),
    _chemnitz("sfu", "SFU Mountain", "SFU", "SFU", "72 MB, and as much again"),
    DataSource(
        "amstertime",
        "AmsterTime",
        "amstertime",
        DOWNLOADER,
        "amstertime",
        (
            RemoteFile(
                "https://data.4tu.nl/ndownloader/items/d2ee2551-986a-46bc-8540-b43f5b01ec4d/versions/4",
                "amstertime.zip",
            ),
        ),
    ),
    DataSource(
        "sped",
        "SPED",
        "sped",
        DOWNLOADER,
        "sped",
        (
            RemoteFile(
                "https://surfdrive.surf.nl/files/index.php/s/sbZRXzYe3l0v67W/download?path=%2F&files=SPEDTEST.zip",
                "SPEDTEST.zip",
            ),
        ),
    ),
    DataSource(
        "svox",
        "SVOX",
        "svox",
        DOWNLOADER,
        "utm-tree",
        (
            RemoteFile(
                "https://drive.usercontent.google.com/download?id=16iuk8voW65GaywNUQlWAbDt6HZzAJ_t9&export=download&confirm=t",
                "svox.zip",
            ),
        ),
    ),
    DataSource(
        "tokyo247-queries",
        "Tokyo 24/7, the 315 queries (the database is gated)",
        "tokyo247",
        DOWNLOADER,
        "tokyo247",
        (
            RemoteFile(
                "https://data.ciirc.cvut.cz/public/projects/2015netVLAD/Tokyo247/queries/247query_subset_v2.zip",
                "247query_subset_v2.zip",
            ),
        ),
    ),
    _openvprlab("gsv-cities-light", "GSV-Cities, light", "gsv-cities-light", "1.2 GB, and as much again", "train"),
    _openvprlab("msls-val", "MSLS validation", "msls-val", "1.2 GB, and as much again", "val"),
    _openvprlab("pitts30k-val", "Pitts30k validation", "pitts30k-val", "0.7 GB, and as much again", "val"),
    DataSource(
        "corridor",
        "Corridor (VPR-Bench)",
        "corridor",
        VPR_BENCH,
        "vpr-bench",
        (RemoteFile(f"{VPR_BENCH}/archive/HEAD.zip", "VPR-Bench.zip"),),
        licence="MIT (the repository)",
    ),
    DataSource(
        "nordland",
        "Nordland (winter to summer)",
        "nordland",
        NORDLAND,
        "nordland",
        tuple(
            RemoteFile(f"{NORDLAND}/resolve/main/{path}", path.rpartition("/")[2])
            for path in ("data/summer.tar.gz", "data/winter.tar.gz", "dataset_imageNames/nordland_imageNames.txt")
        ),
        needs="21.4 GB, and more than as much again",
        licence="CC BY-NC-SA 4.0",
    ),
    DataSource(
        "tokyo247",
        "Tokyo 24/7",
        "tokyo247",
        NETVLAD,
        "tokyo247",
        wanted="03814.tar to 03829.tar, 247query_subset_v2.zip and netvlad_v100_datasets.tar.gz (tokyo247.mat)",
    ),
    *(
        DataSource(
            key,
            title,
            key,
            NETVLAD,
            "pittsburgh",
            wanted=f"the folders 000 to 010 and queries_real, and {key}_test.mat of netvlad_v100_datasets.tar.gz",
        )
        for key, title in (("pitts30k", "Pitts30k"), ("pitts250k", "Pitts250k"))
    ),
    DataSource(
        "msls",
        "Mapillary Street-Level Sequences",
        "mapillary_sls",
        "https://github.com/mapillary/mapillary_sls",
        "msls",
        wanted="the archives of the images and of the metadata",
        split="val",
    ),
    DataSource(
        "sf-xl", "SF-XL", "sf_xl", "https://github.com/gmberton/CosPlace", "sf-xl", wanted="the folder processed or raw"
    ),
)

SOURCES: dict[str, DataSource] = {source.key: source for source in _ALL}


def find_source(key: str) -> DataSource:
    """The entry of a key, however it is hyphenated. UsageError for another word."""
    plain = {name.replace("-", ""): source for name, source in SOURCES.items()}
    wanted = key.lower().replace("-", "").replace("_", "").replace(" ", "")
    if wanted not in plain:
        raise UsageError(f"No way to the data set {key!r} is known here; choose one of {', '.join(SOURCES)}.")
    return plain[wanted]
