"""From findings to a verdict. Light: imported by the process that only gathers what workers find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from greenschemas.manifest import Entry, Level, Reason, Verdict

__all__ = ["in_order", "verdict_of", "with_reasons"]


def verdict_of(reasons: Iterable[Reason]) -> Verdict:
    """Rejected if anything rejects, else repaired if anything was mended, else accepted."""
    levels = {reason.level for reason in reasons}
    return (
        Verdict.REJECTED if Level.REJECT in levels else Verdict.REPAIRED if Level.REPAIR in levels else Verdict.ACCEPTED
    )


def with_reasons(entry: Entry, reasons: Sequence[Reason]) -> Entry:
    """`entry` with other findings and the verdict that follows from them."""
    return Entry(**{**entry.model_dump(), "reasons": in_order(reasons), "verdict": verdict_of(reasons)})


def in_order(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """The gravest first; equals in the order in which they were found."""
    rank = {Level.REJECT: 0, Level.REPAIR: 1, Level.WARN: 2}
    return tuple(sorted(reasons, key=lambda reason: rank[reason.level]))
