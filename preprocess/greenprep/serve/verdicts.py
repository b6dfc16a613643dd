"""The verdicts of a clean folder as they come: the watcher's log is read as far as it goes, and then from there."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from greenprep.watch.verdict_log import plain
from greenschemas.manifest import LOG_NAME, MANIFEST_NAME, Entry, parse_line, read_entry

__all__ = ["Row", "Verdicts"]


class Row(NamedTuple):
    """What a list needs of the last verdict on a pair."""

    name: str
    """Path of the image below the inbox, or of a mask without one."""
    mask: str | None
    at: str
    """When, in UTC; empty where only the manifest is there."""
    verdict: str
    codes: tuple[str, ...]
    group: str | None
    place: tuple[str, tuple[float, ...], tuple[int, int]] | None
    """Coordinate system, transform, (rows, columns)."""


class Verdicts:
    """Rows by name, the order of their last verdicts, and where all lines of a pair stand; safe between threads."""

    def __init__(self, clean: Path) -> None:
        self._clean, self._lock = clean, threading.Lock()
        self._forget(None)

    def _forget(self, source: tuple[str, int] | None) -> None:
        self._source, self._end, self._lines = source, 0, 0
        self.rows: dict[str, Row] = {}
        """The last to be judged is the last."""
        self.counts: Counter[str] = Counter()
        self._places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)

    @property
    def version(self) -> int:
        """Grows with every verdict."""
        return self._lines

    def refresh(self) -> Verdicts:
        """Read what has come since; all, where the file is another one."""
        with self._lock:
            path = self._clean / LOG_NAME
            path = path if path.is_file() else self._clean / MANIFEST_NAME
            try:
                found = path.stat()
            except OSError:
                self._forget(None)
                return self
            source = path.name, found.st_ino
            if source != self._source or found.st_size < self._end:
                self._forget(source)
            if found.st_size > self._end:
                with path.open("rb") as file:
                    file.seek(self._end)
                    for line in file:
                        if line.endswith(b"\n"):
                            self._learn(parse_line(str(path), line), len(line))
            return self

    def _learn(self, entry: dict[str, Any], length: int) -> None:
        name = entry["image"] or entry["mask"] or ""
        before = self.rows.pop(name, None)
        if before is not None:
            self.counts[before.verdict] -= 1
        crs, transform, shape = entry["crs"], entry["transform"], entry["shape"]
        place = (str(crs), tuple(transform), (shape[1], shape[2])) if crs and transform and shape else None
        codes = tuple(reason["code"] for reason in entry["reasons"])
        self.rows[name] = Row(name, entry["mask"], entry.get("at", ""), entry["verdict"], codes, entry["group"], place)
        self.counts[entry["verdict"]] += 1
        self._places[name].append((self._end, length))
        self._end += length
        self._lines += 1

    def select(self, verdict: str = "", text: str = "", *, skip: int = 0, limit: int = 50) -> list[Row]:
        """Rows with that verdict whose name, group or codes hold `text`, the newest first."""
        with self._lock:
            rows = reversed(self.rows.values())
            wanted = (row for row in rows if (not verdict or row.verdict == verdict) and _holds(row, text.lower()))
            return list(islice(wanted, skip, skip + limit))

    def all(self) -> list[Row]:
        """All rows."""
        with self._lock:
            return list(self.rows.values())

    def history(self, name: str) -> list[tuple[str, Entry]]:
        """(when, verdict) of all verdicts on a pair, the last one last; none for a name that is not known."""
        with self._lock:
            if self._source is None or name not in self._places:
                return []
            path = self._clean / self._source[0]
            return list(_lines(path, self._places[name]))


def _holds(row: Row, text: str) -> bool:
    return not text or any(text in part.lower() for part in (row.name, row.group or "", *row.codes))


def _lines(path: Path, places: list[tuple[int, int]]) -> Iterator[tuple[str, Entry]]:
    with path.open("rb") as file:
        for start, length in places:
            file.seek(start)
            line = file.read(length)
            at = parse_line(str(path), line).get("at", "")
            yield at, read_entry(str(path), plain(line) if at else line)
