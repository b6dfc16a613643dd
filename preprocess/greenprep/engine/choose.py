"""Who does the work of a build: this process, a pool of this machine's processes, or Dask."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from greenprep.engine import pool
from greenprep.engine.job import Engine, KilledJob
from greenschemas.machine import cores

__all__ = ["LOCAL_DASK", "PoolEngine", "SerialEngine", "engine", "warm_up"]

J = TypeVar("J")
R = TypeVar("R")

LOCAL_DASK = "local"
"""Instead of a scheduler's address: a Dask cluster of this machine's processes, for its dashboard."""
PRELOAD = "greenprep.build.read"
"""What a worker of a build imports once."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GDAL_NUM_THREADS")


class SerialEngine:
    """Does the work in this process: for stores that no other sees, and where a pool costs more than it saves."""

    def run(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[J, R | KilledJob[J]]]:
        """One after the other."""
        for job in jobs:
            yield job, function(job)


class PoolEngine:
    """Hands jobs to processes forked from one warm server: they start in milliseconds, and nothing watches them."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[J, R | KilledJob[J]]]:
        """(job, result) as they come; a job that takes its process down, and again alone, comes as KilledJob."""
        for answers in pool.run_batches(
            partial(_answers, function),
            list(enumerate(jobs)),
            workers=min(self._workers, max(len(jobs), 1)),
            batch=1,
            dead=_killed,
            preload=PRELOAD,
        ):
            for at, answer in answers:
                yield jobs[at], answer


def _answers(function: Callable[[J], R], numbered: Sequence[tuple[int, J]]) -> list[tuple[int, R | KilledJob[J]]]:
    """Jobs travel to a worker alone: back come their numbers."""
    return [(at, function(job)) for at, job in numbered]


def _killed(numbered: tuple[int, J]) -> tuple[int, KilledJob[J]]:
    return numbered[0], KilledJob(numbered[1])


def warm_up(workers: int | None, scheduler: str | None = None) -> None:
    """Start what workers of this machine are forked from: its imports run while the caller looks for files."""
    if workers == 0 or scheduler not in (None, LOCAL_DASK):
        return
    # One thread a worker: sums in a library must not depend on how many cores the machine has.
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    pool.warm_up(PRELOAD)


@contextmanager
def engine(workers: int | None, scheduler: str | None, *, shared: bool = True) -> Iterator[Engine]:
    """Who does the work of a build.

    workers: processes of this machine, None for one a processor, 0 for this process itself. scheduler: address of a
    Dask cluster, whose workers have greenprep and greenschemas installed and see the same files; or LOCAL_DASK.
    shared: whether other processes see the store; if not, all is done here. Raises ConfigError where the scheduler does
    not answer, or where worker processes cannot start (`check_main`).
    """
    if not shared or (workers == 0 and scheduler is None):
        yield SerialEngine()
    elif scheduler is None:
        pool.check_main()
        yield PoolEngine(workers or cores())
    else:
        from greenprep.engine.dask_engine import dask_engine

        address = None if scheduler == LOCAL_DASK else scheduler
        with dask_engine(workers or cores(), address) as dask:
            yield dask
