"""What a worker process does for `greenprep clean`: survey pairs, link or write what is accepted.

Small on purpose: a worker imports this and what it needs, nothing of the command line or the report.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from greenprep.checks.survey import survey
from greenprep.checks.verdict import failed
from greenprep.clean.repair import touches, write_repaired
from greenprep.engine.guard import guarded
from greenprep.raw.pair import gdal, open_pair
from greenprep.raw.pairs import Candidate
from greenprep.raw.stamps import stamp_of
from greenschemas.bands import Band
from greenschemas.errors import GreenError, SourceError
from greenschemas.files import whole
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Verdict
from greenschemas.recipe import MaskRules

__all__ = ["clean_batch", "clean_one", "link"]


def clean_batch(
    raw: Path,
    out: Path | None,
    bands: Sequence[Band],
    rules: MaskRules,
    limits: Limits,
    candidates: Sequence[Candidate],
) -> list[Entry]:
    """The verdicts on some candidates, in order; accepted and repaired pairs then stand below `out` (None: nowhere)."""
    with gdal():
        return [clean_one(raw, out, bands, rules, limits, candidate) for candidate in candidates]


def clean_one(
    raw: Path, out: Path | None, bands: Sequence[Band], rules: MaskRules, limits: Limits, candidate: Candidate
) -> Entry:
    """The verdict on one candidate, whatever is wrong with it; raises SourceError where `out` cannot be written."""
    try:
        with guarded(limits.seconds_max):
            return _clean_one(raw, out, bands, rules, limits, candidate)
    except GreenError:
        raise  # Of the folder that is written to.
    except Exception as problem:
        return failed(candidate, problem, limits)


def _clean_one(
    raw: Path, out: Path | None, bands: Sequence[Band], rules: MaskRules, limits: Limits, candidate: Candidate
) -> Entry:
    stamp = stamp_of(raw, candidate).text
    with open_pair(raw, candidate, bands, rules, limits) as pair:
        entry = survey(pair, pair.strips(), stamp)
        if out is None or entry.verdict is Verdict.REJECTED:
            return entry
        if entry.verdict is Verdict.REPAIRED:
            write_repaired(pair, entry, out)
    for relative, anew in zip((entry.image, entry.mask), touches(entry), strict=True):
        if relative is not None and not anew:
            link(raw / relative, out / relative)
    return entry


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, by a hard link where the file system can, else by a copy."""
    try:
        os.link(source, target)
        return
    except OSError:
        pass  # No folder yet, there already, on another file system, or of one that has no links.
    try:
        with whole(target) as draft:
            try:
                os.link(source, draft)
            except OSError:
                shutil.copy2(source, draft)
    except OSError as problem:
        raise SourceError.unwritable(target, problem) from None
