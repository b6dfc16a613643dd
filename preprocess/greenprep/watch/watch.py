"""`greenprep watch` from its start to its end: the locks it holds, what it goes on after, and how it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from greenprep.clean.clean import JOURNAL_NAME, check_folders, check_local, check_owned
from greenprep.watch.remote import Bucket, looks
from greenprep.watch.wakes import wakes
from greenprep.watch.watcher import Pace, Places, Tell, Watcher
from greenschemas.errors import ConfigError, GreenError
from greenschemas.lock import folder_writer
from greenschemas.machine import cores
from greenschemas.manifest import RECIPE_NAME, Summary
from greenschemas.recipe import Recipe, load_recipe, recipe_of, write_recipe

__all__ = ["watch", "watch_once"]

_RETRY = 10.0
"""Seconds after which the watcher begins anew, where a full disk or a lost folder stopped it."""


def watch(
    places: Places,
    recipe: Recipe | str | Path | None = None,
    *,
    pace: Pace,
    workers: int | None = None,
    scheduler: str | None = None,
    poll: bool = False,
    bucket: Bucket | None = None,
    stop: threading.Event,
    tell: Tell,
) -> None:
    """Answer what comes into the inbox, and let the store grow by it, until `stop` is set.

    recipe: or its file; None: that of the clean folder, or the default. scheduler: address of a Dask cluster that does
    the work. poll: look every second, and ask nobody. bucket: that the inbox is the spool of. tell: is given what
    happens. A full disk, or an inbox that is gone for a while, is told and waited for.
    Raises ConfigError for folders that cannot be used, or were judged by another recipe, LockedError where another
    process writes to the clean folder, and SourceError for a bucket that does not answer at the start.
    """
    rules = _rules(places, recipe)
    with folder_writer(places.clean, "greenprep watch"):
        _begin(places, rules)
        if bucket is not None:
            bucket.fetch(rules.pairing, tell, 0.0)

        def make() -> Watcher:
            return Watcher(places, rules, pace, workers or cores(), tell, scheduler)

        watcher, said = make(), ""
        while not stop.is_set():
            try:
                cost = watcher.inbox.cost_of_a_look
                for names in (
                    wakes(places.inbox, poll=poll, stop=stop, cost=cost)
                    if bucket is None
                    else looks(bucket, rules.pairing, stop=stop, cost=cost, tell=tell)
                ):
                    watcher.look(names)
                    watcher.step()
                    said = ""
                watcher.write_page()
            except (GreenError, OSError) as problem:
                if str(problem) != said:
                    said = str(problem)
                    tell({"event": "problem", "message": f"{problem} Tried again every {_RETRY:g} s."})
                watcher = _again(make, stop) or watcher


def _again(make: Callable[[], Watcher], stop: threading.Event) -> Watcher | None:
    """A new watcher, from what is on the disk, as soon as one can be made."""
    while not stop.wait(_RETRY):
        try:
            return make()
        except (GreenError, OSError):
            continue
    return None


def watch_once(
    places: Places,
    recipe: Recipe | str | Path | None = None,
    *,
    pace: Pace,
    workers: int | None = None,
    scheduler: str | None = None,
    bucket: Bucket | None = None,
    tell: Tell,
) -> Summary:
    """As `watch`, for what has settled now: judged, answered, all accepted pairs in the store; then the sums.

    Raises SourceError where the bucket does not answer, too.
    """
    rules = _rules(places, recipe)
    with folder_writer(places.clean, "greenprep watch"):
        _begin(places, rules)
        if bucket is not None:
            bucket.fetch(rules.pairing, tell)
        watcher = Watcher(places, rules, pace, workers or cores(), tell, scheduler)
        watcher.look(None)
        while watcher.inbox.restless and not watcher.inbox.settled():
            time.sleep(pace.settle / 4)
        watcher.look(None)
        watcher.step()
        summary = watcher.write_page()
        if bucket is not None:
            bucket.give()
        watcher.grow()
        return summary


def _rules(places: Places, recipe: Recipe | str | Path | None) -> Recipe:
    """The recipe to judge by; raises ConfigError where the folders cannot be used by it."""
    check_folders(places.inbox, places.clean)
    check_local(places.store, "let it grow here, and copy it there: an object store can rename nothing")
    kept = places.clean / RECIPE_NAME
    theirs = load_recipe(kept) if kept.is_file() else None
    rules = theirs if recipe is None and theirs is not None else recipe_of(recipe)
    if rules.split.by == "blocks":
        raise ConfigError(
            recipe or kept,
            "`split: {by: blocks}` cuts scenes into blocks, and such a store cannot grow",
            "split by group, by a part of the names, or not at all (`val: 0`)",
        )
    if theirs is not None and theirs.hash() != rules.hash():
        raise ConfigError(
            places.clean,
            "its pairs were judged by another recipe",
            f"judge them by this one first (`greenprep clean {places.inbox} {places.clean} --recipe FILE`), or give "
            "another folder",
        )
    return rules


def _begin(places: Places, rules: Recipe) -> None:
    """See that the clean folder is ours, and begin it; while it is locked."""
    check_owned(places.clean)
    if (places.clean / JOURNAL_NAME).is_file():
        raise ConfigError(
            places.clean,
            "a `greenprep clean` was stopped there, and has not said yet what it found",
            "give it again, to its end",
        )
    write_recipe(places.clean / RECIPE_NAME, rules)
