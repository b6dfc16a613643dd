"""What the watcher of an inbox takes where many pairs have been answered already, without reading a pixel of them.

python tests/bench/bench_watch.py [--pairs 100000]: reading the log, looking at all files and answers at the start, then
judging some newcomers beside the collection, the manifest; and the memory that all takes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from greenprep.checks.collection import judge_newcomers
from greenprep.clean.clean import clean
from greenprep.raw.pairs import Candidate
from greenprep.raw.stamps import stamp_of
from greenprep.watch.inbox import Inbox
from greenprep.watch.verdict_log import VerdictLog
from greenschemas.manifest import LOG_NAME
from support.raw import Collection


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long the block took."""
    began, before = time.perf_counter(), time.process_time()
    yield
    spent = time.process_time() - before
    print(f"{what:45} {time.perf_counter() - began:7.2f} s, {spent:6.2f} s of a processor")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as name:
        made = Collection(Path(name))
        for area in range(8):
            made.add(area, 1)
        entries, summary = clean(made.raw, made.folder / "few", made.plain, workers=1)
        root, folder = made.folder / "inbox", made.folder / "clean"
        folder.mkdir()
        lines = [json.dumps({"at": "2026-11-27T12:00:00Z"} | entry.model_dump(mode="json")) for entry in entries]
        with (folder / LOG_NAME).open("w") as log:
            for number, (image, mask) in enumerate(paths(pairs)):
                for path in (root / image, root / mask):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
                stamp = stamp_of(root, Candidate(image, mask, None, None)).text
                log.write(renamed(lines[number % len(lines)], number, image, mask, stamp) + "\n")
        print(f"{pairs:,} pairs, {(folder / LOG_NAME).stat().st_size / 1e6:.0f} MB of verdicts")
        measure(root, folder, made, summary.recipe_hash)


def paths(pairs: int) -> Iterator[tuple[str, str]]:
    """Image and mask of each pair, five times an area."""
    for number in range(pairs):
        stem = f"T{number // 5000}_2020_{number // 5}_{number % 5}_GeoTIFF"
        yield f"images/T{number // 5000}/{stem}.tif", f"masks/T{number // 5000}_masks/{stem}_fractional_mask.tif"


def renamed(line: str, number: int, image: str, mask: str, stamp: str) -> str:
    """A verdict as that on another pair."""
    entry = json.loads(line) | {"image": image, "mask": mask, "group": f"T{number // 5000}_2020_{number // 5}"}
    return json.dumps(entry | {"time": str(number % 5), "image_checksum": f"{number:064x}", "stamp": stamp})


def measure(root: Path, folder: Path, made: Collection, recipe_hash: str) -> None:
    """Each step by itself."""
    recipe, inbox = made.plain, Inbox(root, made.plain.pairing, 0.0)
    with timed("the log read, at the start"):
        log = VerdictLog(folder)
    with timed("a first look at all files"):
        inbox.look()
    with timed("those that were judged let be"):
        inbox.rest((key, known.stamp) for key, known in log.known.items())
    print(f"memory from then on {memory('VmRSS'):.0f} MB, at most {memory('VmHWM'):.0f} MB")
    with timed("another look"):
        inbox.look()
    assert not inbox.settled()
    first = next(iter(log.known))[0]
    (root / first).write_bytes(b"x")
    inbox.look_at([first])
    inbox.settled()
    with timed("one that has changed paired"):
        assert sum(1 for _ in inbox.candidates()) == 1
    new = list(log.read(list(log.known)[-8:]))
    with timed("8 newcomers judged beside the collection"):
        judge_newcomers(log.beside(new), new, recipe.bands, recipe.mask, recipe.limits)
    with timed("the manifest"):
        log.write_manifest(recipe_hash)
    print(f"memory at most {memory('VmHWM'):.0f} MB; load {os.getloadavg()[0]:.1f}")


def memory(kind: str) -> float:
    """Megabytes of this process: VmRSS in use now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


if __name__ == "__main__":
    main()
