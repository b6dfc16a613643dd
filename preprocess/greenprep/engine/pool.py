"""Run work in processes that may die: a batch whose process dies is tried again item by item, each on its own.

A decoder that crashes takes its process with it. Each process has a pipe of its own and one batch at a time: nothing is
shared that a dying one could leave locked, and the end of its pipe says which batch it died of. The items of that batch
are suspects; each is run alone, and one whose process dies again gets the answer that `dead` gives.
"""

from __future__ import annotations

import multiprocessing
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from pathlib import Path
from pickle import PicklingError
from typing import Any, Generic, TypeVar

from greenschemas.errors import ConfigError, SourceError
from greenschemas.interrupt import deaf_children, held

__all__ = ["check_main", "run_batches", "warm_up"]

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Work = Callable[[Sequence[Item]], list[Answer]]


def run_batches(
    work: Work[Item, Answer],
    items: Sequence[Item],
    *,
    workers: int,
    batch: int,
    dead: Callable[[Item], Answer],
    preload: str,
) -> Iterator[list[Answer]]:
    """Answers in lists, as they come, in no order; every item is answered once.

    work: a picklable function of a batch; dead: the answer for an item whose process dies of it; preload: module that
    a new process needs, imported once for all. Exceptions of `work` are raised here; ConfigError as in `check_main`,
    SourceError where no process lives long enough to do anything.
    """
    check_main()
    crew = _Crew(work, preload)
    waiting = [items[at : at + batch] for at in range(0, len(items), batch)][::-1]
    suspects: list[Item] = []

    def hand_out() -> None:
        while waiting and len(crew.busy) < workers:
            crew.hand_out(waiting.pop())

    try:
        hand_out()
        while crew.busy:
            done = []
            for some, answers in crew.next():
                suspects.extend(some) if answers is None else done.append(answers)
            hand_out()  # First, so that nobody waits for what is done with the answers.
            yield from done
        for item in suspects:
            crew.hand_out([item])
            ((_, answers),) = crew.next()
            yield [dead(item)] if answers is None else answers
    finally:
        crew.end()


class _Crew(Generic[Item, Answer]):
    """Processes that are at work, and those that wait for some."""

    def __init__(self, work: Work[Item, Answer], preload: str) -> None:
        self._work, self._preload = work, preload
        self._idle: list[_Worker] = []
        self.busy: dict[Any, tuple[_Worker, Sequence[Item]]] = {}
        """By the pipe that the answers will come from."""

    def hand_out(self, some: Sequence[Item]) -> None:
        """Give a batch to a process that has none."""
        worker = self._idle.pop() if self._idle else _Worker(self._work, self._preload)
        worker.take(some)
        self.busy[worker.pipe] = worker, some

    def next(self) -> list[tuple[Sequence[Item], list[Answer] | None]]:
        """Batches with their answers, one at least; None for one whose process died of it."""
        done = []
        for pipe in wait(list(self.busy)):
            worker, some = self.busy.pop(pipe)
            answers = worker.answers()
            if answers is None:
                worker.end()
                worker = _Worker(self._work, self._preload)
                _must_live(worker)
            self._idle.append(worker)
            done.append((some, answers))
        return done

    def end(self) -> None:
        """End them all; what was being done is not waited for."""
        for worker, _ in self.busy.values():
            worker.process.terminate()
        for worker in (*self._idle, *(worker for worker, _ in self.busy.values())):
            worker.end()


class _Worker:
    """A process that answers batch after batch, until its pipe is closed."""

    def __init__(self, work: Callable[[Sequence[Any]], list[Any]], preload: str) -> None:
        with held():  # It starts a process, which nobody would wait for were this cut short.
            warm_up(preload)
            context = _context(preload)
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)  # type: ignore[attr-defined]
            self.process.start()
            theirs.close()  # Its end alone is open now: when the process dies, ours comes to an end.

    def take(self, some: Sequence[Any]) -> None:
        """Send it a batch; that it died before shows when its answers are asked for."""
        with suppress(OSError):
            self.pipe.send(some)

    def answers(self) -> list[Any] | None:
        """What it made of its batch; None where it died. Raises what the work raised."""
        try:
            answers, problem = self.pipe.recv()
        except (EOFError, OSError):
            return None
        if problem is not None:
            raise problem
        return list(answers)

    def end(self) -> None:
        """Let it go, and wait for that."""
        self.pipe.close()
        self.process.join()


def _serve(pipe: Connection, work: Callable[[Sequence[Any]], list[Any]]) -> None:
    """What a process does: answer batches until nobody is there any more."""
    with suppress(EOFError, OSError):
        while True:
            reply = _reply(work, pipe.recv())
            try:
                pipe.send(reply)
            except (PicklingError, TypeError, AttributeError, ValueError) as problem:  # Of pickle: nothing was sent.
                pipe.send(([], RuntimeError(f"the answer cannot be sent ({problem}): {reply!r:.500}")))


def _reply(work: Callable[[Sequence[Any]], list[Any]], some: Sequence[Any]) -> tuple[list[Any], Exception | None]:
    try:
        return work(some), None
    except Exception as problem:
        problem.add_note(f"In a worker process:\n{traceback.format_exc()}")
        return [], problem


def _must_live(worker: _Worker) -> None:
    """A process that dies of an empty batch too died of no item: that is no verdict on any file."""
    worker.take([])
    if worker.answers() is None:
        worker.end()
        raise SourceError(
            "worker processes",
            "each ends as soon as it starts",
            'free some memory; a script that calls this must guard its main part by `if __name__ == "__main__"`',
        )


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


def warm_up(preload: str) -> None:
    """Start the server that workers are forked from, which imports `preload` while this process does other things."""
    _context(preload)
    if "forkserver" in multiprocessing.get_all_start_methods():
        with deaf_children():
            forkserver.ensure_running()


def _context(preload: str) -> BaseContext:
    """A server that has imported `preload` and forks workers, where there is one: a new worker costs milliseconds."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    return context
