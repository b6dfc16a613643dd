"""Each command that writes, killed at a random moment and given again: the result is that of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio

from support.raw import Collection, tree
from support.stores import write_tiny_store

__all__ = ["Outcome", "clocks", "command", "finished", "kills", "raw_files", "same"]

Outcome = tuple[str, str]
"""(kind of fault, what came of it)"""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TINY = ("preset=tiny", "d_state=1", "dims=[8,16]", "depths=[1,1]", "depths_decoder=[1,1]")
NET = [part for one in TINY for part in ("--set", f"model.{one}")] + ["--set", "batch_size=4", "--epochs", "2"]
DONE = ("there is a store already", "it holds a run already")
"""What a command says that had ended before it was killed."""
JUMPING = """
import random, time
real, chance = time.time, random.Random(5)
time.time = lambda: real() + chance.choice((0, -3e8, 3e8, 3600, -3600))
time.time_ns = lambda: int(1e9 * time.time())
"""
"""A module that Python imports at its start: a clock that jumps by hours and years."""


def command(program: str, *args: object, **options: object) -> subprocess.Popen[str]:
    """`greenprep` or `greentrain` in a process group of its own, with its errors in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from {program}.cli import main; main()", *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


def finished(program: str, *args: object, **options: object) -> tuple[int, str]:
    """(exit code, errors) of a command that runs to its end."""
    process = command(program, *args, **options)
    said = process.communicate()[1]
    return process.returncode, said


def raw_files(folder: Path, areas: int = 5) -> Collection:
    """Pairs of some areas, two times each but of the last, and a recipe for them."""
    made = Collection(folder)
    for area in range(areas):
        for at in (1, 2) if area < areas - 1 else (1,):
            made.add(area, at)
    return made


def same(found: dict[str, bytes], due: dict[str, bytes]) -> bool:
    """Whether two trees hold the same, but for pages and STAC items, which hold times, and locks that a kill leaves."""
    drop = (".html", ".lock", ".stac.json")
    return {k: v for k, v in found.items() if not k.endswith(drop)} == {
        k: v for k, v in due.items() if not k.endswith(drop)
    }


@dataclass(frozen=True)
class Job:
    """A command, what stands where it writes before it starts, and what is to be the same afterwards."""

    words: tuple[object, ...]
    out: Path
    before: Path | None = None
    result: Callable[[Path], dict[str, bytes]] = field(default=tree)

    def reset(self) -> None:
        """As before the command."""
        if self.out.is_dir():
            shutil.rmtree(self.out)
        if self.before is not None:
            shutil.copytree(self.before, self.out)

    def ends_as(self, due: dict[str, bytes]) -> str:
        """The command given to its end: nothing where that gives what is due, else what was wrong."""
        code, said = finished(*self.words)  # type: ignore[arg-type]
        if code and not any(word in said for word in DONE):
            return f"code {code}: {said[-300:]}"
        return "" if same(self.result(self.out), due) else f"another result: {said[-200:]}"


def _trained(run: Path) -> dict[str, bytes]:
    """Losses and scores of a run, without what a clock says."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [[row.get(key) for key in ("step", "train_loss", "val_loss", "val_iou")] for row in rows]
    return {"metrics": json.dumps(kept).encode()}


def _compared(folder: Path) -> dict[str, bytes]:
    """The scores of a comparison."""
    models = json.loads((folder / "compare.json").read_text())["models"]
    return {"scores": json.dumps({name: model["mean"] for name, model in models.items()}).encode()}


def jobs(folder: Path) -> dict[str, Job]:
    """All commands that write, with what they need."""
    made = raw_files(folder)
    recipe = made.recipe("s")
    for name in ("few", "from"):  # The clean folder before and after more came.
        finished("greenprep", "clean", made.raw, folder / name, "--recipe", recipe, "--workers", 1)
        made.add(8, 1)
        made.add(9, 1)
    finished("greenprep", "tile", folder / "few", folder / "few.zarr", "--workers", 0)
    shutil.copytree(folder / "few.zarr", folder / "dealt.zarr")
    finished("greenprep", "split", folder / "dealt.zarr", "--val", 0.3)
    store, scene = folder / "tiny.zarr", folder / "scene.tif"
    write_tiny_store(store)
    finished("greentrain", "fit", store, "--out", folder / "net", *NET)
    values = np.random.default_rng(0).normal(1000, 100, (3, 400, 500)).astype(np.uint16)
    where = {"crs": "EPSG:32618", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 4e6), "height": 400, "width": 500}
    with rasterio.open(scene, "w", driver="GTiff", count=3, dtype="uint16", **where) as file:
        file.write(values)
    none = ("--workers", 0)
    prep = {
        "clean": Job(("clean", made.raw, folder / "c", "--recipe", recipe, "--workers", 2), folder / "c"),
        "tile": Job(("tile", folder / "from", folder / "t.zarr", *none), folder / "t.zarr"),
        "tile --append": Job(
            ("tile", folder / "from", folder / "a.zarr", "--append", *none), folder / "a.zarr", folder / "dealt.zarr"
        ),
        "split": Job(("split", folder / "p.zarr", "--val", 0.3), folder / "p.zarr", folder / "few.zarr"),
        "run": Job(("run", recipe, *none), folder / "s.zarr"),
    }
    train = {
        "fit": Job(("fit", store, "--out", folder / "r", "--resume", *NET), folder / "r", None, _trained),
        "predict": Job(("predict", folder / "net", scene, "--out", folder / "m", "--overlap", 0.75), folder / "m"),
        "compare": Job(
            ("compare", store, "--out", folder / "k", "--models", "constant,linear", "--seeds", 1),
            folder / "k",
            None,
            _compared,
        ),
    }
    return {
        name: Job((program, *job.words), job.out, job.before, job.result)
        for program, some in (("greenprep", prep), ("greentrain", train))
        for name, job in some.items()
    }


def _undisturbed(job: Job) -> tuple[float, dict[str, bytes]]:
    """(seconds, result) of a command that nobody disturbs."""
    job.reset()
    began = time.monotonic()
    code, said = finished(*job.words)  # type: ignore[arg-type]
    assert code == 0, said
    return time.monotonic() - began, job.result(job.out)


def kills(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """Each command killed at a random moment, then given again."""
    for name, job in jobs(folder).items():
        took, due = _undisturbed(job)
        for _ in range(many):
            job.reset()
            sent = chance.choice(SIGNALS)
            process = command(*job.words)  # type: ignore[arg-type]
            time.sleep(chance.uniform(0, took))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sent)
            process.communicate()
            wrong = job.ends_as(due)
            yield f"{name} killed", f"WRONG after {sent.name}: {wrong}" if wrong else "exact"


def clocks(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """Each command under a clock that jumps, `many` of them: the result is that of a steady one."""
    (folder / "clock").mkdir()
    (folder / "clock" / "sitecustomize.py").write_text(JUMPING)
    path = os.pathsep.join([str(folder / "clock"), *filter(None, sys.path)])
    for name, job in list(jobs(folder).items())[:many]:
        _, due = _undisturbed(job)
        job.reset()
        code, said = finished(*job.words, env=os.environ | {"PYTHONPATH": path})  # type: ignore[arg-type]
        sound = code == 0 and same(job.result(job.out), due)
        yield "clock jumps", "exact" if sound else f"WRONG {name}: {said[-300:]}"
