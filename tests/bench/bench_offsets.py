"""Precision and recall of the checks of Sentinel-2's radiometric offset, and of the rule of empty pixels.

    python tests/bench/bench_offsets.py [--scenes 200] [--size 64] [--seed 0] [--real IMAGES]

Scenes are of this file's own making, and no threshold was tuned on them: patches of eleven covers in seven landscapes,
light by season, shadow, haze, noise, part cloud, cirrus, snow and mountains. Each is written twice, as before and as
after baseline 04.00, and goes through `greenprep clean` as a file does. Collections hold the shifted version of a share
of the scenes, the latest dates or any. With --real, the images of a folder that follow the default recipe take the
scenes' place. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from greenprep.checks.collection import judge_collection
from greenprep.checks.survey import survey
from greenprep.raw.pair import open_pair
from greenprep.raw.pairs import Candidate
from greenschemas.bands import SENTINEL2_L1C_19, Band, Role
from greenschemas.choices import NanPolicy
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Level
from greenschemas.recipe import MaskRules

Array = NDArray[Any]
Spoil = Callable[[Array, Array], tuple[Array, Array, dict[str, Any]]]
ALL = tuple(band for band in SENTINEL2_L1C_19 if band.role is Role.REFLECTANCE)
CODES = {"radiometric-offset", "mixed-offsets", "likely-offset"}
SHARES = (0.05, 0.2, 0.5, 0.8, 1.0)
DATES = 4

# Surface reflectance, in thousandths, of B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B10 B11 B12.
COVERS = np.array(
    [
        [25, 22, 20, 10, 8, 6, 5, 5, 4, 3, 3, 2, 1],  # clear water
        [50, 65, 90, 85, 70, 35, 32, 25, 20, 12, 8, 6, 4],  # turbid water
        [15, 18, 28, 18, 55, 150, 185, 200, 215, 215, 150, 85, 38],  # conifers
        [18, 22, 48, 26, 90, 280, 350, 370, 385, 380, 250, 175, 80],  # broad leaves
        [30, 38, 75, 48, 125, 300, 370, 390, 405, 400, 260, 235, 125],  # grass
        [60, 75, 110, 140, 180, 220, 240, 260, 280, 285, 300, 350, 250],  # dry grass
        [70, 85, 120, 160, 190, 210, 225, 240, 255, 260, 300, 340, 300],  # soil
        [150, 190, 280, 360, 390, 405, 415, 430, 440, 445, 470, 540, 490],  # sand
        [95, 105, 115, 125, 130, 138, 145, 150, 155, 158, 165, 180, 165],  # asphalt, rock
        [180, 200, 220, 240, 250, 258, 265, 270, 275, 278, 280, 300, 270],  # roofs
        [880, 890, 880, 870, 860, 840, 830, 800, 770, 700, 200, 90, 70],  # snow
    ],
    np.float32,
) / np.float32(1000)
LANDSCAPES = {  # weights of the covers
    "fields": [0.3, 0.3, 1, 3, 4, 2, 3, 0, 1, 0.5, 0],
    "forest": [0.4, 0, 5, 4, 1, 0.5, 0.3, 0, 0.3, 0.1, 0],
    "city": [0.5, 0.2, 0.2, 1.5, 1.5, 1, 1, 0.2, 4, 4, 0],
    "coast": [4, 2, 0.3, 0.7, 1, 1, 0.5, 1, 1, 1, 0],
    "desert": [0, 0, 0, 0, 0.02, 0.5, 2, 6, 1.5, 0.2, 0],
    "mountains": [0.3, 0, 3, 0.5, 1, 1, 0.5, 0, 3, 0, 3],
    "dunes": [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],  # without a shadow: nothing in them tells an offset from sand
}
WAVELENGTH = np.array([443, 492, 560, 665, 704, 740, 783, 833, 865, 945, 1374, 1614, 2202], np.float32) / 1000


def ground(rng: np.random.Generator, size: int, landscape: str) -> Array:
    """(H, W) cover of each pixel: patches around random points, the covers' shares as the landscape has them."""
    weights = np.array(LANDSCAPES[landscape])
    points, kinds = rng.uniform(0, size, (60, 2)), rng.choice(len(COVERS), 60, p=weights / weights.sum())
    rows, cols = np.mgrid[:size, :size]
    bent = 3 * gaussian_filter(rng.standard_normal((2, size, size)), (0, 4, 4)) / 0.07
    away = (rows[..., None] + bent[0, ..., None] - points[:, 0]) ** 2
    away += (cols[..., None] + bent[1, ..., None] - points[:, 1]) ** 2
    return np.asarray(kinds[away.argmin(axis=-1)])


