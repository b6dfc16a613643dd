"""`greenprep clean`: a verdict on every file below RAW, the good and mended pairs below OUT, and a manifest of all.

Nothing below RAW is ever written or removed. OUT holds, beside the pairs: `recipe.yaml` (the recipe without paths),
`manifest.jsonl` (one line a pair or stray), `summary.json`, and while a run is under way `manifest.part`, to which
each line is appended whole, so that a killed run goes on where it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

from greenprep.acts import decided, warn
from greenprep.checks.collection import judge_collection
from greenprep.checks.verdict import crashed
from greenprep.clean.misfit import misfit
from greenprep.clean.task import PRELOAD, clean_batch
from greenprep.engine.choose import engine
from greenprep.engine.job import KilledJob
from greenprep.engine.pool import run_batches
from greenprep.findings import notes_on
from greenprep.raw.pairs import Candidate, find_pairs
from greenprep.raw.stamps import stamp_of
from greenschemas.codes import REPAIRS, Code
from greenschemas.console import progress, say
from greenschemas.errors import ConfigError, GreenError, SourceError
from greenschemas.files import sync_tree, write_whole
from greenschemas.limits import Limits
from greenschemas.lock import LOCK_NAME, folder_writer
from greenschemas.machine import cores
from greenschemas.manifest import (
    LOG_NAME,
    MANIFEST_NAME,
    RECIPE_NAME,
    SUMMARY_NAME,
    Entry,
    Summary,
    Verdict,
    read_entry,
    read_manifest,
    write_manifest,
)
from greenschemas.recipe import Recipe, load_recipe, recipe_of, write_recipe

__all__ = [
    "JOURNAL_NAME",
    "CleanResult",
    "check_folders",
    "check_local",
    "check_owned",
    "clean",
    "entry_key",
    "judge_pairs",
    "pair_files",
    "reject_repairs",
]

JOURNAL_NAME = "manifest.part"
BATCH = 8
"""Pairs handed to a worker at a time."""


class CleanResult(NamedTuple):
    """What the manifest and the summary of a clean folder hold."""

    entries: tuple[Entry, ...]
    summary: Summary


def clean(
    raw: str | Path,
    out: str | Path,
    recipe: Recipe | str | Path | None = None,
    *,
    workers: int | None = None,
    repair: bool = True,
    verify: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> CleanResult:
    """Check every image and mask below `raw`; good and mended pairs, manifest, summary and report go below `out`.

    recipe: or the path of one; None for the default, 19-band Sentinel-2 with five-class fractional masks.
    workers: processes, by default one a core; repair: mend what can be mended for certain, or reject it.
    verify: read everything again, even what has not changed since the last run; dry_run: write nothing; limit: look
    at none but the first so many, and keep what is known of others; tick: called with (done, of how many) as verdicts
    come in.
    Raises ConfigError for folders that cannot be used or, without a recipe, of which no file fits the default one;
    SourceError where OUT cannot be written; LockedError where another process writes there.
    """
    unknown = recipe is None
    raw, out, recipe = Path(raw), Path(out), recipe_of(recipe)
    if not repair:
        recipe = reject_repairs(recipe)
    check_folders(raw, out, dry_run)
    candidates = find_pairs(raw, recipe.pairing)
    if not candidates:
        raise ConfigError(
            raw,
            f"no TIFF in it that `{recipe.pairing.images}` or `{recipe.pairing.masks}` finds",
            "give the folder above `images` and `masks`, or set `pairing` in the recipe",
        )
    if unknown and (problem := misfit(raw, candidates, recipe)):
        raise problem
    with nullcontext() if dry_run else folder_writer(out, "greenprep clean"):
        return _clean(raw, out, recipe, candidates, workers or cores(), verify, dry_run, limit, tick)


def _clean(
    raw: Path,
    out: Path,
    recipe: Recipe,
    candidates: Sequence[Candidate],
    workers: int,
    verify: bool,
    dry_run: bool,
    limit: int | None,
    tick: Callable[[int, int], None] | None,
) -> CleanResult:
    if not dry_run:
        check_owned(out)
    old = {} if dry_run else _earlier(out, recipe)
    kept = (
        {}
        if verify
        else {
            entry_key(entry): entry
            for candidate in candidates
            if (entry := old.get(entry_key(candidate))) and _still_good(raw, out, entry, candidate)
        }
    )
    kept |= _out_of_sight(raw, candidates, old)
    todo = [candidate for candidate in candidates[:limit] if entry_key(candidate) not in kept]
    entries = dict(kept)
    with _journal(out, recipe, old.values(), dry_run) as journal, progress("cleaning", len(kept) + len(todo)) as bar:
        bar.advance(len(kept))
        for answers in judge_pairs(raw, None if dry_run else out, recipe, todo, workers):
            for entry in answers:
                entries[entry_key(entry)] = entry
                journal(entry)
            bar.advance(len(answers))
            if tick is not None:
                tick(len(entries), len(kept) + len(todo))
    stand = entries.values() if dry_run else decided(raw, out, recipe, entries.values(), judge_pairs, warn)
    judged = judge_collection(stand, recipe.bands, recipe.mask, recipe.limits)
    summary = Summary.of(judged, recipe.hash(), notes_on(recipe.bands))
    if not dry_run:
        _settle(raw, out, recipe, judged, old.values(), candidates)
        sync_tree(out)  # What the manifest says stands there must not be lost where the manifest is not.
        write_manifest(out, judged, summary)
        (out / JOURNAL_NAME).unlink(missing_ok=True)
        (out / LOG_NAME).unlink(missing_ok=True)  # The next `greenprep watch` begins with this manifest.
        from greenprep.clean.report import write_clean_report  # what draws it takes as long to import as many pairs

        write_clean_report(raw, out, recipe, judged, summary)
    return CleanResult(judged, summary)


def reject_repairs(recipe: Recipe) -> Recipe:
    """The recipe under which whatever would need a repair is rejected."""
    levels = {**recipe.limits.levels, **dict.fromkeys(REPAIRS, "reject")}
    return recipe.model_copy(update={"limits": recipe.limits.model_copy(update={"levels": levels})})


def entry_key(one: Entry | Candidate) -> tuple[str, str]:
    """What tells a pair from all others."""
    return one.image or "", one.mask or ""


def check_folders(raw: Path, out: Path, dry_run: bool = False) -> None:
    """Raise ConfigError where RAW is no folder, or OUT a file, or one of them lies in the other, or is a URL."""
    for folder in (raw, out):
        check_local(folder, "mount the bucket, or copy it here first")
    if not raw.is_dir():
        raise ConfigError(raw, "no such folder", "give the folder that holds the images and masks")
    real_raw, real_out = raw.resolve(), out.resolve()
    if real_out == real_raw or real_raw in real_out.parents or real_out in real_raw.parents:
        raise ConfigError(
            out, f"lies in, or around, the raw folder {raw}", "choose a folder beside it: raw files are never touched"
        )
    if out.exists() and not out.is_dir() and not dry_run:
        raise ConfigError(out, "is a file", "choose a folder")


def check_local(folder: Path, remedy: str) -> None:
    """Raise ConfigError for a URL, which as a path has lost one of its slashes; remedy: what to do about it."""
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(folder)):
        url = str(folder).replace(":/", "://", 1)
        raise ConfigError(url, "is a URL, and a folder of this machine is due", remedy)


def check_owned(out: Path) -> None:
    """Raise ConfigError where OUT holds what no earlier run wrote; while it is locked: none is just beginning."""
    if {path.name for path in out.iterdir()} - {LOCK_NAME} and not (out / RECIPE_NAME).is_file():
        raise ConfigError(out, "is not empty, and no earlier run of clean wrote it", "choose an empty or new folder")


def _earlier(out: Path, recipe: Recipe) -> dict[tuple[str, str], Entry]:
    """What earlier runs under the same recipe said; of a killed run's journal, the lines that are whole."""
    if not (out / RECIPE_NAME).is_file():
        return {}
    same = _same_recipe(out / RECIPE_NAME, recipe)
    entries: dict[tuple[str, str], Entry] = {}
    if (out / MANIFEST_NAME).is_file():
        entries = {entry_key(entry): entry for entry in read_manifest(out)}
    if (out / JOURNAL_NAME).is_file():
        with (out / JOURNAL_NAME).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    say(
                        f"{out / JOURNAL_NAME}:{number}: cut off by the end of the run before; that pair is read again."
                    )
                    break
                entry = read_entry(f"{out / JOURNAL_NAME}:{number}", line)
                entries[entry_key(entry)] = entry
    if same:
        return entries
    # Under another recipe nothing that was said still holds, but what was written must be known to be replaced.
    return {key: entry.model_copy(update={"stamp": None}) for key, entry in entries.items()}


