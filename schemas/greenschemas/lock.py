"""One writer at a time: whoever writes a store, a clean folder, a run or a map holds its lock meanwhile.

On a file system the lock is `flock` on a small file, which the kernel lets go when its owner ends, however it ends:
what a killed process leaves is a file that nobody holds, and the next writer takes it. On an object store it is an
object that is written only if there is none. Inside stands the owner, for the message to whoever comes second.
"""

from __future__ import annotations

import errno
import os
import platform
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from greenschemas.console import say
from greenschemas.errors import GreenError, SourceError, StoreError
from greenschemas.files import beside
from greenschemas.frozen import Frozen

__all__ = ["LOCK_NAME", "LockedError", "Owner", "folder_writer", "only_writer", "writer_of"]

LOCK_NAME = ".lock"
"""Of the lock inside a folder that belongs to one command, such as that of a run."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class LockedError(GreenError):
    """Another process writes there."""


class Owner(Frozen):
    """Who holds a lock."""

    act: str
    """What it does, such as `greenprep tile`."""
    host: str
    pid: int
    started: str
    """When the process began, as the kernel counts, so that another one of the same number is told apart; empty where
    it does not say."""
    since: datetime
    """When the lock was taken, in UTC."""

    @classmethod
    def this(cls, act: str) -> Owner:
        """This process."""
        pid = os.getpid()
        since = datetime.now(UTC).replace(microsecond=0)
        return cls(act=act, host=platform.node(), pid=pid, started=_started(pid), since=since)

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended: a process of this machine, of which there is none any more."""
        if self.host != platform.node() or os.name == "nt":  # On Windows signal 0 is Ctrl-C: it would not ask, but end.
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # There is one, of another user.
        return self.started != _started(self.pid)

    def __str__(self) -> str:
        return f"`{self.act}` (process {self.pid} on {self.host}) since {self.since:%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def only_writer(target: Path | str, act: str) -> Iterator[None]:
    """Hold the lock of a store or file, beside it, while the block runs; `act` tells others what for.

    target: path or fsspec URL. Raises LockedError where another process, or this one elsewhere, holds it.
    """
    if isinstance(target, str) and "://" in target:
        with _object(target.rstrip("/") + ".lock", target, act):
            yield
        return
    real = Path(target).resolve()
    with _flock(beside(real, ".lock"), real, act):
        yield


@contextmanager
def folder_writer(folder: Path, act: str) -> Iterator[None]:
    """Hold the lock of a folder that one command fills, inside it, while the block runs; makes the folder.

    Raises LockedError where another process, or this one elsewhere, holds it.
    """
    with _flock(folder / LOCK_NAME, folder, act):
        yield


def writer_of(folder: Path) -> Owner | None:
    """Who fills a folder that is locked by `folder_writer`, by what its lock says; None where nobody is known to."""
    try:
        owner = _owner((folder / LOCK_NAME).read_bytes())
    except OSError:
        return None
    return None if owner is None or owner.gone else owner


@contextmanager
def _flock(path: Path, target: Path, act: str) -> Iterator[None]:
    try:
        handle = _locked(path, target)
    except OSError as problem:
        if problem.errno not in _NO_LOCKS:
            found = f"cannot be written ({problem.strerror})"
            raise SourceError(target, found, "make room, or choose another folder") from None
        say(f"WARNING {target}: this system knows no locks for it; see to it that nothing else writes there")
        yield
        return
    signed = stat.S_ISREG(os.fstat(handle).st_mode)
    try:
        if signed:
            os.ftruncate(handle, 0)
            os.write(handle, Owner.this(act).to_json().encode())
        yield
    finally:
        if signed:
            path.unlink(missing_ok=True)  # While it is held: nobody else can hold the file that goes.
        os.close(handle)


def _locked(path: Path, target: Path) -> int:
    """A descriptor of the lock's file with the lock on it. Raises LockedError, or OSError where there are no locks."""
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "no locks of this kind")
    import fcntl  # Windows has none.

    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            if problem.errno not in (errno.EACCES, errno.EROFS) or not target.is_dir():
                raise
            # Its folder cannot be written, so nobody can put another in the target's place: the target itself will do.
            path, handle = target, os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(path, handle):
                return handle
        except BlockingIOError:
            owner = _owner(os.pread(handle, 4096, 0) if path != target else b"")
            os.close(handle)
            raise _taken(target, owner) from None
        except OSError:
            os.close(handle)
            raise
        os.close(handle)  # Its last owner removed the file between our opening and our locking it.


def _same(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


@contextmanager
def _object(url: str, target: str, act: str) -> Iterator[None]:
    """The lock as an object.

    S3 and Google's store write it only if there is none; where a file system of fsspec does not know how, two that come
    within the same moment are told apart by reading back what was written.
    """
    fs, path = _filesystem(url, target)
    mine = Owner.this(act).to_json().encode()
    for _ in range(2):
        try:
            fs.invalidate_cache()
            if fs.exists(path):
                raise FileExistsError(path)
            fs.pipe_file(path, mine, mode="create")
            break
        except FileExistsError:
            owner = _owner(_held(fs, path))
            if owner is None or not owner.gone:
                raise _taken(target, owner, url) from None
            fs.rm_file(path)
    if (there := _held(fs, path)) != mine:
        raise _taken(target, _owner(there), url)
    try:
        yield
    finally:
        if _held(fs, path) == mine:
            fs.rm_file(path)


def _filesystem(url: str, target: str) -> tuple[Any, str]:
    import fsspec

    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as problem:
        raise StoreError(
            target,
            f"fsspec cannot open it ({problem})",
            "install the file system's package (`s3fs` for s3://), or give a path",
        ) from None
    return found


def _held(fs: Any, path: str) -> bytes:
    try:
        data: bytes = fs.cat_file(path)
    except FileNotFoundError:
        return b""
    return data


def _owner(data: bytes) -> Owner | None:
    """Who wrote this; None where it says nothing, as in the moment between taking a lock and signing it."""
    try:
        return Owner.model_validate_json(data)
    except ValidationError:
        return None


def _taken(target: Path | str, owner: Owner | None, url: str = "") -> LockedError:
    found = f"{owner} writes there" if owner else "another process writes there"
    more = f"; if it has died on another machine, remove {url}" if url else ""
    return LockedError(target, found, f"wait until it is done, stop it, or give another name{more}")


def _started(pid: int) -> str:
    """Boot of the machine, and clock ticks from it to the start of a process; empty where the system does not say."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip()}:{ticks}"
    except (OSError, IndexError):
        return ""
