"""Being told to stop: Ctrl-C, SIGTERM (spot instances, containers) and SIGUSR1 (Slurm's warning)."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

__all__ = ["StopSignals"]

# Windows knows the first two alone.
_WATCHED = tuple(found for found in signal.Signals if found.name in ("SIGINT", "SIGTERM", "SIGUSR1"))


class StopSignals:
    """Inside the `with` block the first signal only sets `received`; a second one interrupts at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in _WATCHED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
