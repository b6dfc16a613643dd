"""The door between `greenprep clean` and its workers: light, so that the process that only gathers imports no GDAL,
and that workers can be started before anything else is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from greenprep.raw.pairs import Candidate
    from greenschemas.bands import Band
    from greenschemas.limits import Limits
    from greenschemas.manifest import Entry
    from greenschemas.recipe import MaskRules

__all__ = ["PRELOAD", "clean_batch"]

PRELOAD = "greenprep.clean.worker"
"""What a worker imports once."""


def clean_batch(
    raw: Path,
    out: Path | None,
    bands: Sequence[Band],
    rules: MaskRules,
    limits: Limits,
    candidates: Sequence[Candidate],
) -> list[Entry]:
    """As `greenprep.clean.worker.clean_batch`, in a worker."""
    from greenprep.clean.worker import clean_batch as work

    return work(raw, out, bands, rules, limits, candidates)
