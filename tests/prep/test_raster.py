"""Reading pairs: rasterio is the oracle for pixels; hostile files open nothing."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine

from greenprep.raw import pair as raster
from greenprep.raw.match import match
from greenprep.raw.pair import OpenPair, open_pair
from greenprep.raw.pairs import Candidate, find_pairs
from greenprep.raw.tiff import Tiff, gdal, open_tiff
from greenprep.raw.tiff_header import BadFile, read_pages
from greenschemas.choices import MaskKind, NanPolicy
from greenschemas.codes import Code
from greenschemas.grid import IDENTITY, Grid
from greenschemas.labels import decode_labels, guess_scale
from greenschemas.limits import Limits
from greenschemas.recipe import MaskRules, Pairing, Recipe

PAIR = Candidate("i.tif", "m.tif", "g", "1")
PLACE = Affine(10, 0, 400_000, 0, -10, 4_080_000)
RNG = np.random.default_rng(0)


def write(path: Path, data: NDArray[Any], transform: Affine | None = PLACE, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        profile = {
            "driver": "GTiff",
            "count": data.shape[0],
            "height": data.shape[1],
            "width": data.shape[2],
            "dtype": data.dtype.name,
            "crs": "EPSG:32618",
            "compress": "deflate",
        } | options
        with rasterio.open(path, "w", **profile, **({"transform": transform} if transform else {})) as sink:
            sink.write(data)


def image(rows: int = 20, cols: int = 24) -> NDArray[np.uint16]:
    return RNG.integers(100, 4000, (19, rows, cols)).astype(np.uint16)


def fractions(rows: int = 20, cols: int = 24) -> NDArray[np.float32]:
    parts = RNG.multinomial(100, [0.2] * 5, (rows, cols)).transpose(2, 0, 1)
    return (parts / 100).astype(np.float32)


def opened(folder: Path, recipe: Recipe | None = None, pair: Candidate = PAIR) -> AbstractContextManager[OpenPair]:
    recipe = recipe or Recipe()
    return open_pair(folder, pair, recipe.bands, recipe.mask, recipe.limits)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    st.integers(0, 15),
    st.integers(0, 15),
    st.data(),
    st.sampled_from(
        [
            {},
            {"tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": "pixel"},
            {"interleave": "band", "blockysize": 3, "compress": "lzw"},
        ]
    ),
)
def test_any_window_reads_what_rasterio_reads(
    tmp_path: Path, row: int, col: int, data: st.DataObject, options: dict[str, Any]
) -> None:
    height, width = data.draw(st.integers(1, 20 - row)), data.draw(st.integers(1, 24 - col))
    pixels, labels = image(), fractions()
    write(tmp_path / "i.tif", pixels, **options)
    write(tmp_path / "m.tif", labels, **options)
    with opened(tmp_path) as pair:
        read = pair.read(row, col, height, width)
    assert pair.header.findings == ()
    np.testing.assert_array_equal(read.image, pixels[:, row : row + height, col : col + width])
    np.testing.assert_array_equal(read.fraction, np.rint(labels * 200)[:, row : row + height, col : col + width])
    assert read.valid.all()


@pytest.mark.parametrize("align", [1, 7, 16])
def test_strips_cover_each_row_once_and_add_up_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, align: int
) -> None:
    monkeypatch.setattr(raster, "STRIP_BYTES", 19 * 24 * 2 * 5)
    pixels = image(50)
    write(tmp_path / "i.tif", pixels, tiled=True, blockxsize=16, blockysize=16)
    write(tmp_path / "m.tif", fractions(50))
    with opened(tmp_path) as pair:
        strips = pair.strips(align)
        parts = [pair.read(row, 0, height, 24).image for row, height in strips]
    assert len(strips) > 1
    assert all(row % align == 0 for row, _ in strips)
    assert [row for row, _ in strips] == list(np.cumsum([0, *(height for _, height in strips[:-1])]))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), pixels)


def test_nodata_internal_mask_and_nan_make_pixels_invalid(tmp_path: Path) -> None:
    pixels = image().astype(np.float32) + 0.5
    pixels[:, 0] = -9999
    pixels[3, 5, 5] = np.nan
    write(tmp_path / "i.tif", pixels, nodata=-9999)
    write(tmp_path / "m.tif", fractions())
    recipe = Recipe(limits=Limits(nan=NanPolicy.MASK))
    with opened(tmp_path, recipe) as pair:
        read = pair.read(0, 0, 20, 24)
    assert not read.valid[0].any() and not read.valid[5, 5]
    assert int(read.valid.sum()) == 19 * 24 - 1
    assert read.nonfinite == 1
    assert read.image[3, 5, 5] == 0


def test_a_nodata_of_zero_empties_only_pixels_that_are_zero_in_all_features(tmp_path: Path) -> None:
    pixels = image()
    pixels[13:] = 0
    pixels[:13, 0] = 0
    pixels[10, 1] = 0
    write(tmp_path / "i.tif", pixels, nodata=0)
    write(tmp_path / "m.tif", fractions())
    with opened(tmp_path) as pair:
        read = pair.read(0, 0, 20, 24)
    assert not read.valid[0].any()
    assert read.valid[1:].all()


def test_clouds_of_qa60_are_invalid_unless_the_recipe_keeps_them(tmp_path: Path) -> None:
    pixels = image()
    pixels[13:] = 0
    pixels[15, :4] = 1 << 10
    write(tmp_path / "i.tif", pixels)
    write(tmp_path / "m.tif", fractions())
    with opened(tmp_path) as pair:
        assert not pair.read(0, 0, 20, 24).valid[:4].any()
    with opened(tmp_path, Recipe.model_validate({"limits": {"cloud": "keep"}})) as pair:
        assert pair.read(0, 0, 20, 24).valid.all()


VRT = (
    '<VRTDataset rasterXSize="20" rasterYSize="20"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    "<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "empty-file", "0 bytes"),
        (VRT.encode(), "not-a-tiff", "VRT"),
        (b"/vsicurl/http://x/y.tif", "not-a-tiff", "text"),
        (b"\x89PNG\r\n\x1a\n", "not-a-tiff", "PNG"),
        (b"II*\0", "truncated", "4 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not-a-tiff", "Git LFS"),
        (b"\0" * 64, "not-a-tiff", "zero bytes"),
    ],
)
def test_what_is_no_tiff_is_named_and_opened_by_nothing(tmp_path: Path, content: bytes, code: str, words: str) -> None:
    (tmp_path / "i.tif").write_bytes(content)
    write(tmp_path / "m.tif", fractions())
    with opened(tmp_path) as pair:
        (reason,) = pair.header.findings
        assert (reason.code, reason.file) == (code, "image")
        assert words in reason.found
        assert pair.strips() == []
        with pytest.raises(BadFile, match="rejected by its header"):
            pair.read(0, 0, 1, 1)


def test_a_header_that_claims_too_much_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    import struct

    tags = [
        (256, 4, 1, 65_000),
        (257, 4, 1, 65_000),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 200),
        (277, 3, 1, 1),
        (278, 4, 1, 65_000),
        (279, 4, 1, 4_225_000_000),
    ]
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    (tmp_path / "i.tif").write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + body + b"\0" * 64)
    write(tmp_path / "m.tif", fractions())
    with opened(tmp_path) as pair:
        assert [reason.code for reason in pair.header.findings] == ["absurd-size"]


def test_a_file_cut_anywhere_is_never_taken_for_whole(tmp_path: Path) -> None:
    write(tmp_path / "whole.tif", image())
    write(tmp_path / "m.tif", fractions())
    whole = (tmp_path / "whole.tif").read_bytes()
    for keep in range(1, len(whole) - 64, max(1, len(whole) // 23)):
        (tmp_path / "i.tif").write_bytes(whole[:keep])
        with opened(tmp_path) as pair:
            assert pair.header.rejected, keep
            assert {reason.code for reason in pair.header.findings} <= {"truncated", "unreadable", "not-a-tiff"}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b""]))
def test_random_bytes_are_a_bad_file_and_no_other_error(tmp_path: Path, body: bytes, head: bytes) -> None:
    path = tmp_path / "any.tif"
    path.write_bytes(head + body)
    try:
        read_pages(path)
    except BadFile as problem:
        assert problem.remedy


def test_files_of_the_same_place_are_placed_as_rasterio_places_each(tmp_path: Path) -> None:
    """Georeferences are asked of GDAL once a process: the second file of a place must get what the first got."""
    moved = Affine(10, 0, 400_030, 0, -10, 4_080_000)
    for turn, (crs, place, kind) in enumerate(
        (crs, place, kind)
        for crs in ("EPSG:32618", "EPSG:5070", None)
        for place in (PLACE, moved, None)
        for kind in ("Area", "Point")
    ):
        for copy in range(2):
            path = tmp_path / f"{turn}_{copy}.tif"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with rasterio.open(
                    path,
                    "w",
                    driver="GTiff",
                    count=1,
                    height=4,
                    width=5,
                    dtype="uint8",
                    crs=crs,
                    transform=place,
                    tiled=copy,
                    blockxsize=16,
                    blockysize=16,
                    BIGTIFF=("NO", "YES")[copy],
                ) as target:
                    target.update_tags(AREA_OR_POINT=kind)
                    target.write(np.zeros((1, 4, 5), np.uint8))
                with rasterio.open(path) as source:
                    due = tuple(source.transform)[:6], source.crs
            for _ in range(2):
                with gdal():
                    tiff = open_tiff(path, Limits(), 1)
                tiff.close()
                assert tiff.grid.transform == due[0]
                assert (CRS.from_string(tiff.grid.crs) if tiff.grid.crs else None) == due[1]


def test_sidecars_are_reported_and_not_read(tmp_path: Path) -> None:
    write(tmp_path / "i.tif", image())
    write(tmp_path / "m.tif", fractions())
    (tmp_path / "i.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:3857</SRS></PAMDataset>")
    (found,) = find_pairs(
        tmp_path,
        Pairing(
            images="i.tif",
            masks="m.tif",
            image_name=r"(?P<stem>)i\.tif",
            mask_name=r"(?P<stem>)m\.tif",
            group="g",
            time="1",
        ),
    )
    with opened(tmp_path, Recipe(), found) as pair:
        assert [reason.code for reason in pair.header.findings] == ["sidecar"]
        assert pair.header.crs == "EPSG:32618"


def grid(rows: int = 20, cols: int = 20, east: float = 0, north: float = 0) -> Grid:
    return Grid(rows, cols, (10.0, 0.0, 500.0 + east, 0.0, -10.0, 900.0 + north), "EPSG:32618")


@given(st.integers(-8, 8), st.integers(-8, 8))
def test_a_mask_some_whole_pixels_off_is_cropped_to_common_ground(down: int, right: int) -> None:
    found = match(grid(), grid(east=right * 10, north=-down * 10), Limits())
    image_row, image_col = found.image_at
    mask_row, mask_col = found.mask_at
    assert (image_row - mask_row, image_col - mask_col) == (down, right)
    assert (found.grid.height, found.grid.width) == (20 - abs(down), 20 - abs(right))
    assert [reason.code for reason in found.findings] == (["shifted-mask"] if down or right else [])


@pytest.mark.parametrize(
    ("mask", "codes"),
    [
        (grid(21, 20), ["cropped-edge"]),
        (grid(22, 20), ["size-mismatch"]),
        (grid(east=3), ["transform-mismatch"]),
        (grid(east=90), ["transform-mismatch"]),
        (grid(east=1e-7), []),
        (Grid(20, 20), []),
        (Grid(20, 20, (20.0, 0.0, 500.0, 0.0, -20.0, 900.0), "EPSG:32618"), ["transform-mismatch"]),
    ],
)
def test_grids_that_do_not_fit_are_named(mask: Grid, codes: list[str]) -> None:
    assert [reason.code for reason in match(grid(), mask, Limits()).findings] == codes


@given(st.booleans(), st.booleans(), st.integers(0, 15), st.integers(0, 15))
def test_a_pixel_lies_in_one_place_however_its_grid_is_turned(south: bool, west: bool, row: int, col: int) -> None:
    turned = Grid(20, 20, (-10.0 if west else 10.0, 0.0, 500.0, 0.0, 10.0 if south else -10.0, 900.0), "EPSG:32618")
    upright = turned.upright()
    assert (turned.south_up, turned.west_up) == (south, west) and not (upright.south_up or upright.west_up)
    assert upright.turned_as(turned) == turned
    at_row, at_col = turned.turned_at(row, col, 4, 3)
    assert turned.turned_at(at_row, at_col, 4, 3) == (row, col)
    centre = upright.pixel_in(turned, row + 2, col + 1.5)
    assert centre == pytest.approx((at_row + 2, at_col + 1.5))
    assert not Grid(3, 3, IDENTITY).south_up


@given(st.sampled_from([1, 100, 200, 255, 1000, 10_000]))
def test_every_known_scale_of_fractions_is_recognised_and_decodes_alike(scale: int) -> None:
    exact = np.array([[0.2, 1.0], [0.4, 0.0], [0.4, 0.0]]).reshape(3, 1, 2)
    rules = MaskRules(classes=("a", "b", "c"))
    raw = exact * scale if scale == 1 else (exact * scale).round().astype(np.int32)
    assert guess_scale(raw, rules, None) == scale
    coded, counts = decode_labels(raw, rules, Limits(), nodata=None, scale=scale)
    np.testing.assert_array_equal(coded, np.rint(exact * 200))
    assert counts.labelled == 2


def test_indices_become_one_hot_fractions_and_unknown_ones_are_counted() -> None:
    rules = MaskRules(kind=MaskKind.INDEX, unlabelled=255, classes=("a", "b"))
    coded, counts = decode_labels(np.array([[[0, 1, 255, 7]]], np.uint8), rules, Limits(), nodata=None, scale=1)
    np.testing.assert_array_equal(coded[:, 0], [[200, 0, 255, 255], [0, 200, 255, 255]])
    assert (counts.labelled, counts.unknown, counts.values) == (2, 1, ((0, 1), (1, 1), (7, 1)))


def test_a_file_that_claims_thousands_of_bands_is_a_verdict_and_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL takes the time of all bands for each of them: minutes for one small file."""
    write(tmp_path / "i.tif", np.zeros((200, 20, 20), np.uint16), interleave="pixel")
    write(tmp_path / "m.tif", np.zeros((5, 20, 20), np.float32))
    monkeypatch.setattr(Tiff, "read", lambda self, *_: pytest.fail("it was decoded") if self.bands > 19 else None)
    with open_pair(tmp_path, PAIR, Recipe().bands, MaskRules(kind=MaskKind.INDEX), Limits()) as pair:
        assert {reason.code for reason in pair.header.findings} >= {Code.BAND_COUNT}
