"""Stamps: what is unchanged since it was read need not be read again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from greenprep.raw.pairs import Candidate

__all__ = ["Stamp", "stamp_of"]

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
    states = (f"{status.st_size}:{status.st_mtime_ns}" if status else "-" for status in found)
    return Stamp(f"v{CHECKS} {' '.join(states)}", sum(status.st_size for status in found if status))


def _status(root: Path, relative: str | None) -> os.stat_result | None:
    try:
        return (root / relative).stat() if relative else None
    except OSError:
        return None
