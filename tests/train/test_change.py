"""Change between two maps: patches as of the whole map, what is gained and lost, and zero where nothing changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rio_cogeo.cogeo import cog_validate
from scipy.ndimage import label as components
from typer.testing import CliRunner

from greenschemas.colours import class_colours
from greenschemas.errors import ConfigError, GreenError
from greenschemas.grid import Grid
from greentrain.areas.estimate import Z, accuracy
from greentrain.cli import app
from greentrain.ground import change as changing
from greentrain.ground.change import change_colours, change_names
from greentrain.ground.change_summary import by_two_estimates, flows_of
from greentrain.ground.sample import draw_sample
from greentrain.ground.sieve import find_large, only_large
from greentrain.maps.raster import Layer, open_raster, write_map

CLASSES = ("impervious", "low_vegetation", "trees")
CRS = rasterio.CRS.from_epsg(32633).to_wkt()
GRID = Grid(90, 70, (10.0, 0.0, 4e5, 0.0, -10.0, 5.8e6), CRS)
TAGS = {"GREENSPACE_CLASS_NAMES": json.dumps(CLASSES), "GREENSPACE_KEY": "a"}


def class_map(path: Path, label: np.ndarray, grid: Grid = GRID, tags: dict[str, str] = TAGS) -> Path:
    write_map(path, grid, Layer(("class",), "uint8", 255, class_colours(CLASSES)), [(0, 0, label[None])], tags)
    return path


def share_map(path: Path, share: np.ndarray, grid: Grid = GRID) -> Path:
    write_map(path, grid, Layer(CLASSES, "float32", float("nan")), [(0, 0, share.astype(np.float32))], TAGS)
    return path


def patchy(seed: int, grid: Grid = GRID) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 3, (grid.height // 10, grid.width // 10), dtype=np.uint8)
    return coarse.repeat(10, 0).repeat(10, 1)


def noisy(label: np.ndarray, seed: int, share: float = 0.1) -> np.ndarray:
    """What a net makes of it: a share of the pixels by chance."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(label.shape) < share, rng.integers(0, 3, label.shape), label).astype(np.uint8)


def zone_file(path: Path, **boxes: tuple[float, float, int]) -> Path:
    """Boxes (west, east, first row) down to the lower edge, by name."""
    features = []
    for name, (west, east, row) in boxes.items():
        south, north = 5.8e6 - 900, 5.8e6 - 10 * row
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": {"name": name}, "geometry": shape})
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return path


def run(*words: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["change", *(str(word) for word in words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@given(
    arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 12)), elements=st.booleans()),
    st.integers(1, 7),
    st.integers(1, 9),
)
def test_patches_found_strip_by_strip_are_those_of_the_whole_map(changed: np.ndarray, strip: int, least: int) -> None:
    labels, count = components(changed)
    size = np.bincount(labels.ravel(), minlength=count + 1)
    due = changed & (size[labels] >= least)
    strips = [changed[row : row + strip] for row in range(0, len(changed), strip)]
    large = find_large(iter(strips), least)
    found = np.concatenate([only_large(one, own) for one, own in zip(strips, large, strict=True)])
    np.testing.assert_array_equal(found, due)


def test_a_spiral_through_many_strips_is_one_patch() -> None:
    changed = np.zeros((41, 41), bool)
    for ring in range(0, 20, 4):
        changed[ring : 41 - ring, ring : 41 - ring] = True
        changed[ring + 1 : 40 - ring, ring + 1 : 40 - ring] = False
        changed[ring + 1, 20] = changed[ring + 2, 20] = changed[ring + 3, 20] = True
    whole = int(changed.sum())
    for strip in (1, 3, 50):
        strips = [changed[row : row + strip] for row in range(0, 41, strip)]
        assert all(own[1:].all() for own in find_large(iter(strips), whole))
        assert not any(own.any() for own in find_large(iter(strips), whole + 1))


