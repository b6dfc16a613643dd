"""An inbox in a bucket: a copy of it here, the spool, is watched as a folder; answers go back beside the objects.

What was done is told by the spool's files themselves, each renamed into place whole. A copy has the size of its object
and a time made of its version (ETag), so that whatever changes one changes the other. An answer that stands in the
bucket as it stands here has the time `_SENT`; one that was written since has another.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greenprep.clean.clean import check_local
from greenprep.raw.pairs import ANSWERS, SIDECARS, files_below, pairs_among
from greenprep.watch.inbox import is_passing
from greenprep.watch.watcher import Tell
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import sync_files, whole, write_whole
from greenschemas.recipe import Pairing

__all__ = ["Bucket", "is_spool", "looks", "refusal"]

_MARK = ".copy-of-bucket"
"""File of the spool that holds the URL: in a folder without it nothing is ever removed."""
_SENT = 0
"""Modification time, in s."""
_TICK = 1.0
"""Seconds between two looks at the clock."""
_EVERY = 10.0
"""Seconds between two looks at the bucket, each of which is paid for: a request for every thousand objects."""
_SHARE = 4
"""A look at all is followed by none for so many times as long."""
_ROUND = 30.0
"""Seconds of fetching after which what is here is judged first."""
_PIECE = 8 << 20
"""Bytes that are asked for at once."""
_LONGEST, _LONGEST_PATH = 200, 1000
"""Bytes of a name, and of all of a path below the inbox; an answer's name, and a draft's, are longer."""
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_FAULTS = (("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"), ("aiohttp", "ClientError"))
"""What S3's libraries raise beside OSError; they are asked for by name, since none needs to be there."""


