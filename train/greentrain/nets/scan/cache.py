"""Where compiled code is kept, and what of it may be loaded: only what this user alone can have written."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import stat
import sys
import tempfile
from pathlib import Path

__all__ = ["cache_folder", "is_trusted", "seal"]

_LOG = logging.getLogger("greentrain.nets.scan")
_SEAL_BYTES = 32


def cache_folder() -> Path:
    """GREENTRAIN_CACHE, or greentrain under XDG_CACHE_HOME or ~/.cache; else a private folder for this process alone.

    Else: where it cannot be written, or where another user could put something into it or in its place.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("GREENTRAIN_CACHE") or Path(base) / "greentrain")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()
        if _is_ours(folder) and all(_is_safe_above(parent) for parent in folder.parents):
            with tempfile.TemporaryFile(dir=folder):
                return folder
        why = "other users may write it, or a folder above it"
    except OSError as problem:
        why = str(problem.strerror)
    _LOG.warning("compiled code is kept for this process alone: %s: %s", folder, why)
    return Path(_private_folder().name)


def seal(path: Path) -> None:
    """Put the digest of a file behind its end, where loaders do not look, and let nobody else write it."""
    data = path.read_bytes()
    path.write_bytes(data + hashlib.sha256(data).digest())
    path.chmod(0o700)


def is_trusted(path: Path) -> bool:
    """Whether a file is there, is this user's alone to write, and is whole: as `seal` left it."""
    try:
        if not _is_ours(path, regular=True):
            return False
        data = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data[:-_SEAL_BYTES]).digest() == data[-_SEAL_BYTES:]


def _is_ours(path: Path, *, regular: bool = False) -> bool:
    """Whether this user owns it and nobody else may write it; a link is never ours, and on Windows nothing is.

    There a file's mode does not say who may write it, so that what is compiled serves one process.
    """
    if sys.platform == "win32":
        return False
    found = path.lstat()
    kind = stat.S_ISREG(found.st_mode) if regular else stat.S_ISDIR(found.st_mode)
    return kind and found.st_uid == os.geteuid() and not _others_write(found)


def _is_safe_above(folder: Path) -> bool:
    """Whether no other user but root can rename what lies in a folder: none may write it, or it is sticky, as /tmp."""
    if sys.platform == "win32":
        return False
    found = folder.lstat()
    if found.st_uid not in (0, os.geteuid()):
        return False
    return not _others_write(found) or bool(found.st_mode & stat.S_ISVTX)


def _others_write(found: os.stat_result) -> bool:
    """Whether another user may write; a group of this user alone, as many systems make one, holds no other."""
    if sys.platform == "win32":
        return True
    import grp  # Windows has neither.
    import pwd

    if found.st_mode & stat.S_IWOTH:
        return True
    if not found.st_mode & stat.S_IWGRP:
        return False
    try:
        mine = pwd.getpwuid(os.geteuid())
        members = set(grp.getgrgid(found.st_gid).gr_mem)
    except KeyError:  # A user or group that the system has no name for, as in containers.
        return True
    return found.st_gid != mine.pw_gid or bool(members - {mine.pw_name})


@functools.cache
def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """Deleted when the process ends."""
    return tempfile.TemporaryDirectory(prefix="greentrain-", ignore_cleanup_errors=True)