def _same_recipe(path: Path, recipe: Recipe) -> bool:
    try:
        return load_recipe(path).hash() == recipe.hash()
    except GreenError:
        return False  # Written by another version, or changed by hand.


def _still_good(raw: Path, out: Path, entry: Entry, candidate: Candidate) -> bool:
    if entry.stamp is None or entry.stamp != stamp_of(raw, candidate).text:
        return False
    return entry.verdict is Verdict.REJECTED or all(path.is_file() for path in pair_files(out, entry))


def _out_of_sight(
    raw: Path, candidates: Sequence[Candidate], old: Mapping[tuple[str, str], Entry]
) -> dict[tuple[str, str], Entry]:
    """Earlier entries of what lies in folders that cannot be looked into now: what cannot be seen is not gone.

    Raises SourceError where they were judged by another recipe, and so cannot stay as they are.
    """
    folders = [f"{candidate.name}/" for candidate in candidates if candidate.problem is Code.UNREADABLE]
    found = {entry_key(candidate) for candidate in candidates}
    hidden = {
        key: entry
        for key, entry in old.items()
        if key not in found and any(path.startswith(folder) for path in key for folder in folders)
    }
    for folder in folders:
        say(f"WARNING {raw / folder} cannot be looked into; what an earlier run accepted from it stays.")
    if any(entry.stamp is None for entry in hidden.values()):
        raise SourceError(raw / folders[0], "cannot be looked into, and the recipe has changed", "mend its permissions")
    return hidden


