"""Numba's threads, which the compiled loops of this package share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numba
import torch

__all__ = ["forked", "on_threads"]

_turn = threading.Lock()
"""Without OpenMP numba's own threads serve one caller, and end the process if a second one comes."""
_process = os.getpid()


def forked() -> bool:
    """Whether this process is a fork of the one that loaded this module: numba ends it if it asks for threads."""
    return os.getpid() != _process


def on_threads(most: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call a loop compiled with `parallel=True` on at most so many threads; others that want to, wait.

    numba sets OpenMP's number of threads, which is torch's too, and with it the last bits of torch's sums: put back.
    """
    with _turn:
        of_torch, before = torch.get_num_threads(), numba.get_num_threads()
        numba.set_num_threads(min(most, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        try:
            function(*arguments)
        finally:
            numba.set_num_threads(before)
            if torch.get_num_threads() != of_torch:
                torch.set_num_threads(of_torch)
