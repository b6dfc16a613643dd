"""Faults of disks and files: full, cut off from power, read-only, changed while they are read, damaged afterwards."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenprep.inspect.verify import verify
from support.jobs import command, finished, raw_files, same
from support.kills import Outcome
from support.raw import tree

__all__ = ["disks", "power", "quotas", "readonly", "sources", "stores"]


def _named(code: int, said: str) -> bool:
    """Whether a command ended well, or by an error of ours."""
    return code == 0 or (code in (1, 2) and "Traceback" not in said and "Error" in said)


def quotas(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """No file may grow beyond a random size, as by a quota: an error of ours, and the same command then goes on."""
    recipe = raw_files(folder).recipe("s")
    words = ("greenprep", "run", recipe, "--workers", 0)
    finished(*words)
    due = tree(folder / "s.zarr")
    for _ in range(many):
        shutil.rmtree(folder / "s.zarr")
        most = int(10 ** chance.uniform(2, 5))

        def bound(most: int = most) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        code, said = finished(*words, preexec_fn=bound)
        again, _ = (0, "") if code == 0 else finished(*words)
        sound = _named(code, said) and again == 0 and same(tree(folder / "s.zarr"), due)
        yield "file size bounded", "exact" if sound else f"WRONG at {most} bytes: {said[-300:]}"


@contextmanager
def mounted(place: Path, *words: str) -> Iterator[str]:
    """A file system mounted at `place`; yields why not, where that is refused."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *words, str(place)], capture_output=True, text=True, check=False)
    try:
        yield done.stderr.strip() or ("" if done.returncode == 0 else "mount is refused")
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(place)], check=False)


def disks(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """A disk of random size that runs full: an error of ours, and the same command goes on where there is room."""
    made = raw_files(folder)
    finished("greenprep", "run", made.recipe("s"), "--workers", 0)
    due = tree(folder / "s.zarr")
    for i in range(many):
        size = int(10 ** chance.uniform(1.5, 3.3))
        with mounted(folder / f"d{i}", "-t", "tmpfs", "-o", f"size={size}k", "none") as refused:
            if refused:
                yield "disk full", f"skipped: {refused}"
                return
            small = folder / f"d{i}"
            recipe = made.recipe("t", store=f"d{i}/s.zarr", clean=f"d{i}/c")
            words = ("greenprep", "run", recipe, "--workers", 0)
            code, said = finished(*words)
            named = _named(code, said)
            subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=False)
            again, told = (0, "") if code == 0 else finished(*words)
            sound = named and again == 0 and same(tree(small / "s.zarr"), due)
            yield "disk full", "exact" if sound else f"WRONG at {size} kB: {said[-300:]} {told[-100:]}"


def power(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """The power goes: what is on a file system's disk at a random moment, mounted again.

    Either no store is there, or one in which nothing is wrong, and the same command ends as if undisturbed.
    """
    made = raw_files(folder)
    finished("greenprep", "run", made.recipe("s"), "--workers", 0)
    due = tree(folder / "s.zarr")
    image, cut = folder / "disk", folder / "cut"
    for i in range(many):
        with image.open("wb") as file:
            file.truncate(48 << 20)
        if subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, check=False).returncode:
            yield "power cut", "skipped: no mkfs.ext4"
            return
        with mounted(folder / "live", "-o", "loop,commit=1", str(image)) as refused:
            if refused:
                yield "power cut", f"skipped: {refused}"
                return
            recipe = made.recipe("p", store="live/s.zarr", clean="live/c")
            process = command("greenprep", "run", recipe, "--workers", 0)
            time.sleep(chance.uniform(0, 8))
            shutil.copyfile(image, cut)
            ended = process.poll() == 0
            process.communicate()
        with mounted(folder / "after", "-o", "loop", str(cut)) as refused:
            if refused:
                yield "power cut", f"WRONG: cannot be mounted again: {refused}"
                continue
            store = folder / "after" / "s.zarr"
            there = (store / "zarr.json").exists()
            problems = verify(str(store), deep=True) if there else []
            recipe = made.recipe("q", store="after/s.zarr", clean="after/c")
            code, said = (0, "") if there else finished("greenprep", "run", recipe, "--workers", 0)
            sound = not problems and (there or not ended) and code == 0 and same(tree(store), due)
            yield "power cut", "exact" if sound else f"WRONG in {i}: {problems[:1]} {ended} {there} {said[-300:]}"


