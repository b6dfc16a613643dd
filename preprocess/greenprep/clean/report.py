"""`OUT/report.html`: what clean found, as one page that needs no network and no other file.

Sums, reasons, pictures of what was rejected, repaired and kept, band values over the collection with the odd ones
marked, class shares, and a map of footprints. Everything but the pictures comes from the manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from greenprep.checks.verdict import was_read
from greenprep.findings import CATALOGUE
from greenprep.raw.pairs import Candidate
from greenschemas.bands import Role
from greenschemas.codes import Code
from greenschemas.errors import SourceError
from greenschemas.manifest import Entry, Summary, Verdict
from greenschemas.pages.charts import Chart, bar_chart, box_map, column_chart
from greenschemas.pages.page import write_page
from greenschemas.pictures import Shot, tile_row, visible_bands
from greenschemas.recipe import Recipe

__all__ = ["REPORT_NAME", "Placed", "place_boxes", "spread_over_page", "write_clean_report"]

REPORT_NAME = "report.html"
PICTURES = {"Rejected and repaired": 60, "Accepted with a warning": 24, "Accepted": 12}
"""Pairs shown with pictures; the rest is listed."""
SIDE = 164
"""Longest side of a picture, in pixels."""
LISTED = 2000
BINS = 24
MOST = 20_000
"""Pairs that a page is made of, of however many: a million of them would be gigabytes in memory."""

_Card = tuple[Entry, list[Shot], list[Shot]]
"""A pair, its image and mask, and the edges of the labels on the image where they do not seem to fit."""


def write_clean_report(raw: Path, out: Path, recipe: Recipe, entries: Sequence[Entry], summary: Summary) -> Path:
    """Write the page; opens only the pairs that it shows. Raises SourceError where OUT cannot be written.

    entries: all, or those that `spread_over_page` has chosen.
    """
    entries = [entries[i] for i in spread_over_page([bool(entry.reasons) for entry in entries])]
    shown: dict[str, list[Entry]] = {title: [] for title in PICTURES}
    for entry in entries:
        kept = "Accepted with a warning" if entry.reasons else "Accepted"
        shown[kept if entry.verdict is Verdict.ACCEPTED else "Rejected and repaired"].append(entry)
    shown["Rejected and repaired"].sort(key=lambda entry: entry.verdict is not Verdict.REJECTED)
    galleries = [
        (title, len(some), [_card(raw, entry, recipe) for entry in _spread(some, PICTURES[title])])
        for title, some in shown.items()
    ]
    placed, crs, elsewhere = _placed(entries)
    path = out / REPORT_NAME
    try:
        write_page(
            path,
            __package__,
            "report.html.j2",
            name=raw.resolve().name,
            summary=summary,
            drawn=len(entries),
            reasons=_reasons(summary, entries),
            galleries=galleries,
            classes=recipe.mask.names,
            bands=visible_bands(recipe.bands),
            listed=[entry for entry in entries if entry.reasons][:LISTED],
            with_reasons=sum(bool(entry.reasons) for entry in entries),
            histograms=_histograms(entries, recipe),
            shares=_shares(entries, recipe),
            map=box_map("Footprints", placed, "units of the coordinate system") if placed else None,
            crs=crs if len(crs) < 60 else "a coordinate system of its own",
            elsewhere=elsewhere,
        )
    except OSError as problem:
        raise SourceError(path, f"cannot be written ({problem.strerror})", "make room") from None
    return path


def spread_over_page(odd: Sequence[bool]) -> list[int]:
    """Places of the pairs that a page is made of: all, or MOST, taken evenly, half of them odd if there are so many.

    odd: of each pair, whether anything was found.
    """
    if len(odd) <= MOST:
        return list(range(len(odd)))
    found = np.asarray(odd)
    some, plain = np.flatnonzero(found), np.flatnonzero(~found)
    room = max(MOST // 2, MOST - len(plain))
    kept = some[np.linspace(0, len(some) - 1, min(room, len(some))).astype(int)]
    rest = plain[np.linspace(0, len(plain) - 1, min(MOST - len(kept), len(plain))).astype(int)]
    return sorted([*kept.tolist(), *rest.tolist()])


def _reasons(summary: Summary, entries: Iterable[Entry]) -> list[tuple[str, int, str, str]]:
    """(code, pairs, what it led to, what it measures), the commonest first."""
    levels = {reason.code: reason.level.value for entry in entries for reason in entry.reasons}
    return [
        (code, count, levels.get(code, ""), CATALOGUE[Code(code)].what)
        for code, count in sorted(summary.reasons.items(), key=lambda item: (-item[1], item[0]))
    ]


def _spread(entries: Sequence[Entry], most: int) -> list[Entry]:
    """Some of the entries, so that each first reason is shown before any is shown twice; without reasons, evenly."""
    if not entries or not entries[0].reasons:
        return [entries[i] for i in np.unique(np.linspace(0, len(entries) - 1, most).astype(int))] if entries else []
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, int]] = []
    for entry in entries:
        first = entry.reasons[0].code
        rounds.append((seen[first], len(rounds)))
        seen[first] += 1
    order = sorted(range(len(entries)), key=lambda i: rounds[i])[:most]
    return [entries[i] for i in sorted(order)]


def _card(raw: Path, entry: Entry, recipe: Recipe) -> _Card:
    from greenprep.clean.pictures import pair_pictures  # GDAL: only where there is something to show.

    candidate = Candidate(entry.image, entry.mask, entry.group, entry.time)
    drawn = pair_pictures(raw, candidate, recipe, SIDE) if was_read(entry) else {}
    overlay = drawn.pop("overlay", None)
    misfit = any(reason.code == Code.MISALIGNED for reason in entry.reasons)
    shown = {"edges of the labels on the image": overlay} if misfit and overlay is not None else {}
    return entry, tile_row(drawn), tile_row(shown)


def _histograms(entries: Iterable[Entry], recipe: Recipe) -> list[Chart]:
    kept = [entry for entry in entries if entry.verdict is not Verdict.REJECTED]
    charts = []
    for band in recipe.bands:
        key = f"mean.{band.name}"
        values = [(entry.measures[key], _is_odd(entry)) for entry in kept if key in entry.measures]
        if band.role is Role.MASK or len(values) < 2:
            continue
        means, odd = (np.array(column) for column in zip(*values, strict=True))
        count, edges = np.histogram(means, BINS)
        marked, _ = np.histogram(means[odd], edges)
        series = np.where(marked > 0, "odd", "pairs").tolist()
        bins = zip(edges[:-1].tolist(), edges[1:].tolist(), count.tolist(), series, strict=True)
        charts.append(column_chart(band.name, bins, "mean"))
    return charts


def _is_odd(entry: Entry) -> bool:
    return any(reason.code == Code.OUTLIER for reason in entry.reasons)


def _shares(entries: Iterable[Entry], recipe: Recipe) -> Chart | None:
    totals = dict.fromkeys(recipe.mask.names, 0.0)
    for entry in entries:
        if entry.verdict is not Verdict.REJECTED and entry.shape is not None:
            area = entry.measures.get("labelled", 0) * entry.shape[1] * entry.shape[2]
            for name in totals:
                totals[name] += area * entry.measures.get(f"share.{name}", 0)
    whole = sum(totals.values())
    if not whole:
        return None
    return bar_chart(
        "Classes", {name: {"share": 100 * value / whole} for name, value in totals.items()}, "% of the labelled pixels"
    )


Placed = tuple[str, str, tuple[float, ...], tuple[int, int]]
"""Name, coordinate system, transform, (rows, columns) of a pair."""
_Box = tuple[tuple[float, float, float, float], str, str]


def _placed(entries: Iterable[Entry]) -> tuple[list[_Box], str, int]:
    return place_boxes(
        ((entry.image or entry.mask or "", entry.crs, entry.transform, entry.shape[1:]), entry.verdict.value)
        for entry in entries
        if entry.crs and entry.transform and entry.shape and min(entry.shape)
    )


def place_boxes(pairs: Iterable[tuple[Placed, str]]) -> tuple[list[_Box], str, int]:
    """Boxes, verdicts and names in the commonest coordinate system; that system; how many pairs are in others.

    pairs: (where, verdict) of each.
    """
    placed = list(pairs)
    crs = Counter(where[1] for where, _ in placed).most_common(1)[0][0] if placed else ""
    boxes: list[_Box] = []
    for (name, own, (a, b, c, d, e, f), (rows, cols)), verdict in placed:
        if own == crs:
            xs = [c + a * i + b * j for i in (0, cols) for j in (0, rows)]
            ys = [f + d * i + e * j for i in (0, cols) for j in (0, rows)]
            boxes.append(((min(xs), min(ys), max(xs), max(ys)), verdict, f"{name}: {verdict}"))
    order = [verdict.value for verdict in Verdict]
    return sorted(boxes, key=lambda box: order.index(box[1])), crs, len(placed) - len(boxes)
