"""A store of 100,000 tiles of 19 x 128 x 128: the time to its first batch, and memory over an epoch, streamed.

Run: python tests/bench/bench_first_batch.py [TILES]. At most 2 s to the first batch, and memory flat. Each shard is one
and the same file under another name (a hard link), so that the store takes no room and its tiles are decoded in full.
Another process makes the store: this one has imported nothing and holds nothing when the clock starts.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

BATCH = 16


def make_store(store: Path, tiles: int) -> None:
    """Write the first shard of each tiled array, and name it again as all the others."""
    import numpy as np
    import zarr
    from bench_store_scale import simulate

    from greenprep.split.assign import Plan, split_store
    from greenschemas.recipe import Recipe

    simulate(store, tiles)
    split_store(store, Plan(Recipe().split))
    rng, group = np.random.default_rng(0), zarr.open_group(str(store), mode="r+")
    for name, high in (("image", 4000), ("fraction", 201), ("valid", 2)):
        array = group[name]
        shard = array.shards[0]
        array[:shard] = rng.integers(0, high, (shard, *array.shape[1:])).astype(array.dtype)
        [first] = (path for path in (store / name / "c").rglob("0") if path.is_file())
        below = first.relative_to(store / name / "c" / "0")
        for number in range(1, -(-array.shape[0] // shard)):
            other = store / name / "c" / str(number) / below
            other.parent.mkdir(parents=True, exist_ok=True)
            os.link(first, other)


def main(tiles: int) -> None:
    """Have the store made, then open and read it as training does, and print it as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        maker = multiprocessing.get_context("spawn").Process(target=make_store, args=(store, tiles))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit(maker.exitcode)
        began = time.perf_counter()
        from greentrain.data.loader import open_loader  # its imports are part of what a user waits for

        imported = time.perf_counter()
        batches = iter(open_loader(store, "all", BATCH, cache="none"))
        next(batches)
        first = time.perf_counter()
        held = [resident_mb()]
        seen = BATCH
        for batch in batches:
            seen += len(batch["tile"])
            if seen * 4 // tiles == len(held):
                held.append(resident_mb())
        print(
            json.dumps(
                {
                    "tiles": seen,
                    "import_s": round(imported - began, 2),
                    "first_batch_s": round(first - imported, 2),
                    "epoch_s": round(time.perf_counter() - first, 1),
                    "resident_mb_by_quarters": held,
                    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                }
            )
        )


def resident_mb() -> int:
    """What the process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() // 2**20


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
