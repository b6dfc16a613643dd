"""Each command that writes, killed at a random moment and given again: the result is that of an undisturbed run."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from support.jobs import Job, command, finished, jobs, same

__all__ = ["Outcome", "clocks", "kills", "pauses"]

Outcome = tuple[str, str]
"""(kind of fault, what came of it)"""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
JUMPING = """
import random, time
real, chance = time.time, random.Random(5)
time.time = lambda: real() + chance.choice((0, -3e8, 3e8, 3600, -3600))
time.time_ns = lambda: int(1e9 * time.time())
"""
"""A module that Python imports at its start: a clock that jumps by hours and years."""


def _undisturbed(job: Job) -> tuple[float, dict[str, bytes]]:
    """(seconds, result) of a command that nobody disturbs."""
    job.reset()
    began = time.monotonic()
    code, said = finished(*job.words)  # type: ignore[arg-type]
    assert code == 0, said
    return time.monotonic() - began, job.result(job.out)


def _undisturbed_jobs(folder: Path, only: str) -> Iterator[tuple[str, Job, float, dict[str, bytes]]]:
    """(name, job, seconds, result when nobody disturbs it) of each command whose name the pattern `only` finds."""
    for name, job in jobs(folder).items():
        if re.search(only, name):
            yield name, job, *_undisturbed(job)


def kills(folder: Path, chance: random.Random, many: int, only: str = "") -> Iterator[Outcome]:
    """Each command killed at a random moment, then given again; only: a pattern of their names, else all."""
    for name, job, took, due in _undisturbed_jobs(folder, only):
        for _ in range(many):
            job.reset()
            sent = chance.choice(SIGNALS)
            process = command(*job.words)  # type: ignore[arg-type]
            time.sleep(chance.uniform(0, took))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sent)
            process.communicate()
            outcome = job.ends_as(due)
            yield f"{name} killed", outcome + (f" after {sent.name}" if outcome.startswith("WRONG") else "")


def pauses(folder: Path, chance: random.Random, many: int, only: str = "") -> Iterator[Outcome]:
    """Each command stopped at random moments and let go on, as a laptop that is shut: the result is the same."""
    for name, job, took, due in _undisturbed_jobs(folder, only):
        for _ in range(many):
            job.reset()
            process = command(*job.words)  # type: ignore[arg-type]
            for _ in range(3):
                time.sleep(chance.uniform(0, took / 2))
                for sent, wait in ((signal.SIGSTOP, chance.uniform(0.1, 3)), (signal.SIGCONT, 0.0)):
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, sent)
                    time.sleep(wait)
            said = process.communicate()[1]
            sound = process.returncode == 0 and same(job.result(job.out), due)
            yield f"{name} paused", "exact" if sound else f"WRONG: {said[-300:]}"


def clocks(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """Each command under a clock that jumps, `many` of them: the result is that of a steady one."""
    (folder / "clock").mkdir()
    (folder / "clock" / "sitecustomize.py").write_text(JUMPING)
    path = os.pathsep.join([str(folder / "clock"), *filter(None, sys.path)])
    for name, job, _, due in islice(_undisturbed_jobs(folder, ""), many):
        job.reset()
        code, said = finished(*job.words, env=os.environ | {"PYTHONPATH": path})  # type: ignore[arg-type]
        sound = code == 0 and same(job.result(job.out), due)
        yield "clock jumps", "exact" if sound else f"WRONG {name}: {said[-300:]}"
