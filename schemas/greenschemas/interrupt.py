"""Ctrl-C where a command has child processes: a terminal sends SIGINT to all of them, and one alone should answer.

The command's own process stops, ends its children and says so; what they would print of it is noise. Signals belong to
the main thread: in another one, and in a notebook's, nothing here changes anything.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["deaf_children", "held"]


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are started inside ignore Ctrl-C, as do their own children."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a new process inherits
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def held() -> Iterator[None]:
    """A Ctrl-C inside takes effect at the end: for what breaks where it is cut short, and lasts seconds at most."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def take(*_: object) -> None:
        nonlocal asked
        asked = True

    before = signal.signal(signal.SIGINT, take)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        signal.raise_signal(signal.SIGINT)