class Bucket:
    """The objects below a URL that fsspec knows, and the spool that they are copied to."""

    def __init__(self, url: str, clean: Path) -> None:
        """Open the URL and make the spool, a folder beside `clean`. Raises ConfigError where one of them cannot be."""
        import fsspec

        check_local(clean, "give a folder of this machine: the copies of the bucket's files stand beside it")
        self.url, self.spool = url.rstrip("/"), clean.with_name(f"{clean.name}.inbox")
        try:
            own = {"use_listings_cache": False, "skip_instance_cache": True}  # What the bucket holds, and where, now.
            self._files, self._root = fsspec.core.url_to_fs(self.url, **own)
        except (ImportError, ValueError) as problem:
            remedy = "install the file system's package (`s3fs` for s3://), or give a folder"
            raise ConfigError(self.url, f"fsspec cannot open it ({problem})", remedy) from None
        self._claim()
        self._objects: set[str] = set()
        self._answers: set[str] = set()
        """Those that stand in the bucket."""
        self._said: set[str] = set()

    def _claim(self) -> None:
        mark = self.spool / _MARK
        if self.spool.exists() and (not self.spool.is_dir() or any(one.name != _MARK for one in self.spool.iterdir())):
            other = mark.read_text(encoding="utf-8").strip() if mark.is_file() else "no bucket"
            if other != self.url:
                found = f"is there already, and is a copy of {other}, not of {self.url}"
                raise ConfigError(self.spool, found, "give another clean folder, or move it out of the way")
        write_whole(mark, f"{self.url}\n")

    def fetch(self, pairing: Pairing, tell: Tell, seconds: float = float("inf")) -> bool:
        """Make the spool as the bucket is: what is new or changed is copied, what has gone is removed.

        seconds: after which no other object is begun. Returns whether all is here. An object that may not be read, or
        whose name is none for a file, is told once, and left. Raises SourceError where the bucket does not answer.
        """
        end = time.monotonic() + seconds
        listed, here = self._listed(pairing, tell), self._here()
        for name in here.keys() - listed.keys():
            (self.spool / name).unlink(missing_ok=True)
        copied, due = [], sorted(name for name, state in listed.items() if here.get(name) != state)
        for name in due:
            if time.monotonic() > end:
                break
            copied.append(self.spool / name)
            self._copy(name, listed[name], tell)
        if copied:
            sync_files(self.spool, copied)
        return len(copied) == len(due)

    def _listed(self, pairing: Pairing, tell: Tell) -> dict[str, tuple[int, int]]:
        """(size, time of its copy in s) of each object that the watcher would look at, by its path below the URL."""
        listed = {name: state for name, state in self._all_listed() if _is_wanted(name, pairing)}
        folders = {name[:at] for name in listed for at, letter in enumerate(name) if letter == "/"}
        for name in list(listed):
            if why := refusal(name, folders):
                problem = SourceError(f"{self.url}/{name}", f"is no name for a file here: {why}", "rename the object")
                self._complain(problem, tell)
            if why or is_passing(name):
                del listed[name]
        self._objects = set(listed)
        return listed

    def _here(self) -> dict[str, tuple[int, int]]:
        """(size, modification time in s) of each copy by its path below the spool."""
        here = {}
        for name, entry in files_below(self.spool):
            if not is_passing(name):
                found = entry.stat()
                here[name] = found.st_size, int(found.st_mtime)
            elif name.endswith(".tmp"):  # Of a watcher that was killed: nobody writes here now but us.
                os.unlink(entry.path)
        return here

    def give(self) -> None:
        """Bring answers that are not in the bucket, or were written since, beside their objects.

        Raises SourceError where the bucket does not take them.
        """
        for name, entry in files_below(self.spool):
            if not name.endswith(ANSWERS) or name.rpartition(".verdict.")[0] not in self._objects:
                continue
            if name not in self._answers or int(entry.stat().st_mtime) != _SENT:
                data = Path(entry.path).read_bytes()
                with _asked(f"{self.url}/{name}"):
                    self._files.pipe_file(f"{self._root}/{name}", data)
                os.utime(entry.path, (_SENT, _SENT))
                self._answers.add(name)

    def _all_listed(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """(path below the URL, (size, time of the copy in s)) of each object but answers, which are remembered."""
        lead = f"{self._root}/"
        with _asked(self.url):
            found: Mapping[str, Any] = self._files.find(self._root, detail=True)
        self._answers = set()
        for path, told in found.items():
            name = path.removeprefix(lead)
            if path.startswith(lead) and name.endswith(ANSWERS):
                self._answers.add(name)
            elif path.startswith(lead) and told["type"] == "file" and name and not name.endswith("/"):
                yield name, (told["size"], _time_of(told))

    def _copy(self, name: str, state: tuple[int, int], tell: Tell) -> None:
        """Copy an object; one that has changed meanwhile is left for the next look, which finds another version."""
        size, version = state
        target = self.spool / name
        try:
            if target.is_dir():  # Of objects that have gone; their answers are still there.
                raise IsADirectoryError
            with whole(target, synced=False) as draft:
                with draft.open("wb") as file:
                    for piece in self._pieces(name):
                        file.write(piece)
                    if file.tell() != size:
                        return
                os.utime(draft, (version, version))
        except _Changed:
            return
        except _Closed as problem:
            self._complain(problem, tell)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            found = "is the name of a folder here, or below that of a file"
            self._complain(SourceError(f"{self.url}/{name}", found, "rename the object"), tell)

    def _pieces(self, name: str) -> Iterator[bytes]:
        path, where = f"{self._root}/{name}", f"{self.url}/{name}"
        with _asked(where):
            try:
                with self._files.open(path, "rb", block_size=_PIECE, cache_type="readahead") as source:
                    while piece := source.read(_PIECE):
                        yield piece
            except PermissionError as problem:
                raise _Closed(where, f"may not be read ({_reason(problem)})", "see to the rights of the keys") from None
            except OSError as problem:
                if isinstance(problem, FileNotFoundError) or problem.errno == errno.EBUSY:  # So s3fs calls a new ETag.
                    raise _Changed(where, "changed while it was read", "wait") from None
                raise

    def _complain(self, problem: SourceError, tell: Tell) -> None:
        if str(problem) not in self._said:
            self._said.add(str(problem))
            tell({"event": "problem", "message": f"{problem} It is left where it is."})


class _Changed(SourceError):
    """An object that was replaced or removed while it was read."""


class _Closed(SourceError):
    """An object that may not be read, while others may."""


def looks(
    bucket: Bucket, pairing: Pairing, *, stop: threading.Event, cost: Callable[[], float], tell: Tell
) -> Iterator[set[str] | None]:
    """As `wakes.wakes`, of the spool: before a look at all what is new is fetched, after it answers are given.

    A bucket that does not answer is told once, and asked again.
    """
    due, said = 0.0, ""
    while not stop.is_set():
        if time.monotonic() < due:
            yield set()
        else:
            began, complete = time.monotonic(), True
            try:
                complete = bucket.fetch(pairing, tell, _ROUND)
                asked = time.monotonic() - began
                yield None
                bucket.give()
                said = ""
            except SourceError as problem:
                if str(problem) != said:
                    said = str(problem)
                    tell({"event": "problem", "message": f"{problem} Tried again every {_EVERY:g} s."})
                asked = time.monotonic() - began
                yield set()
            due = time.monotonic() + (max(_EVERY, _SHARE * (asked + cost())) if complete else 0.0)
        stop.wait(_TICK)


def is_spool(folder: Path) -> bool:
    """Whether a folder is the copy of a bucket, from which goes what is not in the bucket."""
    return (folder / _MARK).is_file()


def refusal(name: str, folders: set[str]) -> str | None:
    """Why a path below the URL is none below a folder of this machine; None where it is one.

    folders: those that paths of other objects lead through.
    """
    parts = name.split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        return "a part of it is empty, `.` or `..`"
    if _UNFIT.search(name):
        return "it has a backslash or a control character"
    if len(name.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST for part in parts):
        return f"it is longer than {_LONGEST} bytes, or {_LONGEST_PATH} with its folders"
    return "other objects lie below it" if name in folders else None


def _is_wanted(name: str, pairing: Pairing) -> bool:
    """Whether the watcher would look at a file of that name; what it would not look at need not be copied."""
    last = name.rpartition("/")[2]
    return not is_passing(last) and (name.endswith(SIDECARS) or bool(pairs_among({name}, set(), pairing)))


def _time_of(told: Mapping[str, Any]) -> int:
    """A time, in s: 31 bits of the digest of an object's ETag or, where it has none, of when it was changed."""
    version = told.get("ETag") or told.get("etag") or [told.get(key) for key in ("LastModified", "mtime", "created")]
    return int.from_bytes(hashlib.sha256(str(version).encode()).digest()[:4]) >> 1 or 1


@contextmanager
def _asked(where: str) -> Iterator[None]:
    """Around a question to the bucket: what goes wrong there is a SourceError."""
    kinds = [getattr(sys.modules[module], name) for module, name in _FAULTS if module in sys.modules]
    try:
        yield
    except (OSError, *kinds) as problem:
        remedy = "see to its name, to the keys and their rights, and to the endpoint (AWS_ENDPOINT_URL)"
        raise SourceError(where, f"does not answer as it should ({_reason(problem)})", remedy) from None


def _reason(problem: BaseException) -> str:
    return str(problem).strip().partition("\n")[0] or type(problem).__name__
