"""Miniatures of the archives that data sets come in: the same folders and names, a few tiny photos."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image
from scipy.io import savemat

Files = dict[str, bytes]


def photo(number: int, kind: str = "JPEG") -> bytes:
    """A pattern that differs from number to number, and is the same for the same one."""
    values = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).resize((64, 48), Image.Resampling.BICUBIC).save(stream, kind, quality=95)
    return stream.getvalue()


def zipped(files: Files) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: Files, mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


def _rows(rows: list[list[int]]) -> np.ndarray:
    values = np.empty(len(rows), dtype=object)
    values[:] = [np.array(row) for row in rows]
    return values


def gt_npz(count: int) -> bytes:
    """Frame i shows the place of frame i; its neighbours nearly do."""
    stream = io.BytesIO()
    hard = np.eye(count, dtype=bool)
    np.savez(stream, GThard=hard, GTsoft=hard | np.eye(count, k=1, dtype=bool) | np.eye(count, k=-1, dtype=bool))
    return stream.getvalue()


def _drives(*folders: str, truth: bool, count: int = 3) -> Files:
    files = {f"{folder}/Image{i:03d}.jpg": photo(i) for folder in folders for i in range(count)}
    return {**files, **({"GT.npz": gt_npz(count)} if truth else {})}


def _mat(name: str, database: list[str], queries: list[str], utm: list[tuple[float, float]]) -> Files:
    def cells(texts: list[str]) -> np.ndarray:
        values = np.empty((len(texts), 1), dtype=object)
        values[:, 0] = texts
        return values

    places = np.array(utm, dtype=float).T
    structure = {
        "whichSet": "test",
        "dbImageFns": cells(database),
        "utmDb": places,
        "qImageFns": cells(queries),
        "utmQ": places[:, : len(queries)],
    }
    stream = io.BytesIO()
    savemat(stream, {"dbStruct": structure})
    return {name: stream.getvalue()}


def pittsburgh(key: str = "pitts30k") -> Files:
    """What people unpack by hand: views, and the .mat that lists them."""
    database = [f"000/00000{i}_pitch1_yaw{i + 1}.jpg" for i in range(3)]
    queries = [f"001/00010{i}_pitch2_yaw3.jpg" for i in range(2)]
    utm = [(584_000.0 + 100 * i, 4_476_900.0) for i in range(3)]
    files = {name: photo(i) for i, name in enumerate(database)}
    files |= {f"queries_real/{name}": photo(i) for i, name in enumerate(queries)}
    return files | _mat(f"datasets/{key}_test.mat", database, queries, utm)


def tokyo_queries() -> Files:
    points = [(35.6595, 139.7005), (35.6705, 139.7101)]
    files = {}
    for i, (latitude, longitude) in enumerate(points):
        name = f"247query_subset_v2/0000{i}"
        files |= {f"{name}.jpg": photo(i), f"{name}.csv": f"0000{i}.jpg,{latitude},{longitude},90\n".encode()}
    return files


def tokyo() -> Files:
    names = [f"03814/PANOPANOPANOPANOPANO0{i}_012_60.jpg" for i in range(2)]
    utm = [(382374.5, 3946960.8), (383259.5, 3948169.4)]  # of the queries
    files = {name.replace(".jpg", ".png"): photo(i, "PNG") for i, name in enumerate(names)}
    return files | tokyo_queries() | _mat("datasets/tokyo247.mat", names, ["x.jpg", "y.jpg"], utm)


def _utm(folder: str, count: int = 2) -> Files:
    return {f"{folder}/@04{i}0000.00@4500000.00@17@T@@@@@@@@@@@.jpg": photo(i) for i in range(count)}


NORDLAND_NAMES = "".join(f"images-0000{i}.png\n" for i in range(3))


def _nordland(season: str) -> Files:
    return {f"{season}/images-0000{i}.png": photo(i, "PNG") for i in range(4)}


MSLS = {
    f"msls-val/{city}/{side}/{i}.jpg": photo(i)
    for i, city in enumerate(("cph", "sf"))
    for side in ("database", "query")
}
PITTS = {f"pitts30k-val/{folder}/{i}.jpg": photo(i) for folder in ("000", "queries_real/000") for i in range(2)}
TWO = _rows([[0], [1]])

ARCHIVES: dict[str, list[bytes]] = {
    "gardens-point": [zipped(_drives("day_left", "day_right", "night_right", truth=False, count=20))],
    "st-lucia-small": [zipped(_drives("100909_0845", "180809_1545", truth=True))],
    "sfu": [zipped({f"SFU/{name}": content for name, content in _drives("dry", "jan", truth=True).items()})],
    "amstertime": [
        zipped(
            {
                "AmsterTime-v1.0.zip": zipped(
                    {f"new/000{i}.png": photo(i, "PNG") for i in range(3)}
                    | {f"old/000{i}.jpg": photo(i) for i in range(3)}
                )
            }
        )
    ],
    "sped": [zipped({f"SPEDTEST/{side}/000000{i}.jpg": photo(i) for side in ("ref", "query") for i in range(3)})],
    "svox": [
        zipped(
            {
                **_utm("svox/images/test/gallery"),
                **_utm("svox/images/test/queries"),
                **_utm("svox/images/test/queries_night"),
            }
        )
    ],
    "tokyo247-queries": [zipped(tokyo_queries())],
    "gsv-cities-light": [
        zipped(
            {
                "gsv-cities-light/Dataframes/Osaka.csv": b"place_id,year,month,northdeg,city_id,lat,lon,panoid\n"
                + b"".join(b"1,2019,07,%d,Osaka,34.5,135.5,p%d\n" % (i, i) for i in range(4)),
                **{
                    f"gsv-cities-light/Images/Osaka/Osaka_0000001_2019_07_00{i}_34.5_135.5_p{i}.jpg": photo(i)
                    for i in range(4)
                },
            }
        )
    ],
    "msls-val": [
        zipped(
            {
                **MSLS,
                "msls-val/msls_val_ref_image_names.npy": _npy(np.array(["cph/database/0.jpg", "sf/database/1.jpg"])),
                "msls-val/msls_val_query_image_names.npy": _npy(np.array(["cph/query/0.jpg", "sf/query/1.jpg"])),
                "msls-val/msls_val_ground_truth_25m.npy": _npy(TWO),
            }
        )
    ],
    "pitts30k-val": [
        zipped(
            {
                **PITTS,
                "pitts30k-val/pitts30k_val_dbImages.npy": _npy(np.array(["000/0.jpg", "000/1.jpg"])),
                "pitts30k-val/pitts30k_val_qImages.npy": _npy(
                    np.array(["queries_real/000/0.jpg", "queries_real/000/1.jpg"])
                ),
                "pitts30k-val/pitts30k_val_gt_25m.npy": _npy(TWO),
            }
        )
    ],
    "corridor": [
        zipped(
            {
                **{
                    f"VPR-Bench-0a1b/datasets/corridor/{side}/000000{i}.jpg": photo(i)
                    for side in ("query", "ref")
                    for i in range(2)
                },
                "VPR-Bench-0a1b/datasets/corridor/ground_truth_new.npy": _npy(
                    np.array([[0, [0]], [1, [1]]], dtype=object)
                ),
                "VPR-Bench-0a1b/datasets/Living/ground_truth_new.npy": _npy(np.array([[0, [0]]], dtype=object)),
                "VPR-Bench-0a1b/main.py": b"",
            }
        )
    ],
    "nordland": [tarred(_nordland("summer")), tarred(_nordland("winter")), NORDLAND_NAMES.encode()],
}
"""Key of a source -> what each of its files holds."""
