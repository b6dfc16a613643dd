"""Samples of maps: drawn, written for QGIS and spreadsheets, filled in, and held against the map again."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
from typer.testing import CliRunner

from greenschemas.errors import GreenError
from greenschemas.grid import Grid
from greentrain.areas.estimate import accuracy
from greentrain.cli import app
from greentrain.ground import sample as sampling
from greentrain.ground.estimates import estimate
from greentrain.ground.points import read_points
from greentrain.ground.sample import draw_sample
from greentrain.maps.raster import Layer, open_raster, write_map

CLASSES = ("impervious", "low_vegetation", "trees")
UTM = Grid(60, 80, (10.0, 0.0, 4e5, 0.0, -10.0, 4e6), rasterio.CRS.from_epsg(32618).to_wkt())
TAGS = {"GREENSPACE_CLASS_NAMES": json.dumps(CLASSES), "GREENSPACE_KEY": "a"}


def class_map(path: Path, *, seed: int = 0, grid: Grid = UTM) -> np.ndarray:
    """Half impervious, the rest low vegetation and a few trees, the first column without data; gives the classes."""
    label = np.random.default_rng(seed).choice(3, (1, grid.height, grid.width), p=(0.5, 0.42, 0.08)).astype(np.uint8)
    label[:, :, 0] = 255
    write_map(path, grid, Layer(("class",), "uint8", 255), [(0, 0, label)], TAGS)
    return label[0]


def share_map(path: Path) -> np.ndarray:
    share = np.random.default_rng(1).dirichlet((0.3, 0.4, 0.2), (60, 80)).astype(np.float32).transpose(2, 0, 1)
    share[:, 5, 5] = np.nan
    write_map(path, UTM, Layer(CLASSES, "float32", float("nan")), [(0, 0, share)], TAGS)
    return share


def fill(table: Path, answer: Callable[[dict[str, str], int, int], object], to: Path | None = None, **how: Any) -> Path:
    """Answer each line of a CSV by what it says and its pixel's (row, column)."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        at = int((4e6 - float(row["y"])) / 10), int((float(row["x"]) - 4e5) / 10)
        row["reference"] = str(answer(row, *at))
    filled = to or table.with_name("filled.csv")
    with filled.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]), **how)
        writer.writeheader()
        writer.writerows(rows)
    return filled


def estimate_of(map: Path, sample: Path) -> dict[str, Any]:
    with open_raster(map) as raster:
        return estimate(raster, sample)


def test_points_are_pixels_of_their_stratum_in_both_files(tmp_path: Path) -> None:
    label = class_map(tmp_path / "m.tif")
    found = draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 120)
    table, layer = read_points(tmp_path / "s.csv"), read_points(tmp_path / "s.gpkg")
    assert [vars(row) | {"where": ""} for row in table] == [vars(row) | {"where": ""} for row in layer]
    assert (table[0].where, layer[0].where) == ("line 2", "point 1")
    for row in table:
        at = int((4e6 - row.y) // 10), int((row.x - 4e5) // 10)
        assert CLASSES[label[at]] == row.stratum and row.stratum_pixels == (label == CLASSES.index(row.stratum)).sum()
    assert len({(row.x, row.y) for row in table}) == len(table) == 120
    assert {name: one["points"] for name, one in found["strata"].items()} == {
        name: sum(row.stratum == name for row in table) for name in CLASSES
    }
    meta, _, shapes, columns = pyogrio.raw.read(tmp_path / "s.gpkg")
    assert rasterio.CRS.from_user_input(meta["crs"]).to_epsg() == 32618 and len(shapes) == 120
    at = dict(zip(meta["fields"], columns, strict=True))
    np.testing.assert_allclose(
        rasterio.warp.transform(UTM.crs, "EPSG:4326", at["x"], at["y"]), [at["longitude"], at["latitude"]], atol=1e-7
    )
    assert (at["mapped"] == at["stratum"]).all() and not any(at["reference"])


def test_the_same_seed_draws_the_same_points_whatever_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_map(tmp_path / "m.tif")
    tables = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_sample(tmp_path / "m.tif", tmp_path / f"{name}.gpkg", 50, seed=seed)
        tables.append((tmp_path / f"{name}.csv").read_text())
    assert tables[0] == tables[1] != tables[2]
    monkeypatch.setattr(sampling, "_SIDE", 16)
    draw_sample(tmp_path / "m.tif", tmp_path / "d.gpkg", 4799 - 59)
    assert len(read_points(tmp_path / "d.csv")) == 4740, "every pixel with data, once"


def test_a_filled_sample_gives_the_areas_of_its_points_and_names_what_is_empty(tmp_path: Path) -> None:
    class_map(tmp_path / "m.tif")
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 200)

    def answer(row: dict[str, str], *_: int) -> str:
        number = int(row["point"])
        return "" if number in (3, 4) else "Low Vegetation " if number % 10 == 0 else row["stratum"]

    found = estimate_of(tmp_path / "m.tif", fill(tmp_path / "s.csv", answer, delimiter=";"))
    assert (found["filled"], found["points"], found["empty"]) == (198, 200, ["line 4", "line 5"])
    counts = np.array(found["counts"])
    pixels = np.array([one["mapped_hectares"] * 100 for one in found["classes"].values()])
    assert counts.sum() == 198 and pixels.sum() == pytest.approx(60 * 79)
    due = accuracy(pixels / pixels.sum(), counts)
    for k, name in enumerate(CLASSES):
        row = found["classes"][name]
        assert row["hectares"]["value"] == pytest.approx(due.share.value[k] * 47.40)
        assert row["hectares"]["high"] == pytest.approx((due.share.value[k] + 1.96 * due.share.error[k]) * 47.40)
        assert row["producers_accuracy"]["value"] == pytest.approx(due.producers.value[k])


