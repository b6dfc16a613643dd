"""Pictures of a pair, drawn by a process that may die of it: a decoder that crashes must not end the server."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from greenprep.checks.verdict import was_read
from greenprep.engine.pool import run_batches
from greenprep.raw.pairs import Candidate
from greenschemas.manifest import Entry
from greenschemas.recipe import Recipe

__all__ = ["Painter"]

_KEPT = 300
"""Pairs whose pictures are in memory, some 50 kB each."""
_PRELOAD = "greenprep.clean.pictures"
_SECONDS = 60.0
_SIDE = 512
_Key = tuple[str, str | None]
"""Name and stamp."""


class Painter:
    """Draws what is asked for, all that waits in one process, and remembers the last ones."""

    def __init__(self, inbox: Path, clean: Path, recipe: Recipe) -> None:
        self._roots, self._recipe = (inbox, clean), recipe
        self._change = threading.Condition()
        self._asked: dict[_Key, Candidate] = {}
        self._busy = False
        self._kept: OrderedDict[_Key, dict[str, bytes]] = OrderedDict()

    def pictures(self, entry: Entry) -> dict[str, bytes]:
        """PNG files by what they show: `image`, `mask`, `overlay`; those that cannot be drawn are not there."""
        if not was_read(entry):
            return {}
        key = entry.image or entry.mask or "", entry.stamp
        with self._change:
            while key not in self._kept:
                self._asked[key] = Candidate(entry.image, entry.mask, entry.group, entry.time)
                if self._busy:
                    self._change.wait()
                    continue
                self._busy, asked, self._asked = True, self._asked, {}
                self._change.release()
                try:
                    drawn = self._draw(asked)
                finally:
                    self._change.acquire()
                    self._busy = False
                    self._change.notify_all()
                self._kept.update(drawn)
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]

    def _draw(self, asked: Mapping[_Key, Candidate]) -> dict[_Key, dict[str, bytes]]:
        there = [(key, root, candidate) for key, candidate in asked.items() if (root := self._root(candidate))]
        work = partial(draw, self._recipe)
        answers = run_batches(work, there, workers=1, batch=4, dead=lambda one: (one[0], {}), preload=_PRELOAD)
        return {key: {} for key in asked} | dict(one for some in answers for one in some)

    def _root(self, candidate: Candidate) -> Path | None:
        """Where the files of a pair are: in the inbox, or, where they were taken away, in the clean folder."""
        names = [name for name in (candidate.image, candidate.mask) if name]
        return next((root for root in self._roots if all((root / name).is_file() for name in names)), None)


def draw(recipe: Recipe, asked: Sequence[tuple[_Key, Path, Candidate]]) -> list[tuple[_Key, dict[str, bytes]]]:
    """In a worker: the pictures of some pairs."""
    from greenprep.clean.pictures import pair_pictures
    from greenprep.engine.guard import guarded
    from greenschemas.pictures import as_png

    drawn = []
    for key, root, candidate in asked:
        with guarded(_SECONDS):
            pictures = pair_pictures(root, candidate, recipe, _SIDE)
            drawn.append((key, {name: as_png(one) for name, one in pictures.items()}))
    return drawn
