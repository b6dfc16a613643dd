"""Processor time of a pair on a worker of `greenprep clean` and `run`, against one reading of its files by rasterio.

    python tests/bench/bench_worker.py [--pairs 64] [--rounds 4] [--layout strips|cog|lzw]

All in this process, in turn, eight pairs at a time; of each eight the least of the rounds counts, so that neighbours on
a busy machine spoil little. Start-up and the shards are not in it. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import rasterio
from bench_run import LAYOUTS, RECIPE, small_pairs

from greenprep.build.read import BuildInputs, ReadTask, read_task
from greenprep.clean.worker import clean_batch
from greenprep.raw.pairs import Candidate, find_pairs
from greenprep.raw.stamps import stamp_of
from greenprep.store.location import Location
from greenschemas.recipe import load_recipe

AT_ONCE = 8


def measured(
    jobs: Sequence[Callable[[Sequence[Candidate]], None]], pairs: Sequence[Candidate], rounds: int
) -> dict[tuple[str, int], float]:
    """Least processor seconds of each job over each AT_ONCE pairs."""
    least: dict[tuple[str, int], float] = {}
    for _ in range(rounds):
        for job in jobs:
            for at in range(0, len(pairs), AT_ONCE):
                began = time.process_time()
                job(pairs[at : at + AT_ONCE])
                key = job.__name__, at
                least[key] = min(least.get(key, float("inf")), time.process_time() - began)
    return least


def main() -> None:
    """Make the pairs, do all three in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--layout", choices=LAYOUTS, default="strips")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        raw, build = Path(folder) / "raw", Path(folder) / "build"
        small_pairs(raw, args.pairs, args.layout)
        (Path(folder) / "r.yaml").write_text(RECIPE.format(raw=raw, store=Path(folder) / "s.zarr"))
        recipe = load_recipe(Path(folder) / "r.yaml")
        for name in ("spill", "ledger"):
            (build / name).mkdir(parents=True)
        inputs = BuildInputs.of(raw, recipe, Location.at(build), judge=True)

        def plain(some: Sequence[Candidate]) -> None:
            for path in (raw / str(name) for one in some for name in (one.image, one.mask)):
                with rasterio.open(path) as source:
                    source.read()

        def clean(some: Sequence[Candidate]) -> None:
            clean_batch(raw, None, recipe.bands, recipe.mask, recipe.limits, some)

        def run(some: Sequence[Candidate]) -> None:
            read_task(ReadTask("k", inputs, tuple((one, stamp_of(raw, one).text) for one in some)))

        jobs: tuple[Callable[[Sequence[Candidate]], None], ...] = (plain, clean, run)
        pairs = find_pairs(raw, recipe.pairing)
        least = measured(jobs, pairs, args.rounds)
    took = {job.__name__: sum(t for (name, _), t in least.items() if name == job.__name__) for job in jobs}
    ratios = {name: round(seconds / took["plain"], 2) for name, seconds in took.items() if name != "plain"}
    print(
        json.dumps(
            {"layout": args.layout, "ms_a_pair": {n: round(s / len(pairs) * 1e3, 2) for n, s in took.items()}} | ratios
        )
    )


if __name__ == "__main__":
    main()