def reflectance(rng: np.random.Generator, covers: Array, landscape: str, *, level_1c: bool) -> Array:
    """(13, H, W) of one date: at the top of the atmosphere, or as the correction for it leaves the surface."""
    size = len(covers)
    spectra = COVERS * rng.normal(1, 0.12, (len(COVERS), 1)) * rng.normal(1, 0.05, COVERS.shape)
    season = rng.uniform(0.5, 1)  # leaves off
    spectra[3:5, 5:10] *= season
    if landscape == "mountains" and rng.random() < 0.4:
        covers = np.where(gaussian_filter(rng.standard_normal((size, size)), 8) > 0, 10, covers)
    light = 1 + 0.3 * gaussian_filter(rng.standard_normal((size, size)), 2) / 0.14 * rng.uniform(0.1, 0.5)
    shaded = gaussian_filter(rng.standard_normal((size, size)), 3) > rng.uniform(0.12, 0.3)
    light = light if landscape == "dunes" else np.where(shaded, rng.uniform(0.15, 0.5), light).clip(0.1, 1.6)
    out = gaussian_filter(spectra[covers].transpose(2, 0, 1) * light, (0, 0.7, 0.7))
    if level_1c:
        haze = 0.105 * (0.443 / WAVELENGTH) ** 4 * rng.uniform(0.8, 1.5) + rng.uniform(0.001, 0.03) / WAVELENGTH**1.3
        high = landscape == "mountains"
        let = 1 - 1.3 * haze
        let[9] *= rng.uniform(0.15, 0.5)
        let[10] = rng.uniform(0.002, 0.02) if high else rng.uniform(0, 0.002)
        haze[9:] = haze[9:] * 0.3
        haze[10] = rng.uniform(0.0003, 0.0015)
        out = out * let[:, None, None] + haze[:, None, None]
    else:
        out += rng.normal(0, 0.006, (13, 1, 1)) * (0.5 / WAVELENGTH)[:, None, None]  # the correction errs
    if rng.random() < 0.3:
        thick = gaussian_filter(rng.standard_normal((size, size)), 6) / 0.047
        veil = (thick - rng.uniform(-1.5, 1.5)).clip(0, 1)
        white = rng.uniform(0.3, 0.8) * np.where(WAVELENGTH > 1.5, 0.6, 1)
        if level_1c:
            white[10] = rng.uniform(0.001, 0.08)
        out = out * (1 - veil) + white[:, None, None] * veil
    if rng.random() < 0.2 and level_1c:  # cirrus, thin and everywhere
        cirrus = rng.uniform(0.002, 0.03) * (1 + 0.5 * gaussian_filter(rng.standard_normal((size, size)), 10) / 0.028)
        out += cirrus.clip(0) * np.where(np.arange(13) == 10, 1, 0.7)[:, None, None]
    noisy: Array = out + rng.normal(0, 0.0012, out.shape)
    return noisy


def numbers(values: Array, shifted: bool) -> Array:
    """(13, H, W) uint16 as the processing writes them: without the offset nothing below 1, with it nothing below 1."""
    counts: Array = np.clip(np.rint(values * 10_000) + (1000 if shifted else 0), 1, 65_535).astype(np.uint16)
    return counts


@dataclass(frozen=True)
class Kind:
    """How a collection's files come."""

    name: str
    bands: tuple[int, ...]
    level_1c: bool
    tags: tuple[str | None, str | None] = (None, None)
    """What `word` says of the file without the offset, and of the one with it."""
    word: str = "PROCESSING_BASELINE"


NO_CIRRUS = tuple(i for i in range(13) if i != 10)
KINDS = (
    Kind("L1C", tuple(range(13)), True),
    Kind("L1C without cirrus", NO_CIRRUS, True),
    Kind("L2A", NO_CIRRUS, False),
    Kind("L2A, blue green red nir", (1, 2, 3, 7), False),
    Kind("L2A, baseline in the tags", NO_CIRRUS, False, ("02.14", "05.09")),
    Kind("L2A, offset in the tags", NO_CIRRUS, False, (None, "-1000"), "BOA_RADIO_ADD_OFFSET_B1"),
    Kind("the same, harmonised or not", NO_CIRRUS, False, ("05.09", "05.09")),
)


