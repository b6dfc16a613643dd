"""`greenprep tile` and `greenprep run`: one from a clean folder, one from raw files, both by the same steps.

Pixels are read once, on workers; then verdicts fall, and what was accepted becomes a store. See `sources` for the
first half and `assemble` for the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

from greenprep.acts import decided, excluded, read_acts, warn
from greenprep.build.append import ExistingStore, open_existing
from greenprep.build.assemble import Accepted, assemble, build_location, finish, target_of
from greenprep.build.batches import Record, read_record
from greenprep.build.dates import stacked_dates
from greenprep.build.ledger import open_scratch
from greenprep.build.outputs import check_manifest_folder, check_store_location
from greenprep.build.read import BuildInputs
from greenprep.build.sources import Source, read_sources
from greenprep.checks.collection import judge_collection
from greenprep.checks.judge import judge
from greenprep.checks.verdict import crashed
from greenprep.engine.choose import engine, warm_up
from greenprep.engine.job import Engine
from greenprep.findings import notes_on
from greenprep.raw.pairs import Candidate, find_pairs
from greenprep.raw.stamps import stamp_of
from greenprep.split.assign import SplitPlan, write_split
from greenprep.split.audit import Audit
from greenprep.store.location import Location
from greenschemas.choices import Edge, Times
from greenschemas.contract import Contract
from greenschemas.errors import ConfigError, SourceError, StoreError
from greenschemas.lock import folder_writer, only_writer
from greenschemas.manifest import RECIPE_NAME, Entry, Summary, Verdict, read_manifest, write_manifest
from greenschemas.recipe import Recipe, TileRules, load_recipe, write_recipe
from greenschemas.store import open_store

__all__ = ["BuildResult", "Built", "grow", "run", "tile"]


@dataclass(frozen=True)
class BuildResult:
    """What became of a build."""

    contract: Contract
    entries: tuple[Entry, ...]
    """Of `greenprep run`: the verdicts; of `greenprep tile`: those of the manifest."""
    summary: Summary
    clean: Path
    """Folder of the manifest."""
    store: str
    audit: Audit | None = None
    without_tiles: tuple[str, ...] = ()
    """Accepted sources that gave no tile: they are too small for one, by `size` and `min_cover`."""


def tile(
    clean: str | Path,
    store: str | Path,
    *,
    size: int | None = None,
    stride: int | None = None,
    edge: Edge | str | None = None,
    min_cover: float | None = None,
    times: Times | str = Times.APART,
    workers: int | None = None,
    scheduler: str | None = None,
    append: bool = False,
    unassigned: bool = False,
    overwrite: bool = False,
) -> BuildResult:
    """Cut the accepted pairs of a clean folder into tiles and write a store, without a split.

    Of a folder that `greenprep watch` keeps: the store that it fed, in the order of its batches, with its split.

    size, stride, edge, min_cover: as in `TileRules`, where None as in the folder's recipe.
    times: `apart`, a source for each date of a group, or `stack`, one whose bands are those of all dates; see `dates`.
    workers: processes of this machine; None: one a processor; 0: this process itself.
    scheduler: address of a Dask scheduler, instead, or `local` for a Dask cluster of this machine.
    append: add what is new to a finished store, whose split stays;
    unassigned: leave groups that are new in no split, instead of dealing them out by the store's rules; overwrite:
    replace the store.
    Raises SourceError, StoreError or RecipeError, and LockedError where another process writes the store.
    """
    warm_up(workers, scheduler)
    clean, recipe = Path(clean), _recipe_of(Path(clean))
    if Times(times) is Times.STACK:
        if append:
            raise ConfigError("--append", "with --times stack", "build the store anew: groups may have more dates now")
        shape: dict[str, Any] = {"size": size, "stride": stride, "edge": edge, "min_cover": min_cover}
        with stacked_dates(clean, store) as folder:
            outcome = tile(folder, store, **shape, workers=workers, scheduler=scheduler, overwrite=overwrite)
            return replace(outcome, clean=clean)
    said = {"size": size, "stride": stride, "edge": edge, "min_cover": min_cover}
    given = {key: value for key, value in said.items() if value is not None}
    rules = TileRules.parse("tile", {**recipe.tile.model_dump(), **given})
    recipe = recipe.model_copy(update={"tile": rules})
    with only_writer(store, "greenprep tile"):
        existing = _existing(
            Location.at(store), recipe, clean, append=append, unassigned=unassigned, overwrite=overwrite
        )
        entries = tuple(sorted(read_manifest(clean), key=_name))
        summary, new = Summary.of(entries, recipe.hash()), _to_add(entries, existing)
        if existing is not None and not new:
            return _unchanged(existing, entries, summary, clean)
        record = read_record(clean)
        new.sort(key=lambda entry: record.order(_name(entry)))
        plan = record.plan(_as_decided(SplitPlan(recipe.split), clean))
        built = _built(clean, store, recipe, new, existing, plan, workers, scheduler, record)
        return BuildResult(built.contract, entries, summary, clean, str(store), built.audit, built.without_tiles)


def grow(
    clean: Path,
    store: Path,
    recipe: Recipe,
    entries: Sequence[Entry],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
) -> Built:
    """Bring accepted pairs of a clean folder into a local store; a store that is not there yet is begun, and split.

    entries: those that stand in the store already are left out; recipe: that of the folder. The batch is written down
    in the folder (`batches.jsonl`), from which `tile` builds the same store anew. Raises as `tile` does, and
    ConfigError where a first batch has not enough ground to be split.
    """
    place = Location.at(store)
    with only_writer(store, "greenprep watch"):
        begun = (place / "zarr.json").exists()
        existing = _existing(place, recipe, clean, append=begun, unassigned=False, overwrite=False)
        record = read_record(clean)
        if existing is not None:
            record = record.follow(existing.store)
        known = {} if existing is None else existing.paths
        new = sorted((entry for entry in entries if _name(entry) not in known), key=_name)
        if existing is not None and not new:
            return Built(existing.contract, None, ())
        plan = SplitPlan(recipe.split) if existing is None else None
        built = _built(clean, store, recipe, new, existing, plan, workers, scheduler, record)
        record.follow(open_store(store))
        return built


@dataclass(frozen=True)
class Built:
    """What stands in a store after a build."""

    contract: Contract
    audit: Audit | None
    """None where the store has no split, or nothing was new."""
    without_tiles: tuple[str, ...]
    """As in `BuildResult`."""


def _built(
    clean: Path,
    store: str | Path,
    recipe: Recipe,
    new: Sequence[Entry],
    existing: ExistingStore | None,
    plan: SplitPlan | None,
    workers: int | None,
    scheduler: str | None,
    record: Record,
) -> Built:
    """Build from `new`, in their order. plan: how to split a new store, None: not at all; a grown one keeps its own."""
    place = Location.at(store)
    candidates = [Candidate(entry.image, entry.mask, entry.group, entry.time, entry.parts) for entry in new]
    open_scratch(build_location(place))
    inputs = BuildInputs.of(clean, recipe, build_location(place), judge=False)
    with engine(workers, scheduler, shared=place.shared) as work:
        sources = read_sources(work, inputs, candidates)
        for source in sources:
            if source.crashed:
                raise SourceError(
                    clean / source.candidate.name,
                    "it was accepted, but the process that reads it dies",
                    "run `greenprep clean` again: the file was changed",
                )
        accepted = [Accepted(source, entry) for source, entry in zip(sources, new, strict=True)]
        founders = record.founders(map(_name, new)) if existing is None else None
        contract, audit = assemble(work, inputs, place, accepted, existing, founders), None
    if existing is not None:
        plan = None if existing.dealt is None else SplitPlan.around(existing.dealt)
    if plan is not None:
        contract, audit = write_split(target_of(place).url, _as_decided(plan, clean))
    finish(place)
    return Built(contract, audit, _without(accepted))


def run(
    recipe: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    append: bool = False,
    unassigned: bool = False,
    overwrite: bool = False,
) -> BuildResult:
    """Clean, tile, split and audit in one reading of the raw files; the recipe's file says where everything is.

    workers, scheduler, append, unassigned, overwrite: as `tile`; what is in the store is read and judged anew, too.
    Writes the manifest, its sums and the recipe into the recipe's clean folder, or one beside the store; no pair is
    copied there. What people decided by hand in that folder holds, as it does for `clean` and `tile`. Raises
    SourceError, StoreError or RecipeError, and LockedError where another process writes there.
    """
    warm_up(workers, scheduler)
    path, rules = Path(recipe), load_recipe(recipe)
    if rules.raw is None or rules.store is None:
        raise StoreError(path, "it does not say where `raw` files are and where the `store` goes", "add both keys")
    clean = rules.clean or _clean_beside(path, rules.store)
    check_manifest_folder(clean, rules.raw, Location.at(rules.store), path)
    if not rules.raw.is_dir():
        raise SourceError(rules.raw, "no such folder", "see `raw` in the recipe")
    with only_writer(rules.store, "greenprep run"), folder_writer(clean, "greenprep run"):
        existing = _existing(
            Location.at(rules.store), rules, rules.raw, append=append, unassigned=unassigned, overwrite=overwrite
        )
        return _run(rules, rules.raw, rules.store, clean, existing, workers, scheduler)


def _run(
    rules: Recipe,
    raw: Path,
    place: str | Path,
    clean: Path,
    existing: ExistingStore | None,
    workers: int | None,
    scheduler: str | None,
) -> BuildResult:
    store = Location.at(place)
    candidates = find_pairs(raw, rules.pairing)
    if not candidates:
        raise SourceError(raw, "no TIFF in it", "see `raw` and `pairing` in the recipe")
    open_scratch(build_location(store))
    inputs = BuildInputs.of(raw, rules, build_location(store), judge=True)
    with engine(workers, scheduler, shared=store.shared) as work:
        sources = read_sources(work, inputs, candidates)
        by_name = {source.candidate.name: source for source in sources}
        verdicts = (_verdict(source, inputs) for source in sources)
        stand = decided(raw, clean, rules, verdicts, partial(_read_again, work, inputs, by_name), warn)
        entries = judge_collection(stand, rules.bands, rules.mask, rules.limits)
        summary = Summary.of(entries, rules.hash(), notes_on(rules.bands))
        write_recipe(clean / RECIPE_NAME, rules)
        write_manifest(clean, entries, summary)
        accepted = [Accepted(by_name[_name(entry)], entry) for entry in _to_add(entries, existing)]
        if existing is not None and not accepted:
            return _unchanged(existing, entries, summary, clean)
        contract = assemble(work, inputs, store, accepted, existing)
    dealt = existing.dealt if existing is not None else None
    plan = SplitPlan(rules.split) if dealt is None else SplitPlan.around(dealt)
    contract, audit = write_split(target_of(store).url, _as_decided(plan, clean))
    finish(store)
    return BuildResult(contract, entries, summary, clean, str(place), audit, _without(accepted))


def _read_again(
    engine: Engine,
    inputs: BuildInputs,
    by_name: dict[str, Source],
    raw: Path,
    clean: Path,
    recipe: Recipe,
    candidates: Sequence[Candidate],
    workers: int,
) -> Iterator[list[Entry]]:
    """As `acts.Judge`: pairs are read and judged by a recipe that lets more pass, and their sources in `by_name` are
    those of that reading, with tiles.
    """
    lenient = replace(BuildInputs.of(raw, recipe, inputs.build, judge=True), recipe=inputs.recipe)
    sources = read_sources(engine, lenient, candidates)
    by_name.update((source.candidate.name, source) for source in sources)
    yield [_verdict(source, lenient) for source in sources]


def _as_decided(plan: SplitPlan, clean: Path) -> SplitPlan:
    """The plan, leaving out the ground that people took out of the splits."""
    return replace(plan, without=excluded(read_acts(clean)))


def _without(accepted: Sequence[Accepted]) -> tuple[str, ...]:
    return tuple(one.source.candidate.name for one in accepted if not one.tiles)


def _clean_beside(recipe: Path, store: Path | str) -> Path:
    """The folder named like the store: beside it, or beside the recipe if the store is elsewhere."""
    if isinstance(store, Path):
        return store.with_suffix(".clean")
    return recipe.parent / Path(store.rstrip("/").rsplit("/", 1)[-1]).with_suffix(".clean")


def _name(entry: Entry) -> str:
    return entry.image or entry.mask or ""


def _recipe_of(clean: Path) -> Recipe:
    if not (clean / RECIPE_NAME).is_file():
        raise SourceError(clean, f"no {RECIPE_NAME} in it", "run `greenprep clean` first: it writes one")
    return load_recipe(clean / RECIPE_NAME)


def _existing(
    store: Location, recipe: Recipe, read: Path, *, append: bool, unassigned: bool, overwrite: bool
) -> ExistingStore | None:
    """The store to be added to, if any; raises StoreError where anything else would be written over."""
    if append:
        return open_existing(store, recipe.about_data(), deal_new=not unassigned)
    if unassigned:
        raise ConfigError("--unassigned", "no store grows", "give it with --append")
    check_store_location(store, read, overwrite=overwrite)
    if overwrite and not store.local:
        store.remove()
    return None


def _to_add(entries: Sequence[Entry], existing: ExistingStore | None) -> list[Entry]:
    """Entries whose sources belong in the store and are not in it.

    Raises SourceError where one that is in it has other pixels now, or is rejected now.
    """
    known = {} if existing is None else existing.paths
    new = []
    for entry in entries:
        rejected, before = entry.verdict is Verdict.REJECTED, known.get(_name(entry))
        if before is None and not rejected:
            new.append(entry)
        elif before is not None and (rejected or before != entry.checksum):
            found = f"is rejected now ({entry.reasons[0].code})" if rejected else "has other pixels now"
            raise SourceError(
                _name(entry), f"it is in the store already, and {found}", "build the store anew: --append only adds"
            )
    return new


def _unchanged(existing: ExistingStore, entries: tuple[Entry, ...], summary: Summary, clean: Path) -> BuildResult:
    """Of a store that nothing was to be added to."""
    where = existing.store.location
    build_location(Location.at(where)).remove()
    return BuildResult(existing.contract, entries, summary, clean, where)


def _verdict(source: Source, inputs: BuildInputs) -> Entry:
    """The verdict on one source: as it fell on the worker, from what its strips say together, or by its crash."""
    stamp = stamp_of(inputs.root, source.candidate).text
    if source.crashed:
        return crashed(source.candidate, stamp, inputs.limits)
    for part in source.parts:
        if part.entry is not None:
            return part.entry
    statistics = reduce(add, (part.statistics for part in source.parts if part.statistics is not None))
    return judge(source.parts[0].header, statistics, inputs.bands, inputs.rules, inputs.limits, stamp=stamp)