def readonly(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """A place that may not be written: an error of ours, and nothing is changed."""
    made = raw_files(folder)
    finished("greenprep", "clean", made.raw, folder / "c", "--recipe", made.recipe("s"), "--workers", 1)
    with mounted(folder / "ro", "-t", "tmpfs", "-o", "size=4m", "none") as refused:
        if refused:
            yield "read-only output", f"skipped: {refused}"
            return
        there = folder / "ro"
        finished("greenprep", "tile", folder / "c", there / "s.zarr", "--workers", 0)
        before = tree(there)
        subprocess.run(["mount", "-o", "remount,ro", str(there)], check=False)
        for words in (
            ("clean", made.raw, there / "c", "--workers", 1),
            ("tile", folder / "c", there / "t.zarr", "--workers", 0),
            ("tile", folder / "c", there / "s.zarr", "--overwrite", "--workers", 0),
            ("split", there / "s.zarr"),
            ("report", there / "s.zarr"),
            ("show", there / "s.zarr", 0, "--png", there / "a.png"),
        )[:many]:
            code, said = finished("greenprep", *words)
            sound = code == 2 and _named(code, said) and tree(there) == before
            yield "read-only output", "named" if sound else f"WRONG {words[0]}: {said[-300:]}"


def sources(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """A source that is replaced, cut or deleted while it may be read: a result or an error of ours, no half store."""
    made = raw_files(folder)
    recipe = made.recipe("s")
    words = ("greenprep", "run", recipe, "--workers", 0)
    began = time.monotonic()
    finished(*words)
    took, due = time.monotonic() - began, tree(folder / "s.zarr")
    files = sorted(made.raw.rglob("*.tif"))
    for _ in range(many):
        for place in (folder / "s.zarr", folder / "s.zarr.partial"):
            shutil.rmtree(place, ignore_errors=True)
        path, other = chance.sample(files, 2)
        data = path.read_bytes()
        process = command(*words)
        time.sleep(chance.uniform(0, took))
        how = chance.choice(("replaced", "cut", "deleted", "emptied"))
        if how == "deleted":
            path.unlink()
        elif how == "replaced":
            shutil.copy(other, path)
        else:
            os.truncate(path, 0 if how == "emptied" else len(data) // 2)
        said = process.communicate()[1]
        named = _named(process.returncode, said)
        whole = verify(str(folder / "s.zarr"), deep=True) == [] if (folder / "s.zarr").exists() else True
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        again, told = finished(*words, "--overwrite")
        sound = named and whole and again == 0 and same(tree(folder / "s.zarr"), due)
        yield f"source {how}", "exact afterwards" if sound else f"WRONG: {said[-300:]} {told[-200:]}"


def stores(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """A file of a store gone, cut, flipped, linked elsewhere or of a newer version: told, or of no consequence."""
    finished("greenprep", "run", raw_files(folder).recipe("s"), "--workers", 0)
    store = folder / "s.zarr"
    files = sorted(path for path in store.rglob("*") if path.is_file())
    for _ in range(many):
        how = chance.choice(("gone", "cut", "flipped", "linked elsewhere", "newer"))
        path = store / "zarr.json" if how == "newer" else chance.choice(files)
        data = path.read_bytes()
        path.unlink()
        if how == "cut":
            path.write_bytes(data[: chance.randrange(len(data))])
        elif how == "flipped":
            at = chance.randrange(len(data))
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        elif how == "linked elsewhere":
            path.symlink_to(chance.choice(("/etc/hostname", "/nowhere")))
        elif how == "newer":
            newer = json.loads(data)
            newer["attributes"]["greenspace"]["version"] = chance.choice((2, 99, "2", None))
            path.write_text(json.dumps(newer))
        try:
            told = verify(str(store), deep=True)
            outcome = "told" if told else f"WRONG: nothing said of {path.relative_to(store)}"
        except Exception as problem:
            outcome = f"FOREIGN {type(problem).__name__}: {str(problem)[:150]}"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        yield f"store's file {how}", outcome
