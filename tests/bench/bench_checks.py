"""Precision and recall of the checks that judge pictures: noise, wrapping, misalignment, stripes, salt and pepper.

    python tests/bench/bench_checks.py [--scenes 200] [--size 96] [--seed 0] [--raw RAW] [--recipe R]

Good scenes are `greenprep synth` grounds (or, with --raw, the accepted pairs of a raw folder); each kind of spoiling is
tried at several strengths on as many scenes. Prints a table in Markdown. A check is counted as fired when its code is
among the findings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.checks.judge import judge
from greenprep.checks.measure import measure_pixels
from greenprep.raw.pair import PairHeader, Pixels, open_pair
from greenprep.raw.pairs import Candidate, find_pairs
from greenprep.synth.city import acquire, ground
from greenschemas.grid import IDENTITY
from greenschemas.labels import decode_labels
from greenschemas.recipe import Recipe, load_recipe

Array = NDArray[Any]
Spoil = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]


def noisy(share: float) -> Spoil:
    """White noise of `share` of the values' range in place of as much of the picture; 1: nothing else is left."""

    def spoil(image: Array, fraction: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        spoilt = image.astype(np.float64)
        spoilt[:13] = (1 - share) * spoilt[:13] + share * rng.integers(0, 10_000, spoilt[:13].shape)
        return spoilt.astype(image.dtype), fraction

    return spoil


def gaussian(times: float) -> Spoil:
    """Gaussian noise of `times` the deviation of each band, added."""

    def spoil(image: Array, fraction: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        spoilt = image.astype(np.float64)
        spoilt[:13] += rng.normal(size=spoilt[:13].shape) * times * spoilt[:13].std(axis=(1, 2), keepdims=True)
        info = np.iinfo(image.dtype)
        return np.clip(spoilt, info.min, info.max).astype(image.dtype), fraction

    return spoil


def wrapped(divide: int) -> Spoil:
    """Cut to 8 bits modulo 256, after division: divided data wrap less often."""
    return lambda image, fraction, rng: ((image // divide % 256).astype(np.uint8), fraction)


def moved(pixels: int) -> Spoil:
    """Labels moved by so many pixels to one side."""

    def spoil(image: Array, fraction: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        down, right = [(0, pixels), (pixels, 0), (pixels, pixels), (-pixels, pixels)][int(rng.integers(4))]
        return image, np.roll(fraction, (down, right), (1, 2))

    return spoil


def turned(image: Array, fraction: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The mask upside down."""
    return image, fraction[:, ::-1]


def striped(reflectance: float) -> Spoil:
    """Every fourth line brighter."""

    def spoil(image: Array, fraction: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        spoilt = image.copy()
        spoilt[:13, ::4] += np.array(reflectance * 10_000).astype(image.dtype)
        return spoilt, fraction

    return spoil


def peppered(share: float) -> Spoil:
    """So many pixels black or white, in all bands."""

    def spoil(image: Array, fraction: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        spoilt, where = image.copy(), rng.random(image.shape[1:])
        spoilt[:13, where < share / 2] = 1
        spoilt[:13, where > 1 - share / 2] = 9_000
        return spoilt, fraction

    return spoil


KINDS: list[tuple[str, str, Spoil]] = [
    *((f"white noise, {share:.0%}", "noise", noisy(share)) for share in (1, 0.7, 0.5, 0.3)),
    *((f"Gaussian noise, {times:g} deviations", "noise", gaussian(times)) for times in (4, 2, 1)),
    *((f"modulo 256 after / {by}", "wrapped-8-bit", wrapped(by)) for by in (1, 2, 4)),
    *((f"mask moved by {n} pixels", "misaligned", moved(n)) for n in (16, 8, 4, 2)),
    ("mask upside down", "misaligned", turned),
    *((f"stripes of {by:g}", "stripes", striped(by)) for by in (0.1, 0.05, 0.02)),
    *((f"salt and pepper, {share:.0%}", "salt-and-pepper", peppered(share)) for share in (0.1, 0.04, 0.02)),
]


def codes(image: Array, fraction: Array, recipe: Recipe) -> set[str]:
    """Codes that a pair of arrays is given."""
    raw = np.where(fraction == 255, np.nan, fraction / 200.0).astype(np.float32)
    rules = recipe.mask.model_copy(update={"kind": "fraction"})
    coded, labels = decode_labels(raw, rules, recipe.limits, nodata=float("nan"), scale=1)
    all_of = np.ones(image.shape[1:], bool)
    pixels = Pixels(0, 0, True, np.ascontiguousarray(image), all_of, all_of, coded, labels, 0, None, None)
    header = PairHeader(Candidate("i", "m", "g", "1"), image.shape, str(image.dtype), "", IDENTITY, ())
    statistics = measure_pixels(pixels, recipe.bands, recipe.limits.reflectance_scale)
    return {reason.code for reason in judge(header, statistics, recipe.bands, rules, recipe.limits).reasons}


def scenes(count: int, size: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Synthetic good scenes: (image, coded fractions)."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        fractions = ground(rng, size)
        yield acquire(rng, fractions, winter=bool(number % 3 == 0)), np.rint(fractions * 200).astype(np.uint8)


def real(raw: Path, recipe: Recipe) -> Iterator[tuple[Array, Array]]:
    """The pairs of a folder that open without a finding that rejects."""
    for candidate in find_pairs(raw, recipe.pairing):
        with open_pair(raw, candidate, recipe.bands, recipe.mask, recipe.limits) as pair:
            if not pair.header.rejected and pair.header.shape:
                pixels = pair.read(0, 0, *pair.header.shape[1:])
                yield pixels.image, pixels.fraction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, help="use the pairs of this folder as good scenes")
    parser.add_argument("--recipe", type=Path)
    args = parser.parse_args()
    recipe = load_recipe(args.recipe) if args.recipe else Recipe()
    good = list(real(args.raw, recipe)) if args.raw else list(scenes(args.scenes, args.size, args.seed))
    good = good[: args.scenes]
    clean = [codes(image, fraction, recipe) for image, fraction in good]
    print(f"{len(good)} good scenes, as many spoilt of each kind\n")
    print("| spoilt by | check | found (recall) | precision | good scenes flagged |")
    print("|---|---|---|---|---|")
    for name, code, spoil in KINDS:
        rng = np.random.default_rng(args.seed)
        hits = sum(code in codes(*spoil(image, fraction, rng), recipe) for image, fraction in good)
        false = sum(code in found for found in clean)
        precision = hits / (hits + false) if hits + false else float("nan")
        print(f"| {name} | `{code}` | {hits / len(good):.3f} | {precision:.3f} | {false} |", flush=True)


if __name__ == "__main__":
    main()