@pytest.mark.parametrize("strip", [7, 256])
def test_gains_and_losses_are_those_that_numpy_counts(
    tmp_path: Path, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "_STRIP", strip)
    before, after = patchy(1), noisy(patchy(2), 3)
    before[:5], after[:, :3] = 255, 255
    class_map(tmp_path / "a.tif", before)
    class_map(tmp_path / "b.tif", after)
    found = run(tmp_path / "a.tif", tmp_path / "b.tif", "--out", tmp_path / "c.tif", "--min-area", 0.05)
    known = (before < 255) & (after < 255)
    changed = known & (before != after)
    labels, count = components(changed)
    small = changed & (np.bincount(labels.ravel())[labels] < 5)
    after = np.where(small, before, after)
    assert count > 50 and found["below_min_area_hectares"] == pytest.approx(small.sum() / 100)
    for i, one in enumerate(CLASSES):
        for j, other in enumerate(CLASSES):
            due = (known & (before == i) & (after == j)).sum() / 100
            assert found["transitions"][one][other] == pytest.approx(due)
        row, moved = found["classes"][one], known & (before != after)
        assert row["gain"] == pytest.approx((moved & (after == i)).sum() / 100)
        assert row["loss"] == pytest.approx((moved & (before == i)).sum() / 100)
        assert row["net"] == pytest.approx(row["gain"] - row["loss"]) == pytest.approx(row["after"] - row["before"])
    with rasterio.open(tmp_path / "c.tif") as file:
        code = file.read(1)
        np.testing.assert_array_equal(code[known], before[known] * 3 + after[known])
        assert (code[~known] == 255).all() and file.colormap(1)[1][:3] == change_colours(CLASSES)[1]
        assert json.loads(file.tags()["GREENSPACE_CLASS_NAMES"])[1] == "impervious to low_vegetation"
    assert cog_validate(tmp_path / "c.tif", strict=True) == (True, [], [])
    asset = json.loads((tmp_path / "c.stac.json").read_text())["assets"]["map"]["bands"][0]
    assert asset["classification:classes"][1]["description"] == "impervious to low_vegetation"
    style = (tmp_path / "c.qml").read_text()
    assert 'label="trees to impervious"' in style and "made by greentrain" in style
    assert found["after_brought"] is None and found["hectares"] == pytest.approx(known.sum() / 100)


def test_zones_add_up(tmp_path: Path) -> None:
    class_map(tmp_path / "a.tif", patchy(1))
    class_map(tmp_path / "b.tif", patchy(2))
    zones = zone_file(tmp_path / "z.geojson", west=(4e5, 400333, 0), east=(400333, 400700, 0))
    found = run(tmp_path / "a.tif", tmp_path / "b.tif", "--out", tmp_path / "c.tif", "--zones", zones)
    assert [zone["name"] for zone in found["zones"]] == ["west", "east"]
    for name in CLASSES:
        for flow, value in found["classes"][name].items():
            assert sum(zone["classes"][name][flow] for zone in found["zones"]) == pytest.approx(value)


def test_maps_of_another_grid_are_brought_to_the_first_one(tmp_path: Path) -> None:
    """Half the pixel size, a shift and another extent: the same ground, and no change but at the edge."""
    label = patchy(1)
    class_map(tmp_path / "a.tif", label)
    fine = Grid(140, 180, (5.0, 0.0, 4e5 - 100, 0.0, -5.0, 5.8e6 - 50), CRS)
    wide = np.pad(label.repeat(2, 0).repeat(2, 1), ((0, 0), (20, 20)), mode="edge")[10:150]
    class_map(tmp_path / "b.tif", wide, fine)
    found = run(tmp_path / "a.tif", tmp_path / "b.tif", "--out", tmp_path / "c.tif")
    assert "nearest pixel" in found["after_brought"]
    assert found["hectares"] == pytest.approx(70 * 70 / 100) and all(r["gain"] == 0 for r in found["classes"].values())
    share = np.random.default_rng(0).dirichlet((1, 1, 1), (90, 70)).transpose(2, 0, 1)
    share_map(tmp_path / "sa.tif", share)
    twice = share.repeat(2, 1).repeat(2, 2)
    twice[:, ::2] += 0.1 * np.array([1, -1, 0])[:, None, None]
    twice[:, 1::2] -= 0.1 * np.array([1, -1, 0])[:, None, None]
    share_map(tmp_path / "sb.tif", twice, Grid(180, 140, (5.0, 0.0, 4e5, 0.0, -5.0, 5.8e6), CRS))
    found = run(tmp_path / "sa.tif", tmp_path / "sb.tif", "--out", tmp_path / "d.tif")
    assert "average" in found["after_brought"]
    with rasterio.open(tmp_path / "d.tif") as file:
        np.testing.assert_allclose(file.read(), 0, atol=1e-6)
    elsewhere = Grid(90, 70, (0.0001, 0, 14.0, 0, -0.0001, 52.0), rasterio.CRS.from_epsg(4326).to_wkt())
    class_map(tmp_path / "far.tif", label, elsewhere)
    found = run(tmp_path / "a.tif", tmp_path / "far.tif", "--out", tmp_path / "e.tif")
    assert "another CRS" in found["after_brought"] and found["hectares"] == 0


