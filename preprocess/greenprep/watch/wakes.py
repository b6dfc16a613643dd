"""When to look at an inbox: told by the system where it knows, else every second.

The system of this machine does not hear what another one writes to a network share, so there we look for ourselves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from greenprep.watch.inbox import is_passing
from greenschemas.console import say

__all__ = ["file_system", "wakes"]

_UNHEARD = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs"),
    *("smb", "vboxsf", "virtiofs"),
)
"""How the kinds of file system begin that other machines may write to."""
_TICK = 1.0
"""Seconds between two looks at the clock, and at an inbox that nobody tells us of."""
_WHOLE = 60.0
"""Seconds after which all is looked at although nothing was told: what the system forgot is found then."""
_SHARE = 4
"""A look at all is followed by none for so many times as long."""


def wakes(root: Path, *, poll: bool, stop: threading.Event, cost: Callable[[], float]) -> Iterator[set[str] | None]:
    """Every second or sooner: the names below `root` that were touched since the last time, or None for a look at all.

    poll: ask nobody; cost: seconds that the last look at all took. Ends when `stop` is set. The first look is at all.
    """
    due = 0.0
    for names in _ticks(stop) if poll or not _can_hear(root) else _told(root, stop):
        if time.monotonic() < due:
            yield names or set()
            continue
        yield None
        due = time.monotonic() + max(_SHARE * cost(), 0.0 if names is None else _WHOLE)


def _ticks(stop: threading.Event) -> Iterator[set[str] | None]:
    yield None
    while not stop.wait(_TICK):
        yield None


def _told(root: Path, stop: threading.Event) -> Iterator[set[str] | None]:
    from watchfiles import watch

    def ours(_: object, path: str) -> bool:
        return path.startswith(prefix) and not is_passing(path[len(prefix) :])

    prefix = f"{root.absolute()}/"
    try:
        for changes in watch(
            root.absolute(),
            watch_filter=ours,
            debounce=400,
            rust_timeout=int(1000 * _TICK),
            yield_on_timeout=True,
            stop_event=stop,
            ignore_permission_denied=True,
        ):
            yield {path[len(prefix) :] for _, path in changes}
    except OSError as problem:  # The system tells of so many folders and no more.
        say(f"{root} is looked through every second: the system does not tell of it ({problem.strerror or problem}).")
        yield from _ticks(stop)


def _can_hear(root: Path) -> bool:
    """Whether the system tells of everything that happens below `root`; says why not."""
    kind = file_system(root)
    if kind.startswith(_UNHEARD):
        say(f"{root} is on {kind}, where other machines may write unheard: it is looked through every second.")
        return False
    try:
        import watchfiles  # noqa: F401  Only whether it is there.
    except ImportError:
        say(f"{root} is looked through every second; `pip install greenspace[service]` lets the system tell of files.")
        return False
    return True


def file_system(root: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that a folder is on, as Linux calls it; empty where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    here, best = str(root.resolve()), ("", "")
    for _, point, kind, *_ in (line.split(" ") for line in lines):
        point = point.replace("\\040", " ")
        if (here == point or here.startswith(f"{point.rstrip('/')}/")) and len(point) >= len(best[0]):
            best = point, kind
    return best[1]
