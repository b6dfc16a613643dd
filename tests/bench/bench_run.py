"""`greenprep run` against reading every pixel once with rasterio: ratios, measured in one run.

Run: python tests/bench/bench_run.py [--pairs 1500] [--large-rows 10980] [--turns 3] [--layout strips|cog|lzw]
Prints JSON. `ratio` is the time of `greenprep run`, start-up included, over that of a pool of as many processes that
reads every file whole with rasterio, start-up included; medians of the turns, taken in turn.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

SIGNATURE = np.array(
    [
        [1500, 1400, 1350, 1400, 1500, 1600, 1700, 1750, 1800, 600, 12, 1900, 1700],
        [1250, 1050, 1050, 850, 1250, 2400, 2900, 2900, 3100, 900, 10, 2000, 1200],
        [1200, 900, 700, 450, 420, 350, 330, 300, 280, 100, 8, 120, 80],
    ],
    np.float32,
)
RECIPE = "raw: {raw}\nstore: {store}\nsplit: {{val: 0}}\nmask: {{classes: [built, green, water]}}\n"
LAYOUTS = {
    "strips": {"compress": "deflate"},
    "cog": {"compress": "deflate", "predictor": 2, "tiled": True, "blockxsize": 512, "blockysize": 512},
    "lzw": {"compress": "lzw", "predictor": 2},
}
"""How GDAL writes small files by default, as its COG driver does (small ones have no overviews), and by LZW."""
RUN = "from greenprep.cli.store import app; from greenschemas.console import run; run(app)"


def scene(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """((19, h, w) uint16 image, (3, h, w) float32 fractions)."""
    fields = np.stack([gaussian_filter(rng.standard_normal((height, width), np.float32), 5) for _ in range(3)]) * 40
    share = np.exp(fields - fields.max(axis=0))
    hundredths = np.floor(100 * share / share.sum(axis=0))
    hundredths[0] += 100 - hundredths.sum(axis=0)
    fraction = (hundredths / 100).astype(np.float32)
    image = np.zeros((19, height, width), np.uint16)
    texture = gaussian_filter(rng.standard_normal((height, width), np.float32), 1.2)
    for band in range(13):
        clean = np.einsum("k,khw->hw", SIGNATURE[:, band], fraction) * (1 + 0.3 * texture)
        image[band] = np.clip(clean + rng.normal(0, 12, clean.shape), 1, 10000)
    return image, fraction


def write(path: Path, data: np.ndarray, east: float, **options: object) -> None:
    """One GeoTIFF of 10 m pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(data),
        height=data.shape[1],
        width=data.shape[2],
        dtype=data.dtype.name,
        crs="EPSG:32618",
        transform=Affine(10, 0, east, 0, -10, 4e6),
        **options,
    ) as target:
        target.write(data)


def names(raw: Path, area: int, moment: int) -> tuple[Path, Path]:
    """Paths of an image and its mask."""
    stem = f"C_2016_{area}_{moment}_GeoTIFF"
    return raw / f"images/C/{stem}.tif", raw / f"masks/C_masks/{stem}_fractional_mask.tif"


