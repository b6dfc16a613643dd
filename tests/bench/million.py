"""A million pairs without their pixels: what `greenprep run` and the commands after it take, step by step.

python tests/bench/million.py [--pairs 1000000] [--folder FOLDER]: seconds of each step, and the most memory so far.
What a watcher of as many takes: python tests/bench/bench_watch.py --pairs 1000000.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from greenprep.build import assemble, run
from greenprep.split import assign
from greenprep.split.audit import audit_store
from greenprep.store.statistics import stats_table
from greenschemas.manifest import read_manifest
from greenschemas.store import open_store
from support.simulated import simulated_run

STEPS = {
    run: ("find_pairs", "read_sources", "judge_collection", "write_manifest", "assemble", "write_split"),
    assemble: ("_source_table", "_tile_table", "write_store"),
    assign: ("footprints", "_choose", "audit_store", "_with_split"),
}
"""Functions that are timed, by the module that calls them."""


def memory() -> float:
    """Megabytes that this process has had at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long the block took."""
    began, before = time.perf_counter(), time.process_time()
    yield
    spent = time.process_time() - before
    print(
        f"{what:20} {time.perf_counter() - began:8.1f} s, {spent:8.1f} s of a processor, {memory():7.0f} MB", flush=True
    )


def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, timed."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with timed(name):
            return function(*args, **kwargs)

    return call


def main() -> None:
    """Simulate, and print what each step took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the scratch goes, some gigabytes; default: the system's")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name, ExitStack() as patches:
        folder = Path(name)
        print(f"{args.pairs:,} pairs; {memory():.0f} MB before", flush=True)
        for module, functions in STEPS.items():
            for function in functions:
                patches.enter_context(patch.object(module, function, watched(function, getattr(module, function))))
        with timed("run, all of it"):
            built = simulated_run(folder, args.pairs)
        print(
            f"{built.summary.found:,} found, {built.contract.groups:,} groups, audit {built.audit.passed}", flush=True
        )
        del built
        with timed("a manifest read"):
            assert sum(1 for _ in read_manifest(folder / "big.clean")) == args.pairs
        store = open_store(folder / "big.zarr")
        with timed("an audit"):
            assert audit_store(store, store.splits()).passed
        with timed("statistics"):
            stats_table(store, "train")
        print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
