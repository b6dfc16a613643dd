"""Stamps: what is unchanged since it was read need not be read again."""

from __future__ import annotations

from pathlib import Path

__all__ = ["stamp_of"]

CHECKS = 1
"""Raised when the same file may get another verdict, so that earlier ones no longer count."""


def stamp_of(root: Path, *files: str | None) -> str:
    """Sizes and modification times of files below `root`, `-` for one that is not there."""
    return f"v{CHECKS} " + " ".join(_stat(root, relative) for relative in files)


def _stat(root: Path, relative: str | None) -> str:
    try:
        found = (root / relative).stat() if relative else None
    except OSError:
        found = None
    return f"{found.st_size}:{found.st_mtime_ns}" if found else "-"