def test_a_later_map_that_breaks_off_is_named(tmp_path: Path) -> None:
    grid = Grid(1200, 1000, (5.0, 0.0, 4e5, 0.0, -5.0, 5.8e6), CRS)
    a = class_map(tmp_path / "a.tif", patchy(1))
    b = class_map(tmp_path / "b.tif", noisy(patchy(1, grid), 0, 0.9), grid)
    b.write_bytes(b.read_bytes()[:150_000])
    with pytest.raises(GreenError, match=r"b\.tif: pixels .* cannot be read"):
        run(a, b, "--out", tmp_path / "c.tif")
    assert not (tmp_path / "c.tif").exists()


def test_differences_of_fractions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.dirichlet((1, 1, 1), (90, 70)).transpose(2, 0, 1) for _ in range(2))
    one[:, :, 0] = np.nan
    share_map(tmp_path / "a.tif", one)
    share_map(tmp_path / "b.tif", other)
    found = run(tmp_path / "a.tif", tmp_path / "b.tif", "--out", tmp_path / "c.tif", "--html", tmp_path / "c.html")
    with rasterio.open(tmp_path / "c.tif") as file:
        assert file.dtypes[0] == "float32" and file.descriptions == CLASSES
        np.testing.assert_allclose(file.read(), other - one, atol=1e-6)
    for k, name in enumerate(CLASSES):
        difference = (other - one)[k, :, 1:] / 100
        assert found["classes"][name]["gain"] == pytest.approx(difference.clip(0).sum(), rel=1e-5)
        assert found["classes"][name]["net"] == pytest.approx(difference.sum(), abs=1e-4)
    assert "transitions" not in found and 'label="impervious: all lost"' in (tmp_path / "c.qml").read_text()
    assert "data:image/png" in (tmp_path / "c.html").read_text()
    with pytest.raises(GreenError, match="bands that are no shares"):
        draw_sample(tmp_path / "c.tif", tmp_path / "s.gpkg", 50, share_of="trees")


def fill(table: Path, *labels: np.ndarray, names: Sequence[str] = CLASSES) -> Path:
    """Answer by the truth: one label, or the pair of both dates."""
    lines = table.read_text().splitlines()
    head = lines[0].split(",")
    for number, line in enumerate(lines[1:], 1):
        cells = dict(zip(head, line.split(","), strict=True))
        at = int((5.8e6 - float(cells["y"])) / 10), int((float(cells["x"]) - 4e5) / 10)
        code = 0
        for label in labels:
            code = code * 3 + int(label[at])
        lines[number] = line + names[code]
    table.write_text("\n".join(lines))
    return table


def test_two_maps_of_one_scene_give_no_change_within_the_interval(tmp_path: Path) -> None:
    """Nets of two seeds err at other pixels; the ground is the same."""
    truth = patchy(1)
    a, b = (class_map(tmp_path / f"{name}.tif", noisy(truth, seed)) for seed, name in enumerate("ab"))
    out = ("--out", tmp_path / "c.tif")
    assert run(a, b, *out)["classes"]["trees"]["gain"] > 1, "the maps differ"
    samples = []
    for each in (a, b):
        draw_sample(each, each.with_suffix(".gpkg"), 300)
        samples.append(fill(each.with_suffix(".csv"), truth))
    net = run(a, b, *out, "--errors", *samples)["estimate"]
    for row in net["classes"].values():
        assert row["net"]["low"] < 0 < row["net"]["high"] and row["net"]["standard_error"] > 0
    assert "independent" in net["says"]
    draw_sample(tmp_path / "c.tif", tmp_path / "s.gpkg", 300)
    filled = fill(tmp_path / "s.csv", truth, truth, names=change_names(CLASSES))
    sampled = run(a, b, *out, "--reference", filled, "--html", tmp_path / "c.html")["estimate"]
    for row in sampled["classes"].values():
        for flow in ("gain", "loss", "net"):
            assert row[flow]["value"] == pytest.approx(0, abs=1e-9), "no sampled point changed"
    assert "95 %" in (tmp_path / "c.html").read_text()


def test_an_interval_of_net_change_holds_zero_in_95_of_100_pairs_of_samples() -> None:
    rng, draws = np.random.default_rng(5), 1000
    rows = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.1, 0.85]])
    weight = np.array([0.25, 0.3, 0.45])
    found = {"unit": "hectares", "hectares": 100.0, "name": "whole map"}

    def one() -> dict[str, Any]:
        share = accuracy(weight, np.stack([rng.multinomial(150, row) for row in rows])).share.rows()
        rows_of = {name: {"share": row} for name, row in zip(CLASSES, share, strict=True)}
        return {"from": "sample", "classes": rows_of}

    held = [
        [
            row["net"]["low"] <= 0 <= row["net"]["high"]
            for row in by_two_estimates(found, one(), one())["classes"].values()
        ]
        for _ in range(draws)
    ]
    assert (np.abs(np.mean(held, 0) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / draws)).all() and Z == 1.96


