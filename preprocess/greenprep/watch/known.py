"""What is in memory of the verdicts of a log: a few numbers a pair, in columns, so that a million of them fit. Pure.

Texts that are only compared stand as Python's 64-bit hashes of them, which hold within one process.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from greenschemas.manifest import Verdict

__all__ = ["Key", "Known", "KnownVerdicts"]

Key = tuple[str, str]
"""Image and mask, empty for one that is not there."""


class Known(NamedTuple):
    """What is in memory of a verdict."""

    stamp: int
    """Hash of the stamp's text."""
    verdict: str
    codes: tuple[str, ...]
    """Of its reasons."""
    start: int
    """Where its line begins in the log."""
    length: int

    @property
    def good(self) -> bool:
        """Whether it was accepted, as it was or repaired."""
        return self.verdict != Verdict.REJECTED


class KnownVerdicts(Mapping[Key, Known]):
    """The verdict that stands on each pair, in the order in which pairs were first judged."""

    def __init__(self) -> None:
        self._rows: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._number: dict[tuple[str, tuple[str, ...]], int] = {}
        self._outcomes: list[tuple[str, tuple[str, ...]]] = []
        """(verdict, codes), each once: a million pairs have a few hundred."""
        self._stamp, self._outcome, self._start, self._length = array("q"), array("i"), array("q"), array("i")
        self._marks, self._marked = array("q"), array("i")
        """Hashes of what pairs may have in common, and the rows of those pairs."""

    def __getitem__(self, key: Key) -> Known:
        row = self._rows[key]
        outcome = self._outcomes[self._outcome[row]]
        return Known(self._stamp[row], *outcome, self._start[row], self._length[row])

    def __iter__(self) -> Iterator[Key]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, key: Key, known: Known) -> None:
        """Let a verdict stand on a pair."""
        outcome = known.verdict, known.codes
        number = self._number.setdefault(outcome, len(self._outcomes))
        if number == len(self._outcomes):
            self._outcomes.append(outcome)
        columns = (self._stamp, self._outcome, self._start, self._length)
        values = known.stamp, number, known.start, known.length
        row = self._rows.setdefault(key, len(self._keys))
        if row == len(self._keys):
            self._keys.append(key)
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        else:
            for column, value in zip(columns, values, strict=True):
                column[row] = value

    def mark(self, key: Key, text: str) -> None:
        """Remember something that other pairs may have, too."""
        self._marks.append(hash(text))
        self._marked.append(self._rows[key])

    def sharing(self, texts: Iterable[str]) -> set[Key]:
        """Pairs that have one of some marks."""
        wanted = np.array([hash(text) for text in texts], np.int64)
        rows = np.frombuffer(self._marked, np.intc)[np.isin(np.frombuffer(self._marks, np.int64), wanted)]
        return {self._keys[row] for row in rows.tolist()}

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """(pairs by verdict, pairs that have a code at least once by code)."""
        verdicts: Counter[str] = Counter()
        codes: Counter[str] = Counter()
        for number, many in Counter(self._outcome).items():
            verdict, found = self._outcomes[number]
            verdicts[verdict] += many
            codes.update(dict.fromkeys(found, many))
        return verdicts, codes
