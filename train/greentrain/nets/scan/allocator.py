"""Keeps glibc from giving big blocks of memory back to the system between steps."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["tune_allocator"]

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def tune_allocator() -> bool:
    """Serve big blocks from the heap and never trim it: whether that was done (glibc only).

    A net on the CPU takes and returns the same large arrays at every step; as glibc is set, each of them is mapped
    anew and faulted in page by page, which costs more than the arithmetic of some layers. Call it once, at the start.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
