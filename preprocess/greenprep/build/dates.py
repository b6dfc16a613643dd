"""`greenprep tile --times stack`: the dates of a group become one pair, whose bands are those of every date.

A clean folder is made beside the store, with an image for each group: the bands of its first date, then those of the
next. A pixel is valid where it is so at every date; a date that a group lacks makes it invalid throughout. Labels are
those of the last date.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from greenprep.raw.pair import OpenPair, gdal, open_pair
from greenprep.raw.pairs import Candidate
from greenprep.raw.stacked import write_stacked
from greenprep.store.location import link_or_copy
from greenschemas.bands import dated
from greenschemas.console import progress, say
from greenschemas.errors import ConfigError, SourceError
from greenschemas.lock import only_writer
from greenschemas.manifest import RECIPE_NAME, Entry, Summary, Verdict, read_manifest, write_manifest
from greenschemas.recipe import Recipe, load_recipe, write_recipe

__all__ = ["in_order_of_time", "stacked_dates"]


@contextmanager
def stacked_dates(clean: Path, store: str | Path) -> Iterator[Path]:
    """A clean folder, there for the block alone, in which each group of `clean` is one pair of all its dates.

    Raises ConfigError where no group has two dates; SourceError where a group's dates lie on unlike grids; LockedError
    where another process stacks for the same store.
    """
    if "://" in str(store):
        raise ConfigError("--times", "a store on a server", "build it here, and copy it")
    folder = Path(store).with_name(f".{Path(store).name}.dates")
    with only_writer(folder, "greenprep tile --times stack"):
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
        try:
            _stack(clean, folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def in_order_of_time(entries: Sequence[Entry]) -> list[Entry]:
    """The earliest first: numbers in the names of times count as numbers, so that 2 comes before 10."""
    return sorted(entries, key=lambda entry: [(int(n or 0), s) for n, s in re.findall(r"(\d*)(\D*)", entry.time or "")])


def _stack(clean: Path, folder: Path) -> None:
    recipe = load_recipe(clean / RECIPE_NAME)
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in read_manifest(clean):
        if entry.verdict is not Verdict.REJECTED and entry.group is not None:
            groups[entry.group].append(entry)
    dates = max((len(some) for some in groups.values()), default=0)
    if dates < 2:
        raise ConfigError("--times", "no group has two dates", "leave it out; see `pairing.group` in the recipe")
    if short := sum(len(some) < dates for some in groups.values()):
        say(f"{short} of {len(groups)} groups have fewer than {dates} dates: they have no valid pixel.")
    made = []
    with gdal(), progress("stacking", len(groups)) as bar:
        for name, some in sorted(groups.items()):
            made.append(_one(clean, folder, recipe, in_order_of_time(some), dates))
            bar.advance(note=name)
    stacked = recipe.model_copy(update={"bands": dated(recipe.bands, dates)})
    write_recipe(folder / RECIPE_NAME, stacked)
    write_manifest(folder, made, Summary.of(made, stacked.hash()))


def _one(clean: Path, folder: Path, recipe: Recipe, entries: Sequence[Entry], dates: int) -> Entry:
    last = entries[-1]
    assert last.image is not None and last.mask is not None
    with ExitStack() as opened:
        rules = recipe.bands, recipe.mask, recipe.limits
        named = [Candidate(one.image, one.mask, one.group, one.time) for one in entries]
        pairs = [opened.enter_context(open_pair(clean, candidate, *rules)) for candidate in named]
        _check(entries, pairs)
        write_stacked(folder / last.image, pairs, dated(recipe.bands, dates))
    (folder / last.mask).parent.mkdir(parents=True, exist_ok=True)
    link_or_copy(clean / last.mask, folder / last.mask)
    whole = hashlib.sha256("".join(one.checksum or "" for one in entries).encode()).hexdigest()
    shape = (len(recipe.bands) * dates, *(last.shape or (0, 0, 0))[1:])
    about: dict[str, Any] = {"shape": shape, "time": "+".join(one.time or "" for one in entries), "reasons": ()}
    about |= {"verdict": Verdict.ACCEPTED, "checksum": whole, "image_checksum": None, "stamp": None, "measures": {}}
    return last.model_copy(update=about)


def _check(entries: Sequence[Entry], pairs: Sequence[OpenPair]) -> None:
    first = entries[0]
    for entry, pair in zip(entries, pairs, strict=True):
        if pair.header.shape is None or pair.header.rejected:
            raise SourceError(pair.header.candidate.name, "it was accepted, and is not now", "run `greenprep clean`")
        one, other = entry.transform or (), first.transform or ()  # none where it has no place
        alike = (entry.crs, entry.shape, len(one)) == (first.crs, first.shape, len(other))
        if not alike or (np.abs(np.subtract(one, other)) > 1e-6).any():
            found = f"another grid than {first.image}, a date of the same group"
            raise SourceError(entry.image, found, "warp it to that grid (gdalwarp), or leave it out")
