"""The published benchmarks: sizes, what is right, where people obtain them, and the recalls published on them.

`scicevpr datasets list` and `info` show this; `recognise` tells which of them a folder is. Counts are those of the
published sets (None: not known to us).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from scicevpr.datasets.dataset import Dataset
from scicevpr.errors import UsageError

CRICA = "https://arxiv.org/abs/2402.19231"
D2 = "https://arxiv.org/abs/2511.12528"
SALAD = "https://github.com/serizba/salad"
A2GC = "https://github.com/CV4RA/A2GC"
BOQ = "https://github.com/amaralibey/Bag-of-Queries"
SELA = "https://github.com/Lu-Feng/SelaVPR"
SELA_ISSUE = "https://github.com/Lu-Feng/SelaVPR/issues/1"
MIX = "https://github.com/amaralibey/MixVPR"
MIX_ISSUE = "https://github.com/amaralibey/MixVPR/issues/5"
SAGE = "https://github.com/chenshunpeng/SAGE"
MEGALOC_ISSUE = "https://github.com/gmberton/VPR-methods-evaluation/issues/19"


@dataclass(frozen=True)
class Published:
    """One row of a published table: Recall@1, 5 and 10 in percent (None: not stated). quoted: by other authors."""

    method: str
    recalls: tuple[float | None, float | None, float | None]
    source: str
    quoted: bool = False


CRICA_PCA = "CricaVPR 4,096 (PCA), 224 x 224"
CRICA_FULL = "CricaVPR 10,752, 224 x 224"
CRICA_ALONE = "CricaVPR without cross-image encoder"
SALAD_322 = "SALAD 8,448, 322 x 322"
BOQ_322 = "BoQ-DINOv2 12,288, 322 x 322"
MIX_320 = "MixVPR 4,096, 320 x 320"
SELA_TWO = "SelaVPR (two stages, top 100)"
SAGE_B = "SAGE ViT-B without cross-image encoder, 322 x 322"
SAGE_CROSS = "SAGE with cross-image encoder"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "pitts30k": (
        Published(CRICA_PCA, (94.9, 97.3, 98.2), CRICA),
        Published(CRICA_FULL, (94.8, 97.4, 98.1), CRICA),
        Published(CRICA_ALONE, (90.6, 95.9, 97.2), CRICA),
        Published(SALAD_322, (92.4, 96.3, 97.4), A2GC, quoted=True),
        Published(BOQ_322, (93.7, 97.1, 97.9), BOQ),
        Published(MIX_320, (91.6, 95.5, 96.4), MIX),
        Published(SELA_TWO, (92.8, 96.8, 97.7), SELA),
        Published(SAGE_B, (93.4, 97.0, 97.9), SAGE),
        Published(SAGE_CROSS, (95.8, 97.8, 98.4), SAGE),
    ),
    "pitts250k": (
        Published(CRICA_PCA, (97.5, 99.4, 99.7), D2, quoted=True),
        Published(SALAD_322, (95.1, 98.5, 99.1), A2GC, quoted=True),
        Published(BOQ_322, (96.6, 99.1, 99.5), BOQ),
        Published(MIX_320, (94.3, 98.2, 98.9), MIX),
        Published(SELA_TWO, (95.7, 98.8, 99.2), SELA),
        Published(SAGE_B, (95.7, 98.6, 99.2), SAGE),
    ),
    "tokyo247": (
        Published(CRICA_PCA, (93.0, 97.5, 98.1), CRICA),
        Published(CRICA_FULL, (93.0, 97.1, 97.8), CRICA),
        Published(CRICA_ALONE, (85.1, 93.3, None), CRICA),
        Published(MIX_320, (85.1, 91.7, 94.3), CRICA, quoted=True),
        Published(SELA_TWO, (94.0, 96.8, 97.5), SELA),
        Published(SAGE_B, (97.1, 98.4, 99.0), SAGE),
    ),
    "msls-val": (
        Published(CRICA_PCA, (90.0, 95.4, 96.4), CRICA),
        Published(CRICA_FULL, (89.9, 95.4, 96.2), CRICA),
        Published(CRICA_ALONE, (85.5, 93.2, None), CRICA),
        Published(SALAD_322, (92.2, 96.4, 97.0), SALAD),
        Published(BOQ_322, (93.8, 96.8, 97.0), BOQ),
        Published(MIX_320, (88.2, 93.1, 94.3), MIX),
        Published(SELA_TWO, (90.8, 96.4, 97.2), SELA),
        Published(SAGE_B, (93.4, 97.3, 97.6), SAGE),
        Published("MegaLoc 8,448, 322 x 322 (re-run)", (93.5, 97.0, 97.8), MEGALOC_ISSUE, quoted=True),
    ),
    "msls-val-full": (
        Published(SELA_TWO, (86.6, None, None), SELA_ISSUE),
        Published(MIX_320, (83.4, None, None), MIX_ISSUE),
    ),
    "msls-challenge": (
        Published(CRICA_PCA, (69.0, 82.1, 85.7), CRICA),
        Published(SALAD_322, (75.0, 88.8, 91.3), SALAD),
        Published(BOQ_322, (79.0, 90.3, 92.0), BOQ),
    ),
    "nordland": (
        Published(CRICA_PCA, (90.7, 96.3, 97.6), D2, quoted=True),
        Published("SALAD, 224 x 224", (81.2, 91.1, 94.0), D2, quoted=True),
        Published(BOQ_322, (90.6, 96.0, 97.5), BOQ),
        Published(SAGE_B, (94.1, 98.0, 98.8), SAGE),
    ),
    "nordland-vprbench": (Published(SALAD_322, (76.0, 89.2, 92.0), SALAD), Published(BOQ_322, (81.3, 92.5, 94.8), BOQ)),
    "amstertime": (
        Published(CRICA_PCA, (64.7, 82.8, 87.5), D2, quoted=True),
        Published(BOQ_322, (63.0, 81.6, 85.1), BOQ),
        Published(SAGE_B, (63.1, 82.5, 86.2), SAGE),
        Published(SAGE_CROSS, (83.5, 93.3, 95.4), SAGE),
    ),
    "sped": (
        Published(CRICA_PCA, (91.9, 95.7, 96.7), D2, quoted=True),
        Published(BOQ_322, (92.5, 95.9, 96.7), BOQ),
        Published(SAGE_B, (91.8, 95.7, 96.5), SAGE),
        Published(SAGE_CROSS, (98.8, 99.7, 100.0), SAGE),
    ),
    **{
        f"svox-{weather}": (Published("BoQ-DINOv2", boq, BOQ), Published(SAGE_B, sage, SAGE))
        for weather, boq, sage in (
            ("night", (97.7, 99.5, 99.8), (96.1, 99.4, 99.8)),
            ("overcast", (98.5, 99.3, 99.4), (98.2, 99.1, 99.2)),
            ("rain", (98.8, 99.7, 99.8), (98.0, 99.4, 99.7)),
            ("snow", (99.4, 99.7, 99.9), (99.3, 99.7, 99.8)),
            ("sun", (97.5, 99.4, 99.5), (98.0, 99.3, 99.6)),
        )
    },
    "st-lucia": (Published("BoQ-DINOv2", (99.9, 100.0, 100.0), BOQ), Published("SelaVPR", (99.8, 100.0, 100.0), SELA)),
    "eynsham": (Published("BoQ-DINOv2", (92.2, 95.6, 96.4), BOQ), Published(SAGE_B, (92.3, 95.8, 96.5), SAGE)),
    "sf-xl-v1": (Published("SAGE ViT-B", (92.9, 95.6, 96.5), SAGE),),
    "sf-xl-v2": (Published("SAGE ViT-B", (94.6, 98.0, 98.7), SAGE),),
    "sf-xl-night": (Published("SAGE ViT-B", (53.2, 65.7, 71.5), SAGE),),
    "sf-xl-occlusion": (Published("SAGE ViT-B", (57.9, 64.5, 68.4), SAGE),),
}


DOWNLOADER = "https://github.com/gmberton/VPR-datasets-downloader"
VPR_BENCH = "https://github.com/MubarizZaffar/VPR-Bench"
ON_REQUEST = "on request from its authors (gated)"
BY_DOWNLOADER = "by the VPR-datasets-downloader"
PITTSBURGH_NOTE = (
    "CricaVPR was published with batches of 8 here and 16 elsewhere (https://github.com/Lu-Feng/CricaVPR/issues/2); "
    "other batches give other numbers."
)
NORDLAND_NOTE = (
    "There are two Nordland sets: 27,592 winter queries against 27,592 summer photos, ±10 frames; and VPR-Bench's, "
    "2,760 summer queries against 27,592 winter photos, ±1 frame. Their numbers must not be compared."
)
MSLS_NOTE = (
    "MSLS validation is published under two protocols: 740 selected queries, or all of them (about 11,000, the form of "
    "the VPR-datasets-downloader). Their numbers must not be compared: the same SelaVPR weights score 90.8 and 86.6 "
    "Recall@1 (https://github.com/Lu-Feng/SelaVPR/issues/1)."
)
PAIRS = "the photo of the same number (25 m of stand-in coordinates 1,000 m apart)"
SVOX_NOTE = "Each weather has its own published table; all at once with --query-folder 'queries_*'."


@dataclass(frozen=True)
class Benchmark:
    """truth: the rule in words. cross_image_batch: photos in a batch when CricaVPR was published on it. layouts: names
    of `readers.READERS` it is met in. folders: names of its folder, as `_plain` writes them. url, access: where
    and how people obtain it. redistributable: may the photos be passed on? None where we do not know. twin: what it is
    easily taken for, said beside every result.
    """

    key: str
    title: str
    database: int | None
    queries: int | None
    truth: str
    url: str
    access: str
    folders: tuple[str, ...]
    split: str = "test"
    query_folder: str = "queries"
    layouts: tuple[str, ...] = ("utm-tree",)
    cross_image_batch: int = 16
    gated: bool = False
    licence: str = "not known"
    redistributable: bool | None = None
    twin: str = ""
    notes: tuple[str, ...] = ()

    @property
    def published(self) -> tuple[Published, ...]:
        """Published recalls, each with its source."""
        return PUBLISHED.get(self.key, ())


_SVOX = Benchmark("svox", "SVOX", 17_166, 4_356, "25 m", DOWNLOADER, BY_DOWNLOADER, ("svox",), notes=(SVOX_NOTE,))
_SF_XL = Benchmark(
    "sf-xl",
    "SF-XL",
    None,
    None,
    "25 m",
    "https://github.com/gmberton/CosPlace",
    "by a form linked from the page",
    ("sfxl",),
    gated=True,
    notes=("The database has 2.8 million photos: plan for storage (--efficient_ram_testing).",),
)
_MSLS = Benchmark(
    "msls-val",
    "MSLS validation, 740 queries",
    18_871,
    740,
    "25 m and 40 degrees",
    "https://github.com/mapillary/mapillary_sls",
    "login needed",
    ("msls", "mslsval", "mapillarysls"),
    split="val",
    layouts=("msls", "npy"),
    gated=True,
    redistributable=False,
    twin=MSLS_NOTE,
    notes=("cph has 12,556 database photos and 498 queries, sf 6,315 and 242.",),
)

_ALL = (
    Benchmark(
        "pitts30k",
        "Pitts30k",
        10_000,
        6_816,
        "25 m",
        DOWNLOADER,
        ON_REQUEST,
        ("pitts30k",),
        layouts=("utm-tree", "npy"),
        cross_image_batch=8,
        gated=True,
        redistributable=False,
        notes=(
            PITTSBURGH_NOTE,
            "Shuffled queries lower CricaVPR to about 92.0/96.1/97.2 (https://github.com/Lu-Feng/CricaVPR/issues/9).",
        ),
    ),
    Benchmark(
        "pitts250k",
        "Pitts250k",
        83_952,
        8_280,
        "25 m",
        DOWNLOADER,
        ON_REQUEST,
        ("pitts250k",),
        layouts=("utm-tree", "npy"),
        cross_image_batch=8,
        gated=True,
        redistributable=False,
        notes=(
            PITTSBURGH_NOTE,
            "CricaVPR is quoted as 97.5/99.4/99.7 here and as 95.6/98.9/99.5 elsewhere (https://github.com/CV4RA/A2GC).",
        ),
    ),
    Benchmark(
        "tokyo247",
        "Tokyo 24/7",
        75_984,
        315,
        "25 m",
        DOWNLOADER,
        ON_REQUEST,
        ("tokyo247",),
        gated=True,
        redistributable=False,
    ),
    _MSLS,
    replace(
        _MSLS,
        key="msls-val-full",
        title="MSLS validation, every query",
        queries=None,
        layouts=("utm-tree", "msls"),
        access="login needed; then the VPR-datasets-downloader writes it as a UTM tree",
        truth="25 m as a UTM tree; 25 m and 40 degrees from the official files",
        notes=("About 11,000 queries. MixVPR, too, scores 83.4 here and 88.2 on the 740.",),
    ),
    replace(
        _MSLS,
        key="msls-challenge",
        title="MSLS challenge",
        database=38_770,
        queries=27_092,
        split="test",
        layouts=("msls",),
        truth="secret",
        twin="",
        notes=("Positions are not public: predictions are sent to the challenge (CodaLab) for scoring.",),
    ),
    Benchmark(
        "nordland",
        "Nordland (winter to summer)",
        27_592,
        27_592,
        "±10 frames (25 m of stand-in coordinates)",
        DOWNLOADER,
        f"{BY_DOWNLOADER}, or https://huggingface.co/datasets/Somayeh-h/Nordland",
        ("nordland",),
        licence="CC BY-NC-SA 4.0 (the copy on the Hub)",
        redistributable=None,
        twin=NORDLAND_NOTE,
        notes=("Download links have moved several times.",),
    ),
    Benchmark(
        "nordland-vprbench",
        "Nordland (VPR-Bench, summer to winter)",
        27_592,
        2_760,
        "±1 frame (listed)",
        VPR_BENCH,
        "links on the page",
        ("nordland",),
        layouts=("vpr-bench", "npy"),
        twin=NORDLAND_NOTE,
    ),
    Benchmark(
        "amstertime",
        "AmsterTime",
        1_231,
        1_231,
        PAIRS,
        DOWNLOADER,
        BY_DOWNLOADER,
        ("amstertime",),
        notes=(
            "Query i and database photo i have the same number, so neighbouring places share a batch: kind to "
            "cross-image models.",
        ),
    ),
    Benchmark(
        "sped", "SPED", 607, 607, PAIRS, DOWNLOADER, BY_DOWNLOADER, ("sped",), layouts=("utm-tree", "vpr-bench", "npy")
    ),
    _SVOX,
    *(
        replace(_SVOX, key=f"svox-{weather}", title=f"SVOX {weather}", queries=None, query_folder=f"queries_{weather}")
        for weather in ("night", "overcast", "rain", "snow", "sun")
    ),
    Benchmark("st-lucia", "St Lucia", None, None, "25 m", DOWNLOADER, BY_DOWNLOADER, ("stlucia",)),
    Benchmark(
        "eynsham",
        "Eynsham",
        None,
        None,
        "25 m",
        DOWNLOADER,
        BY_DOWNLOADER,
        ("eynsham",),
        notes=("The first 4,787 panoramas, cut into 5 tiles each, are the database.",),
    ),
    *(
        replace(_SF_XL, key=f"sf-xl-{name}", title=f"SF-XL {name}", query_folder=f"queries_{name}")
        for name in ("v1", "v2", "night", "occlusion")
    ),
    Benchmark(
        "gardenspoint",
        "GardensPoint (VPR-Bench)",
        None,
        200,
        "±2 frames (listed)",
        VPR_BENCH,
        "links on the page",
        ("gardenspoint", "gardenspointwalking"),
        layouts=("vpr-bench",),
    ),
    Benchmark(
        "corridor",
        "Corridor (VPR-Bench)",
        111,
        111,
        "±2 frames (listed)",
        VPR_BENCH,
        "inside the repository",
        ("corridor",),
        layouts=("vpr-bench",),
        licence="MIT (the repository)",
    ),
    Benchmark(
        "gsv-cities",
        "GSV-Cities (training)",
        None,
        None,
        "same place_id",
        "https://github.com/amaralibey/OpenVPRLab/releases/tag/v0.1",
        "the light release (1.2 GB) without login; the full one (23.4 GB) on Kaggle with a login",
        ("gsvcities",),
        split="train",
        layouts=("gsv-cities",),
        notes=("530,000 to 560,000 photos of 62,000 to 67,000 places in 23 cities; no database and queries.",),
    ),
)

BENCHMARKS: dict[str, Benchmark] = {benchmark.key: benchmark for benchmark in _ALL}


def get(key: str) -> Benchmark:
    """The benchmark of a key; UsageError for another word."""
    if key not in BENCHMARKS:
        raise UsageError(f"There is no benchmark {key!r}; choose one of {', '.join(BENCHMARKS)}.")
    return BENCHMARKS[key]


def recognise(dataset: Dataset) -> Benchmark | None:
    """The benchmark that a data set is by folder name, split, layout and query folder; or None. Among several of one
    name, the one whose counts differ least; `differences` says how."""
    name, folder = _plain(dataset.name), _query_folder(dataset)
    fitting = [
        benchmark
        for benchmark in _ALL
        if name in _names(benchmark)
        and dataset.layout in (*benchmark.layouts, "folders")
        and folder in (benchmark.query_folder, None)
        and dataset.split in _splits(benchmark, dataset.layout)
    ]
    return min(fitting, key=lambda benchmark: len(differences(benchmark, dataset)), default=None)


def differences(benchmark: Benchmark, dataset: Dataset) -> tuple[str, ...]:
    """How the counts of a data set differ from the published ones, in words; empty where they agree or are unknown."""
    pairs = (("database photos", dataset.database, benchmark.database), ("queries", dataset.queries, benchmark.queries))
    return tuple(
        f"{len(found):,} {what} here, {published:,} published"
        for what, found, published in pairs
        if published is not None and len(found) != published
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _names(benchmark: Benchmark) -> set[str]:
    """Folder and list names: "pitts30k", and "pitts30k_test" of the .npy lists."""
    return {name + end for name in benchmark.folders for end in ("", benchmark.split)}


def _splits(benchmark: Benchmark, layout: str) -> tuple[str, ...]:
    """MSLS validation also lies in the folder test of the downloader's tree, and lists have no split."""
    also = ("test",) if benchmark.key == "msls-val-full" and layout == "utm-tree" else ()
    return (benchmark.split, "folders", *also)


def _query_folder(dataset: Dataset) -> str | None:
    """The folder below the data set's root that all queries come from; None where that says nothing."""
    if dataset.layout != "utm-tree":
        return None
    folders = {photo.path.relative_to(dataset.root).parts[0] for photo in dataset.queries}
    return next(iter(folders)) if len(folders) == 1 else ("several" if folders else None)