@contextmanager
def _journal(out: Path, recipe: Recipe, old: Iterable[Entry], dry_run: bool) -> Iterator[Callable[[Entry], None]]:
    """A function that appends an entry to the journal, which starts with what is already known."""
    if dry_run:
        yield lambda entry: None
        return
    try:
        known = "".join(entry.to_json() + "\n" for entry in old)
        write_whole(out / JOURNAL_NAME, known)
        write_recipe(out / RECIPE_NAME, recipe)
        (out / MANIFEST_NAME).unlink(missing_ok=True)
        (out / SUMMARY_NAME).unlink(missing_ok=True)
        with (out / JOURNAL_NAME).open("a", encoding="utf-8") as file:
            yield partial(_append, file)
    except OSError as problem:
        raise SourceError.unwritable(out, problem) from None


def _append(file: TextIO, entry: Entry) -> None:
    file.write(entry.to_json() + "\n")
    file.flush()


def judge_pairs(
    raw: Path, out: Path | None, recipe: Recipe, todo: Sequence[Candidate], workers: int, scheduler: str | None = None
) -> Iterator[list[Entry]]:
    """The verdicts on some pairs as they come, in no order; what is accepted stands below `out` (None: nowhere).

    scheduler: as `engine` takes it, in place of this machine's processes; its workers see the same folders.
    """
    if not todo:
        return
    if scheduler is not None:
        raw, out = raw.absolute(), None if out is None else out.absolute()
    work = partial(clean_batch, raw, out, recipe.bands, recipe.mask, recipe.limits)
    dead = partial(_crashed, raw, recipe.limits)
    if scheduler is not None:
        yield from _judged_on_cluster(work, todo, dead, scheduler)
        return
    batch = max(1, min(BATCH, -(-len(todo) // (2 * workers))))
    yield from run_batches(work, todo, workers=min(workers, len(todo)), batch=batch, dead=dead, preload=PRELOAD)


def _judged_on_cluster(
    work: Callable[[Sequence[Candidate]], list[Entry]],
    todo: Sequence[Candidate],
    dead: Callable[[Candidate], Entry],
    scheduler: str,
) -> Iterator[list[Entry]]:
    """A batch that took its worker down is tried again pair by pair, as `run_batches` does."""
    batch = max(1, min(BATCH, len(todo) // (2 * BATCH)))
    batches: list[Sequence[Candidate]] = [todo[at : at + batch] for at in range(0, len(todo), batch)]
    suspects: list[Candidate] = []
    with engine(None, scheduler) as cluster:
        for some, answers in cluster.run(work, batches):
            if isinstance(answers, KilledJob):
                suspects += some
            else:
                yield answers
        alone: list[Sequence[Candidate]] = [[one] for one in suspects]
        for some, answers in cluster.run(work, alone):
            yield [dead(some[0])] if isinstance(answers, KilledJob) else answers


def _crashed(raw: Path, limits: Limits, candidate: Candidate) -> Entry:
    return crashed(candidate, stamp_of(raw, candidate).text, limits)


def _settle(
    raw: Path, out: Path, recipe: Recipe, judged: Sequence[Entry], old: Iterable[Entry], candidates: Sequence[Candidate]
) -> None:
    """Make what stands below OUT what the verdicts say: the checks over the collection may have changed some."""
    wanted = {path for entry in judged if entry.verdict is not Verdict.REJECTED for path in pair_files(out, entry)}
    written = {path for entry in (*judged, *old) for path in pair_files(out, entry)}
    for path in written - wanted:
        if not path.is_dir():  # An entry may stand for a folder that could not be looked into.
            path.unlink(missing_ok=True)
    lacking = {
        entry_key(entry)
        for entry in judged
        if entry.verdict is not Verdict.REJECTED and not all(path.is_file() for path in pair_files(out, entry))
    }
    again = [candidate for candidate in candidates if entry_key(candidate) in lacking]
    for _ in judge_pairs(raw, out, recipe, again, 1):
        pass


def pair_files(out: Path, entry: Entry) -> list[Path]:
    """Where an accepted or repaired pair stands below `out`."""
    return [out / relative for relative in (entry.image, entry.mask) if relative is not None]
