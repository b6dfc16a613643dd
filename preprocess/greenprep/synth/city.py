"""A small synthetic city as raw GeoTIFFs, with planted defects, so that everything can be tried without data.

The ground is drawn as classes at 2 m and averaged to 10 m, so that masks are true sub-pixel fractions; images follow
the 19-band layout of Sentinel-2 Level-1C with its six empty quality bands. `truth.json` says what was planted where.
Letters: C bands, K classes, H rows, W columns; F fine cells a pixel's side.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from greenprep.synth.defects import DEFECTS, ENCODINGS, Raw, write_raw
from greenschemas.errors import ConfigError

__all__ = ["CLASSES", "Truth", "acquire", "ground", "write_city"]

Array = NDArray[Any]
CLASSES = ("impervious", "low_vegetation", "trees", "water", "clutter")
FINE = 5
PIXEL = 10.0
"""Metres."""
SPECTRA = np.array(
    [
        # B1    B2    B3    B4    B5    B6    B7    B8    B8A   B9   B10  B11   B12
        [1450, 1330, 1300, 1360, 1440, 1540, 1640, 1690, 1760, 620, 11, 1850, 1620],
        [1230, 1020, 1060, 830, 1230, 2350, 2820, 2860, 3050, 880, 10, 1950, 1150],
        [1130, 880, 780, 530, 820, 2200, 2800, 2780, 3050, 830, 9, 1350, 620],
        [1210, 930, 720, 440, 400, 330, 310, 280, 260, 110, 8, 110, 70],
        [1480, 1430, 1560, 1800, 2000, 2180, 2320, 2400, 2500, 790, 11, 2950, 2550],
    ],
    np.float32,
)
"""(K, 13) top-of-atmosphere reflectance x 10000."""
BARE = np.array([1.0, 0.95, 0.7, 1.0, 1.0], np.float32)
"""(K,) what is left of the near infrared in winter."""


class Truth(TypedDict):
    """What is known of one image."""

    group: str
    time: int
    size: int
    defect: str | None
    """Planted defect, which a cleaner must reject or mend."""
    dress: str | None
    """Unusual encoding of good data, which a cleaner must accept or rewrite."""


def write_city(
    out: Path, *, areas: int, times: int, size: int, seed: int, defects: bool, city: str = "SYNTH", year: int = 2020
) -> dict[str, Truth]:
    """Write the files and `truth.json` into a new folder; returns the truth by image path.

    Raises ConfigError where the folder has anything in it: nothing is overwritten.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError(out, "is not empty", "choose an empty or new folder")
    kinds: list[str | None] = [None] * areas + ([*DEFECTS, *ENCODINGS] if defects else [])
    truth: dict[str, Truth] = {}
    first: Raw | None = None
    for area, kind in enumerate(kinds):
        rng = np.random.default_rng([seed, area])
        side = size - area % 2
        fractions = ground(rng, side)
        for time in range(1, (1 if kind else times) + 1):
            stem = f"{city}_{year}_{area}_{time}_GeoTIFF"
            image = f"images/{city}/{stem}.tif"
            origin = (400_000 + 1_600 * (area % 30), 4_080_000 - 1_600 * (area // 30))
            raw = Raw(acquire(rng, fractions, winter=time == times and times > 1), fractions, origin)
            first = first or raw
            write_raw(out / image, out / f"masks/{city}_masks/{stem}_fractional_mask.tif", raw, kind, rng, first)
            truth[image] = Truth(
                group=f"{city}_{year}_{area}",
                time=time,
                size=side,
                defect=kind if kind in DEFECTS else None,
                dress=kind if kind in ENCODINGS else None,
            )
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return truth


def ground(rng: np.random.Generator, side: int) -> Array:
    """(K, side, side) float32 class fractions of a piece of city; they sum to 1."""
    fine = side * FINE
    urban = _field(rng, fine, 40 * FINE)
    green, height = _field(rng, fine, 12 * FINE), _field(rng, fine, 30 * FINE)
    classes = np.where(green + 0.4 * urban > 0, 1, 2)
    classes[_field(rng, fine, 9 * FINE) > 1.6] = 4
    _draw_houses(rng, classes, urban)
    _draw_streets(rng, classes, urban)
    classes[height < np.quantile(height, rng.uniform(0.03, 0.15))] = 3
    blocks = classes.reshape(side, FINE, side, FINE)
    return np.stack([(blocks == k).mean(axis=(1, 3)) for k in range(len(CLASSES))]).astype(np.float32)


def _draw_houses(rng: np.random.Generator, classes: Array, urban: Array) -> None:
    side = len(classes)
    for _ in range(side * side // 400):
        top, left = rng.integers(0, side - 12, 2)
        if urban[top, left] > -0.2:
            tall, wide = rng.integers(4, 12, 2)
            classes[top : top + tall, left : left + wide] = 0


def _draw_streets(rng: np.random.Generator, classes: Array, urban: Array) -> None:
    for lines in (classes, classes.T):
        built = urban > -0.5 if lines is classes else (urban > -0.5).T
        at = int(rng.integers(0, 40))
        while at < len(lines):
            street = slice(at, at + int(rng.integers(3, 7)))
            lines[street][built[street]] = 0
            at += int(rng.integers(30, 80))


def acquire(rng: np.random.Generator, fractions: Array, *, winter: bool) -> Array:
    """(19, H, W) uint16: what the satellite sees of a ground on one day.

    fractions: (K, H, W).
    """
    side = fractions.shape[1]
    spectra = SPECTRA * rng.normal(1, 0.03, SPECTRA.shape).astype(np.float32)
    if winter:
        spectra[:, 5:9] *= BARE[:, None]
    texture = np.stack([1 + 0.08 * _field(rng, side, 3) for _ in CLASSES]).astype(np.float32)
    light = np.einsum("kb,khw->bhw", spectra, fractions * texture)
    light = _blurred(light) + rng.uniform(0, 200) * np.exp(-np.arange(13) / 3)[:, None, None]
    light += rng.normal(0, 15, light.shape)
    image = np.zeros((19, *light.shape[1:]), np.uint16)
    image[:13] = np.clip(np.rint(light), 1, 65_535)
    return image


def _field(rng: np.random.Generator, side: int, cell: int) -> Array:
    """(side, side) smooth random field of mean 0 and deviation 1: random values every `cell`, interpolated."""
    knots = rng.normal(size=(max(3, side // cell + 3),) * 2)
    at = np.linspace(0.5, len(knots) - 1.5, side)
    rows = np.stack([np.interp(at, np.arange(len(knots)), column) for column in knots.T], axis=1)
    field = np.stack([np.interp(at, np.arange(len(knots)), row) for row in rows])
    standard: Array = (field - field.mean()) / field.std()
    return standard


def _blurred(bands: Array) -> Array:
    """The sensor sees a little of each neighbour: weights 1 2 1 along both axes."""
    padded = np.pad(bands, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    blurred: Array = (across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]) / 4
    return blurred