def small_pairs(raw: Path, pairs: int, layout: str = "strips") -> None:
    """Pairs of 133 x 133 pixels, three times an area, no two alike."""
    rng = np.random.default_rng(0)
    for area in range(-(-pairs // 3)):
        image, fraction = scene(rng, 133, 133)
        for moment in range(min(3, pairs - 3 * area)):
            one, mask = names(raw, area, moment)
            noise = rng.integers(0, 9, (13, 133, 133), dtype=np.uint16)
            east, options = 4e5 + 1400 * area, LAYOUTS[layout]
            write(one, np.concatenate([image[:13] + noise, image[13:]]), east, **options)
            write(mask, fraction, east, **options)


def large_pair(raw: Path, rows: int, cols: int = 10980) -> None:
    """One pair in tiled files, the same picture over and over, with other brightness: compressible."""
    image, fraction = scene(np.random.default_rng(1), 512, 512)
    for path, part in zip(names(raw, 0, 0), (image, fraction), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=len(part),
            height=rows,
            width=cols,
            dtype=part.dtype.name,
            crs="EPSG:32618",
            transform=Affine(10, 0, 4e5, 0, -10, 4e6),
            compress="deflate",
            tiled=True,
            blockxsize=512,
            blockysize=512,
            BIGTIFF="YES",
        ) as target:
            for row in range(0, rows, 512):
                for col in range(0, cols, 512):
                    high, wide = min(512, rows - row), min(512, cols - col)
                    target.write(part[:, :high, :wide], window=Window(col, row, wide, high))


def read_whole(path: str) -> int:
    """What the baseline does with a file."""
    with rasterio.open(path) as source:
        if source.height * source.width * source.count < 1 << 26:
            return int(source.read().nbytes)
        return sum(
            int(source.read(window=Window(0, row, source.width, min(512, source.height - row))).nbytes)
            for row in range(0, source.height, 512)
        )


def baseline(raw: Path, workers: int) -> float:
    """Seconds for a pool to read every file once."""
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        sum(pool.imap_unordered(read_whole, sorted(map(str, raw.rglob("*.tif"))), chunksize=16))
    return time.perf_counter() - began


def ours(raw: Path, workers: int) -> float:
    """Seconds of `greenprep run`, as a user runs it."""
    with tempfile.TemporaryDirectory(dir=raw.parent) as folder:
        recipe = Path(folder) / "r.yaml"
        recipe.write_text(RECIPE.format(raw=raw, store=Path(folder) / "s.zarr"))
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", RUN, "run", str(recipe), "--workers", str(workers)], check=True, capture_output=True
        )
        return time.perf_counter() - began


def peak_mb(raw: Path) -> int:
    """Greatest memory of a process that does a whole build alone."""
    with tempfile.TemporaryDirectory(dir=raw.parent) as folder:
        recipe = Path(folder) / "r.yaml"
        recipe.write_text(RECIPE.format(raw=raw, store=Path(folder) / "s.zarr"))
        pid = os.posix_spawn(
            sys.executable, [sys.executable, "-c", RUN, "run", str(recipe), "--workers", "0"], os.environ
        )
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise RuntimeError("the build failed")
        return int(usage.ru_maxrss // 1024)


def main() -> None:
    """All measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument("--large-rows", type=int, default=10980)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--layout", choices=LAYOUTS, default="strips", help="of the small pairs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small, quarter, large = Path(folder) / "small", Path(folder) / "quarter", Path(folder) / "large"
        small_pairs(small, args.pairs, args.layout)
        small_pairs(quarter, args.pairs // 4, args.layout)
        large_pair(large, args.large_rows)
        plain, two, one, few = ([] for _ in range(4))
        for _ in range(args.turns):
            plain.append(baseline(small, 2))
            two.append(ours(small, 2))
            one.append(ours(small, 1))
            few.append(ours(quarter, 2))
        large_plain, large_ours = baseline(large, 2), ours(large, 2)
        middle = statistics.median
        print(
            json.dumps(
                {
                    "pairs": args.pairs,
                    "layout": args.layout,
                    "read_s": round(middle(plain), 2),
                    "run_s": round(middle(two), 2),
                    "ratio": round(middle(two) / middle(plain), 2),
                    "one_over_two_workers": round(middle(one) / middle(two), 2),
                    "four_times_the_pairs": round(middle(two) / middle(few), 2),
                    "small_peak_mb": peak_mb(quarter),
                    "large_rows": args.large_rows,
                    "large_read_s": round(large_plain, 2),
                    "large_run_s": round(large_ours, 2),
                    "large_over_small_per_pixel": round(
                        large_ours / (args.large_rows * 10980) / (middle(two) / (args.pairs * 133**2)), 2
                    ),
                    "large_peak_mb": peak_mb(large),
                    "own_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
