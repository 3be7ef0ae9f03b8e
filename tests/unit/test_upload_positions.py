"""What visitors bring: positions from tables, names and cameras, and zips that are not to be trusted."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from scicevpr.datasets import format_name
from scicevpr.datasets.intake import Limits, gather, gather_folder, in_query_folder
from scicevpr.datasets.positions import GPS, NAME, NOWHERE, TABLE, gps_of, place_photos
from scicevpr.datasets.zones import to_latitude_longitude, to_utm
from scicevpr.errors import DatasetError, SciceVPRError, UsageError

BERLIN, SYDNEY = (52.5163, 13.3777), (-33.8568, 151.2153)


def photo(path: Path, seed: int = 0, degrees: tuple[float, float] | None = None, **tags: object) -> Path:
    """A small photo, with what a camera writes about its position."""
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    if degrees is not None:
        latitude, longitude = degrees
        block = {1: "S" if latitude < 0 else "N", 2: sexagesimal(latitude)}
        exif[0x8825] = block | {3: "W" if longitude < 0 else "E", 4: sexagesimal(longitude)}
    if tags.get("block"):
        exif[0x8825] = exif.get(0x8825, {}) | tags["block"]
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)
    return path


def sexagesimal(value: float) -> tuple[float, float, float]:
    size = abs(value)
    minutes = size % 1 * 60
    return (float(int(size)), float(int(minutes)), minutes % 1 * 60)


def packed(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def jpeg(folder: Path, seed: int = 0) -> bytes:
    return photo(folder / "made" / f"{seed}.jpg", seed).read_bytes()


# ---- positions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("point", "zone"), [(BERLIN, "33U"), (SYDNEY, "56H")])
def test_the_camera_says_where_on_both_halves_of_the_earth(tmp_path, point, zone):
    degrees, heading = gps_of(photo(tmp_path / "a.jpg", degrees=point))
    assert degrees == pytest.approx(point, abs=1e-7)
    assert heading is None
    placed, _ = place_photos([tmp_path / "a.jpg"])
    assert (placed[0].source, placed[0].photo.zone, placed[0].problem) == (GPS, zone, "")
    east, north = placed[0].photo.utm
    back = to_latitude_longitude(east, north - (10_000_000 if point[0] < 0 else 0), int(zone[:2]))
    assert back == pytest.approx(point, abs=1e-7)


def test_utm_of_a_known_point():
    """The Brandenburg Gate lies in zone 33, west of its meridian, and one degree of latitude is about 111 km."""
    (east, north), zone = to_utm(*BERLIN)
    assert zone == "33U"
    assert 389_000 < east < 391_000
    assert to_utm(BERLIN[0] + 0.001, BERLIN[1])[0][1] - north == pytest.approx(111.24, abs=0.1)


def test_a_heading_counts_only_from_true_north(tmp_path):
    true, magnetic = ({16: kind, 17: 271.5} for kind in "TM")
    assert gps_of(photo(tmp_path / "t.jpg", degrees=BERLIN, block=true))[1] == pytest.approx(271.5)
    assert gps_of(photo(tmp_path / "m.jpg", degrees=BERLIN, block=magnetic))[1] is None


def test_the_name_comes_before_the_camera_and_the_table_before_both(tmp_path):
    (east, north), _ = to_utm(*BERLIN)
    name = format_name(east=east + 5, north=north, zone_number=33, zone_letter="U", note="night")
    named, plain = photo(tmp_path / name, 1, BERLIN), photo(tmp_path / "plain.jpg", 2, BERLIN)
    placed, _ = place_photos([named, plain], condition="snow")
    assert [item.source for item in placed] == [NAME, GPS]
    assert placed[0].photo.utm[0] == pytest.approx(east + 5, abs=0.01)
    assert [item.photo.condition for item in placed] == ["night", "snow"]
    table = tmp_path / "where.csv"
    table.write_text("name,latitude,longitude\nplain.jpg,52.5,13.4\n")
    placed, notes = place_photos([named, plain], table)
    assert [item.source for item in placed] == [NOWHERE, TABLE]
    assert "where.csv has no row" in placed[0].problem
    assert placed[1].photo.utm == pytest.approx(to_utm(52.5, 13.4)[0], abs=1e-6)
    assert "zone 33U" in notes[0]


@pytest.mark.parametrize(
    ("degrees", "words"), [((0.0, 0.0), "no fix"), ((86.0, 10.0), "UTM has no place"), (None, "neither its name")]
)
def test_a_photo_without_a_usable_position_stays_and_says_why(tmp_path, degrees, words):
    placed, _ = place_photos([photo(tmp_path / "a.jpg", degrees=degrees)])
    assert (placed[0].source, placed[0].photo.utm) == (NOWHERE, None)
    assert words in placed[0].problem


def test_gps_data_without_numbers_is_said(tmp_path):
    broken = photo(tmp_path / "a.jpg", block={1: "N", 2: (52.0, IFDRational(1, 0), 0.0), 3: "E", 4: (13.0, 0.0, 0.0)})
    assert "no numbers" in place_photos([broken])[0][0].problem


def test_two_zones_are_refused_and_named(tmp_path):
    photos = [photo(tmp_path / "berlin.jpg", 1, BERLIN), photo(tmp_path / "sydney.jpg", 2, SYDNEY)]
    with pytest.raises(DatasetError, match=r"1 in zone 33, 1 in zone 56 south.*berlin.jpg and sydney.jpg"):
        place_photos(photos)
    local = photo(tmp_path / "@10.00@20.00@.jpg", 3)
    with pytest.raises(DatasetError, match="without a zone"):
        place_photos([photos[0], local])


def test_bands_of_one_zone_share_their_metres(tmp_path):
    """55.9 and 56.1 degrees lie in the bands U and V of the same zone, 22 km apart."""
    photos = [photo(tmp_path / f"{north}.jpg", int(north), (north, 10.0)) for north in (55.9, 56.1)]
    first, second = (item.photo for item in place_photos(photos)[0])
    assert (first.zone, second.zone) == ("32U", "32V")
    assert np.hypot(*np.subtract(first.utm, second.utm)) == pytest.approx(22_260, abs=30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("picture,east,north\na.jpg,1,2\n", "no column 'name'"),
        ("name,east,north\nother.jpg,1,2\n", "names none of the 1 photos"),
        ("name,east,north\na.jpg,one,2\n", "'one' in the column 'east'"),
        ("name,place\na.jpg,here\n", "holds no positions: its columns are name, place"),
    ],
)
def test_a_table_that_does_not_fit_is_explained(tmp_path, text, words):
    table = tmp_path / "where.csv"
    table.write_text(text)
    with pytest.raises(DatasetError, match=words):
        place_photos([photo(tmp_path / "a.jpg")], table)


# ---- zips and limits ------------------------------------------------------------------------------------------------


def test_a_zip_with_folders_junk_a_table_and_duplicates(tmp_path):
    first, second = jpeg(tmp_path, 1), jpeg(tmp_path, 2)
    files = {
        "town/database/a.jpg": first,
        "town/queries/a.jpg": second,
        "town/database/b.JPG": first,
        "town/positions.csv": b"name,east,north\n",
        "town/notes.txt": b"x",
        "__MACOSX/town/._a.jpg": b"x",
        "town/.hidden.jpg": first,
        "town/phone.HEIC": b"x",
    }
    brought = [(packed(tmp_path / "town.zip", **files), "town.zip"), (tmp_path / "made" / "1.jpg", "one.jpg")]
    found = gather(brought, tmp_path / "in", Limits())
    names = [path.relative_to(found.folder).as_posix() for path in found.photos]
    assert names == ["town/database/a.jpg", "town/queries/a.jpg"]
    assert found.photos[0].read_bytes() == first
    assert [in_query_folder(path, found.folder) for path in found.photos] == [False, True]
    assert [path.name for path in found.tables] == ["positions.csv"]
    assert len(found.ignored) == 3
    left_out = dict(found.left_out)
    assert left_out["town/database/b.JPG"] == left_out["one.jpg"] == "the same photo as town/database/a.jpg"
    assert "JPEG" in left_out["town/phone.HEIC"]


def test_photos_of_one_name_are_all_taken(tmp_path):
    sources = [(photo(tmp_path / str(seed) / "IMG_1.jpg", seed), "IMG_1.jpg") for seed in (1, 2)]
    found = gather(sources, tmp_path / "in", Limits())
    assert len({path.read_bytes() for path in found.photos}) == 2


@pytest.mark.parametrize("name", ["../out.jpg", "a/../../out.jpg", "/out.jpg", "C:/out.jpg", "a\\..\\out.jpg"])
def test_paths_that_leave_the_folder_are_refused(tmp_path, name):
    archive = packed(tmp_path / "bad.zip", **{"good.jpg": jpeg(tmp_path), name: jpeg(tmp_path)})
    with pytest.raises(DatasetError, match=r"bad\.zip holds the path"):
        gather([(archive, "bad.zip")], tmp_path / "in", Limits())
    assert not (tmp_path / "in").exists()


def test_links_bombs_and_locked_zips_are_refused_before_anything_is_unpacked(tmp_path):
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    packed(tmp_path / "bomb.zip", **{"bomb.jpg": bytes(5_000_000)})
    content = bytearray(packed(tmp_path / "locked.zip", **{"a.jpg": b"x"}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    (tmp_path / "text.zip").write_text("no zip at all")
    for name, words in (
        ("link.zip", "the link"),
        ("bomb.zip", "No photo packs that well"),
        ("locked.zip", "password"),
        ("text.zip", "not a readable zip"),
    ):
        with pytest.raises(DatasetError, match=words):
            gather([(tmp_path / name, name)], tmp_path / "in", Limits())
    assert not (tmp_path / "in").exists()


def test_a_zip_that_lies_about_a_size_is_cut_short(tmp_path):
    content = packed(tmp_path / "lie.zip", **{"a.jpg": jpeg(tmp_path)}).read_bytes()
    size = (tmp_path / "made" / "0.jpg").stat().st_size
    lie = content.replace(size.to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / "lie.zip").write_bytes(lie)
    with pytest.raises(SciceVPRError, match=r"a\.jpg"):
        gather([(tmp_path / "lie.zip", "lie.zip")], tmp_path / "in", Limits())


def test_every_limit_says_its_number(tmp_path):
    sources = [(photo(tmp_path / f"{seed}.jpg", seed), f"{seed}.jpg") for seed in range(3)]
    size = sources[0][0].stat().st_size
    with pytest.raises(UsageError, match="3 photos; at most 2"):
        gather(sources, tmp_path / "in", Limits(photos=2))
    with pytest.raises(UsageError, match="together; at most"):
        gather(sources, tmp_path / "in", Limits(total=2 * size))
    found = gather(sources, tmp_path / "small", Limits(file=size // 2))
    assert found.photos == ()
    assert "at most" in found.left_out[0][1]
    archive = packed(tmp_path / "many.zip", **{f"{number}.txt": b"" for number in range(40)})
    with pytest.raises(UsageError, match="at most 10"):
        gather([(archive, "many.zip")], tmp_path / "in", Limits(entries=10))
    with pytest.raises(UsageError, match="far more files"):
        gather([(archive, "many.zip")], tmp_path / "in", Limits(entries=1))
    assert "500 photos, 200 MB in all and 25 MB each" in Limits().sentence


def test_a_folder_is_read_where_it_is(tmp_path):
    photo(tmp_path / "street" / "a" / "1.jpg")
    found = gather_folder(tmp_path / "street", Limits())
    assert found.photos == (tmp_path / "street" / "a" / "1.jpg",)
    photo(tmp_path / "street" / "2.jpg", 2)
    with pytest.raises(UsageError, match="at most 1"):
        gather_folder(tmp_path / "street", Limits(photos=1))
