"""Big arrays used again: fresh memory costs a page fault every 4 kB, as much as decoding what goes into it."""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Buffers"]


class Buffers:
    """Lends arrays; the memory of one comes back when nothing refers to it any more, tensors made of it included.

    What is lent may be kept for ever: then the next one is new memory. Safe in several threads.
    """

    def __init__(self, keep: int) -> None:
        """keep: at most so many free arrays of each shape and type."""
        self._free: defaultdict[tuple[tuple[int, ...], np.dtype[Any]], deque[NDArray[Any]]]
        self._free = defaultdict(lambda: deque(maxlen=keep))

    def lend(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array with anything in it. Wrap itself into a tensor, not a slice of it: NumPy's slices of slices refer
        to the memory and not to what was lent."""
        free = self._free[shape, np.dtype(dtype)]
        try:
            memory = free.pop()
        except IndexError:
            memory = np.empty(shape, dtype)
        lent = memory[...]
        weakref.finalize(lent, free.append, memory).atexit = False
        return lent
