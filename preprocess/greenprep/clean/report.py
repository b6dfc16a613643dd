"""`OUT/report.html`: what clean found, as one page that needs no network and no other file.

Sums, reasons, pictures of what was rejected or repaired, band values over the collection with the odd ones marked,
class shares, and a map of footprints. Everything but the pictures comes from the manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2
import numpy as np

from greenprep.findings import CATALOGUE
from greenprep.raw.pairs import Candidate
from greenprep.raw.tiff_header import BadFile
from greenschemas.bands import Role
from greenschemas.codes import Code
from greenschemas.colours import as_hex, class_colours
from greenschemas.errors import SourceError
from greenschemas.layout import UNLABELLED
from greenschemas.manifest import Entry, Summary, Verdict
from greenschemas.pictures import class_picture, data_uri, labels_of, thumbnail, true_colour, visible_bands
from greenschemas.recipe import Recipe

__all__ = ["REPORT_NAME", "write_clean_report"]

REPORT_NAME = "report.html"
PICTURES = 60
"""Pairs shown with pictures; the rest is listed."""
SIDE = 112
"""Longest side of a picture, in pixels."""
LISTED = 2000
BINS = 24
PIXELS_MAX = 4_000_000
"""Larger pairs are shown without a picture: a report is no reason to read gigabytes again."""


def write_clean_report(raw: Path, out: Path, recipe: Recipe, entries: Sequence[Entry], summary: Summary) -> Path:
    """Write the page; opens only the pairs that it shows. Raises SourceError where OUT cannot be written."""
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(files("greenprep.clean").joinpath("report.html.j2").read_text(encoding="utf-8"))
    odd = [entry for entry in entries if entry.verdict is not Verdict.ACCEPTED]
    odd.sort(key=lambda entry: entry.verdict is not Verdict.REJECTED)
    page = template.render(
        name=raw.resolve().name,
        summary=summary,
        reasons=_reasons(summary, entries),
        shown=[_card(raw, entry, recipe) for entry in _spread(odd, PICTURES)],
        odd=len(odd),
        listed=[entry for entry in entries if entry.reasons][:LISTED],
        with_reasons=sum(bool(entry.reasons) for entry in entries),
        bands=_bands(entries, recipe),
        shares=_shares(entries, recipe),
        map=_map(entries),
    )
    path = out / REPORT_NAME
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as problem:
        raise SourceError(path, f"cannot be written ({problem.strerror})", "make room") from None
    return path


@dataclass(frozen=True)
class _Card:
    """One pair of the gallery."""

    entry: Entry
    image: str
    """`data:` URI, or empty."""
    mask: str


@dataclass(frozen=True)
class _Bar:
    """One row of a bar chart."""

    name: str
    value: float
    share: float
    """Of the longest, 0 to 1."""
    note: str = ""
    colour: str = ""


@dataclass(frozen=True)
class _Histogram:
    """Means of one band over the files of the collection."""

    name: str
    low: float
    high: float
    bars: tuple[tuple[float, float, bool], ...]
    """(left 0..1, height 0..1, holds an outlier)."""


def _reasons(summary: Summary, entries: Iterable[Entry]) -> list[_Bar]:
    levels = {reason.code: reason.level.value for entry in entries for reason in entry.reasons}
    longest = max(summary.reasons.values(), default=1)
    return [
        _Bar(code, count, count / longest, CATALOGUE[Code(code)].what, levels.get(code, ""))
        for code, count in sorted(summary.reasons.items(), key=lambda item: (-item[1], item[0]))
    ]


def _spread(entries: Sequence[Entry], most: int) -> list[Entry]:
    """Some of the entries, so that each first reason is shown before any is shown twice."""
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, int]] = []
    for entry in entries:
        first = entry.reasons[0].code
        rounds.append((seen[first], len(rounds)))
        seen[first] += 1
    order = sorted(range(len(entries)), key=lambda i: rounds[i])[:most]
    return [entries[i] for i in sorted(order)]


def _card(raw: Path, entry: Entry, recipe: Recipe) -> _Card:
    from greenprep.raw.pair import open_pair  # GDAL: only where there is something to show.

    candidate = Candidate(entry.image, entry.mask, entry.group, entry.time)
    with open_pair(raw, candidate, recipe) as pair:
        shape = pair.facts.shape
        if shape is None or shape[1] * shape[2] > PIXELS_MAX or not min(shape):
            return _Card(entry, "", "")
        try:
            pixels = pair.read(0, 0, shape[1], shape[2])
        except BadFile:
            return _Card(entry, "", "")
    names = [band.name for band in recipe.bands]
    image = true_colour(pixels.image[[names.index(name) for name in visible_bands(recipe.bands)]])
    label = labels_of(pixels.fraction)
    mask = "" if (label == UNLABELLED).all() else data_uri(thumbnail(class_picture(label, recipe.mask.classes), SIDE))
    return _Card(entry, data_uri(thumbnail(image, SIDE)), mask)


def _bands(entries: Iterable[Entry], recipe: Recipe) -> list[_Histogram]:
    kept = [entry for entry in entries if entry.verdict is not Verdict.REJECTED]
    charts = []
    for band in recipe.bands:
        key = f"mean.{band.name}"
        values = [(entry.measures[key], _is_odd(entry)) for entry in kept if key in entry.measures]
        if band.role is Role.MASK or len(values) < 2:
            continue
        means = np.array([value for value, _ in values])
        low, high = float(means.min()), float(means.max())
        at = np.minimum(((means - low) / ((high - low) or 1) * BINS).astype(int), BINS - 1)
        counts = np.bincount(at, minlength=BINS)
        odd = {int(i) for i, (_, is_odd) in zip(at, values, strict=True) if is_odd}
        charts.append(
            _Histogram(
                band.name,
                low,
                high,
                tuple((i / BINS, float(count / counts.max()), i in odd) for i, count in enumerate(counts) if count),
            )
        )
    return charts


def _is_odd(entry: Entry) -> bool:
    return any(reason.code == Code.OUTLIER for reason in entry.reasons)


def _shares(entries: Iterable[Entry], recipe: Recipe) -> list[_Bar]:
    totals = dict.fromkeys(recipe.mask.classes, 0.0)
    for entry in entries:
        if entry.verdict is not Verdict.REJECTED and entry.shape is not None:
            area = entry.measures.get("labelled", 0) * entry.shape[1] * entry.shape[2]
            for name in totals:
                totals[name] += area * entry.measures.get(f"share.{name}", 0)
    whole = sum(totals.values()) or 1
    return (
        [
            _Bar(name, value / whole, value / whole, "", as_hex(colour))
            for (name, value), colour in zip(totals.items(), class_colours(recipe.mask.classes), strict=True)
        ]
        if sum(totals.values())
        else []
    )


def _map(entries: Iterable[Entry]) -> dict[str, object] | None:
    """Footprints in the commonest coordinate system, as rectangles of a unit-wide picture; None without any."""
    placed = [entry for entry in entries if entry.crs and entry.transform and entry.shape and min(entry.shape)]
    if not placed:
        return None
    crs = Counter(entry.crs for entry in placed).most_common(1)[0][0]
    boxes = []
    for entry in placed:
        if entry.crs == crs and entry.transform and entry.shape:
            a, b, c, d, e, f = entry.transform
            _, rows, cols = entry.shape
            xs = [c + a * i + b * j for i in (0, cols) for j in (0, rows)]
            ys = [f + d * i + e * j for i in (0, cols) for j in (0, rows)]
            boxes.append((min(xs), -max(ys), max(xs), -min(ys), entry))
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    wide, tall = max(box[2] for box in boxes) - left, max(box[3] for box in boxes) - top
    scale = 1000 / max(wide, tall, 1e-9)
    order = {Verdict.ACCEPTED: 0, Verdict.REPAIRED: 1, Verdict.REJECTED: 2}
    boxes.sort(key=lambda box: order[box[4].verdict])
    return {
        "crs": crs if len(crs or "") < 60 else "a coordinate system of its own",
        "others": len(placed) - len(boxes),
        "width": max(wide * scale, 1),
        "height": max(tall * scale, 1),
        "metres": wide,
        "boxes": [
            {
                "x": (x0 - left) * scale,
                "y": (y0 - top) * scale,
                "w": max((x1 - x0) * scale, 3),
                "h": max((y1 - y0) * scale, 3),
                "verdict": entry.verdict.value,
                "name": entry.image or entry.mask or "",
            }
            for x0, y0, x1, y1, entry in boxes
        ],
    }
