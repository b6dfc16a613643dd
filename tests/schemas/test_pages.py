"""Pages: escaped, closed to the network, readable; charts: what is drawn is what was given."""

from __future__ import annotations

import importlib.util
import re
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import greenschemas.pages
from greenschemas.pages.charts import WIDTH, Chart, bar_chart, box_map, column_chart, line_chart, ticks
from greenschemas.pages.page import write_page

CSS = (Path(greenschemas.pages.__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
TEMPLATE = """{% extends "base.html.j2" %}{% from "parts.html.j2" import charts, key, row %}
{% block title %}{{ name }}{% endblock %}{% block body %}{{ name | path }}{{ key([(name, "#000000")]) }}
{{ charts(drawn) }}{{ 0.12345 | score }} {{ none | score }} {{ (0.1, 0.2) | interval }}{% endblock %}"""
numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable package with a template beside its module."""
    folder = tmp_path / "page_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "page.html.j2").write_text(TEMPLATE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_what_scrolls_sideways_is_reached_by_the_keyboard() -> None:
    specs = map(importlib.util.find_spec, ("greenschemas", "greenprep", "greentrain"))
    roots = [Path(root) for spec in specs for root in spec.submodule_search_locations]
    pages = [path.read_text(encoding="utf-8") for root in roots for path in root.rglob("*.j2")]
    found = [tag for page in pages for tag in re.findall(r'<(?:pre\b|[^>]*class="scroll")[^>]*>', page)]
    assert found and all('tabindex="0"' in tag for tag in found), found


def test_a_page_escapes_all_it_is_given_and_lets_nothing_in(tmp_path: Path, package: str) -> None:
    evil = '<script>alert(1)</script>"_x/y'
    drawn = [
        line_chart(evil, {evil: [(0, 1.0), (1, 2.0)]}, evil),
        bar_chart(evil, {evil: {evil: 1.0}}, evil),
        box_map(evil, [((0, 0, 1, 1), evil, evil)], evil),
    ]
    write_page(tmp_path / "p.html", package, "page.html.j2", name=evil, drawn=drawn)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script" not in page and '"_x' not in page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "&#34;_<wbr>x/<wbr>y" in page and "0.123 absent 0.100 to 0.200" in page


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    part = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_every_text_colour_stands_out_from_every_ground() -> None:
    colour = dict(re.findall(r"--(\w+): (#\w{6});", CSS))
    for text in ("ink", "dim", "good", "mend", "bad"):
        for ground in ("paper", "soft"):
            contrast = (luminance(colour[ground]) + 0.05) / (luminance(colour[text]) + 0.05)
            assert contrast >= 4.5, (text, ground, contrast)


@given(numbers, numbers)
def test_ticks_are_round_evenly_spaced_and_within(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    if high - low < 1e-6:
        high = low + 1
    found = ticks(low, high)
    values = [value for value, _ in found]
    assert 2 <= len(found) <= 6 and len({text for _, text in found}) == len(found)
    slack = 1e-6 * (high - low)
    assert values[0] >= low - slack and values[-1] <= high + slack
    steps = np.diff(values)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert f"{steps[0]:.0e}"[0] in "125"


def test_ticks_by_hand() -> None:
    assert [text for _, text in ticks(0, 1)] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [text for _, text in ticks(480, 2100)] == ["500", "1,000", "1,500", "2,000"]


def points_of(chart: Chart) -> np.ndarray:
    return np.array([[float(v) for v in p.split(",")] for _, line in chart.lines for p in line.split()])


def test_a_line_spans_its_frame_leaves_out_what_is_no_number_and_says_its_values() -> None:
    chart = line_chart("t", {"a": [(1, 0.0), (2, float("nan")), (3, 2.0)], "b": [(2, None)]}, "step")
    assert chart is not None and chart.names == ("a",)
    np.testing.assert_allclose(points_of(chart), [[chart.left, chart.floor], [chart.right, chart.top]])
    assert [rect.text for rect in chart.rects] == ["a 0 at step 1", "a 2 at step 3"]
    assert line_chart("t", {"a": [], "b": [(1, None)]}, "step") is None


def test_a_single_point_is_seen() -> None:
    chart = line_chart("t", {"a": [(1, 0.5)]}, "epoch")
    assert chart is not None and len(chart.dots) == 1 and len(chart.rects) == 1


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=300, unique_by=lambda point: point[0]))
def test_strips_tell_values_all_along_a_line_and_do_not_overlap(points: list[tuple[float, float]]) -> None:
    chart = line_chart("t", {"a": sorted(points)}, "x")
    assert chart is not None and 1 <= len(chart.rects) <= 100
    edges = [(rect.x, rect.x + rect.width) for rect in chart.rects]
    assert all(left[1] <= right[0] + 1e-6 for left, right in pairwise(edges))


def test_bars_are_as_long_as_their_values_and_intervals_lie_where_they_belong() -> None:
    chart = bar_chart("t", {"low_x": {"a": 1.0}, "b": {"a": 4.0}}, "x", spread={"b": (2, 3)}, dots={"b": [4.0, 2.0]})
    first, second = chart.rects
    assert second.width == pytest.approx(4 * first.width) and second.x + second.width == pytest.approx(chart.right)
    (ends,) = [points for series, points in chart.lines if series == "ink"]
    left, right = (float(point.split(",")[0]) for point in ends.split())
    assert left == pytest.approx(chart.left + second.width / 2, abs=0.1)
    assert right == pytest.approx(chart.left + second.width * 3 / 4, abs=0.1)
    assert [x for x, _, _ in chart.dots] == pytest.approx([chart.right, chart.left + second.width / 2])
    assert [text for _, text in chart.labels] == ["low x", "b"] and second.text == "b a: 4 (2 to 3)"
    assert bar_chart("t", {"a": {"s": 0.0}}, "x").rects[0].width == 0


def test_columns_hold_what_they_count() -> None:
    chart = column_chart("t", [(0, 1, 2, "pairs"), (1, 2, 0, "pairs"), (2, 3, 4, "odd")], "mean")
    low, high = chart.rects
    assert high.height == pytest.approx(2 * low.height) and (low.series, high.series) == ("pairs", "odd")
    assert low.text == "0 to 1: 2"


def test_a_map_is_north_up_true_to_scale_and_merges_what_would_hide_each_other() -> None:
    boxes = [
        ((0.0, 0.0, 1000.0, 1000.0), "train", "south"),
        ((3000.0, 1000.0, 5000.0, 3000.0), "val", "north"),
        ((0.0, 0.0, 1000.0, 1000.0), "train", "again"),
    ]
    chart = box_map("t", boxes, "km", 1000)
    south, north = chart.rects
    assert north.y < south.y and north.x > south.x and north.width == pytest.approx(2 * south.width, abs=0.2)
    assert south.width == pytest.approx(south.height) and south.text == "south\nand 1 more"
    assert chart.x_label == "north up, 5 km wide" and all(r.x >= 0 and r.x + r.width <= WIDTH for r in chart.rects)
    assert all(a != b for a, b in combinations([(r.series, r.x, r.y) for r in chart.rects], 2))
