"""Dask as the engine: a cluster of this machine's processes, or one that is there already.

The only module that imports dask. Worker processes come from a fork server that has imported what they need once,
so that a pool of any size starts in about the time of one import.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import Any, Generic, TypeVar

from greenschemas.console import say
from greenschemas.errors import ConfigError, GreenError

__all__ = ["Engine", "Lost", "engine", "warm_up", "worker_count"]

J = TypeVar("J")
R = TypeVar("R")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GDAL_NUM_THREADS")


@dataclass(frozen=True)
class Lost(Generic[J]):
    """A job that took its worker process down each time it was tried."""

    job: J


def worker_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def warm_up() -> None:
    """Start the fork server now; call this first, so that its imports run while the caller looks for files."""
    if hasattr(os, "fork"):
        # One thread a worker: sums in a library must not depend on how many cores the machine has.
        os.environ.update(dict.fromkeys(_THREADS, "1"))
        forkserver.set_forkserver_preload(["distributed", "distributed.nanny", "greenprep.reading", "greenprep.shards"])
        forkserver.ensure_running()


@contextmanager
def engine(workers: int | None, scheduler: str | None, *, processes: bool = True) -> Iterator[Engine]:
    """A client of a cluster for the time of a build; prints the dashboard's address.

    scheduler: address of an existing cluster, whose workers have greenprep and greenschemas installed and see the
    same files. processes: False keeps workers inside this process, for stores that only it can see.
    Raises ConfigError where the scheduler does not answer.
    """
    import dask

    settings: dict[str, Any] = {"distributed.scheduler.allowed-failures": 2, "distributed.worker.daemon": True,
                                "distributed.comm.timeouts.connect": "20s", "distributed.logging.distributed": "error"}
    if scheduler is None and hasattr(os, "fork"):
        settings["distributed.worker.multiprocessing-method"] = "forkserver"
    with dask.config.set(settings), _client(workers, scheduler, processes) as client:
        say(f"Dashboard: {client.dashboard_link}")
        yield Engine(client)


@contextmanager
def _client(workers: int | None, scheduler: str | None, processes: bool) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="20s")
        except (OSError, ValueError) as problem:
            raise ConfigError(scheduler, f"no Dask scheduler answers ({problem})",
                              "start one with `dask scheduler`, or leave --scheduler out") from None
        with client:
            yield client
        return
    count = workers or worker_count()
    many, threads = (count, 1) if processes else (1, count)
    with LocalCluster(n_workers=many, threads_per_worker=threads, processes=processes, host="127.0.0.1",
                      dashboard_address="127.0.0.1:0", memory_limit=0, silence_logs=50) as cluster, Client(cluster) as client:
        yield client


class Engine:
    """Runs a function over many jobs, some at a time, in whatever order they finish."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[J, R | Lost[J]]]:
        """(job, result) as they come. A job whose worker dies again and again comes as Lost.

        Raises what `function` raises, if it is a GreenError; any other error is a mistake of ours and comes as it is.
        """
        from distributed import as_completed

        waiting = iter(jobs)
        at: dict[Any, J] = {}
        done = as_completed()

        def submit(count: int) -> None:
            for _, job in zip(range(count), waiting, strict=False):
                future = self._client.submit(function, job, pure=False)
                at[future] = job
                done.add(future)

        submit(4 * max(1, len(self._client.nthreads() or [0, 0])))
        try:
            for future in done:
                submit(1)
                job = at.pop(future)
                yield job, _outcome(future, job)
                future.release()
        finally:
            self._client.cancel(list(at))


def _outcome(future: Any, job: J) -> Any:
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return Lost(job)
    except GreenError:
        raise
