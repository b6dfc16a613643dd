"""What reading one pair may take: a worker that takes longer, or more memory, is ended, and that is the verdict.

The system ends it, not we: a decoder that hangs does so in C, where no Python exception reaches it. Whoever waits for
the worker finds it dead, tries the pairs of its batch one by one, and answers for the one that does it again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["guarded"]

_LEAST_MEMORY = 4 << 30
"""Bytes of address space that a worker may always take: a strip of 256 MB is in memory in several forms."""


@contextmanager
def guarded(seconds: float) -> Iterator[None]:
    """End this process, if it is a worker, where the block takes more than `seconds`; bound its memory, too.

    Does nothing in the process of the user, nor where the system has no such timer.
    """
    if multiprocessing.parent_process() is None or sys.platform == "win32":
        yield
        return
    _bound_memory()
    signal.setitimer(signal.ITIMER_REAL, seconds)  # Nobody catches its signal: the system ends the process.
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@cache
def _bound_memory() -> None:
    """Let this process have no more than the machine's memory shared out fairly, twice over."""
    if sys.platform == "win32":
        return
    import resource

    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = max(_LEAST_MEMORY, 2 * machine // (os.cpu_count() or 1))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft == resource.RLIM_INFINITY or wanted < soft:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