def test_a_geopackage_filled_in_gives_what_the_table_gives(tmp_path: Path) -> None:
    class_map(tmp_path / "m.tif")
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)
    table = estimate_of(tmp_path / "m.tif", fill(tmp_path / "s.csv", lambda row, *_: row["stratum"]))
    meta, _, shapes, columns = pyogrio.raw.read(tmp_path / "s.gpkg")
    fields = list(meta["fields"])
    columns[fields.index("reference")] = columns[fields.index("stratum")]
    pyogrio.raw.write(tmp_path / "g.gpkg", shapes, columns, fields, geometry_type="Point", crs=meta["crs"])
    found = estimate_of(tmp_path / "m.tif", tmp_path / "g.gpkg")
    assert found["overall_accuracy"]["value"] == pytest.approx(1) and found["classes"] == table["classes"]


def test_shares_are_put_right_by_both_estimators(tmp_path: Path) -> None:
    share = share_map(tmp_path / "f.tif")
    map, green = tmp_path / "f.tif", share[1] + share[2]
    found = draw_sample(map, tmp_path / "s.gpkg", 150, share_of="trees,low_vegetation")
    assert found["share_of"] == "low_vegetation + trees" and len(found["strata"]) == sampling.SHARE_STRATA
    filled = fill(tmp_path / "s.csv", lambda _, row, col: f"{0.1 + 0.8 * green[row, col]:.6f}".replace(".", ","))
    result = estimate_of(map, filled)
    mean = float(np.nanmean(green))
    assert result["mapped"]["share"] == pytest.approx(mean, abs=1e-6)
    assert result["regression"]["share"]["value"] == pytest.approx(0.1 + 0.8 * mean, abs=1e-5)
    assert result["regression"]["share"]["standard_error"] < 1e-5 < result["difference"]["share"]["standard_error"]
    assert result["difference"]["hectares"]["value"] == pytest.approx(
        0.479900 * 100 * result["difference"]["share"]["value"]
    )


def test_without_a_crs_areas_are_pixels(tmp_path: Path) -> None:
    class_map(tmp_path / "m.tif", grid=Grid(60, 80))
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)
    found = estimate_of(tmp_path / "m.tif", _as_mapped(tmp_path))
    assert found["unit"] == "pixels"
    assert sum(row["pixels"]["value"] for row in found["classes"].values()) == pytest.approx(60 * 79)


def _as_mapped(folder: Path) -> Path:
    rows = (folder / "s.csv").read_text().splitlines()
    filled = [rows[0], *(line + line.split(",")[5] for line in rows[1:])]
    (folder / "filled.csv").write_text("\n".join(filled))
    return folder / "filled.csv"


