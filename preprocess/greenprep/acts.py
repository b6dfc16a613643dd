"""`CLEAN/acts.jsonl`: what people decided by hand, with who, when and why; all that judge or build carry it out.

A verdict that is overruled holds for the files that were looked at: where one is replaced, the checks decide anew. In
the manifest it stands as the finding `by-hand`, beside what the checks found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from greenprep.checks.verdict import with_reasons
from greenprep.findings import finding
from greenprep.raw.pairs import Candidate
from greenschemas.codes import REPAIRS, Code
from greenschemas.console import say
from greenschemas.errors import ConfigError, SourceError
from greenschemas.frozen import Frozen
from greenschemas.manifest import Entry, Level, Reason, Verdict, parse_line
from greenschemas.recipe import Recipe

__all__ = [
    "ACTS_NAME",
    "Act",
    "Judge",
    "add_act",
    "check_overrule",
    "decided",
    "excluded",
    "overruled",
    "read_acts",
    "standing",
    "warn",
]

ACTS_NAME = "acts.jsonl"
Judge = Callable[[Path, Path, Recipe, Sequence[Candidate], int], Iterable[list[Entry]]]
"""As `clean.judge_pairs`."""
Tell = Callable[[ConfigError], None]
"""Is given why a decision cannot be carried out."""


class Act(Frozen):
    """One decision."""

    act: Literal["overrule", "exclude"]
    """overrule: the verdict on a pair is another one. exclude: a tile's ground shall be in no split."""
    image: str
    """Path of the pair's image below the raw folder; of a tile, its source."""
    mask: str | None = None
    """Path of its mask."""
    verdict: Literal["accepted", "rejected"] | None = None
    """What a pair is from now on."""
    stamp: str | None = None
    """State of the files that were looked at, as in the manifest."""
    tile: int | None = None
    """Number of the tile in the store."""
    group: str | None = None
    """Ground of the tile, as the store calls it."""
    by: str
    """Who."""
    at: str
    """When, in UTC."""
    reason: str
    """Why, in the words of who did it."""


def read_acts(clean: Path) -> list[Act]:
    """All decisions, the oldest first; raises SourceError for a line that is none. Half a line is none yet."""
    path = clean / ACTS_NAME
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return [Act.parse(f"{path}:{n}", parse_line(f"{path}:{n}", line), SourceError) for n, line in enumerate(lines, 1)]


def add_act(clean: Path, act: Act) -> None:
    """Write a decision down, on the disk when this returns; raises OSError. What a kill cut off before is dropped."""
    with (clean / ACTS_NAME).open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(f"{act.to_json()}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def standing(acts: Iterable[Act]) -> dict[str, Act]:
    """The last verdict by hand on each pair, by its image."""
    return {act.image: act for act in acts if act.act == "overrule"}


def excluded(acts: Iterable[Act]) -> frozenset[str]:
    """Ground that shall be in no split."""
    return frozenset(act.group for act in acts if act.act == "exclude" and act.group)


def decided(
    raw: Path, clean: Path, recipe: Recipe, entries: Iterable[Entry], judge: Judge, tell: Tell
) -> Iterator[Entry]:
    """The entries, in their order, as people let them stand; raises SourceError as `read_acts` does."""
    acts = standing(read_acts(clean))
    for entry in entries:
        act, found = acts.get(entry.image or ""), None
        if act is not None:
            try:
                found = overruled(raw, clean, recipe, entry, act, judge)
            except ConfigError as problem:
                tell(problem)
        yield found or entry


def warn(problem: ConfigError) -> None:
    """Tell the user of a decision that cannot be carried out."""
    say(f"WARNING {problem}")


def check_overrule(entry: Entry, verdict: str) -> None:
    """Raise ConfigError where a pair cannot be given this verdict by hand."""
    if verdict == "accepted" and (entry.image is None or entry.mask is None or entry.checksum is None):
        raise ConfigError(
            entry.image or entry.mask, "cannot be accepted by hand: there are no pixels to use", "replace the file"
        )


def overruled(raw: Path, clean: Path, recipe: Recipe, entry: Entry, act: Act, judge: Judge) -> Entry | None:
    """The entry as a decision makes it; None where it is so already, or the decision was on other files.

    What is accepted by hand is read again under a recipe that lets what was found pass, so that it is repaired and
    written below `clean` as anything else. Raises ConfigError for a pair that cannot be used whatever anyone says.
    """
    mark = _mark(act)
    if entry.stamp is None or act.stamp is None or _files(entry.stamp) != _files(act.stamp) or mark in entry.reasons:
        return None
    check_overrule(entry, act.verdict or "")
    if act.verdict == "accepted":
        rejecting = {Code(reason.code) for reason in entry.reasons if reason.level is Level.REJECT}
        passing = dict.fromkeys(rejecting - REPAIRS - {Code.BY_HAND}, "warn")
        limits = recipe.limits.model_copy(update={"levels": {**recipe.limits.levels, **passing}})
        candidate = Candidate(entry.image, entry.mask, entry.group, entry.time, entry.parts)
        lenient = recipe.model_copy(update={"limits": limits})
        ((entry,),) = judge(raw, clean, lenient, [candidate], 1)
        if entry.verdict is Verdict.REJECTED:
            raise ConfigError(entry.image, f"cannot be accepted by hand ({entry.reasons[0].found})", "replace the file")
    return with_reasons(entry, [*(reason for reason in entry.reasons if reason.code != Code.BY_HAND), mark])


def _mark(act: Act) -> Reason:
    """The finding that says so."""
    level = Level.WARN if act.verdict == "accepted" else Level.REJECT
    found = f"{act.verdict} by {act.by} at {act.at}: {act.reason}"
    return finding(Code.BY_HAND, "pair", found, limit="what the checks say", level=level)


def _files(stamp: str) -> str:
    """The part of a stamp that tells files apart, whatever version looked at them."""
    return stamp.partition(" ")[2]
