"""The report: whole in itself, true to the sums, and not to be written into by file names."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import rasterio

from greenprep.clean.clean import clean
from greenprep.clean.report import write_clean_report
from greenprep.synth.city import write_city
from greenschemas.manifest import Summary
from greenschemas.recipe import Recipe


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_is_whole_in_itself_and_escapes_names(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_city(raw, areas=9, times=1, size=40, seed=0, defects=False)
    evil = raw / "images" / "<img src=x onerror=alert(1)>.tif"
    evil.write_bytes(b"no")
    (raw / "images" / "SYNTH" / "SYNTH_2020_0_1_GeoTIFF.tif").write_bytes(b"<html>")
    entries, summary = clean(raw, out, Recipe(), workers=1)
    page = write_clean_report(raw, out, Recipe(), entries, summary).read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert all(link.startswith("data:image/png;base64,") for link in links.found)
    assert "script" not in links.tags
    assert "<img src=x" not in page and "&lt;img src=x" in page
    assert f"<b>{summary.found}</b>found" in page and f"<b>{summary.rejected}</b>rejected" in page
    assert page.count("<article") == len(entries)
    assert "B4, B3, B2 as red, green, blue" in page and page.count("<i style=") == 5 * 2  # two legends
    footprints = page.split('aria-label="Footprints"')[1].split("</svg>")[0]
    assert len(re.findall(r"<rect [^>]*><title>", footprints)) == sum(entry.crs is not None for entry in entries)


def test_a_pair_that_does_not_fit_is_shown_with_the_edges_of_its_labels(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_city(raw, areas=3, times=1, size=64, seed=0, defects=False)
    first, _, second = sorted((raw / "masks").rglob("*.tif"))
    with rasterio.open(first) as one, rasterio.open(second, "r+") as other:
        other.write(one.read())  # labels of another place
    entries, summary = clean(raw, out, Recipe(), workers=1)
    page = write_clean_report(raw, out, Recipe(), entries, summary).read_text(encoding="utf-8")
    (card,) = re.findall(r"<article.*?</article>", page.split("Accepted with a warning")[1].split("<h2>")[0], re.S)
    assert "misaligned" in card and card.count("<img") == 3 and "edges of the labels" in card


def test_a_report_on_nothing_wrong_and_nothing_placed_still_stands(tmp_path: Path) -> None:
    page = write_clean_report(tmp_path, tmp_path, Recipe(), [], Summary.of([], "x")).read_text(encoding="utf-8")
    assert "Nothing was found wrong." in page
