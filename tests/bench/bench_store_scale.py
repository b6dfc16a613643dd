"""A store of a million tiles, simulated with empty tiled arrays: split, audit and statistics in seconds.

Run: python tests/bench/bench_store_scale.py [TILES]. Prints seconds and the peak of memory; at most 10 s and 2 GB.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr

from greenprep.split.assign import SplitPlan, split_store
from greenprep.store.arrays import SourceTable, TileTable, write_store
from greenprep.store.histogram import Histogram
from greenprep.store.moments import Moments
from greenprep.store.statistics import stats_table
from greenschemas.contract import Contract
from greenschemas.recipe import Recipe
from greenschemas.store import open_store, write_contract

TILES_A_SOURCE, SOURCES_A_GROUP = 25, 4
CODES = np.arange(161, 400)


def groups(rng: np.random.Generator, many: int, bands: int, classes: int) -> Iterator[Moments]:
    """Plausible records: 13 bands that move, 6 that are dead."""
    pixels = 128 * 128 * TILES_A_SOURCE * SOURCES_A_GROUP
    for _ in range(many):
        spread = np.zeros((bands, bands))
        spread[:13, :13] = 1e5 * pixels * (0.3 + 0.7 * np.eye(13))
        count = np.full(bands, pixels)
        bins = np.zeros((bands, len(CODES)), np.int64)
        bins[:13, 100:180] = pixels // 80
        yield Moments(
            count,
            rng.normal(1000, 100, bands),
            spread,
            np.zeros(bands),
            np.full(bands, 9000.0),
            pixels * rng.dirichlet([3, 2.6, 3.5, 0.6, 0.1]),
            np.zeros(classes, np.int64),
            Histogram(CODES, bins),
        )


def simulate(folder: Path, tiles: int) -> None:
    """A store whose image, fraction and valid hold nothing but fill."""
    rng, recipe = np.random.default_rng(0), Recipe()
    sources = tiles // TILES_A_SOURCE
    many = sources // SOURCES_A_GROUP
    index = np.arange(sources)
    text = np.dtypes.StringDType()
    names = np.array([f"CITY_2016_{g:06d}" for g in index // SOURCES_A_GROUP], object).astype(text)
    ground = index // SOURCES_A_GROUP
    transform = np.tile([10.0, 0, 0, 0, -10.0, 0], (sources, 1))
    transform[:, 2], transform[:, 5] = 4e5 + 7000 * (ground % 200), 4e6 - 7000 * (ground // 200)
    contract = Contract(
        bands=recipe.bands,
        classes=recipe.mask.classes,
        tile_size=128,
        stride=128,
        dtype="uint16",
        tiles=tiles,
        sources=sources,
        groups=many,
        shard_tiles=64,
        recipe=recipe.about_data(),
        recipe_hash=recipe.hash(),
    )
    paths = np.array([f"images/CITY/{name}_{i % SOURCES_A_GROUP}_GeoTIFF.tif" for i, name in enumerate(names)], object)
    place = np.arange(tiles) % TILES_A_SOURCE
    write_store(
        folder,
        contract,
        SourceTable(
            paths.astype(text),
            np.array([f"{i:064x}" for i in index], object).astype(text),
            np.array(["EPSG:32618"] * sources, object).astype(text),
            transform,
            names,
            np.array([str(i % SOURCES_A_GROUP) for i in index], object).astype(text),
            np.full((sources, 2), 640),
        ),
        TileTable(
            np.arange(tiles) // TILES_A_SOURCE,
            place // 5 * 128,
            place % 5 * 128,
            np.ones(tiles, np.float32),
            rng.integers(1, 2**63, tiles).astype(np.uint64),
        ),
        groups(rng, many, len(recipe.bands), len(recipe.mask.classes)),
        CODES,
        [("", "", "")] * (-(-tiles // 64)),
    )
    write_contract(zarr.open_group(str(folder), mode="r+"), contract)


def main(tiles: int) -> None:
    """Simulate, then time what a user would run, and print it as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        simulate(store, tiles)
        began = time.perf_counter()
        contract, audit = split_store(store, SplitPlan(Recipe().split))
        split = time.perf_counter()
        stats_table(open_store(store), "train")
        done = time.perf_counter()
        print(
            json.dumps(
                {
                    "tiles": contract.tiles,
                    "groups": contract.groups,
                    "leaks": len(audit.leaks),
                    "split_and_audit_s": round(split - began, 2),
                    "stats_s": round(done - split, 2),
                    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                }
            )
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