def write(path: Path, image: Array, tags: Mapping[str, str] = MappingProxyType({}), **profile: Any) -> None:
    """A GeoTIFF of these pixels (C, H, W)."""
    place = rasterio.Affine(10, 0, 4e5, 0, -10, 4e6)
    shape: dict[str, Any] = {"count": len(image), "height": image.shape[1], "width": image.shape[2]}
    profile = {"driver": "GTiff", "dtype": image.dtype, "crs": "EPSG:32633", "transform": place, **shape, **profile}
    with rasterio.open(path, "w", **profile) as file:
        file.write(image)
        file.update_tags(**tags)


def judged(folder: Path, image: Array, bands: Sequence[Band], group: str, time: int, tags: dict[str, str]) -> Entry:
    """The verdict on one file of these pixels, written and read."""
    path = folder / f"{group}_{time}.tif"
    write(path, image, tags)
    candidate = Candidate(path.name, None, group, str(time))
    with open_pair(folder, candidate, bands, MaskRules(), Limits()) as pair:
        entry = survey(pair, pair.strips(), "")
    path.unlink()
    return entry


def pairs_of(kind: Kind, scenes: int, size: int, seed: int, folder: Path) -> list[tuple[Entry, Entry]]:
    """(plain, shifted) verdict on each scene, place by place, date by date."""
    bands, out = [ALL[i] for i in kind.bands], []
    for number in range(scenes):
        place, date = divmod(number, DATES)
        landscape = list(LANDSCAPES)[place % len(LANDSCAPES)]
        rng = np.random.default_rng([seed, 1, place])
        covers = ground(rng, size, landscape)
        rng = np.random.default_rng([seed, 2, number])
        values = reflectance(rng, covers, landscape, level_1c=kind.level_1c)[list(kind.bands)]
        both = [
            judged(folder, numbers(values, shifted), bands, f"p{place}", date, {kind.word: tag} if tag else {})
            for shifted, tag in zip((False, True), kind.tags, strict=True)
        ]
        out.append((both[0], both[1]))
    return out


def real_pairs(images: Path, kind: Kind, folder: Path) -> list[tuple[Entry, Entry]]:
    """As `pairs_of`, of the images below a folder, which are all of one place."""
    out = []
    for date, path in enumerate(sorted(images.rglob("*.tif"))):
        with rasterio.open(path) as file:
            image = file.read([i + 1 for i in kind.bands])
        moved = np.where((image == 0).all(axis=0), 0, np.minimum(image.astype(int) + 1000, 65_535)).astype(image.dtype)
        bands = [ALL[i] for i in kind.bands]
        tags = [{kind.word: tag} if tag else {} for tag in kind.tags]
        plain, shifted = (
            judged(folder, one, bands, "p", date, tag) for one, tag in zip((image, moved), tags, strict=True)
        )
        out.append((plain, shifted))
    return out


def told(entry: Entry) -> str:
    """`acted` where the offset was taken away or the file refused for it, `warned` where it was only told of."""
    levels = {reason.level for reason in entry.reasons if reason.code in CODES}
    return "" if not levels else "warned" if levels == {Level.WARN} else "acted"


def count(
    pairs: Sequence[tuple[Entry, Entry]], kind: Kind, share: float, *, latest: bool, seed: int
) -> Counter[tuple[bool, str]]:
    """Files by (with the offset, what was said), over as many collections as shift each scene about once."""
    rng, out = np.random.default_rng(seed), Counter[tuple[bool, str]]()
    bands = [ALL[i] for i in kind.bands]
    most = round(share * len(pairs))
    for _ in range(max(1, round(1 / share))):
        order = rng.permutation(len(pairs)).tolist()
        if latest:  # From one date on; what that date has in part falls where it may.
            order = sorted(order, key=lambda i: -(i % DATES))
        chosen = set(order[:most])
        entries = [pairs[i][i in chosen] for i in range(len(pairs))]
        judgement = sorted(judge_collection(entries, bands, MaskRules(), Limits()), key=_at)
        out.update((i in chosen, told(entry)) for i, entry in enumerate(judgement))
    return out


def _at(entry: Entry) -> tuple[int, int]:
    return int((entry.group or "p0")[1:] or 0), int(entry.time or 0)


