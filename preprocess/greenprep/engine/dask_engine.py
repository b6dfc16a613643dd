"""Dask as the engine: a cluster of this machine's processes, or one that is there already.

The only module that imports dask. Worker processes come from a fork server that has imported what they need once,
so that a pool of any size starts in about the time of one import.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import Any, Generic, Protocol, TypeVar

from greenprep.engine.pool import check_main
from greenschemas.console import say
from greenschemas.errors import ConfigError
from greenschemas.interrupt import deaf_children, held
from greenschemas.machine import cores

__all__ = ["DaskEngine", "Engine", "KilledJob", "SerialEngine", "engine", "warm_up"]

J = TypeVar("J")
R = TypeVar("R")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GDAL_NUM_THREADS")
_SHORT = 20.0
"""Seconds of work that nobody needs to watch."""


@dataclass(frozen=True)
class KilledJob(Generic[J]):
    """A job that took its worker process down each time it was tried."""

    job: J


def warm_up(workers: int | None) -> None:
    """Start the fork server now, if one is needed: its imports then run while the caller looks for files."""
    if hasattr(os, "fork") and workers != 0:
        # One thread a worker: sums in a library must not depend on how many cores the machine has.
        os.environ.update(dict.fromkeys(_THREADS, "1"))
        preload = ["distributed", "distributed.nanny", "greenprep.build.read", "greenprep.store.codec"]
        forkserver.set_forkserver_preload(preload)
        with deaf_children():
            forkserver.ensure_running()


class Engine(Protocol):
    """Runs a function over many jobs, in whatever order they finish."""

    def run(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[J, R | KilledJob[J]]]:
        """(job, result) as they come. Raises what `function` raises."""
        ...


class SerialEngine:
    """Does the work in this process: for stores that no other sees, and where a cluster costs more than it saves."""

    def run(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[J, R | KilledJob[J]]]:
        """One after the other."""
        for job in jobs:
            yield job, function(job)


@contextmanager
def engine(workers: int | None, scheduler: str | None, *, shared: bool = True) -> Iterator[Engine]:
    """Who does the work of a build: a cluster of `workers` processes, or one that exists.

    Prints the dashboard's address where the work is long enough to look at it.

    workers: None for one a processor, 0 for this process itself. scheduler: address of an existing cluster, whose
    workers have greenprep and greenschemas installed and see the same files. shared: whether other processes see the
    store; if not, all is done here. Raises ConfigError where the scheduler does not answer, or where
    worker processes cannot start (`check_main`).
    """
    if not shared or (workers == 0 and scheduler is None):
        yield SerialEngine()
        return
    if scheduler is None:
        check_main()
    import dask
    import distributed  # noqa: F401  Its defaults must be there before ours, or they go when ours do.

    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": 2,
        "distributed.worker.daemon": True,
        "distributed.comm.timeouts.connect": "20s",
        "distributed.logging.distributed": "error",
        # Looking at every thread a hundred times a second costs a tenth of a small build.
        "distributed.worker.profile.enabled": False,
    }
    if scheduler is None and hasattr(os, "fork"):
        settings["distributed.worker.multiprocessing-method"] = "forkserver"
    with dask.config.set(settings), _client(workers, scheduler) as client:
        address = threading.Timer(_SHORT, say, [f"Dashboard: {client.dashboard_link}"])
        address.daemon = True
        address.start()
        try:
            yield DaskEngine(client)
        finally:
            address.cancel()


@contextmanager
def _client(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    from distributed import Client, LocalCluster
    from distributed.security import Security

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="20s")
        except (OSError, ValueError) as problem:
            raise ConfigError(
                scheduler,
                f"no Dask scheduler answers ({problem})",
                "start one with `dask scheduler`, or leave --scheduler out",
            ) from None
        with client:
            yield client
        return
    # Whoever may talk to a scheduler runs code as its owner, by the pickles that Dask exchanges, and on a machine with
    # other users that is everybody. So both sides show a certificate that is made here, for this run, in memory alone.
    security = Security.temporary()
    count = workers or cores()
    opened = ExitStack()
    try:
        with held():  # A cluster that is cut short while it opens or closes ends in tracebacks.
            cluster = opened.enter_context(
                LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    memory_limit=0,
                    silence_logs=50,
                    protocol="tls://",
                    security=security,
                )
            )
            client = opened.enter_context(Client(cluster, security=security))
        yield client
        # distributed cannot close a worker that is just being started anew, after a job took it down.
        with suppress(TimeoutError):
            client.wait_for_workers(count, timeout=20)
    finally:
        with held():
            opened.close()


class DaskEngine:
    """Sends jobs to the workers of a cluster, some at a time: what Dask has to remember stays small."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[J, R | KilledJob[J]]]:
        """(job, result) as they come; a job whose worker dies again and again comes as KilledJob.

        Dask also blames jobs that only waited on the worker that died. So who is under suspicion is tried once more
        at the end, with no other job beside it: what then takes its worker down did it.
        """
        from distributed import as_completed

        waiting = iter(jobs)
        suspects: list[J] = []
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
                outcome = _outcome(future, job)
                if isinstance(outcome, KilledJob):
                    suspects.append(job)
                else:
                    yield job, outcome
                future.release()
            for job in suspects:
                yield job, _outcome(self._client.submit(function, job, pure=False), job)
        finally:
            self._client.cancel(list(at))


def _outcome(future: Any, job: J) -> Any:
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return KilledJob(job)