def edit(folder: Path, number: int, old: str, new: str) -> None:
    """Change a line of the filled table."""
    lines = (folder / "filled.csv").read_text().splitlines()
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new)
    (folder / "filled.csv").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: edit(d, 0, "reference", "answer"), r"no column `reference`"),
        (lambda d: edit(d, 2, ",4", ",x4"), r"line 3: `x` is `x4.*and no number"),
        (lambda d: edit(d, 3, "3,40", "nan,40"), r"line 4: `point` is `nan`, and no number"),
        (lambda d: edit(d, 7, ",400", ",900"), "line 8 lies outside the map"),
        (lambda d: (d / "filled.csv").write_text(""), "no rows"),
        (lambda d: (d / "filled.csv").write_bytes(b"\xff\xfe"), r"no sample that can be read \(UnicodeDecodeError"),
        (lambda d: class_map(d / "m.tif", seed=5), r"not drawn from .*m.tif: `\w+` has [\d,]+ pixels in it, [\d,]+ on"),
        (lambda d: share_map(d / "m.tif"), "not drawn from .*m.tif: it was drawn from a class map"),
        (lambda d: shutil.copy(d / "s.csv", d / "filled.csv"), "no point is filled in"),
    ],
)
def test_what_is_wrong_with_a_sample_is_said(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    class_map(tmp_path / "m.tif")
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)
    _as_mapped(tmp_path)
    spoil(tmp_path)
    with pytest.raises(GreenError, match=says):
        estimate_of(tmp_path / "m.tif", tmp_path / "filled.csv")


def test_wrong_answers_are_named_by_line(tmp_path: Path) -> None:
    class_map(tmp_path / "m.tif")
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)
    filled = fill(tmp_path / "s.csv", lambda row, *_: "tres" if int(row["point"]) < 8 else row["stratum"])
    with pytest.raises(
        GreenError, match=r"no classes of the map: line 2: `tres`; .*; and 2 more\. Did you mean `trees`"
    ):
        estimate_of(tmp_path / "m.tif", filled)
    one = fill(tmp_path / "s.csv", lambda row, *_: row["stratum"] if row["stratum"] != "trees" else "")
    with pytest.raises(GreenError, match=r"fewer than two points are filled in of `trees`"):
        estimate_of(tmp_path / "m.tif", one)
    rows = one.read_text().splitlines()
    one.write_text("\n".join([*rows, rows[1]]))
    with pytest.raises(GreenError, match="stands in it 2 times"):
        estimate_of(tmp_path / "m.tif", one)


def test_a_map_with_the_same_counts_is_told_by_its_points(tmp_path: Path) -> None:
    label = class_map(tmp_path / "m.tif")
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)
    write_map(tmp_path / "m.tif", UTM, Layer(("class",), "uint8", 255), [(0, 0, label[None, ::-1])], TAGS)
    with pytest.raises(GreenError, match=r"line \d+ was drawn from `\w+`, the map has `[\w ]+` there"):
        estimate_of(tmp_path / "m.tif", _as_mapped(tmp_path))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"expected": {"tree": 0.8}}, "--expected: `tree` is no class on the map. Did you mean `trees`"),
        ({"expected": {"trees": 0.2}}, "trees=0.2. Give an accuracy from 0.5 to below 1"),
        ({"least": 30}, "60 points for 3 strata of at least 30. Draw 90 or more"),
        ({"share_of": "trees"}, "is a class map"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, how: dict[str, Any], says: str) -> None:
    class_map(tmp_path / "m.tif")
    with pytest.raises(GreenError, match=says):
        draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60, **how)


def test_somebodys_work_is_never_overwritten(tmp_path: Path) -> None:
    class_map(tmp_path / "m.tif")
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)
    before = (tmp_path / "s.csv").read_bytes()
    (tmp_path / "s.gpkg").unlink()
    with pytest.raises(GreenError, match=r"s\.csv: it is there already, and may hold somebody's work"):
        draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60, seed=9)
    with pytest.raises(GreenError, match="is no name of a GeoPackage"):
        draw_sample(tmp_path / "m.tif", tmp_path / "s.shp", 60)
    share_map(tmp_path / "f.tif")
    with pytest.raises(GreenError, match="nothing says of which classes"):
        draw_sample(tmp_path / "f.tif", tmp_path / "f.gpkg", 60)
    with pytest.raises(GreenError, match=r"`tree` is no class of .*f\.tif"):
        draw_sample(tmp_path / "f.tif", tmp_path / "f.gpkg", 60, share_of="tree")
    assert (tmp_path / "s.csv").read_bytes() == before and not (tmp_path / "s.gpkg").exists()


