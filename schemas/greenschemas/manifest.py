"""What `greenprep clean` says of each file: one JSON line a pair or stray file, and the sums."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from greenschemas.crs import CrsText
from greenschemas.errors import SourceError
from greenschemas.files import whole, write_whole
from greenschemas.frozen import Frozen
from greenschemas.measures import Measured, Measures

__all__ = [
    "LOG_NAME",
    "MANIFEST_NAME",
    "RECIPE_NAME",
    "SUMMARY_NAME",
    "Entry",
    "Level",
    "Reason",
    "Summary",
    "Verdict",
    "parse_line",
    "read_entry",
    "read_manifest",
    "write_manifest",
]

MANIFEST_NAME = "manifest.jsonl"
RECIPE_NAME = "recipe.yaml"
SUMMARY_NAME = "summary.json"
LOG_NAME = "watch.jsonl"
"""What `greenprep watch` has said, in the order in which it did; the manifest follows it."""


class Level(StrEnum):
    """How grave a finding is."""

    REJECT = "reject"
    REPAIR = "repair"
    WARN = "warn"


class Verdict(StrEnum):
    """What became of a pair or stray file."""

    ACCEPTED = "accepted"
    REPAIRED = "repaired"
    REJECTED = "rejected"

    @classmethod
    def of(cls, levels: Iterable[Level]) -> Verdict:
        """Rejected if any finding rejects, else repaired if anything was repaired, else accepted."""
        found = set(levels)
        return cls.REJECTED if Level.REJECT in found else cls.REPAIRED if Level.REPAIR in found else cls.ACCEPTED


class Reason(Frozen):
    """One finding about a file."""

    code: str
    """Stable name of the check, as `greenprep explain CODE` takes it."""
    level: Level
    """What the finding led to."""
    file: str
    """`image`, `mask` or `pair`: what the finding is about."""
    found: str
    """The measured value, in words and with its unit."""
    limit: str
    """What was allowed."""
    remedy: str
    """What to do about it."""


class Entry(Frozen):
    """One line of the manifest: a pair, or a file that has no partner."""

    image: str | None
    """Path of the image below the raw folder, with forward slashes; None for a mask without an image."""
    mask: str | None
    """Path of the mask below the raw folder; None for an image without a mask or a file that is neither."""
    group: str | None
    """Ground that the pair shows: the same ground at other times has the same group."""
    time: str | None
    """Which acquisition of the group."""
    parts: dict[str, str] = Field(default_factory=dict)
    """The named parts of the file name (city, year, area, …), which splits may go by."""
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    """All findings; a rejected entry has at least one of level `reject`."""
    shape: tuple[int, int, int] | None = None
    """(bands, rows, columns) of the image as it is handed on, after repair; None if it could not be read."""
    dtype: str | None = None
    """NumPy type of the image as it is handed on."""
    checksum: str | None = None
    """SHA-256 (hex) of the decoded pixels of image and mask as handed on: equal content, equal checksum."""
    image_checksum: str | None = None
    """SHA-256 (hex) of the image's pixels alone: tells duplicates, whatever their masks."""
    crs: CrsText | None = None
    """Coordinate system of the image, as an authority code or WKT."""
    transform: tuple[float, float, float, float, float, float] | None = None
    """a, b, c, d, e, f of x = a * column + b * row + c, y = d * column + e * row + f."""
    stamp: str | None = None
    """Sizes and modification times of the files when they were read: tells a later run what has changed."""
    measures: Measured = Measures({})
    """Measured values by name, for the report and the collection-wide checks."""

    @model_validator(mode="after")
    def _verdict_follows_from_the_reasons(self) -> Self:
        due = Verdict.of(reason.level for reason in self.reasons)
        if self.verdict is not due:
            levels = sorted({reason.level for reason in self.reasons})
            raise ValueError(f"verdict `{self.verdict}` with findings of level {levels}, which make `{due}`")
        return self


class Summary(Frozen):
    """Sums over a manifest."""

    found: int
    """Pairs and stray files; always accepted + repaired + rejected."""
    accepted: int
    repaired: int
    rejected: int
    reasons: dict[str, int]
    """Entries that carry a code at least once, by code."""
    recipe_hash: str
    notes: dict[str, str] = Field(default_factory=dict, exclude_if=lambda notes: not notes)
    """What is to be said of the collection as a whole, by name: checks that were not made, and why."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.found != self.accepted + self.repaired + self.rejected:
            raise ValueError("found must be accepted + repaired + rejected")
        return self

    @classmethod
    def of(cls, entries: Iterable[Entry], recipe_hash: str, notes: dict[str, str] | None = None) -> Self:
        """The sums over `entries`, and what there is to say of them all."""
        verdicts: Counter[Verdict] = Counter()
        codes: Counter[str] = Counter()
        for entry in entries:
            verdicts[entry.verdict] += 1
            codes.update({reason.code for reason in entry.reasons})
        return cls(
            found=verdicts.total(),
            accepted=verdicts[Verdict.ACCEPTED],
            repaired=verdicts[Verdict.REPAIRED],
            rejected=verdicts[Verdict.REJECTED],
            reasons=dict(sorted(codes.items())),
            recipe_hash=recipe_hash,
            notes=notes or {},
        )


def write_manifest(folder: Path, entries: Iterable[Entry], summary: Summary) -> None:
    """Write the manifest and its sums into `folder`; raises SourceError where it cannot be written."""
    try:
        with whole(folder / MANIFEST_NAME) as draft, draft.open("w", encoding="utf-8", newline="\n") as lines:
            lines.writelines(f"{entry.to_json()}\n" for entry in entries)
        write_whole(folder / SUMMARY_NAME, f"{summary.to_json()}\n")
    except OSError as problem:
        raise SourceError.unwritable(folder, problem) from None


def read_manifest(folder: Path) -> Iterator[Entry]:
    """The entries of a cleaned folder, in the order of the file; raises SourceError where it is not whole."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise SourceError(folder, f"no {MANIFEST_NAME} in it", "run `greenprep clean` first: it writes one")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                raise SourceError(
                    f"{path}:{number}",
                    "the last line is not whole",
                    "run `greenprep clean` again: it goes on where it stopped",
                )
            yield read_entry(f"{path}:{number}", line)


def read_entry(where: str, line: bytes) -> Entry:
    """The entry on one line of a manifest; raises SourceError, at `where`, for a line that is none."""
    return Entry.parse(where, parse_line(where, line), SourceError)


def parse_line(where: str, line: bytes) -> Any:
    """The JSON of one line of a manifest; raises SourceError, at `where`, where it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as problem:  # Not JSON, not UTF-8, or brackets in brackets without an end.
        found = problem.msg if isinstance(problem, json.JSONDecodeError) else "bytes that are no text"
        raise SourceError(
            where, f"not JSON ({found})", "remove the line: `greenprep clean` looks at that pair again"
        ) from None
