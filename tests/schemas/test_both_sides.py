"""greenprep and greentrain agree, pixel for pixel, on which pixels of a file may be used."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from rasterio.enums import ColorInterp

from greenprep.raw.pair import open_pair
from greenprep.raw.pairs import Candidate
from greenschemas.bands import Band, Role
from greenschemas.choices import NanPolicy
from greenschemas.limits import Limits
from greenschemas.recipe import MaskRules
from greenschemas.values import quality_of
from greentrain.maps.scene import Layout, open_scene

BANDS = (
    Band(name="B2", common="blue"),
    Band(name="B3", common="green"),
    Band(name="B4", common="red"),
    Band(name="index", role=Role.DERIVED),
    Band(name="QA60", role=Role.MASK),
)
LIMITS = Limits(nan=NanPolicy.MASK)


def by_prep(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """((H, W) usable, (C, H, W) as it goes into a store)."""
    candidate = Candidate(image=path.name, mask=None, group=None, time=None, parts=(), problem=None, sidecars=())
    with open_pair(path.parent, candidate, BANDS, MaskRules(), LIMITS) as pair:
        _, height, width = pair.header.shape or (0, 0, 0)
        pixels = pair.read(0, 0, height, width)
        return pixels.valid, pixels.image


def by_predict(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """((H, W) usable, (C, H, W) as the net sees it)."""
    layout = Layout(BANDS, tuple(band.name for band in BANDS), quality_of(BANDS))
    with open_scene(path, layout) as scene:
        part = scene.read(0, 0, scene.grid.height, scene.grid.width)
        return part.usable, part.values


@st.composite
def files(draw: st.DrawFn) -> dict[str, object]:
    """What is written, and how."""
    kind = draw(st.sampled_from(["uint8", "uint16", "int16", "float32"]))
    numbers = [0, 1, 200, 255] + {"uint8": [], "uint16": [65535], "int16": [-9999], "float32": [-9999]}[kind]
    numbers += [float("nan"), float("inf")] if kind == "float32" else []
    values = draw(npst.arrays(kind, (5, 6, 7), elements=st.sampled_from(numbers), fill=st.just(200)))
    if kind != "uint8":
        values[4] = draw(npst.arrays("uint16", (6, 7), elements=st.sampled_from([0, 1024, 2048]), fill=st.just(0)))
    tags = {"uint8": [0, 255, 1], "uint16": [0, 65535], "int16": [0, -9999], "float32": [0, -9999, float("nan")]}
    return {
        "values": values,
        "nodata": draw(st.none() | st.sampled_from(tags[kind])),
        "dress": draw(st.sampled_from(["plain", "alpha", "mask", "pages", "south", "west", "permuted"])),
        "page_tags": draw(st.lists(st.none() | st.sampled_from(tags[kind]), min_size=5, max_size=5)),
        "inside": draw(npst.arrays(bool, (6, 7), fill=st.just(True))),
        "named": draw(st.booleans()),
    }


def write(path: Path, values: np.ndarray, what: dict[str, object]) -> None:
    dress, alpha = what["dress"], what["inside"]
    count, height, width = values.shape
    order = [3, 1, 4, 0, 2] if dress == "permuted" else list(range(count))
    transform = rasterio.Affine(-10 if dress == "west" else 10, 0, 4e5, 0, 10 if dress == "south" else -10, 4e6)
    profile = {"driver": "GTiff", "height": height, "width": width, "dtype": values.dtype, "crs": "EPSG:32618"}
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore")
        extra = dress == "alpha"
        with rasterio.open(
            path, "w", count=count + extra, transform=transform, nodata=what["nodata"], **profile
        ) as file:
            file.write(values[order], list(range(1, count + 1)))
            if what["named"] or dress == "permuted":
                for place, band in enumerate(order, 1):
                    file.set_band_description(place, BANDS[band].name)
            if extra:
                file.write(np.where(alpha, 255, 0).astype(values.dtype), count + 1)
                file.colorinterp = [*[ColorInterp.undefined] * count, ColorInterp.alpha]
            if dress == "mask":
                file.write_mask(alpha)


def write_pages(path: Path, values: np.ndarray, tags: list[float | None]) -> None:
    """One page a band, each with a nodata tag of its own: TIFF tag 42113 is GDAL's."""
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(path) as pages:
        for band, tag in zip(values, tags, strict=True):
            extra = [] if tag is None else [(42113, 2, 0, str(tag), True)]
            pages.write(band, photometric="minisblack", extratags=extra, metadata=None)


@settings(max_examples=150, deadline=None)
@given(files())
def test_both_sides_use_the_same_pixels_and_the_same_values(
    tmp_path_factory: pytest.TempPathFactory, what: dict[str, object]
) -> None:
    path, values = tmp_path_factory.mktemp("same") / "s.tif", what["values"]
    assert isinstance(values, np.ndarray)
    if what["dress"] == "pages":
        write_pages(path, values, what["page_tags"])  # type: ignore[arg-type]
    else:
        write(path, values, what)
    (valid, image), (usable, seen) = by_prep(path), by_predict(path)
    np.testing.assert_array_equal(valid, usable)
    np.testing.assert_array_equal(image[:, valid].astype(np.float32), seen[:, usable])


def test_an_alpha_band_of_the_layout_is_a_band(tmp_path: Path) -> None:
    """GDAL calls the fourth band of four bytes alpha, be it near infrared."""
    bands = tuple(Band(name=name) for name in ("red", "green", "blue", "nir"))
    values = np.full((4, 5, 6), 90, np.uint8)
    values[3, 0] = 0
    profile = {"driver": "GTiff", "height": 5, "width": 6, "count": 4, "dtype": "uint8", "alpha": "YES"}
    where = {"crs": "EPSG:32618", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 4e6)}
    with rasterio.open(tmp_path / "s.tif", "w", **profile, **where) as file:
        file.write(values)
    with open_scene(tmp_path / "s.tif", Layout(bands, tuple(band.name for band in bands))) as scene:
        assert scene.raster.alpha == 3 and scene.read(0, 0, 5, 6).usable.all()
