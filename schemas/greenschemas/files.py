"""Files that are whole at any moment: no reader, and no run started again after a kill, meets half of one."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

__all__ = ["beside", "sync_files", "sync_folder", "sync_tree", "whole", "write_whole"]


_NAME_MAX = 200
"""Bytes of a file's name that leave room for what is added to it."""
_DRAFT = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")
"""How a draft's name ends: machine, process, and what tells drafts of one process apart."""


def beside(path: Path, ending: str) -> Path:
    """A hidden name beside `path` that tells whose it is: by a digest where `path` leaves no room for more."""
    name = path.name if len(os.fsencode(path.name)) <= _NAME_MAX else hashlib.sha256(os.fsencode(path.name)).hexdigest()
    return path.with_name(f".{name}{ending}")


@contextmanager
def whole(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """A path beside `path` for the block to write a file at, which takes the name `path` when the block ends well.

    Whoever opens `path` finds the old file or the new one, and the new one is on the disk, name and all, when this
    returns. After an error the old one stays and nothing is left beside it. Makes the folder where it is missing.
    A draft that a killed process left goes when the same file is written again.

    synced: False where the caller waits for many files at once (`sync_tree`) before it says that anything is done; no
    drafts are looked for then, either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if synced:
        _sweep(path)
    draft = beside(path, f".{_machine()}-{os.getpid()}-{uuid4().hex[:8]}.tmp")
    try:
        yield draft
        if synced:
            _sync(draft)
        draft.replace(path)
        if synced:
            sync_folder(path.parent)
    except OSError as problem:
        if problem.filename is None:  # A full disk does not say which file it had no room for.
            problem.strerror = problem.strerror or str(problem)
            problem.filename = str(path)
        raise
    finally:
        # There after an error, and where both are names of one file: to rename one to the other then does nothing.
        draft.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove drafts of `path` whose process has ended: one of this machine, of which there is none any more."""
    lead = beside(path, "").name
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            mine = entry.name.startswith(lead) and _DRAFT.fullmatch(entry.name, len(lead))
            if mine and mine[1] == _machine() and _ended(int(mine[2])):
                os.unlink(entry.path)


@cache
def _machine() -> str:
    """Tells this machine, since its start, and this space of process numbers from others that share a folder."""
    told = [platform.node()]
    with suppress(OSError):
        told += [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]


def _ended(pid: int) -> bool:
    if os.name == "nt":  # There signal 0 is Ctrl-C: it would not ask, but end.
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # There is one, of another user; or the number is nobody's.
    return False


def write_whole(path: Path, data: str | bytes) -> None:
    """Make the file at `path` hold `data`, text in UTF-8, as `whole` does."""
    with whole(path) as draft:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk: a file that was renamed or linked is safe only then."""
    if os.name == "nt":  # Windows opens no folders, and writes names down by itself.
        return
    try:
        _sync(folder)
    except OSError as problem:
        # Some network file systems know no such thing as a folder that waits to be written.
        if problem.errno not in (errno.EINVAL, errno.EBADF):
            raise


def sync_tree(folder: Path) -> None:
    """Wait until all files and names below a folder are on the disk.

    On Linux by one call for the file system (syncfs), which costs one wait and not one a folder.
    """
    if not _sync_system(folder):
        for path in sorted(folder.rglob("*"), reverse=True):
            sync_folder(path) if path.is_dir() else _sync(path)
        sync_folder(folder)


def sync_files(folder: Path, paths: Iterable[Path]) -> None:
    """As `sync_tree`, of some files below `folder` that were written and their names, and on Linux of all."""
    if not _sync_system(folder):
        for path in paths:
            if path.is_file():
                _sync(path)
                sync_folder(path.parent)


def _sync_system(folder: Path) -> bool:
    """Wait for the whole file system of a folder; False where the system has no such call."""
    if sys.platform != "linux":
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        return bool(ctypes.CDLL(None, use_errno=True).syncfs(handle) == 0)
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
