"""Verdicts that need no pixel. Light: imported by the process that only gathers what workers find."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from greenprep.findings import finding
from greenprep.raw.pairs import Candidate
from greenschemas.codes import Code
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Level, Reason, Verdict

__all__ = ["crashed", "failed", "in_order", "was_read", "with_reasons"]

_UNREAD = frozenset({Code.DECODER_CRASH, Code.INTERNAL_ERROR})


def crashed(candidate: Candidate, stamp: str, limits: Limits) -> Entry:
    """The verdict on a pair that took the process that read it down each time."""
    found = f"the process that read it died, or took more than {limits.seconds_max:g} s and was ended"
    reason = finding(Code.DECODER_CRASH, "pair", found, limit="a process that lives", limits=limits)
    return _rejected(candidate, reason, stamp)


def failed(candidate: Candidate, problem: Exception, limits: Limits) -> Entry:
    """The verdict on a pair on which the program itself failed; without a stamp, so that it is tried again."""
    at = traceback.extract_tb(problem.__traceback__)[-1:]
    where = "".join(f" in {Path(frame.filename).name}, line {frame.lineno}" for frame in at)
    text = " ".join(str(problem).split())[:200]
    found = f"{type(problem).__name__}: {text or 'no message'}{where}"
    return _rejected(candidate, finding(Code.INTERNAL_ERROR, "pair", found, limits=limits, level=Level.REJECT), None)


def was_read(entry: Entry) -> bool:
    """Whether the pair was read to its verdict; else whoever reads it again may die or fail of it, too."""
    return not any(reason.code in _UNREAD for reason in entry.reasons)


def _rejected(candidate: Candidate, reason: Reason, stamp: str | None) -> Entry:
    return Entry(
        image=candidate.image,
        mask=candidate.mask,
        group=candidate.group,
        time=candidate.time,
        parts=dict(candidate.parts),
        verdict=Verdict.of([reason.level]),
        reasons=(reason,),
        stamp=stamp,
    )


def with_reasons(entry: Entry, reasons: Sequence[Reason]) -> Entry:
    """`entry` with other findings and the verdict that follows from them; what was accepted by hand stays accepted."""
    if any(reason.code == Code.BY_HAND and reason.level is Level.WARN for reason in reasons):
        reasons = [
            reason.model_copy(update={"level": Level.WARN}) if reason.level is Level.REJECT else reason
            for reason in reasons
        ]
    verdict = Verdict.of(reason.level for reason in reasons)
    return Entry(**{**entry.model_dump(), "reasons": in_order(reasons), "verdict": verdict})


def in_order(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """The gravest first; equals in the order in which they were found."""
    rank = {Level.REJECT: 0, Level.REPAIR: 1, Level.WARN: 2}
    return tuple(sorted(reasons, key=lambda reason: rank[reason.level]))
