"""What it costs that what is called done is on the disk, and is known again: `run` and `tile` with and without.

    python tests/bench/bench_safety.py [--areas 40] [--rounds 5]

Off, in turn: waiting for the disk (fsync, syncfs); digests of spilled pieces, records, shards and small arrays, with
the reading back of each shard; both. One process, the same synthetic pairs, in turn; prints the medians of the rounds'
ratios of time with to time without, as JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import yaml

from greenprep.build import assemble, ledger, read, shard
from greenprep.build.run import run, tile
from greenprep.clean.clean import clean
from greenprep.store import codec
from greenprep.synth.city import write_city
from greenschemas import files, integrity
from greenschemas.recipe import load_recipe


def constant(_: bytes = b"") -> SimpleNamespace:
    """A digest that is made of nothing."""
    return SimpleNamespace(update=lambda data: None, digest=lambda: bytes(32), hexdigest=lambda: "0" * 64)


def unsynced(undo: ExitStack) -> None:
    """Nothing waits for the disk."""
    undo.enter_context(patch.object(files, "_sync", lambda path: None))
    undo.enter_context(patch.object(files, "_sync_system", lambda folder: True))


def undigested(undo: ExitStack) -> None:
    """Nothing is known again, and no shard is read back."""
    for module in (assemble, codec, integrity, ledger, read):
        undo.enter_context(patch.object(module, "hashlib", SimpleNamespace(sha256=constant)))
    undo.enter_context(patch.object(shard, "_verified", lambda file, data: codec.digest_of(data)))


OFF: dict[str, tuple[Callable[[ExitStack], None], ...]] = {
    "with both": (),
    "without syncs": (unsynced,),
    "without digests": (undigested,),
    "without either": (unsynced, undigested),
}


def main() -> None:
    """Make the pairs, and build from them in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_city(folder / "raw", areas=asked.areas, times=1, size=256, seed=0, defects=False)
        recipe = folder / "r.yaml"
        recipe.write_text(yaml.safe_dump({"raw": "raw", "clean": "c", "store": "s.zarr"}))
        clean(folder / "raw", folder / "judged", load_recipe(recipe), workers=1)
        builds: dict[str, Callable[[], object]] = {
            "run": lambda: run(recipe, workers=0),
            "tile": lambda: tile(folder / "judged", folder / "s.zarr", workers=0),
        }
        for name, build in builds.items():
            for number in range(asked.rounds + 1):
                took: dict[str, tuple[float, float]] = {}
                for turn in range(len(OFF)):  # In another order each round: the machine may be busy at a time.
                    how, off = list(OFF.items())[(number + turn) % len(OFF)]
                    for out in ("s.zarr", "c"):
                        shutil.rmtree(folder / out, ignore_errors=True)
                    with ExitStack() as undo:
                        for each in off:
                            each(undo)
                        wall, cpu = time.perf_counter(), time.process_time()
                        build()
                        took[how] = time.perf_counter() - wall, time.process_time() - cpu
                for how, (wall, cpu) in took.items() if number else ():  # The first round warms up.
                    found.setdefault(f"{name}, {how}: time", []).append(took["with both"][0] / wall)
                    found.setdefault(f"{name}, {how}: processor time", []).append(took["with both"][1] / cpu)
    print(json.dumps({key: round(statistics.median(of), 3) for key, of in found.items()}, indent=1))


if __name__ == "__main__":
    main()
