"""`CLEAN/watch.jsonl`: every verdict of the watcher as a line, appended whole; the last one on a pair stands.

A line is that of the manifest with a first key more, `at`: when the verdict fell, in UTC.

In memory is what tells pairs apart and where their lines are, not the lines: 100,000 of them are a gigabyte. The
manifest, which other commands read, is written from this file now and then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from heapq import heappush, heappushpop
from pathlib import Path
from typing import Any

from greenprep.clean.clean import entry_key
from greenprep.watch.known import Key, Known, KnownVerdicts
from greenschemas.codes import Code
from greenschemas.files import whole, write_whole
from greenschemas.manifest import LOG_NAME, MANIFEST_NAME, SUMMARY_NAME, Entry, Summary, Verdict, parse_line, read_entry

__all__ = ["HALVES", "VerdictLog", "plain"]

HALVES = frozenset({Code.MISSING_IMAGE, Code.MISSING_MASK})
_USUAL = 1000
"""Pairs, a sample of all that were accepted, that newcomers are compared with."""
_MEASURES = b', "measures": {'
"""From here on a line holds numbers alone, most of it; in a text its quotes would be escaped."""


class VerdictLog:
    """The verdicts of one clean folder; whoever holds the lock of that folder may append."""

    def __init__(self, clean: Path) -> None:
        """Read what is there; without a log, it begins with the manifest. A line that a kill cut off is dropped.

        Raises SourceError for a line that is no verdict.
        """
        self.clean, self.path = clean, clean / LOG_NAME
        self.known = KnownVerdicts()
        self.replaced: set[Key] = set()
        """Pairs that were judged more than once, because a file of theirs was another one."""
        self._usual: list[tuple[int, Key]] = []
        """A heap: those of the smallest hashes, which come from all times alike."""
        self._end = 0
        if not self.path.is_file():
            write_whole(self.path, b"".join(_seed(clean / MANIFEST_NAME)))
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.endswith(b"\n"):
                    self._learn(parse_line(f"{self.path}:{number}", _without_measures(line)), len(line))
        os.truncate(self.path, self._end)

    def _learn(self, entry: dict[str, Any], length: int) -> None:
        key = entry["image"] or "", entry["mask"] or ""
        codes = tuple(reason["code"] for reason in entry["reasons"])
        known = Known(hash(entry["stamp"] or ""), entry["verdict"], codes, self._end, length)
        before = self.known.get(key)
        if before is not None and before.stamp != known.stamp:
            self.replaced.add(key)
        self.known.put(key, known)
        self._end += length
        if known.good:
            for mark in (entry["image_checksum"], f"group {entry['group']}"):
                if mark:
                    self.known.mark(key, mark)
            if before is None or not before.good:
                rank = -int.from_bytes(blake2b("\0".join(key).encode(), digest_size=8).digest())
                (heappush if len(self._usual) < _USUAL else heappushpop)(self._usual, (rank, key))

    def append(self, entries: Sequence[Entry]) -> None:
        """Write verdicts down, on the disk when this returns. Raises OSError, and then none of them is there."""
        at = _at(datetime.now(UTC))
        lines = [at + entry.to_json()[1:].encode() + b"\n" for entry in entries]
        with self.path.open("r+b", buffering=0) as file:
            file.seek(self._end)
            try:
                if file.write(b"".join(lines)) != sum(map(len, lines)):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self._end)
                raise
        for entry, line in zip(entries, lines, strict=True):
            self._learn(entry.model_dump(mode="json"), len(line))

    def read(self, keys: Iterable[Key]) -> Iterator[Entry]:
        """The verdicts that stand on some pairs, in the order in which they fell."""
        with self.path.open("rb") as file:
            for start, length in sorted(self.known[key][-2:] for key in keys):
                file.seek(start)
                yield read_entry(str(self.path), plain(file.read(length)))

    def beside(self, new: Sequence[Entry]) -> list[Entry]:
        """Accepted pairs to judge `new` beside: all that show the same pixels or ground, and a sample of the others."""
        marks = {mark for entry in new for mark in (entry.image_checksum, f"group {entry.group}") if mark}
        keys = self.known.sharing(marks) | {key for _, key in self._usual}
        return list(self.read(key for key in keys - {entry_key(entry) for entry in new} if self.known[key].good))

    def write_manifest(self, recipe_hash: str, notes: dict[str, str] | None = None) -> Summary:
        """Write the manifest and its sums as `clean` does; returns the sums. notes: as `Summary.of` takes them."""
        verdicts, codes = self.known.counts()
        summary = Summary(
            found=len(self.known),
            **{verdict.value: verdicts[verdict.value] for verdict in Verdict},
            reasons=dict(sorted(codes.items())),
            recipe_hash=recipe_hash,
            notes=notes or {},
        )
        with self.path.open("rb") as log, whole(self.clean / MANIFEST_NAME) as draft, draft.open("wb") as manifest:
            for key in sorted(self.known, key=lambda key: (key[0] or key[1], key[1])):
                known = self.known[key]
                log.seek(known.start)
                manifest.write(plain(log.read(known.length)))
        write_whole(self.clean / SUMMARY_NAME, f"{summary.to_json()}\n")
        return summary


def _seed(manifest: Path) -> Iterator[bytes]:
    """Lines of a manifest that `clean` wrote, but for files without a partner, which wait for it here."""
    if manifest.is_file():
        at = _at(datetime.fromtimestamp(manifest.stat().st_mtime, UTC))
        with manifest.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                entry = parse_line(f"{manifest}:{number}", line)
                if HALVES.isdisjoint(reason["code"] for reason in entry["reasons"]):
                    yield at + line[1:]


def _at(time: datetime) -> bytes:
    """How a line begins; always as long."""
    return f'{{"at": "{time:%Y-%m-%dT%H:%M:%SZ}", '.encode()


def _without_measures(line: bytes) -> bytes:
    """A line of the log in a fifth of the time to read: what was measured is of no use before the pair is looked at."""
    head, found, _ = line.rpartition(_MEASURES)
    return head + b"}" if found else line


def plain(line: bytes) -> bytes:
    """A line of the log as the manifest has it."""
    return b"{" + line[_AT:]


_AT = len(_at(datetime.now(UTC)))
