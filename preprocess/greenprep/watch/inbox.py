"""What lies in an inbox, and since when it is as it is: a file that is still being written is nobody's yet."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from greenprep.raw.pairs import ANSWERS, Candidate, all_files, kin_of, pairs_among, sidecars_of
from greenprep.raw.stamps import stamp_text
from greenschemas.recipe import Pairing

__all__ = ["Inbox", "is_passing"]

_PASSING = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", "~")
"""Endings of what programs that copy write, before they rename it."""
_State = tuple[int, int, int]
"""Size, modification time in ns, number of the file on its file system: changes when anything is written."""


def is_passing(name: str) -> bool:
    """Whether a path below the inbox is none of ours: hidden, or called as files are that are still on their way."""
    return name.endswith((*_PASSING, *ANSWERS)) or any(part.startswith(".") for part in name.split("/"))


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
        self._kin: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        self._touched: set[tuple[str, ...]] = set()
        """Kin of which something has settled or gone since `candidates` was asked last."""
        self._states: dict[str, _State] = {}
        self._moving: dict[str, float] = {}
        """Since when, of those that have not settled yet."""
        self._cost = 0.0

    def look(self) -> None:
        """See all that is there. Raises SourceError where the folder itself cannot be looked into."""
        began = time.monotonic()
        names, _ = all_files(self.root)
        for name in self._states.keys() - names:
            self._forget(name)
        for name in names:
            if not is_passing(name):
                self._see(name)
        self._cost = time.monotonic() - began

    def look_at(self, names: Iterable[str]) -> None:
        """See what became of some names; all, where one of them is a folder or is known to have been one."""
        names = [name for name in names if not is_passing(name)]
        if any(name not in self._states and not (self.root / name).is_file() for name in names):
            self.look()
            return
        for name in names:
            self._see(name)

    def _see(self, name: str) -> None:
        try:
            found = (self.root / name).stat()
        except OSError:  # Gone between its being listed and our looking.
            self._forget(name)
            return
        state = found.st_size, found.st_mtime_ns, found.st_ino
        before = self._states.get(name)
        if before != state:
            if before is None:
                self._kin[kin_of(name, self._pairing)].append(name)
            self._states[name] = state
            self._moving[name] = self._clock()

    def _forget(self, name: str) -> None:
        self._moving.pop(name, None)
        if self._states.pop(name, None) is not None:
            kin = kin_of(name, self._pairing)
            self._kin[kin].remove(name)
            self._touched.add(kin)

    def settled(self) -> bool:
        """Let those settle whose time has come; whether anything has settled or gone since `candidates`."""
        due = [name for name, since in self._moving.items() if self._clock() - since >= self._settle]
        for name in due:
            since = self._moving[name]
            self._see(name)
            if self._moving.get(name) == since:
                del self._moving[name]
                self._touched.add(kin_of(name, self._pairing))
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
        names = {name for kin in touched for name in self._kin[kin]}
        names |= {beside for name in names for beside in sidecars_of(name) if beside in self._states}
        for candidate in pairs_among(names, set(), self._pairing):
            both = candidate.image, candidate.mask
            if not any(name in self._moving for name in both):
                seen = [self._states.get(name or "") for name in both]
                yield candidate, stamp_text(None if state is None else state[:2] for state in seen)

    def age(self, name: str) -> float:
        """Seconds since a file came here, or was last changed, by the clock of its file system; 0 where it is gone."""
        try:
            return max(0.0, time.time() - (self.root / name).stat().st_ctime)
        except OSError:
            return 0.0