def test_a_sample_killed_between_its_two_files_is_drawn_again(tmp_path: Path) -> None:
    class_map(tmp_path / "m.tif")
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)
    drawn = (tmp_path / "s.csv").read_bytes()
    (tmp_path / "s.gpkg").unlink()
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)
    assert (tmp_path / "s.csv").read_bytes() == drawn and (tmp_path / "s.gpkg").is_file()
    (tmp_path / "s.gpkg").unlink()
    (tmp_path / "s.csv").write_bytes(drawn.replace(b",\r\n", b",trees\r\n", 1))
    with pytest.raises(GreenError, match=r"s\.csv: it is there already, and may hold somebody's work"):
        draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)


def test_the_commands_print_tables(tmp_path: Path) -> None:
    class_map(tmp_path / "m.tif")

    def say(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    printed = say("sample", tmp_path / "m.tif", "--n", 60, "--expected", "trees=0.6", "--out", tmp_path / "s.gpkg")
    assert "Expected standard error of the overall accuracy" in printed and str(tmp_path / "s.csv") in printed
    filled = fill(tmp_path / "s.csv", lambda row, *_: "" if row["point"] == "1" else row["stratum"])
    printed = say("area", tmp_path / "m.tif", "--reference", filled)
    assert "Estimated from 59 of 60 points" in printed and "1 is empty (line 2)" in printed
    assert "Overall accuracy 100.0% (100.0% to 100.0%)" in printed
    page = ("--html", tmp_path / "page.html")
    assert "estimate" in json.loads(say("area", tmp_path / "m.tif", "--reference", filled, *page, "--json"))
    html = (tmp_path / "page.html").read_text()
    assert all(word in html for word in ("How right m.tif is", "data:image/png", "Error matrix", "100.0 to 100.0"))
    ring = [[4e5, 4e6], [400700, 4e6], [400700, 3999600], [4e5, 3999600], [4e5, 4e6]]
    crs = {"type": "name", "properties": {"name": "EPSG:32618"}}
    (tmp_path / "z.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    zones = ("--zones", tmp_path / "z.geojson")
    assert "zone 1: " in say("area", tmp_path / "m.tif", "--reference", filled, *zones, *page)
    assert "Put right by a sample" in (tmp_path / "page.html").read_text()
    share_map(tmp_path / "f.tif")
    found = json.loads(say("sample", tmp_path / "f.tif", "--share-of", "trees", "--n", 60, "--json"))
    filled = fill(Path(found["files"][1]), lambda row, *_: row["mapped"])
    assert "regression estimator" in say("area", tmp_path / "f.tif", "--reference", filled, *page)
    assert "regression estimator" in (tmp_path / "page.html").read_text()
    found = json.loads(say("area", tmp_path / "f.tif", "--reference", filled, *zones, "--json"))
    (known,), (counted,) = found["estimate"]["zones"], found["zones"]
    due = counted["classes"]["trees"]["hectares"]
    assert known["classes"]["trees"]["hectares"]["value"] == pytest.approx(due, rel=1e-3)
    done = CliRunner().invoke(app, ["sample", str(tmp_path / "m.tif"), "--expected", "trees"])
    assert "write it NAME=0.8" in str(done.exception).lower().replace("name", "NAME")


QGIS = """
import json, sys
from qgis.core import QgsApplication, QgsVectorLayer
app = QgsApplication([], False); app.initQgis()
layer = QgsVectorLayer(sys.argv[1], "sample", "ogr")
kinds = {field.name(): layer.editorWidgetSetup(i) for i, field in enumerate(layer.fields())}
choices = [name for one in kinds["reference"].config()["map"] for name in one]
print(json.dumps({"valid": layer.isValid(), "points": layer.featureCount(), "crs": layer.crs().authid(),
                  "choices": choices, "hidden": [name for name, one in kinds.items() if one.type() == "Hidden"]}))
"""


def test_qgis_asks_by_a_list_of_the_classes_and_hides_what_the_map_says(tmp_path: Path) -> None:
    python = shutil.which("python3", path="/usr/bin")
    if not python or subprocess.run([python, "-c", "import qgis.core"], capture_output=True, check=False).returncode:
        pytest.skip("QGIS is not installed")
    class_map(tmp_path / "m.tif")
    draw_sample(tmp_path / "m.tif", tmp_path / "s.gpkg", 60)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-c", QGIS, str(tmp_path / "s.gpkg")],
        env=plain | {"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "valid": True,
        "points": 60,
        "crs": "EPSG:32618",
        "choices": list(CLASSES),
        "hidden": ["stratum", "stratum_pixels", "mapped"],
    }
