"""Run work in processes that may die: a batch whose process dies is tried again item by item, each on its own.

A decoder that crashes takes its process with it. The items that were being worked on are suspects; each is run alone
in a fresh process, and one whose process dies again gets the answer that `dead` gives.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TypeVar

from greenschemas.errors import ConfigError, SourceError
from greenschemas.interrupt import deaf_children, held

__all__ = ["check_main", "run_batches", "warm_up"]

Item = TypeVar("Item")
Answer = TypeVar("Answer")
AHEAD = 3
"""Batches handed out for each worker: enough that none waits, few enough that a crash spoils little."""


def run_batches(
    work: Callable[[Sequence[Item]], list[Answer]],
    items: Sequence[Item],
    *,
    workers: int,
    batch: int,
    dead: Callable[[Item], Answer],
    preload: str,
) -> Iterator[list[Answer]]:
    """Answers in lists, as they come, in no order; every item is answered once.

    work: a picklable function of a batch; dead: the answer for an item whose process dies of it; preload: module that
    a new process needs, imported once for all. Exceptions of `work` are raised here; ConfigError as in `check_main`.
    """
    check_main()
    waiting = [items[at : at + batch] for at in range(0, len(items), batch)][::-1]
    suspects: list[Item] = []
    while waiting:
        pool = _pool(workers, preload)
        running: dict[Future[list[Answer]], Sequence[Item]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < workers * AHEAD:
                    with held():  # It starts a process, which nobody would wait for were this cut short.
                        running[pool.submit(work, waiting[-1])] = waiting[-1]
                        waiting.pop()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield future.result()
                    del running[future]
        except BrokenProcessPool:
            # Which of them it was cannot be told; what was finished before still holds its answer.
            for future, some in running.items():
                if future.done() and future.exception() is None:
                    yield future.result()
                else:
                    suspects.extend(some)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    yield from _one_by_one(work, suspects, dead, preload)


def check_main() -> None:
    """Raise ConfigError where a new process could not load the script that runs, and would die of that.

    A new process imports the main module anew; a script that was fed to Python by a pipe is in no file.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is None and file is not None and not Path(file).exists():
        raise ConfigError(
            file,
            "worker processes cannot load the script that starts them",
            'save it to a file, guard its main part by `if __name__ == "__main__"`, and run that',
        )


def _one_by_one(
    work: Callable[[Sequence[Item]], list[Answer]],
    suspects: Sequence[Item],
    dead: Callable[[Item], Answer],
    preload: str,
) -> Iterator[list[Answer]]:
    pool = _pool(1, preload)
    try:
        for item in suspects:
            try:
                yield pool.submit(work, [item]).result()
            except BrokenProcessPool:
                pool.shutdown(wait=True)
                pool = _pool(1, preload)
                _must_live(pool, work)
                yield [dead(item)]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _must_live(pool: ProcessPoolExecutor, work: Callable[[Sequence[Item]], list[Answer]]) -> None:
    """A process that dies of an empty batch too died of no item: that is no verdict on any file."""
    try:
        pool.submit(work, []).result()
    except BrokenProcessPool:
        raise SourceError(
            "worker processes",
            "each ends as soon as it starts",
            'free some memory; a script that calls this must guard its main part by `if __name__ == "__main__"`',
        ) from None


def warm_up(preload: str) -> None:
    """Start the server that workers are forked from, which imports `preload` while this process does other things."""
    _context(preload)
    if "forkserver" in multiprocessing.get_all_start_methods():
        with deaf_children():
            forkserver.ensure_running()


def _pool(workers: int, preload: str) -> ProcessPoolExecutor:
    warm_up(preload)
    return ProcessPoolExecutor(workers, mp_context=_context(preload))


def _context(preload: str) -> BaseContext:
    """A server that has imported `preload` and forks workers, where there is one: a new worker costs milliseconds."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    return context
