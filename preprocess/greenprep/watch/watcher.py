"""`greenprep watch`: look, judge what has settled, answer, let the store grow; what is on the disk is the state.

A verdict is written to the log first, then answered, so that a watcher that was killed at any moment finds out from the
log and the answers what is left to do. What the store holds is asked of the store. Nothing here is a second cleaner:
pairs are judged by the work of `clean`, and brought into the store by that of `tile --append`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from greenprep.acts import ACTS_NAME, Act, excluded, overruled, read_acts, standing
from greenprep.build.batches import read_record
from greenprep.build.run import grow
from greenprep.checks.collection import judge_newcomers
from greenprep.clean.clean import entry_key, judge_pairs, pair_files
from greenprep.findings import notes_on
from greenprep.raw.pairs import Candidate
from greenprep.split.assign import leave_out, places_of
from greenprep.watch.answers import Answers
from greenprep.watch.inbox import Inbox
from greenprep.watch.known import Key
from greenprep.watch.verdict_log import HALVES, VerdictLog
from greenschemas.codes import Code
from greenschemas.errors import ConfigError, GreenError
from greenschemas.files import sync_files
from greenschemas.layout import NO_SPLIT
from greenschemas.manifest import Entry, Summary, Verdict
from greenschemas.recipe import Recipe
from greenschemas.store import open_store

__all__ = ["Pace", "Places", "Tell", "Watcher"]

_SLICE = 256
"""Pairs that are judged beside each other, written down and answered together."""
_BY_NAMES = frozenset({Code.STRAY, Code.AMBIGUOUS_PARTNER})
_SHARE = 4
"""After a batch no other is begun for so many times as long, unless there is nothing else to do."""
_PAGE_SHARE = 9
"""The manifest and the page take a tenth of the time at most."""
_RETRY = 30.0
"""Seconds after which a batch that could not be brought in is tried again."""

Tell = Callable[[dict[str, Any]], None]
"""Is given what happens, as an event: `verdict`, `waiting`, `batch`, `excluded` or `problem`."""


@dataclass(frozen=True)
class Places:
    """Where everything is."""

    inbox: Path
    clean: Path
    store: Path


@dataclass(frozen=True)
class Pace:
    """When something is done; seconds."""

    settle: float = 2.0
    """For which a file must have stayed as it is."""
    every: float = 600.0
    """After which accepted pairs come into the store, however few they are."""
    batch: int = 50
    """Pairs that come into the store as soon as there are so many."""
    patience: float = 3600.0
    """After which a file without a partner is told that it waits."""


class Watcher:
    """One watcher of an inbox, with what it knows from the disk; it must hold the lock of the clean folder."""

    def __init__(
        self, places: Places, recipe: Recipe, pace: Pace, workers: int, tell: Tell, scheduler: str | None = None
    ) -> None:
        """Read the state, and give the answers that a watcher before it did not get to give.

        scheduler: address of a Dask cluster that does the work, in place of `workers` processes of this machine.
        """
        self._places, self._recipe, self._pace, self._tell = places, recipe, pace, tell
        self._workers, self._scheduler = workers, scheduler
        self.inbox = Inbox(places.inbox, recipe.pairing, pace.settle)
        self._log = VerdictLog(places.clean)
        self._answers = Answers(places.inbox, places.clean)
        self._stored = _stored(places)
        self._waiting = {
            key: float("-inf") for key, known in self._log.known.items() if known.good and key[0] not in self._stored
        }
        """Since when accepted pairs wait to come into the store."""
        self._halves: dict[str, tuple[float, Candidate]] = {}
        """When files without a partner are to be told."""
        self._tried: dict[Key, str] = {}
        """Stamps of pairs on which the program itself failed: not tried again while they stay as they are."""
        self._said: set[str] = set()
        self._next_batch = self._next_page = self._next_decision = 0.0
        self._changed = self._first = True
        self._acts_read = 0
        unanswered = [key for key in self._log.known if any(self._answers.lacking(name) for name in filter(None, key))]
        again = {key: key[0] in self._stored for key in unanswered if key in self._log.replaced}
        self._answers.give(self._log.read(unanswered), again)

    def look(self, names: set[str] | None) -> None:
        """See what became of some files below the inbox; None: of all."""
        self.inbox.look() if names is None else self.inbox.look_at(names)
        if self._first:
            self._first = False
            known = self._log.known.items()
            self.inbox.rest((key, one.stamp) for key, one in known if _BY_NAMES.isdisjoint(one.codes))
        if self.inbox.settled():
            self._judge_due()

    def step(self) -> None:
        """Do what is due: tell halves, carry out what people decided, let the store grow, write the page."""
        self._tell_halves()
        self._decide()
        now = time.monotonic()
        if self._waiting and now >= self._next_batch:
            oldest = min(self._waiting.values())
            if len(self._waiting) >= self._pace.batch or now - oldest >= self._pace.every:
                self._try_to_grow()
        if self._changed and now >= self._next_page:
            self.write_page()

    def _judge_due(self) -> None:
        due = []
        for candidate, stamp in self.inbox.candidates():
            if candidate.problem in HALVES:
                self._halves[candidate.name] = self._patience_ends(candidate), candidate
                continue
            for name in entry_key(candidate):
                self._halves.pop(name, None)
            if self._is_due(candidate, stamp):
                due.append(candidate)
                self._tried[entry_key(candidate)] = stamp
        for at in range(0, len(due), _SLICE):
            self._judge(due[at : at + _SLICE])
            self.step()

    def _is_due(self, candidate: Candidate, stamp: str) -> bool:
        known = self._log.known.get(entry_key(candidate))
        if known is None or known.stamp != hash(stamp):
            return self._tried.get(entry_key(candidate)) != stamp
        return candidate.problem is None and not _BY_NAMES.isdisjoint(known.codes)

    def _judge(self, candidates: Sequence[Candidate]) -> None:
        """Judge some pairs."""
        places, recipe = self._places, self._recipe
        again = {key: key[0] in self._stored for key in map(entry_key, candidates) if key in self._log.known}
        self._answers.withdraw(name for key in again for name in key if name)
        found = [
            entry
            for answers in judge_pairs(places.inbox, places.clean, recipe, candidates, self._workers, self._scheduler)
            for entry in answers
            if entry.verdict is not Verdict.REJECTED or self._is_here(entry)
        ]
        self._say(found, again)

    def _say(self, found: Sequence[Entry], again: dict[Key, bool]) -> None:
        """Compare pairs with those that were judged before, write the verdicts down, and answer."""
        places, recipe = self._places, self._recipe
        judged = judge_newcomers(self._log.beside(found), found, recipe.bands, recipe.mask, recipe.limits)
        for entry in judged:
            if entry.verdict is Verdict.REJECTED:
                for path in pair_files(places.clean, entry):
                    path.unlink(missing_ok=True)
        written = [path for entry in judged for path in pair_files(places.clean, entry)]
        sync_files(places.clean, written)  # What the log calls accepted must not be lost where the log is not.
        self._log.append(judged)
        self._answers.give(judged, again)
        self._note(judged, again)

    def _note(self, judged: Sequence[Entry], again: dict[Key, bool]) -> None:
        now = time.monotonic()
        for entry in judged:
            key = entry_key(entry)
            self._waiting.pop(key, None)
            if entry.verdict is not Verdict.REJECTED and key[0] not in self._stored:
                self._waiting[key] = now
            self._tell(
                {
                    "event": "verdict",
                    "image": entry.image,
                    "mask": entry.mask,
                    "verdict": entry.verdict.value,
                    "codes": [reason.code for reason in entry.reasons],
                    "again": key in again,
                }
            )
        self._changed = self._changed or bool(judged)

    def _is_here(self, entry: Entry) -> bool:
        """Whether the files of an entry have not vanished while they were read."""
        return all((self._places.inbox / name).exists() for name in (entry.image, entry.mask) if name)

    def _patience_ends(self, candidate: Candidate) -> float:
        return time.monotonic() + self._pace.patience - self.inbox.age(candidate.name)

    def _tell_halves(self) -> None:
        now = time.monotonic()
        for name in [name for name, (due, _) in self._halves.items() if due <= now]:
            _, candidate = self._halves.pop(name)
            if self._answers.lacking(name):
                self._answers.wait(candidate)
                self._tell({"event": "waiting", "image": candidate.image, "mask": candidate.mask})

    def _decide(self) -> None:
        """Carry out what people decided since the last time."""
        path = self._places.clean / ACTS_NAME
        size = path.stat().st_size if path.is_file() else 0
        if size == self._acts_read or time.monotonic() < self._next_decision:
            return
        acts = read_acts(self._places.clean)
        for act in standing(acts).values():
            key = act.image, act.mask or ""
            if key in self._log.known:
                self._overrule(next(self._log.read([key])), act)
        try:
            self._leave_out(excluded(acts))
            self._acts_read = size
        except GreenError as problem:  # Of the store, which somebody else may be writing.
            self._complain(problem)
            self._next_decision = time.monotonic() + _RETRY

    def _complain(self, problem: Exception, what_now: str = "") -> None:
        """Tell of a problem, once."""
        if str(problem) not in self._said:
            self._said.add(str(problem))
            self._tell({"event": "problem", "message": f"{problem}{what_now}"})

    def _overrule(self, entry: Entry, act: Act) -> None:
        try:
            judge = partial(judge_pairs, scheduler=self._scheduler)
            decided = overruled(self._places.inbox, self._places.clean, self._recipe, entry, act, judge)
        except ConfigError as problem:
            self._complain(problem)
            return
        if decided is not None:
            self._say([decided], {})

    def _leave_out(self, groups: frozenset[str]) -> None:
        """Take groups out of the splits of the store that are in one."""
        if not groups or not self._stored:
            return
        splits = {group: split for group, (split, _) in places_of(open_store(self._places.store)).items()}
        if going := {group for group in groups if splits.get(group, NO_SPLIT) != NO_SPLIT}:
            leave_out(self._places.store, going)
            read_record(self._places.clean).follow(open_store(self._places.store))
            self._tell({"event": "excluded", "groups": sorted(going)})

    def _try_to_grow(self) -> None:
        """Let the store grow; where it cannot, say so once, and go on judging."""
        began = time.monotonic()
        try:
            self.grow()
            self._said.clear()
        except (GreenError, OSError) as problem:
            self._complain(problem, " The pairs wait, and are tried again.")
            self._next_batch = time.monotonic() + _RETRY
            return
        self._next_batch = time.monotonic() + _SHARE * (time.monotonic() - began)

    def grow(self) -> None:
        """Bring all accepted pairs that wait into the store. Raises what `build.run.grow` raises."""
        places, keys = self._places, list(self._waiting)
        if not keys:
            return
        built = grow(
            places.clean,
            places.store,
            self._recipe,
            list(self._log.read(keys)),
            workers=self._workers,
            scheduler=self._scheduler,
        )
        self._stored.update(image for image, _ in keys)
        self._waiting.clear()
        audit = None if built.audit is None else "passed" if built.audit.passed else "failed"
        contract = built.contract
        self._tell(
            {
                "event": "batch",
                "added": len(keys),
                "sources": contract.sources,
                "tiles": contract.tiles,
                "split": None if contract.split is None else contract.split.tiles,
                "audit": audit,
                "leaks": [] if built.audit is None else [str(leak) for leak in built.audit.leaks],
            }
        )

    def write_page(self) -> Summary:
        """Write the manifest and the report."""
        # What draws it takes as long to import as many pairs.
        from greenprep.clean.report import spread_over_page, write_clean_report

        began = time.monotonic()
        summary = self._log.write_manifest(self._recipe.hash(), notes_on(self._recipe.bands))
        keys = sorted(self._log.known, key=lambda key: key[0] or key[1])
        shown = spread_over_page([bool(self._log.known[key].codes) for key in keys])
        entries = sorted(self._log.read(keys[i] for i in shown), key=lambda entry: entry.image or entry.mask or "")
        write_clean_report(self._places.inbox, self._places.clean, self._recipe, entries, summary)
        self._changed = False
        self._next_page = time.monotonic() + max(5.0, _PAGE_SHARE * (time.monotonic() - began))
        return summary


def _stored(places: Places) -> set[str]:
    """Paths of the sources of the store, none where there is none yet; the record of its batches then says the same."""
    if not (places.store / "zarr.json").exists():
        return set()
    return set(read_record(places.clean).follow(open_store(places.store)).sources)
