"""`predict --labels` reads a mask as `greenprep` does: the labels that a store would hold are those of the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from greenprep.raw.pair import open_pair
from greenprep.raw.pairs import Candidate
from greenschemas.bands import Band
from greenschemas.errors import SourceError
from greenschemas.grid import Grid
from greenschemas.limits import Limits
from greenschemas.recipe import MaskRules
from greentrain.data.targets import TargetRule, target_rule
from greentrain.maps.raster import Layer, write_map
from greentrain.maps.scores import score_map

HEIGHT, WIDTH = 20, 30
NAMES = ("a", "b", "c")
WHERE = (10.0, 0.0, 4e5, 0.0, -10.0, 4e6)


def write(path: Path, values: NDArray[Any], side: int = 1, alpha: NDArray[Any] | None = None, **profile: Any) -> None:
    """A GeoTIFF (bands, H, W) on the map's ground, with `side` x `side` pixels to one of its."""
    place = rasterio.Affine(*WHERE) @ rasterio.Affine.scale(1 / side)
    given = values if alpha is None else np.concatenate([values, alpha[None].astype(values.dtype)])
    count, height, width = given.shape
    shape = {"count": count, "height": height, "width": width, "dtype": given.dtype, **profile}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32618", transform=place, **shape) as file:
        if alpha is not None:
            file.colorinterp = [*[ColorInterp.gray] * (count - 1), ColorInterp.alpha]
        file.write(given)


def drawn_map(path: Path, classes: int) -> NDArray[np.uint8]:
    """A class map with pixels of every class and some without data."""
    drawn = np.random.default_rng(0).integers(0, classes, (HEIGHT, WIDTH)).astype(np.uint8)
    drawn[0, :5] = 255
    layer = Layer(("class",), "uint8", 255)
    write_map(path, Grid(HEIGHT, WIDTH, WHERE, "EPSG:32618"), layer, [(0, 0, drawn[None])], {})
    return drawn


def stored(folder: Path, rules: MaskRules) -> NDArray[np.uint8]:
    """(K, H, W) coded fractions that a store would hold of `l.tif`."""
    write(folder / "i.tif", np.full((1, HEIGHT, WIDTH), 7, np.uint8))
    with open_pair(folder, Candidate("i.tif", "l.tif", "g", "1"), (Band(name="x"),), rules, Limits()) as pair:
        assert pair.mask_file is not None
        return pair.read(0, 0, HEIGHT, WIDTH).fraction


def confusion(fraction: NDArray[np.uint8], drawn: NDArray[np.uint8], rule: TargetRule) -> NDArray[np.int64]:
    label = fraction.argmax(0) if rule.index is None else (fraction[rule.index] > 100).astype(int)
    out = np.zeros((len(rule.classes),) * 2, np.int64)
    counted = (fraction[0] != 255) & (drawn != 255)
    np.add.at(out, (label[counted], drawn[counted]), 1)
    return out


def shares(classes: int, side: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(1).dirichlet(np.ones(classes), (HEIGHT * side, WIDTH * side)).transpose(2, 0, 1)


def index(side: int = 1) -> NDArray[np.uint8]:
    codes = np.random.default_rng(2).integers(0, 3, (1, HEIGHT * side, WIDTH * side)).astype(np.uint8)
    codes[0, -3:] = 255
    return codes


SOME = np.random.default_rng(3).random((HEIGHT, WIDTH)) > 0.3
KINDS: dict[str, tuple[dict[str, Any], NDArray[Any], dict[str, Any]]] = {
    "1 m over 3 m": ({"kind": "index", "aggregate": 3, "unlabelled": 255}, index(3), {"side": 3}),
    "shares, finer": ({"aggregate": 2}, shares(3, 2).astype(np.float32), {"side": 2}),
    "0 is water": ({"kind": "index", "unlabelled": 255}, index(), {"nodata": 0}),
    "two of three": ({"rest": "b"}, shares(3)[[0, 2]].astype(np.float32), {}),
    "tree cover": ({"classes": ("rest", "trees"), "rest": "rest", "kind": "percent"}, (shares(2)[:1] * 100), {}),
    "bytes": ({}, (shares(3) * 255).round().astype(np.uint8), {}),
    "0/255": ({"kind": "one_hot"}, (np.eye(3)[index()[0] % 3].transpose(2, 0, 1) * 255).astype(np.uint8), {}),
    "alpha": ({"kind": "index"}, index() % 3, {"alpha": np.where(SOME, 255, 0)}),
}


@pytest.mark.parametrize("target", ["fractions", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_labels_that_count_are_those_of_a_store(tmp_path: Path, kind: str, target: str) -> None:
    written, values, profile = KINDS[kind]
    rules = MaskRules.model_validate({"classes": NAMES, **written})
    rule = target_rule(rules.names[-1] if target == "last" else target, rules.names)
    drawn = drawn_map(tmp_path / "m.tif", len(rule.classes))
    write(tmp_path / "l.tif", values, **profile)
    found = score_map(tmp_path / "m.tif", tmp_path / "l.tif", rule, rules, Limits())
    due = confusion(stored(tmp_path, rules), drawn, rule)
    assert due.sum() > 300
    np.testing.assert_array_equal(found["confusion"], due)


@pytest.mark.parametrize("rows", [1, -1])
@pytest.mark.parametrize("cols", [1, -1])
def test_a_map_and_a_mask_may_be_turned_otherwise(tmp_path: Path, rows: int, cols: int) -> None:
    """Whoever wrote them from the south or the east, they lie on the same ground."""
    rules = MaskRules.model_validate({"classes": NAMES, "kind": "index", "aggregate": 3, "unlabelled": 255})
    rule, values, drawn = target_rule("hard", NAMES), index(3), drawn_map(tmp_path / "m.tif", 3)
    write(tmp_path / "l.tif", values, side=3)
    due = score_map(tmp_path / "m.tif", tmp_path / "l.tif", rule, rules, Limits())
    grid = Grid(HEIGHT, WIDTH, WHERE, "EPSG:32618")
    turned = grid.flipped(rows=rows < 0, cols=cols < 0)
    layer = Layer(("class",), "uint8", 255)
    write_map(tmp_path / "t.tif", turned, layer, [(0, 0, drawn[None, ::rows, ::cols])], {})
    assert score_map(tmp_path / "t.tif", tmp_path / "l.tif", rule, rules, Limits()) == due


def test_a_mask_on_the_maps_own_pixels_needs_no_counting(tmp_path: Path) -> None:
    drawn_map(tmp_path / "m.tif", 3)
    rules = MaskRules.model_validate({"classes": NAMES, "kind": "index", "aggregate": 3})
    write(tmp_path / "l.tif", index() % 3)
    found = score_map(tmp_path / "m.tif", tmp_path / "l.tif", target_rule("hard", NAMES), rules, Limits())
    assert np.sum(found["confusion"]) == HEIGHT * WIDTH - 5
    write(tmp_path / "l.tif", index(2) % 3, side=2)
    with pytest.raises(SourceError, match="60 x 40 pixels instead of 30 x 20"):
        score_map(tmp_path / "m.tif", tmp_path / "l.tif", target_rule("hard", NAMES), rules, Limits())
