"""`greenprep run` over pairs that are names alone: all is done but reading and writing pixels.

Eight small pairs are read once; every other is one of them under another name, with checksums of its own. Pairing,
ledger, verdicts, manifest, tables, moments, split, audit and statistics are those of a real build; no shard is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from greenprep.build.ledger import Ledger, open_scratch
from greenprep.build.read import BuildInputs, ReadTask, SourcePart, load_parts, read_task
from greenprep.build.run import BuildResult, run
from greenprep.build.shard import ShardJob
from greenprep.raw.pairs import Candidate, find_pairs
from greenprep.raw.stamps import Stamp, stamp_of
from greenprep.store.location import Location
from greenschemas.measures import Measures
from greenschemas.recipe import load_recipe
from support.raw import Collection

__all__ = ["names_of", "simulated_run"]

TIMES = 4
"""Dates of a group."""


def names_of(pairs: int) -> Iterator[tuple[str, str]]:
    """Image and mask of each pair, four dates an area, 5,000 pairs a city."""
    for number in range(pairs):
        city = f"T{number // 5000}"
        stem = f"{city}_2020_{number // TIMES}_{number % TIMES}_GeoTIFF"
        yield f"images/{city}/{stem}.tif", f"masks/{city}_masks/{stem}_fractional_mask.tif"


def simulated_run(folder: Path, pairs: int) -> BuildResult:
    """Build a store of so many pairs below an empty folder; raises what `run` raises."""
    made = Collection(folder)
    for area in range(8):
        made.add(area, 1)
    engine = _Engine(_templates(made))
    recipe = made.recipe("big", split={"val": 0.2, "test": 0.1})
    with ExitStack() as patches:
        for where, what in {
            "greenprep.raw.pairs.all_files": lambda raw: ({name for pair in names_of(pairs) for name in pair}, set()),
            "greenprep.build.run.stamp_of": _stamp,
            "greenprep.build.sources.stamp_of": _stamp,
            "greenprep.build.run.engine": lambda *_, **__: nullcontext(engine),
        }.items():
            patches.enter_context(patch(where, what))
        return run(recipe, workers=0)


def _stamp(root: Path, candidate: Candidate) -> Stamp:
    return Stamp("v1 1:1 1:1", 100_000)


class _Engine:
    """Does what workers do, but for the pixels."""

    def __init__(self, templates: Sequence[SourcePart]) -> None:
        self._templates = templates

    def run(self, function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """As an engine; what is written for a shard is nothing."""
        for job in jobs:
            yield job, (job.shard, ("", "", "")) if isinstance(job, ShardJob) else self._read(job)

    def _read(self, task: ReadTask) -> list[SourcePart]:
        parts = [self._part(task, candidate, stamp) for candidate, stamp in task.stamped]
        Ledger(task.inputs.build / "ledger").record(task.key, ("", parts))
        return [replace(part, moments=()) for part in parts]

    def _part(self, task: ReadTask, candidate: Candidate, stamp: str) -> SourcePart:
        area, time = int(candidate.parts["area"]), int(candidate.parts["time"])
        of = self._templates[area % len(self._templates)]
        transform = (10.0, 0.0, 400_000.0 + 3_000 * (area % 500), 0.0, -10.0, 4_000_000.0 - 3_000 * (area // 500))
        own = hashlib.sha256(candidate.name.encode()).digest()
        names = {key: getattr(candidate, key) for key in ("image", "mask", "group", "time", "parts")}
        sums = {"checksum": own.hex(), "image_checksum": own[::-1].hex(), "transform": transform, "stamp": stamp}
        sums |= {"measures": Measures(of.entry.measures)}
        prints = np.frombuffer(own, np.uint64, len(of.prints))
        arrays = {
            key: getattr(of, key).copy() for key in ("tiles", "spans", "share", "codes")
        }  # As they come from afar.
        return replace(
            of,
            **arrays,
            source=candidate.name,
            header=replace(of.header, candidate=candidate, transform=transform),
            key=task.key,
            entry=of.entry.model_copy(update=names | sums),
            prints=prints,
            moments=tuple(replace(one, mean=one.mean * (1 + time / 100)) for one in of.moments),
        )


def _templates(made: Collection) -> list[SourcePart]:
    scratch = Location.at(made.folder / "scratch")
    open_scratch(scratch)
    inputs = BuildInputs.of(made.raw, load_recipe(made.recipe("few")), scratch, judge=True)
    found = find_pairs(made.raw, made.plain.pairing)
    task = ReadTask("few", inputs, tuple((candidate, stamp_of(made.raw, candidate).text) for candidate in found))
    read_task(task)
    return load_parts(Ledger(scratch / "ledger"), "few")
