"""The first half of a build: pairs are read on workers, and come back in the order of their names.

`greenprep run` reads raw pairs and judges them on the way; `greenprep tile` takes the pairs that a clean folder has
accepted. Both go through here, and so give the same store, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from greenprep.build.ledger import Ledger
from greenprep.build.read import BuildInputs, ReadTask, SourcePart, read_task, verified_parts
from greenprep.engine.job import Engine, KilledJob
from greenprep.raw.pairs import Candidate
from greenprep.raw.stamps import stamp_of
from greenschemas.console import progress
from greenschemas.frozen import digest
from greenschemas.machine import installed_version

__all__ = ["Source", "read_sources"]

_BATCH_BYTES = 32 << 20
"""Bytes of files in a task of small pairs, at most."""
_BATCH_PAIRS = 32
"""Pairs in a task, at most: what Dask does for a task takes about as long as a pair."""
_TASKS = 64
"""Tasks that few pairs are spread over, so that many workers end together."""


@dataclass(frozen=True)
class Source:
    """A pair that was read whole: its strips in the order of their rows.

    A pair has four stages: `Candidate` (found by name), `Source` (read), `Entry` (judged, a line of the manifest) and
    `Accepted` (in the store).
    """

    candidate: Candidate
    parts: tuple[SourcePart, ...]
    crashed: bool = False
    """It took the worker process down each time; nothing else is known of it."""


def read_sources(engine: Engine, inputs: BuildInputs, candidates: Sequence[Candidate]) -> list[Source]:
    """Read all candidates, in any order on any workers; sources come back in the order of `candidates`.

    What the ledger holds from a build that was stopped is not read again. Raises what workers raise.
    """
    by_name: dict[str, list[SourcePart]] = {}
    crashed: set[str] = set()
    with progress("reading", len(candidates)) as ticker:
        jobs: list[ReadTask] = list(_batches(inputs, candidates))
        while jobs:
            more: list[ReadTask] = []
            for task, parts in _results(engine, inputs, jobs):
                if isinstance(parts, KilledJob):
                    more.extend(_alone(inputs, task, crashed))
                    continue
                for part in parts:
                    if part.strips:
                        more.extend(_strips(inputs, task, part))
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
    engine: Engine, inputs: BuildInputs, jobs: Sequence[ReadTask]
) -> Iterator[tuple[ReadTask, list[SourcePart] | KilledJob[ReadTask]]]:
    done = Ledger(inputs.build / "ledger").keys()
    left = []
    for task in jobs:
        parts = verified_parts(inputs, task.key) if task.key in done else None
        if parts is None:
            left.append(task)
        else:
            yield task, [replace(part, moments=()) for part in parts]
    yield from engine.run(read_task, left)


def _batches(inputs: BuildInputs, candidates: Sequence[Candidate]) -> Iterator[ReadTask]:
    """Tasks of some pairs each, cut by the sizes of their files."""
    batch: list[tuple[Candidate, str]] = []
    held = 0
    most = min(max(len(candidates) // _TASKS, 1), _BATCH_PAIRS)
    for candidate in candidates:
        stamp = stamp_of(inputs.root, candidate)
        if batch and (held + stamp.nbytes > _BATCH_BYTES or len(batch) == most):
            yield _task(inputs, batch)
            batch, held = [], 0
        batch.append((candidate, stamp.text))
        held += stamp.nbytes
    if batch:
        yield _task(inputs, batch)


def _task(
    inputs: BuildInputs, stamped: Sequence[tuple[Candidate, str]], strip: tuple[int, int] | None = None
) -> ReadTask:
    files = [[candidate.image, candidate.mask, stamp] for candidate, stamp in stamped]
    key = digest(["read", 3, installed_version("greenspace"), inputs.recipe_digest, inputs.judge, files, strip])
    return ReadTask(key, inputs, tuple(stamped), strip)


def _strips(inputs: BuildInputs, task: ReadTask, part: SourcePart) -> Iterator[ReadTask]:
    (stamped,) = (one for one in task.stamped if one[0].name == part.source)
    return (_task(inputs, [stamped], strip) for strip in part.strips)


def _alone(inputs: BuildInputs, task: ReadTask, crashed: set[str]) -> Iterator[ReadTask]:
    """The pairs of a task that took its worker down, each for itself; one that was alone already has crashed."""
    if len(task.stamped) == 1:
        crashed.add(task.stamped[0][0].name)
        return
    for stamped in task.stamped:
        yield _task(inputs, [stamped])
