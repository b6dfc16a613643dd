"""From pairs to a store: pieces are read on workers, verdicts fall, shards are put together, the contract is written.

`greenprep run` reads raw pairs and judges them on the way; `greenprep tile` takes the pairs that a clean folder has
accepted. Both go through here, and so give the same store, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from greenprep.build.ledger import Ledger
from greenprep.build.piece import ReadTask, SourcePart, load_parts, read_piece
from greenprep.engine.dask_engine import Engine, KilledJob
from greenprep.raw.pairs import Candidate
from greenprep.store.place import Location
from greenschemas.console import progress
from greenschemas.errors import SourceError
from greenschemas.frozen import digest
from greenschemas.manifest import Entry
from greenschemas.recipe import Recipe

__all__ = ["Reading", "Source", "read_sources"]

_BATCH_BYTES = 32 << 20
"""Bytes of files in a piece of small pairs, at most."""
_BATCH_PAIRS = 32
"""Pairs in a piece, at most: what Dask does for a piece takes about as long as a pair."""
_PIECES = 64
"""Pieces that few pairs are spread over, so that many workers end together."""


@dataclass(frozen=True)
class Reading:
    """What is to be read, and how."""

    root: Path
    recipe: Recipe
    build: Location
    judge: bool


@dataclass(frozen=True)
class Source:
    """A pair that was read whole: its strips in the order of their rows."""

    candidate: Candidate
    parts: tuple[SourcePart, ...]
    crashed: bool = False
    """It took the worker process down each time; nothing else is known of it."""

    @property
    def entry(self) -> Entry | None:
        """The verdict, where it fell on the worker."""
        return self.parts[0].entry if self.parts else None


def read_sources(engine: Engine, reading: Reading, candidates: Sequence[Candidate]) -> list[Source]:
    """Read all candidates, in any order on any workers; sources come back in the order of `candidates`.

    What the ledger holds from a build that was stopped is not read again. Raises what workers raise.
    """
    by_name: dict[str, list[SourcePart]] = {}
    crashed: set[str] = set()
    with progress("reading", len(candidates)) as ticker:
        jobs: list[ReadTask] = list(_batches(reading, candidates))
        while jobs:
            more: list[ReadTask] = []
            for piece, parts in _results(engine, reading, jobs):
                if isinstance(parts, KilledJob):
                    more.extend(_alone(reading, piece, crashed))
                    continue
                for part in parts:
                    if part.strips:
                        more.extend(_strips(reading, piece, part))
                    else:
                        by_name.setdefault(part.source, []).append(part)
                ticker.advance(sum(1 for part in parts if not part.strips and part.row == 0))
            jobs = more
    return [
        Source(
            candidate,
            tuple(sorted(by_name.get(candidate.name, ()), key=lambda part: part.row)),
            candidate.name in crashed,
        )
        for candidate in candidates
    ]


def _results(
    engine: Engine, reading: Reading, jobs: Sequence[ReadTask]
) -> Iterator[tuple[ReadTask, list[SourcePart] | KilledJob[ReadTask]]]:
    ledger = Ledger(reading.build / "ledger")
    done = ledger.keys()
    for piece in jobs:
        if piece.key in done:
            yield piece, [replace(part, moments=()) for part in load_parts(ledger, piece.key)]
    yield from engine.run(read_piece, [piece for piece in jobs if piece.key not in done])


def _batches(reading: Reading, candidates: Sequence[Candidate]) -> Iterator[ReadTask]:
    """Pieces of some pairs each, cut by the sizes of their files."""
    batch: list[tuple[Candidate, list[str]]] = []
    held = 0
    most = min(max(len(candidates) // _PIECES, 1), _BATCH_PAIRS)
    for candidate in candidates:
        stamps, size = _stamp(reading, candidate)
        if batch and (held + size > _BATCH_BYTES or len(batch) == most):
            yield _piece(reading, batch)
            batch, held = [], 0
        batch.append((candidate, stamps))
        held += size
    if batch:
        yield _piece(reading, batch)


def _stamp(reading: Reading, candidate: Candidate) -> tuple[list[str], int]:
    """What changes when a candidate's files change, and their size in bytes.

    A raw file that cannot even be looked at is answered for by its verdict, as any other; one that was accepted before
    raises SourceError.
    """
    stamps, total = [], 0
    for name in (candidate.image, candidate.mask):
        try:
            status = os.stat(reading.root / name) if name else None
        except OSError as problem:
            if not reading.judge:
                raise SourceError(
                    reading.root / str(name), f"it cannot be read ({problem.strerror})", "see whether it is still there"
                ) from None
            stamps.append(f"{name}:{problem.strerror}")
            continue
        if status is not None:
            stamps.append(f"{name}:{status.st_size}:{status.st_mtime_ns}")
            total += status.st_size
    return stamps, total


def _piece(
    reading: Reading, batch: Sequence[tuple[Candidate, list[str]]], strip: tuple[int, int] | None = None
) -> ReadTask:
    key = digest(["piece", 1, reading.recipe.about_data(), reading.judge, [stamps for _, stamps in batch], strip])
    return ReadTask(
        key,
        str(reading.root),
        tuple(candidate for candidate, _ in batch),
        reading.recipe,
        reading.build,
        reading.judge,
        strip,
    )


def _strips(reading: Reading, piece: ReadTask, part: SourcePart) -> Iterator[ReadTask]:
    candidate = next(each for each in piece.candidates if each.name == part.source)
    stamps, _ = _stamp(reading, candidate)
    for strip in part.strips:
        yield _piece(reading, [(candidate, stamps)], strip)


def _alone(reading: Reading, piece: ReadTask, crashed: set[str]) -> Iterator[ReadTask]:
    """The pairs of a piece that took its worker down, each for itself; one that was alone already has crashed."""
    if len(piece.candidates) == 1:
        crashed.add(piece.candidates[0].name)
        return
    for candidate in piece.candidates:
        yield _piece(reading, [(candidate, _stamp(reading, candidate)[0])])
