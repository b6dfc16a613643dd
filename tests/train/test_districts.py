"""The numbers of zones as CSV, GeoPackage and page: one table, three dresses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from typer.testing import CliRunner

from greenschemas.errors import ConfigError
from greenschemas.grid import Grid
from greentrain.cli import app
from greentrain.ground.area import Cover
from greentrain.ground.districts import green_classes, tabulate
from greentrain.ground.districts_page import legend
from greentrain.maps.raster import Layer, write_map

CLASSES = ("trees", "water")
GRID = Grid(40, 50, (10.0, 0.0, 4e5, 0.0, -10.0, 4e6), "EPSG:32618")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A map of trees above, water below and nothing in its first column, and three zones: one half outside."""
    label = np.repeat(np.uint8([0, 1]), 20)[None, :, None] + np.zeros((1, 40, 50), np.uint8)
    label[:, :, 0] = 255
    tags = {"GREENSPACE_CLASS_NAMES": json.dumps(CLASSES)}
    write_map(tmp_path / "map.tif", GRID, Layer(("class",), "uint8", 255), [(0, 0, label)], tags)
    shapes = [
        shapely.box(4e5 + 10, 4e6 - 100, 4e5 + 110, 4e6),
        shapely.box(4e5, 4e6 - 400, 4e5 + 100, 4e6 - 300),
        shapely.box(4e5 + 450, 4e6 - 300, 4e5 + 550, 4e6 - 100),
    ]
    names = np.array(["<b>upper", "lower", "edge"], object)
    wkb = np.array([shapely.to_wkb(shape) for shape in shapes], object)
    pyogrio.raw.write(tmp_path / "z.gpkg", wkb, [names], ["quarter"], geometry_type="Polygon", crs="EPSG:32618")
    return tmp_path


def area(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["area", str(folder / "map.tif"), *words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_csv_geopackage_and_page_hold_the_same_numbers(folder: Path) -> None:
    outputs = [f"--{kind}={folder / f'out.{kind}'}" for kind in ("csv", "gpkg", "html")]
    found = json.loads(area(folder, f"--zones={folder / 'z.gpkg'}", "--name=quarter", "--json", *outputs))
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    meta, _, shapes, columns = pyogrio.raw.read(folder / "out.gpkg")
    assert list(meta["fields"]) == list(rows[0]) and meta["crs"] == "EPSG:32618" and len(shapes) == 3
    for i, zone in enumerate(found["zones"]):
        assert rows[i]["name"] == columns[0][i] == zone["name"]
        for name in CLASSES:
            due = zone["classes"][name]
            assert float(rows[i][f"{name}_ha"]) == due["hectares"]
            assert columns[list(meta["fields"]).index(f"{name}_share")][i] == due["share"]
    upper, lower, edge = rows
    assert (float(upper["share_of_green"]), float(lower["share_of_green"])) == (1, 0)
    assert float(edge["share_without_data"]) == 0.5 and float(edge["share_of_green"]) == pytest.approx(0.5)
    assert float(lower["share_without_data"]) == pytest.approx(0.1)
    page = (folder / "out.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;upper" in page and "<b>upper" not in page and "<script" not in page and "<b>trees</b>" in page
    assert page.count("<path d=") == 3 and "100.0 %" in page
    assert "share_of_green" in (folder / "out.qml").read_text(encoding="utf-8")


def test_a_choice_of_heading_orders_the_rows_by_its_column(folder: Path) -> None:
    area(folder, f"--zones={folder / 'z.gpkg'}", "--name=quarter", f"--html={folder / 'o.html'}")
    page = (folder / "o.html").read_text(encoding="utf-8")
    places = re.findall(r'<tr style="--p0:(\d);--p1:(\d);--p2:(\d);.*?"><td>(.*?)</td>', page)
    assert {name: at for *at, name in places} == {
        "&lt;b&gt;upper": ["0", "0", "0"],  # by name; by green, the most first; by hectares (equal but for no data)
        "edge": ["1", "1", "1"],
        "lower": ["2", "2", "2"],
    }
    assert page.count('type="radio"') == 4 + len(CLASSES)
    assert ".sort:has(#by1:checked) tr { --at: var(--p1); }" in page


def test_shares_of_the_legend_are_told_apart() -> None:
    assert [text for text, _ in legend(0.444, 0.474)] == ["44.4%", "45.1%", "45.9%", "46.6%", "47.4%"]
    assert [text for text, _ in legend(0, 1)] == ["0%", "25%", "50%", "75%", "100%"]


def test_green_is_what_sounds_like_plants_or_what_the_user_says() -> None:
    names = ("Deciduous Forest", "non_vegetation", "grass", "Open Water", "other crops", "Trees")
    assert green_classes(names) == ("Deciduous Forest", "grass", "Trees")
    assert green_classes(names, ["Open Water"]) == ("Open Water",)
    assert green_classes(("water",)) == ()
    with pytest.raises(ConfigError, match="no class of the map sounds green"):
        green_classes(("water",), needed=True)
    with pytest.raises(ConfigError, match="no class lawn"):
        green_classes(("water",), ["lawn"])


def test_columns_differ_by_more_than_capitals_and_no_ground_has_no_share() -> None:
    covers = [Cover("a", np.array([1.0, 3.0]), np.array([0.1, 0.3])), Cover("b", np.zeros(2), np.zeros(2), outside=2.0)]
    table = tabulate(covers, ("Green", "green"), ("Green",))
    assert table.classes == ("Green", "green_") and table.span == (0.0, 1.0)
    assert table.rows[0]["share_of_green"] == 0.25 and table.rows[0]["share_without_data"] == 0
    assert table.rows[1]["share_of_green"] is None and table.rows[1]["share_without_data"] == 1


def test_outputs_want_zones_and_replace_no_input(folder: Path) -> None:
    for words, says in (
        (["--csv", str(folder / "o.csv")], "no zones to write"),
        (["--zones", str(folder / "z.gpkg"), "--gpkg", str(folder / "z.gpkg")], "would replace the input"),
    ):
        done = CliRunner().invoke(app, ["area", str(folder / "map.tif"), *words])
        assert says in str(done.exception)
