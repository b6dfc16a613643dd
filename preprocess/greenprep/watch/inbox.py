"""What lies in an inbox, and since when it is as it is: a file that is still being written is nobody's yet."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from greenprep.raw.pairs import ANSWERS, Candidate, files_below, kin_of, pairs_among, sidecars_of
from greenprep.raw.stamps import stamp_text
from greenschemas.recipe import Pairing

__all__ = ["Inbox", "is_passing"]

_PASSING = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", "~")
"""Endings of what programs that copy write, before they rename it."""
_NOT_OURS = (*_PASSING, *ANSWERS)
_STATE = struct.Struct("<QqQ")
"""Size, modification time in ns, number of the file on its file system: changes when anything is written. Packed, since
a million pairs have two million of them."""


def is_passing(name: str) -> bool:
    """Whether a path below the inbox is none of ours: hidden, or called as files are that are still on their way."""
    return name.endswith(_NOT_OURS) or name.startswith(".") or "/." in name


class Inbox:
    """Names below a folder, with the state that each was last seen in and the time from which on it was so.

    What comes, changes or goes touches its kin, and no other file: a change costs the time of a few names, however many
    there are.
    """

    def __init__(
        self, root: Path, pairing: Pairing, settle: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """settle: seconds for which size and time of a file must have stayed as they are."""
        self.root, self._pairing, self._settle, self._clock = root, pairing, settle, clock
        self._kin: dict[int, tuple[str, ...] | list[str]] = {}
        """Names by a number of their kin. Two kin of one number are looked at together, which costs a moment."""
        self._touched: set[int] = set()
        """Kin of which something has settled or gone since `candidates` was asked last."""
        self._states: dict[str, bytes] = {}
        self._moving: dict[str, float] = {}
        """Since when, of those that have not settled yet."""
        self._cost = 0.0

    def look(self) -> None:
        """See all that is there. Raises SourceError where the folder itself cannot be looked into."""
        began = time.monotonic()
        if self._see_all() < len(self._states):  # Names of all take as long, and as much memory, as all the rest.
            for name in self._states.keys() - {name for name, _ in files_below(self.root)}:
                self._forget(name)
        self._cost = time.monotonic() - began

    def _see_all(self) -> int:
        """See all that is there; how many of those that are known then were seen."""
        seen = 0
        for name, entry in files_below(self.root):
            if not is_passing(name):
                try:
                    found = entry.stat()
                except OSError:  # Gone between its being listed and our looking.
                    self._forget(name)
                    continue
                self._note(name, found)
                seen += 1
        return seen

    def look_at(self, names: Iterable[str]) -> None:
        """See what became of some names; all, where one of them is a folder or is known to have been one."""
        names = [name for name in names if not is_passing(name)]
        if any(name not in self._states and not (self.root / name).is_file() for name in names):
            self.look()
            return
        for name in names:
            self._see(name)

    def rest(self, judged: Iterable[tuple[tuple[str, str], int]]) -> None:
        """Let files be that are as they were when they were judged: nobody looks at them until something changes.

        judged: (image and mask, empty for none; hash of the stamp) of pairs.
        """
        for names, stamp in judged:
            if hash(self._stamp(*names)) == stamp:
                for name in names:
                    self._moving.pop(name, None)
        self._moving = dict(self._moving)  # One that has shrunk keeps its room.

    def _see(self, name: str) -> None:
        try:
            found = os.stat(f"{self.root}/{name}")
        except OSError:
            self._forget(name)
            return
        self._note(name, found)

    def _note(self, name: str, found: os.stat_result) -> None:
        state = _STATE.pack(found.st_size, found.st_mtime_ns, found.st_ino & (2**64 - 1))
        before = self._states.get(name)
        if before != state:
            if before is None:
                self._enter(name)
            self._states[name] = state
            self._moving[name] = self._clock()

    def _enter(self, name: str) -> None:
        kin = self._kin_of(name)
        known = self._kin.get(kin, ())
        if isinstance(known, list):
            known.append(name)
        else:  # Most have two, and a tuple of two is half of a list.
            self._kin[kin] = (*known, name) if len(known) < 2 else [*known, name]

    def _kin_of(self, name: str) -> int:
        return hash(kin_of(name, self._pairing))

    def _stamp(self, *names: str | None) -> str:
        """The stamp of what was seen of some files."""
        seen = [self._states.get(name or "") for name in names]
        return stamp_text(None if state is None else _STATE.unpack(state)[:2] for state in seen)

    def _forget(self, name: str) -> None:
        self._moving.pop(name, None)
        if self._states.pop(name, None) is not None:
            kin = self._kin_of(name)
            self._kin[kin] = [other for other in self._kin[kin] if other != name]
            if not self._kin[kin]:
                del self._kin[kin]
            self._touched.add(kin)

    def settled(self) -> bool:
        """Let those settle whose time has come; whether anything has settled or gone since `candidates`."""
        due = [name for name, since in self._moving.items() if self._clock() - since >= self._settle]
        for name in due:
            since = self._moving[name]
            self._see(name)
            if self._moving.get(name) == since:
                del self._moving[name]
                self._touched.add(self._kin_of(name))
        return bool(self._touched)

    def cost_of_a_look(self) -> float:
        """Seconds that the last look at all took."""
        return self._cost

    @property
    def restless(self) -> bool:
        """Whether a file has not settled yet."""
        return bool(self._moving)

    def candidates(self) -> Iterator[tuple[Candidate, str]]:
        """Pairs, halves and strays of which something has changed since the last time, as far as they have settled.

        Each with the stamp of what was seen of it.
        """
        touched, self._touched = self._touched, set()
        names = {name for kin in touched for name in self._kin.get(kin, ())}
        names |= {beside for name in names for beside in sidecars_of(name) if beside in self._states}
        for candidate in pairs_among(names, set(), self._pairing):
            both = candidate.image, candidate.mask
            if not any(name in self._moving for name in both):
                yield candidate, self._stamp(*both)

    def age(self, name: str) -> float:
        """Seconds since a file came here, or was last changed, by the clock of its file system; 0 where it is gone."""
        try:
            return max(0.0, time.time() - (self.root / name).stat().st_ctime)
        except OSError:
            return 0.0