def test_a_change_sample_puts_gains_right_for_the_whole_and_for_zones(tmp_path: Path) -> None:
    """True change in one part, errors everywhere: the map says far too much, the sample does not."""
    before = patchy(1)
    after = before.copy()
    after[20:50, 20:60] = 2
    a, b = (class_map(tmp_path / f"{n}.tif", noisy(t, s)) for s, (n, t) in enumerate((("a", before), ("b", after))))
    run(a, b, "--out", tmp_path / "c.tif")
    draw_sample(tmp_path / "c.tif", tmp_path / "s.gpkg", 900)
    fill(tmp_path / "s.csv", before, after, names=change_names(CLASSES))
    zones = zone_file(tmp_path / "z.geojson", south=(4e5, 400700, 45))
    found = run(a, b, "--out", tmp_path / "c.tif", "--reference", tmp_path / "s.csv", "--zones", zones)
    for part, rows in ((found["estimate"], slice(None)), (found["estimate"]["zones"][0], slice(45, None))):
        gained = ((before != 2) & (after == 2))[rows].sum() / 100
        known = part["classes"]["trees"]["gain"]
        assert abs(known["value"] - gained) < 4 * known["standard_error"] < 4
    assert found["classes"]["trees"]["gain"] > found["estimate"]["classes"]["trees"]["gain"]["high"]


@given(st.integers(2, 16))
def test_what_is_gained_is_lost_by_others(k: int) -> None:
    flows = flows_of(k)
    np.testing.assert_array_equal(flows[:, 2].sum(0), flows[:, 3].sum(0))
    np.testing.assert_array_equal(flows[:, 4], flows[:, 2] - flows[:, 3])
    assert (flows[:, 0].sum(0) == 1).all() and len(set(change_names([str(i) for i in range(k)]))) == k * k


def test_many_classes_take_two_bytes_and_maps_without_names_are_counted(tmp_path: Path) -> None:
    label = np.random.default_rng(0).integers(0, 18, (90, 70), dtype=np.uint8)
    a, b = class_map(tmp_path / "a.tif", label, tags={}), class_map(tmp_path / "b.tif", label[::-1], tags={})
    found = run(a, b, "--out", tmp_path / "c.tif", "--html", tmp_path / "c.html")
    assert len(found["classes"]) == 18
    assert found["transitions"]["class 3"]["class 17"] * 100 == pytest.approx(
        ((label == 3) & (label[::-1] == 17)).sum()
    )
    with rasterio.open(tmp_path / "c.tif") as file:
        assert file.dtypes[0] == "uint16" and file.nodata == 65535
    assert cog_validate(tmp_path / "c.tif", strict=True)[0]
    with open_raster(tmp_path / "c.tif") as raster:
        assert raster.read(0, 0, 1, 1)[0][0, 0, 0] == label[0, 0] * 18 + label[-1, 0]
    assert draw_sample(tmp_path / "c.tif", tmp_path / "s.gpkg", 700)["points"] == 700


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    a = class_map(tmp_path / "a.tif", patchy(1))
    other = {"GREENSPACE_CLASS_NAMES": json.dumps(("trees", "water", "soil")), "GREENSPACE_KEY": "a"}
    b = class_map(tmp_path / "b.tif", patchy(2), tags=other)
    f = share_map(tmp_path / "f.tif", np.full((3, 90, 70), 1 / 3))
    bare = class_map(tmp_path / "bare.tif", patchy(2)[:80], Grid(80, 70))
    out = ["--out", tmp_path / "c.tif"]
    for words, says in (
        ([a, b, *out], "classes trees, water, soil, and .*a.tif has impervious"),
        ([a, f, *out], "a map of fractions, and .*a.tif is a class map"),
        ([a, bare, *out], "without a CRS it cannot be brought there"),
        ([bare, bare, *out, "--min-area", 1], "has no CRS, so its pixels no hectares"),
        ([f, f, *out, "--min-area", 1], "maps of fractions have no patches"),
        ([f, f, *out, "--reference", a], "differences of fractions are no strata"),
        ([a, a, *out, "--reference", a, "--errors", a, a], "--errors: --reference is given, too"),
        ([a, a, "--out", a], "would replace the input"),
        ([a, a, "--out", f], "a map of another run or scene"),
    ):
        with pytest.raises((GreenError, ConfigError), match=says):
            run(*words)
    printed = CliRunner().invoke(app, ["change", str(a), str(a), *map(str, out), "--min-area", "0.03"]).stdout
    assert "are not called change: 0.00 hectares" in printed and "whole map, hectares" in printed