def offsets(args: argparse.Namespace, folder: Path) -> None:
    print(f"{args.scenes} scenes, each with the offset and without\n" if not args.real else "")
    print(
        "| files | with it | found: any dates | the latest | precision | others mended or refused | others warned of |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind in KINDS:
        made = (kind, args.scenes, args.size, args.seed, folder)
        pairs = real_pairs(args.real, kind, folder) if args.real else pairs_of(*made)
        for share in SHARES:
            if round(share * len(pairs)) < 1:
                continue
            counts = [count(pairs, kind, share, latest=latest, seed=args.seed) for latest in (False, True)]
            recall = " | ".join(_recall(one) for one in counts)
            both = counts[0] + counts[1]
            named = [sum(both[carries, how] for how in ("acted", "warned")) for carries in (False, True)]
            precision = f"{named[1] / sum(named):.3f}" if sum(named) else "-"
            others = sum(n for (carries, _), n in both.items() if not carries)
            print(
                f"| {kind.name} | {share:.0%} | {recall} | {precision} | {both[False, 'acted']} of {others} "
                f"| {both[False, 'warned']} |",
                flush=True,
            )


def _recall(counts: Counter[tuple[bool, str]]) -> str:
    """Share of the files with the offset that are named, and the part of them that is only warned of."""
    there = sum(n for (carries, _), n in counts.items() if carries)
    acted, warned = counts[True, "acted"], counts[True, "warned"]
    return f"{(acted + warned) / there:.3f} (warned {warned / there:.3f})"


def wedges() -> dict[str, Spoil]:
    """By name: (image as written, (H, W) truth of what is empty, profile of the file)."""

    def filled(value: float, kind: str = "uint16", **profile: Any) -> Spoil:
        return lambda image, gone: (np.where(gone, np.array(value, kind), image.astype(kind)), gone, profile)

    def shifted(image: Array, gone: Array) -> tuple[Array, Array, dict[str, Any]]:
        return np.where(gone, 0, image + 1000).astype(np.uint16), gone, {}

    def water(bands: slice, nodata: float | None) -> Spoil:
        def spoil(image: Array, gone: Array) -> tuple[Array, Array, dict[str, Any]]:
            out = image.copy()
            out[bands, gone] = 0
            return out, np.zeros_like(gone), {"nodata": nodata}

        return spoil

    return {
        "wedge of 0, tag 0": filled(0, nodata=0),
        "wedge of 0, no tag": filled(0),
        "wedge of 0 beside the offset, no tag": shifted,
        "wedge of 65535, tag": filled(65_535, nodata=65_535),
        "wedge of -9999, tag, float": filled(-9999, "float32", nodata=-9999),
        "wedge of NaN, tag, float": filled(float("nan"), "float32", nodata=float("nan")),
        "dark water, 0 in B12, tag 0": water(np.s_[12:], 0),
        "dark water, 0 in all bands but B1, tag 0": water(np.s_[1:], 0),
        "dark water, 0 in all bands but B1, no tag": water(np.s_[1:], None),
    }


def holes(args: argparse.Namespace, folder: Path) -> None:
    """Pixels that may not be used, of scenes of which a corner holds nothing, or dark water."""
    print("\n| files | scenes right in every pixel | empty pixels found | other pixels called empty |")
    print("|---|---|---|---|")
    for name, spoil in wedges().items():
        right = found = there = false = 0
        for number in range(args.scenes):
            rng = np.random.default_rng([args.seed, 3, number])
            landscape = list(LANDSCAPES)[number % len(LANDSCAPES)]
            values = reflectance(rng, ground(rng, args.size, landscape), landscape, level_1c=True)
            rows, cols = np.mgrid[: args.size, : args.size]
            image, gone, profile = spoil(
                numbers(values, False), rows + rng.uniform(0.2, 3) * cols < rng.uniform(0.3, 1.2) * args.size
            )
            valid = usable(folder, image, profile)
            right += bool((valid == ~gone).all())
            there, found = there + int(gone.sum()), found + int((~valid & gone).sum())
            false += int((~valid & ~gone).sum())
        share = f"{found / there:.4f}" if there else "-"
        print(f"| {name} | {right} of {args.scenes} | {share} | {false} |", flush=True)


def usable(folder: Path, image: Array, profile: dict[str, Any]) -> Array:
    """(H, W) true where a store would have the pixel."""
    write(folder / "s.tif", image, **profile)
    candidate = Candidate("s.tif", None, "g", "1")
    with open_pair(folder, candidate, ALL, MaskRules(), Limits(nan=NanPolicy.MASK)) as pair:
        return pair.read(0, 0, *image.shape[1:]).valid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, help="take the images below this folder as scenes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        offsets(args, Path(folder))
        if not args.real:
            holes(args, Path(folder))


if __name__ == "__main__":
    main()
