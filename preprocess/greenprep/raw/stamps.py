"""Stamps: what is unchanged since it was read need not be read again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from greenprep.raw.pairs import Candidate

__all__ = ["Stamp", "stamp_of", "stamp_text"]

CHECKS = 1
"""Raised when the same file may get another verdict, so that earlier ones no longer count."""


class Stamp(NamedTuple):
    """The state of a candidate's files."""

    text: str
    """Size and modification time of image and mask, `-` for one that is not there."""
    nbytes: int
    """Size of both."""


def stamp_of(root: Path, candidate: Candidate) -> Stamp:
    """The stamp of a candidate whose files lie below `root`."""
    found = [_status(root, name) for name in (candidate.image, candidate.mask)]
    text = stamp_text((status.st_size, status.st_mtime_ns) if status else None for status in found)
    return Stamp(text, sum(status.st_size for status in found if status))


def stamp_text(states: Iterable[tuple[int, int] | None]) -> str:
    """The text of a stamp from (size, modification time in ns) of image and mask, None for one that is not there."""
    each = (f"{state[0]}:{state[1]}" if state else "-" for state in states)
    return f"v{CHECKS} {' '.join(each)}"


def _status(root: Path, relative: str | None) -> os.stat_result | None:
    try:
        return (root / relative).stat() if relative else None
    except OSError:
        return None
