"""Charts as values, which `parts.html.j2` draws as SVG inside a page: lines, bars, histograms, maps. Pure.

Coordinates are those of the drawing: x to the right, y down, WIDTH across. What a mark stands for is said when it is
pointed at. A series is named by its CSS class in `page.css`, which gives it its colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["WIDTH", "Chart", "Rect", "bar_chart", "box_map", "column_chart", "line_chart", "ticks"]

WIDTH = 400.0
_TALL = 210.0
_LEFT, _RIGHT, _TOP, _FOOT = 48.0, 14.0, 10.0, 34.0
_LETTER = 6.2  # widest mean width of a letter at the size of `page.css`
_BAR, _GAP = 11.0, 12.0
_SLOTS = 100  # strips that tell values when pointed at, at most
_LEAST = 3.0  # width of the smallest box on a map

Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Rect:
    """A bar, a box of a map, or an unseen strip (series `hit`) that only tells values."""

    x: float
    y: float
    width: float
    height: float
    series: str
    text: str
    """What it says when it is pointed at."""


@dataclass(frozen=True)
class Chart:
    """All that is drawn, from the back to the front."""

    title: str
    height: float
    x_label: str
    x_ticks: tuple[tuple[float, str], ...] = ()
    """(x, text), with a line from the top to the floor."""
    y_ticks: tuple[tuple[float, str], ...] = ()
    """(y, text), with a line across."""
    labels: tuple[tuple[float, str], ...] = ()
    """(y, text) without a line: the names of bars."""
    left: float = _LEFT
    """Where the marks begin."""
    rects: tuple[Rect, ...] = ()
    lines: tuple[tuple[str, str], ...] = ()
    """(series, points `x,y x,y`)."""
    dots: tuple[tuple[float, float, str], ...] = ()
    """(x, y, series)."""
    names: tuple[str, ...] = ()
    """Series to name below it."""

    width = WIDTH
    top = _TOP

    @property
    def right(self) -> float:
        """Where the marks end."""
        return WIDTH - _RIGHT

    @property
    def floor(self) -> float:
        """The lower end of the marks."""
        return self.height - _FOOT


def ticks(low: float, high: float, most: int = 5) -> tuple[tuple[float, str], ...]:
    """(value, text) of round numbers from `low` to `high`, steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * (1 - 1e-9))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    values = [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return tuple((value, f"{value:,.{digits}f}" if digits < 6 else f"{value:.3g}") for value in values)


def line_chart(title: str, lines: Mapping[str, Points], x_label: str) -> Chart | None:
    """Lines by series; points that are no number are left out, and without any there is no chart."""
    kept = {
        name: [(float(x), float(y)) for x, y in points if y is not None and math.isfinite(y)]
        for name, points in lines.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return None
    xs, ys = zip(*(point for points in kept.values() for point in points), strict=True)
    (left, right), (low, high) = _span(xs), _span(ys)
    place_x, place_y = _scale(left, right, _LEFT, WIDTH - _RIGHT), _scale(low, high, _TALL - _FOOT, _TOP)
    return Chart(
        title,
        _TALL,
        x_label,
        tuple((place_x(value), text) for value, text in ticks(left, right)),
        tuple((place_y(value), text) for value, text in ticks(low, high)),
        rects=_strips(kept, x_label, place_x, len(set(xs))),
        lines=tuple(
            (name, " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in points)) for name, points in kept.items()
        ),
        dots=tuple((place_x(p[0][0]), place_y(p[0][1]), name) for name, p in kept.items() if len(p) == 1),
        names=tuple(kept) if len(lines) > 1 else (),
    )


def _strips(
    lines: Mapping[str, Sequence[tuple[float, float]]], x_label: str, place: Callable[[float], float], places: int
) -> tuple[Rect, ...]:
    """Strips side by side, each with the last value of every line in it."""
    wide = WIDTH - _RIGHT - _LEFT
    width = wide / max(min(places, _SLOTS) - 1, 1)
    found: dict[int, dict[str, str]] = {}
    for name, points in lines.items():
        for x, y in points:
            said = f"{name} {y:.4g} at {x_label} {x:,.6g}"
            found.setdefault(round((place(x) - _LEFT) / width), {})[name] = said
    return tuple(
        Rect(_LEFT + (slot - 0.5) * width, _TOP, width, _TALL - _FOOT - _TOP, "hit", "\n".join(said.values()))
        for slot, said in sorted(found.items())
    )


def bar_chart(
    title: str,
    rows: Mapping[str, Mapping[str, float]],
    x_label: str,
    *,
    spread: Mapping[str, tuple[float, float]] | None = None,
    dots: Mapping[str, Sequence[float]] | None = None,
) -> Chart:
    """Bars from 0 to the right, a group of series a row; spread: an interval, dots: single values, by row."""
    spread, dots = spread or {}, dots or {}
    series = tuple(dict.fromkeys(name for row in rows.values() for name in row))
    left = min(12 + _LETTER * max(map(len, rows), default=0), WIDTH / 2)
    values = [v for row in rows.values() for v in row.values()] + [v for some in dots.values() for v in some]
    high = max([*values, *(end[1] for end in spread.values())], default=0) or 1.0
    place = _scale(0, high, left, WIDTH - _RIGHT)
    rects, lines, marks, names = [], [], [], []
    y = _TOP
    for row, bars in rows.items():
        middle = y + _BAR * max(len(bars), 1) / 2
        names.append((middle, row.replace("_", " ")))
        for name, value in bars.items():
            said = f"{row} {name}: {value:.4g}"
            if row in spread:
                said += f" ({spread[row][0]:.4g} to {spread[row][1]:.4g})"
            rects.append(Rect(left, y, place(value) - left, _BAR - 1, name, said))
            y += _BAR
        if row in spread:
            low, up = (place(end) for end in spread[row])
            lines.append(("ink", f"{low:.1f},{middle:.1f} {up:.1f},{middle:.1f}"))
        marks += [(place(value), middle, "ink") for value in dots.get(row, ())]
        y += _GAP
    return Chart(
        title,
        y + _FOOT,
        x_label,
        tuple((place(value), text) for value, text in ticks(0, high)),
        labels=tuple(names),
        left=left,
        rects=tuple(rects),
        lines=tuple(lines),
        dots=tuple(marks),
        names=series if len(series) > 1 else (),
    )


def column_chart(title: str, bins: Iterable[tuple[float, float, float, str]], x_label: str) -> Chart:
    """A histogram of (low, high, count, series)."""
    bins = list(bins)
    left, right = _span([edge for low, up, *_ in bins for edge in (low, up)])
    high = max((count for _, _, count, _ in bins), default=0) or 1.0
    place_x, place_y = _scale(left, right, _LEFT, WIDTH - _RIGHT), _scale(0, high, _TALL - _FOOT, _TOP)
    return Chart(
        title,
        _TALL,
        x_label,
        tuple((place_x(value), text) for value, text in ticks(left, right)),
        tuple((place_y(value), text) for value, text in ticks(0, high)),
        rects=tuple(
            Rect(
                place_x(low),
                place_y(count),
                max(place_x(up) - place_x(low) - 0.5, 0.5),
                _TALL - _FOOT - place_y(count),
                series,
                f"{low:.4g} to {up:.4g}: {count:,.6g}",
            )
            for low, up, count, series in bins
            if count
        ),
    )


def box_map(
    title: str, boxes: Sequence[tuple[tuple[float, float, float, float], str, str]], unit: str, scale: float = 1.0
) -> Chart:
    """Boxes ((left, bottom, right, top), series, text) on the ground, north up, those of later series on top.

    unit, scale: what the width is said in, and how many units of the boxes make one. Boxes drawn at the same place in
    the same series become one, which says how many they are: a map of 100,000 sources stays a small page.
    """
    lefts, bottoms, rights, tops = zip(*(box for box, _, _ in boxes), strict=True)
    left, top = min(lefts), max(tops)
    wide, tall = max(rights) - left, top - min(bottoms)
    room = WIDTH - _RIGHT - _TOP
    zoom = room / max(wide, tall, 1e-12)
    drawn: dict[tuple[str, float, float, float, float], list[str]] = {}
    for (x0, y0, x1, y1), series, text in boxes:
        x, y = round((x0 - left) * zoom + _TOP, 1), round((top - y1) * zoom + _TOP, 1)
        width, height = (round(max(side * zoom, _LEAST), 1) for side in (x1 - x0, y1 - y0))
        drawn.setdefault((series, x, y, width, height), []).append(text)
    names = tuple(dict.fromkeys(series for _, series, _ in boxes))
    return Chart(
        title,
        tall * zoom + _TOP + _FOOT,
        f"north up, {wide / scale:,.3g} {unit} wide",
        left=_TOP,
        rects=tuple(
            Rect(x, y, width, height, series, texts[0] + (f"\nand {len(texts) - 1} more" if len(texts) > 1 else ""))
            for (series, x, y, width, height), texts in sorted(drawn.items(), key=lambda one: names.index(one[0][0]))
        ),
        names=names,
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest, a little apart where they are one."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1))


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)
