"""Dask as the engine: a cluster that is there already, or one of this machine's processes.

The only module that imports dask. Worker processes of this machine come from the fork server that `pool` keeps.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

from greenprep.engine.job import KilledJob
from greenprep.engine.pool import check_main
from greenschemas.console import say
from greenschemas.errors import ConfigError, SourceError
from greenschemas.interrupt import held

__all__ = ["DaskEngine", "dask_engine"]

J = TypeVar("J")
R = TypeVar("R")
_SHORT = 20.0
"""Seconds of work that nobody needs to watch."""
_CERTIFICATES = (
    "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY to files, or write them under "
    "`distributed: comm: tls:` in ~/.config/dask/distributed.yaml"
)


@contextmanager
def dask_engine(workers: int, scheduler: str | None) -> Iterator[DaskEngine]:
    """A cluster of `workers` processes of this machine, or the one that a scheduler's address leads to.

    Prints the dashboard's address where the work is long enough to look at it. Raises ConfigError as `engine` does.
    """
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
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    from distributed import Client, LocalCluster
    from distributed.security import Security

    if scheduler is not None:
        _see_to_certificates(scheduler, Security())
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
    opened = ExitStack()
    try:
        with held():  # A cluster that is cut short while it opens or closes ends in tracebacks.
            cluster = opened.enter_context(
                LocalCluster(
                    n_workers=workers,
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
            client.wait_for_workers(workers, timeout=20)
    finally:
        with held():
            opened.close()


def _see_to_certificates(scheduler: str, security: Any) -> None:
    """Raise ConfigError where a scheduler asks for certificates, and distributed's own settings name none to show."""
    if not scheduler.startswith("tls://"):
        return
    try:
        context = security.get_connection_args("client")["ssl_context"]
    except OSError as problem:  # Of a file that is not there, or is no certificate.
        raise ConfigError(scheduler, f"a certificate or key cannot be read ({problem})", _CERTIFICATES) from None
    if context is None:
        raise ConfigError(scheduler, "it asks for a certificate, and none is set", _CERTIFICATES)


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
    except CancelledError:  # We cancel nothing that we wait for.
        raise SourceError(
            "the Dask cluster", "its scheduler is gone", "start it again: the same command goes on from here"
        ) from None
