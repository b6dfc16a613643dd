"""A watcher that is killed while pairs come in bursts: afterwards each file is answered once, and nothing is lost.

By hand, the whole case: cd tests && python -m support.inboxes /new/folder --pairs 10000 --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import yaml

from greenprep.build.run import tile
from greenprep.inspect.verify import verify
from greenschemas.manifest import read_manifest
from support.raw import RECIPE, scene, tree, write_pair

__all__ = ["answered", "drop", "kill_while_pairs_come", "left_undone", "make_inbox"]

SPOILT = 17
"""Every so many-th pair has an image without content."""


def make_inbox(folder: Path, pairs: int) -> list[tuple[Path, Path]]:
    """Pairs in a folder beside the inbox, as (where it lies, where it belongs) of each file, and a recipe."""
    rng = np.random.default_rng(0)
    aside, moves = folder / "aside", []
    made = [scene(seed, 32, 32) for seed in range(8)]
    for number in range(pairs):
        image, fraction = made[number % len(made)]
        image = np.where(image > 0, image + rng.integers(0, 40, image.shape, dtype=np.uint16), 0).astype(np.uint16)
        image[-1] = 0
        if number % SPOILT == SPOILT - 1:
            image[:] = 0
        write_pair(aside, number // 2, number % 2, image, fraction)
    for source in sorted(aside.rglob("*.tif")):
        moves.append((source, folder / "inbox" / source.relative_to(aside)))
    (folder / "inbox").mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "limits": {"levels": {"duplicate-content": "warn"}}}))
    return moves


def drop(source: Path, target: Path, chance: random.Random) -> None:
    """Bring a file into the inbox: by a rename, or written in two halves."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if chance.random() < 0.7:
        source.rename(target)
        return
    data = source.read_bytes()
    with target.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(0.002)
        file.write(data[len(data) // 2 :])


def kill_while_pairs_come(
    folder: Path, pairs: int, kills: int, *, seconds: float, batch: int = 50
) -> dict[str, object]:
    """Drop pairs in bursts over about `seconds`, kill the watcher `kills` times meanwhile, then let it end."""
    chance, moves = random.Random(pairs), make_inbox(folder, pairs)
    place = {}  # Image and mask come near each other, in any order; pairs in another one than that of their names.
    for source, _ in moves:
        area_time = source.name.split("_GeoTIFF")[0]
        place[source] = place.setdefault(area_time, chance.random() * pairs) + chance.uniform(0, 6)
    moves.sort(key=lambda move: place[move[0]])
    bursts = max(2 * kills, 4)
    step, began = -(-len(moves) // bursts), time.monotonic()
    fatal = sorted(chance.sample(range(1, bursts), kills))
    watcher = _start(folder, batch)
    for number in range(bursts):
        for source, target in moves[number * step : (number + 1) * step]:
            drop(source, target, chance)
        time.sleep(max(0.0, began + seconds * (number + 1) / bursts - time.monotonic()) * chance.random())
        if number in fatal:
            os.killpg(watcher.pid, signal.SIGKILL)
            watcher.wait()
            watcher = _start(folder, batch)
    while left_undone(folder):
        assert watcher.poll() is None, (folder / "said.txt").read_text()
        time.sleep(0.5 if pairs < 1000 else 5)
    watcher.send_signal(signal.SIGTERM)
    assert watcher.wait() == 0, (folder / "said.txt").read_text()
    return answered(folder, moves) | {"seconds": round(time.monotonic() - began)}


def _start(folder: Path, batch: int) -> subprocess.Popen[bytes]:
    words = (
        *("watch", folder / "inbox", "--clean", folder / "clean", "--store", folder / "s.zarr"),
        *("--recipe", folder / "recipe.yaml", "--batch", batch, "--every", "3s", "--settle", "0.5s", "--workers", 2),
    )
    with (folder / "said.txt").open("ab") as said:  # No pipe: it would be full after a thousand verdicts.
        return subprocess.Popen(
            [sys.executable, "-c", "from greenprep.cli import main; main()", *map(str, words)],
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )


def left_undone(folder: Path) -> bool:
    """Whether a file has no answer yet, or an accepted pair is not in the store."""
    files = sum(1 for _ in (folder / "inbox").rglob("*.tif"))
    if sum(1 for _ in (folder / "inbox").rglob("*.verdict.txt")) < files or files == 0:
        return True
    log = [json.loads(line) for line in (folder / "clean" / "watch.jsonl").read_text().splitlines()]
    record = folder / "clean" / "batches.jsonl"
    stored = [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []
    return sum(one["verdict"] != "rejected" for one in log) > sum(len(batch["sources"]) for batch in stored)


def answered(folder: Path, moves: list[tuple[Path, Path]]) -> dict[str, object]:
    """Sums of a watch that has ended, once each file is seen to be answered once, the store as if built in one go."""
    log = [json.loads(line) for line in (folder / "clean" / "watch.jsonl").read_text().splitlines()]
    names = Counter(name for one in log for name in (one["image"], one["mask"]))
    assert names == Counter(target.relative_to(folder / "inbox").as_posix() for _, target in moves)
    verdicts = Counter()
    for one in log:
        verdicts[one["verdict"]] += 1
        for name in (one["image"], one["mask"]):
            answer = json.loads((folder / "inbox" / f"{name}.verdict.json").read_text())
            assert (answer["verdict"], answer["again"]) == (one["verdict"], False)
    entries = {entry.image: entry for entry in read_manifest(folder / "clean")}
    assert len(entries) == len(log)
    tile(folder / "clean", folder / "anew.zarr", workers=2)
    assert tree(folder / "anew.zarr") == tree(folder / "s.zarr")
    assert verify(str(folder / "s.zarr"), deep=True) == []
    batches = (folder / "clean" / "batches.jsonl").read_text().splitlines()
    return {"verdicts": dict(verdicts), "batches": len(batches)}


def main() -> None:
    """The whole case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=400)
    parser.add_argument("--batch", type=int, default=50)
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    args.folder.mkdir(parents=True)
    print(kill_while_pairs_come(args.folder, args.pairs, args.kills, seconds=args.seconds, batch=args.batch))


if __name__ == "__main__":
    main()
