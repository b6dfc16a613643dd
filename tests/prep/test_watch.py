"""`greenprep watch`: each file is answered once, whatever happens, and the store is as if built in one go.

Long, because each way in which a watcher is interrupted is tried against the same store.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenprep.acts import Act, add_act, read_acts
from greenprep.build.batches import read_record
from greenprep.build.run import grow, tile
from greenprep.checks.collection import judge_collection, judge_newcomers
from greenprep.clean.clean import clean
from greenprep.clean.worker import clean_batch
from greenprep.cli.watch import seconds
from greenprep.inspect.verify import verify
from greenprep.raw.pairs import ANSWERS, find_pairs
from greenprep.raw.stamps import stamp_of
from greenprep.split.assign import split
from greenprep.watch import wakes as wakes_module
from greenprep.watch import watcher as watcher_module
from greenprep.watch.inbox import Inbox, is_passing
from greenprep.watch.verdict_log import VerdictLog
from greenprep.watch.wakes import file_system, wakes
from greenprep.watch.watch import watch, watch_once
from greenprep.watch.watcher import Pace, Places
from greenschemas.bands import Role
from greenschemas.errors import ConfigError, SourceError
from greenschemas.lock import LockedError, folder_writer
from greenschemas.manifest import LOG_NAME, Verdict, read_manifest
from greenschemas.recipe import Pairing, SplitRules
from greenschemas.store import open_store
from support.inboxes import kill_while_pairs_come
from support.raw import Collection, scene, tree, write_pair

PACE = Pace(settle=0.0, every=0.0, batch=1)


class Watched:
    """An inbox, what a watcher makes of it, and what it tells."""

    def __init__(self, made: Collection) -> None:
        self.made, self.folder = made, made.folder
        self.places = Places(made.raw, made.folder / "clean", made.folder / "s.zarr")
        self.told: list[dict] = []
        made.raw.mkdir(exist_ok=True)

    def once(self, **options):
        """Judge, answer and grow; the sums."""
        self.told.clear()
        return watch_once(
            self.places, options.pop("recipe", self.made.plain), workers=1, tell=self.told.append,
            **{"pace": PACE} | options,
        )  # fmt: skip

    def add(self, *areas, times=(1,)):
        """Pairs come into the inbox."""
        for area in areas:
            for time in times:
                self.made.add(area, time)

    def events(self, kind):
        return [event for event in self.told if event["event"] == kind]

    def answer(self, area, time=1, *, mask=False):
        stem = f"T_2020_{area}_{time}_GeoTIFF"
        name = f"masks/T/T_masks/{stem}_fractional_mask.tif" if mask else f"images/T/{stem}.tif"
        name = f"masks/T_masks/{stem}_fractional_mask.tif" if mask else name
        path = self.made.raw / f"{name}.verdict.json"
        return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def watched(empty_collection, monkeypatch):
    """An empty inbox, watched by this process alone, without a page: the test that kills has workers and pages."""

    def judge(raw, out, recipe, todo, workers, scheduler=None):
        yield clean_batch(raw, out, recipe.bands, recipe.mask, recipe.limits, todo)

    monkeypatch.setattr(watcher_module, "judge_pairs", judge)
    monkeypatch.setattr(watcher_module, "grow", lambda *args, **options: grow(*args, workers=0))
    page = import_module("greenprep.clean.report")
    monkeypatch.setattr(page, "write_clean_report", lambda *args: None)  # It draws for half a second.
    return Watched(empty_collection)


def image_of(watched, area, time=1):
    return watched.made.raw / f"images/T/T_2020_{area}_{time}_GeoTIFF.tif"


def test_what_a_collection_s_bands_leave_unchecked_is_noted_as_by_clean(watched):
    plain = watched.made.plain
    bands = tuple(band.model_copy(update={"role": Role.DERIVED, "common": None}) for band in plain.bands[:4])
    recipe = plain.model_copy(update={"bands": (*bands, *plain.bands[4:])})
    watched.add(0, 1)
    summary = watched.once(recipe=recipe)
    assert summary.notes.keys() == {"no-reflectance"}
    assert summary == clean(watched.made.raw, watched.folder / "due", recipe, workers=1)[1]


def test_verdicts_are_those_of_clean_and_stand_beside_both_files(watched):
    watched.add(0, 1, 2, times=(1, 2))
    image_of(watched, 2).write_bytes(b"no picture")
    summary = watched.once()
    due, due_summary = clean(watched.made.raw, watched.folder / "due", watched.made.plain, workers=1)
    assert summary == due_summary and tuple(read_manifest(watched.places.clean)) == due
    kept = {name: data for name, data in tree(watched.places.clean).items() if name.startswith(("images", "masks"))}
    assert kept == {n: d for n, d in tree(watched.folder / "due").items() if n.startswith(("images", "masks"))}
    for entry in due:
        for name in (entry.image, entry.mask):
            answer = json.loads((watched.made.raw / f"{name}.verdict.json").read_text())
            assert answer["verdict"] == entry.verdict
            assert [reason["code"] for reason in answer["reasons"]] == [reason.code for reason in entry.reasons]
            text = (watched.made.raw / f"{name}.verdict.txt").read_text()
            assert entry.image.rpartition("/")[2] in text and all(reason.remedy in text for reason in entry.reasons)


def test_splits_are_kept_and_the_store_of_many_batches_is_that_of_one_go_byte_for_byte(watched):
    watched.add(*range(4))
    watched.once()
    before = splits_of(watched)
    watched.add(7, 1, times=(1, 2))  # One area is new, the other has a second time.
    watched.once()
    assert watched.events("batch")[0]["audit"] == "passed"
    watched.add(5, 6)
    watched.once()
    after = splits_of(watched)
    assert after.items() >= before.items() and len(after) == 7 and set(after.values()) == {0, 1}
    record = read_record(watched.places.clean)
    assert [len(batch.sources) for batch in record.batches] == [4, 3, 2]
    assert record.sources == open_store(watched.places.store).texts("path").tolist() != sorted(record.sources)
    tile(watched.places.clean, watched.folder / "anew.zarr", workers=0)
    assert tree(watched.folder / "anew.zarr") == tree(watched.places.store)
    assert verify(str(watched.places.store), deep=True) == []


def splits_of(watched):
    store = open_store(watched.places.store)
    return dict(zip(store.texts("group_name").tolist(), store.splits().tolist(), strict=True))


def test_a_store_that_was_split_again_by_hand_is_followed(watched):
    watched.add(*range(4))
    watched.once()
    split(watched.places.store, val=0.5, seed=3)
    watched.add(4, 5)
    watched.once()
    assert open_store(watched.places.store).contract.split.recipe["val"] == 0.5
    tile(watched.places.clean, watched.folder / "anew.zarr", workers=0)
    assert tree(watched.folder / "anew.zarr") == tree(watched.places.store)


def test_a_record_that_was_cut_off_or_lags_behind_is_filled_up_from_the_store(watched):
    watched.add(*range(4))
    watched.once()
    path = watched.places.clean / "batches.jsonl"
    first = path.read_bytes()
    watched.add(4)
    watched.once()
    second = path.read_bytes()
    for rest in (b"", second[len(first) : len(first) + 9]):
        path.write_bytes(first + rest)
        assert len(read_record(watched.places.clean).batches) == 1
        read_record(watched.places.clean).follow(open_store(watched.places.store))
        assert path.read_bytes() == second
    path.write_bytes(b"no record\n")
    with pytest.raises(SourceError, match="not the record of a store's batches"):
        read_record(watched.places.clean)


def test_a_half_waits_and_is_told_so_then_judged(watched):
    watched.add(0, 1, 2)
    mask = next(watched.made.raw.glob("masks/**/T_2020_1_1_*.tif"))
    mask.rename(watched.folder / "mask.tif")
    watched.once(pace=replace(PACE, patience=1e9))
    assert watched.answer(1) is None and watched.answer(0)["verdict"] == "accepted"
    hasty = replace(PACE, patience=0.0)
    watched.once(pace=hasty)
    assert watched.answer(1) == watched.answer(1) | {"verdict": "waiting", "lacks": "mask"}
    assert [event["image"] for event in watched.events("waiting")] == ["images/T/T_2020_1_1_GeoTIFF.tif"]
    watched.once(pace=hasty)
    assert not watched.told  # It is told once.
    (watched.folder / "mask.tif").rename(mask)
    watched.once()
    assert watched.answer(1)["verdict"] == "accepted" and len(list(read_manifest(watched.places.clean))) == 3


def test_a_replaced_file_is_judged_again_and_said_so_and_the_store_keeps_what_it_has(watched):
    watched.add(0, 1, 2)
    watched.once()
    before = tree(watched.places.store)
    image_of(watched, 1).unlink()
    image_of(watched, 1).write_bytes(b"no picture")
    watched.once()
    assert [event["again"] for event in watched.events("verdict")] == [True]
    answer = watched.answer(1)
    assert answer["verdict"] == "rejected" and answer["again"] is True
    assert "The store keeps what it holds" in (image_of(watched, 1).with_suffix(".tif.verdict.txt")).read_text()
    assert not (watched.places.clean / "images/T/T_2020_1_1_GeoTIFF.tif").exists()
    assert tree(watched.places.store) == before
    watched.once()
    assert not watched.told


def test_of_equal_files_the_one_that_came_first_stays(watched):
    watched.add(3, 4)
    watched.once()
    for path in sorted(watched.made.raw.rglob("T_2020_3_1_*.tif")):
        shutil.copyfile(path, path.with_name(path.name.replace("_3_1_", "_0_1_")))
    watched.once()
    assert watched.answer(0)["verdict"] == "rejected" and watched.answer(0)["reasons"][0]["code"] == "duplicate-content"
    assert watched.answer(3)["verdict"] == "accepted"


def test_newcomers_to_an_empty_collection_are_judged_as_a_collection(watched):
    watched.add(*range(3), times=(1, 2))
    recipe = watched.made.plain
    entries, _ = clean(watched.made.raw, watched.folder / "c", recipe, workers=1, dry_run=True)
    assert judge_newcomers([], entries, recipe.bands, recipe.mask, recipe.limits) == judge_collection(
        entries, recipe.bands, recipe.mask, recipe.limits
    )


def test_too_little_ground_for_a_split_waits_for_more(watched):
    watched.add(0)
    with pytest.raises(ConfigError, match="1 units of ground for 2 splits"):
        watched.once()
    assert watched.answer(0)["verdict"] == "accepted" and not watched.places.store.exists()
    watched.add(1)
    watched.once()
    assert open_store(watched.places.store).contract.sources == 2


@pytest.mark.parametrize("moment", ["before the log", "before the answers", "before the store", "before the record"])
def test_stopped_at_any_moment_it_goes_on(watched, monkeypatch, moment):
    watched.add(*range(4))
    where = {
        "before the log": ("greenprep.watch.verdict_log.VerdictLog.append", 1),
        "before the answers": (
            "greenprep.watch.answers.Answers.give",
            2,
        ),  # The first call gives those of before: none.
        "before the store": ("greenprep.build.run.finish", 1),
        "before the record": ("greenprep.build.batches.write_whole", 1),
    }
    path, at = where[moment]
    calls = []

    def stop(real: Callable) -> Callable:
        def stopped(*args, **kwargs):
            calls.append(1)
            if len(calls) == at:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return stopped

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        module, _, name = path.rpartition(".")
        patch.setattr(path, stop(_named(module, name)))
        watched.once()
    watched.once()
    assert all(watched.answer(area)["again"] is False for area in range(4))
    assert len((watched.places.clean / LOG_NAME).read_text().splitlines()) == 4
    assert [len(batch.sources) for batch in read_record(watched.places.clean).batches] == [4]
    tile(watched.places.clean, watched.folder / "anew.zarr", workers=0)
    assert tree(watched.folder / "anew.zarr") == tree(watched.places.store)


def _named(module: str, name: str):
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError:
        outer, _, inner = module.rpartition(".")
        return getattr(getattr(import_module(outer), inner), name)


@given(cut=st.integers(0, 400))
@settings(max_examples=20, deadline=None)
def test_a_log_that_was_cut_anywhere_keeps_its_whole_lines(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("log")
    row = {"image": "a.tif", "mask": None, "reasons": [], "stamp": "v1", "verdict": "rejected"}
    lines = [json.dumps({"at": "2026-11-27T12:00:00Z", **row, "image": f"{i}.tif"}) + "\n" for i in range(5)]
    (folder / LOG_NAME).write_text("".join(lines)[:cut])
    known = VerdictLog(folder).known
    assert (folder / LOG_NAME).read_text() == "".join(lines[: len(known)])
    assert len(known) == len("".join(lines)[:cut].split("\n")) - 1


def test_a_full_disk_leaves_no_half_line_in_the_log(watched, monkeypatch):
    watched.add(0, 1)
    watched.once()
    log = VerdictLog(watched.places.clean)
    before = (watched.places.clean / LOG_NAME).read_bytes()
    entries = list(read_manifest(watched.places.clean))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        log.append(entries)
    assert (watched.places.clean / LOG_NAME).read_bytes() == before


def test_it_waits_for_room_and_goes_on(watched, monkeypatch):
    watched.add(0, 1)
    stop, tries = threading.Event(), []
    real = VerdictLog.append

    def append(self, entries):
        tries.append(1)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, entries)

    def tell(event):
        watched.told.append(event)
        if event["event"] == "batch":
            stop.set()

    monkeypatch.setattr(VerdictLog, "append", append)
    monkeypatch.setattr("greenprep.watch.watch._RETRY", 0.01)
    watch(watched.places, watched.made.plain, pace=PACE, workers=1, poll=True, stop=stop, tell=tell)
    assert [event["event"] for event in watched.told] == ["problem", "verdict", "verdict", "batch"]
    assert "No space left" in watched.told[0]["message"] and len(list(read_manifest(watched.places.clean))) == 2


def test_a_store_that_somebody_else_writes_is_waited_for(watched, monkeypatch):
    watched.add(0, 1)
    stop = threading.Event()

    def tell(event):
        watched.told.append(event)
        if event["event"] == "problem":
            stop.set()

    from greenschemas.lock import only_writer

    with only_writer(watched.places.store, "somebody"):
        watch(watched.places, watched.made.plain, pace=PACE, workers=1, poll=True, stop=stop, tell=tell)
    assert "`somebody`" in watched.told[-1]["message"] and "The pairs wait" in watched.told[-1]["message"]
    watched.once()
    assert open_store(watched.places.store).contract.sources == 2


@pytest.mark.skipif(os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere: patched")
def test_a_read_only_inbox_is_answered_in_the_clean_folder(watched, monkeypatch, capsys):
    from greenprep.watch import answers

    real = answers._put

    def put(path: Path, data: str) -> None:
        if watched.made.raw in path.parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        real(path, data)

    monkeypatch.setattr(answers, "_put", put)
    watched.add(0, 1)
    watched.once()
    assert not list(watched.made.raw.rglob("*.verdict.*"))
    answers_below = sorted((watched.places.clean / "answers").rglob("*.verdict.json"))
    assert len(answers_below) == 4 and json.loads(answers_below[0].read_text())["verdict"] == "accepted"
    assert "may not be written: answers go to" in capsys.readouterr().err
    watched.once()
    assert not watched.told


SITES = Pairing(images="{site}.tif", masks="{site}_m.tif", group="{site}")
LOOSE = Pairing(
    images="**/*.tif",
    masks="m/**/*.tif",
    image_name=r"(?P<stem>.+)\.tif",
    mask_name=r"(?P<stem>.+)_m\.tif",
    group="{stem}",
    time="{stem}",
)
CROSSED = Pairing(images="{site}_m.tif", masks="{site}.tif", group="{site}")
NAMES = [
    "a.tif",
    "a (1).tif",
    "a_m.tif",
    "a_m (1).tif",
    "a (1)_m.tif",
    "b.tif",
    "b/a.tif",
    "b/a_m.tif",
    "a.tif.ovr",
    "c",
]
INSIDE = [*NAMES, *(f"m/{name}" for name in NAMES)]


@given(
    moves=st.lists(st.sets(st.sampled_from(INSIDE), max_size=4), max_size=8),
    pairing=st.sampled_from([SITES, LOOSE, CROSSED]),
)
@settings(max_examples=60, deadline=None)
def test_what_changes_is_paired_with_its_kin_as_among_all(tmp_path_factory, moves, pairing):
    root = tmp_path_factory.mktemp("inbox")
    inbox, known = Inbox(root, pairing, 0.0), {}
    for names in moves:
        for name in names:  # It comes, or it goes.
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink() if path.exists() else path.write_bytes(b"x")
        inbox.look()
        inbox.settled()
        for candidate, _ in inbox.candidates():
            for name in (candidate.image, candidate.mask):
                known.pop(name, None)
            known[candidate.name] = replace(candidate, sidecars=())
        known = {name: one for name, one in known.items() if (root / name).exists()}
        assert known == {one.name: replace(one, sidecars=()) for one in find_pairs(root, pairing)}


def test_a_file_is_nobodys_while_it_grows(tmp_path):
    now = [0.0]
    inbox = Inbox(tmp_path, SITES, 2.0, lambda: now[0])
    (tmp_path / "a_m.tif").write_bytes(b"m")
    (tmp_path / "a.tif").write_bytes(b"1")
    inbox.look()
    now[0] = 1.9
    assert not inbox.settled() and not list(inbox.candidates())
    (tmp_path / "a.tif").write_bytes(b"12")
    now[0] = 2.1
    assert inbox.settled() and not list(inbox.candidates())  # The mask has settled; the image is another now.
    now[0] = 4.2
    assert inbox.settled()
    ((candidate, stamp),) = inbox.candidates()
    assert (candidate.image, candidate.mask) == ("a.tif", "a_m.tif") and stamp.startswith("v1 2:")
    (tmp_path / "a.tif").unlink()
    inbox.look_at(["a.tif"])
    assert [candidate.mask for candidate, _ in inbox.candidates()] == ["a_m.tif"]


def test_what_is_as_it_was_judged_is_left_alone_at_the_start(tmp_path):
    for name in ("a.tif", "a_m.tif", "b.tif", "b_m.tif"):
        (tmp_path / name).write_bytes(b"1")
    stamps = {
        one.image: hash(stamp_of(tmp_path, one).text if one.image == "a.tif" else "v1 9:9 9:9")
        for one in find_pairs(tmp_path, SITES)
    }
    inbox = Inbox(tmp_path, SITES, 0.0)
    inbox.look()
    inbox.rest(((image, image.replace(".tif", "_m.tif")), stamp) for image, stamp in stamps.items())
    assert inbox.settled() and [one.image for one, _ in inbox.candidates()] == ["b.tif"]
    (tmp_path / "a_m.tif").unlink()
    inbox.look()
    assert [(one.image, one.mask) for one, _ in inbox.candidates()] == [("a.tif", None)]


def test_a_folder_that_is_moved_in_is_looked_into(tmp_path):
    inbox = Inbox(tmp_path / "in", SITES, 0.0)
    (tmp_path / "in").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a.tif").write_bytes(b"1")
    inbox.look()
    (tmp_path / "new").rename(tmp_path / "in/new")
    inbox.look_at(["new"])
    assert inbox.restless and inbox.settled() and not inbox.restless


@pytest.mark.parametrize(
    "name", [".a.tif.Xy12", "a.tif.part", "b/.tmp/a.tif", "a.tif~", *(f"a{end}" for end in ANSWERS)]
)
def test_what_is_on_its_way_is_none_of_ours(name):
    assert is_passing(name) and not is_passing("b/a.tif")


def test_the_system_tells_of_a_new_file_sooner_than_a_look_at_all_would(tmp_path):
    pytest.importorskip("watchfiles")
    stop = threading.Event()
    heard = wakes(tmp_path, poll=False, stop=stop, cost=lambda: 0.0)
    assert next(heard) is None
    (tmp_path / "a.tif").write_bytes(b"1")
    assert next(names for names in heard if names) == {"a.tif"}
    stop.set()
    assert list(heard) == []


def test_network_shares_are_looked_through(tmp_path, monkeypatch, capsys):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n/dev/b {tmp_path}/far ext4 rw 0 0\n")
    assert file_system(tmp_path / "in", mounts) == "nfs4" and file_system(tmp_path / "far", mounts) == "ext4"
    assert file_system(Path("/"), mounts) == "ext4" and file_system(tmp_path, tmp_path / "none") == ""
    monkeypatch.setattr(wakes_module, "file_system", lambda root: "nfs4")
    monkeypatch.setattr(wakes_module, "_TICK", 0.01)
    stop = threading.Event()
    looks = wakes(tmp_path, poll=False, stop=stop, cost=lambda: 0.0)
    assert [next(looks) for _ in range(3)] == [None] * 3
    assert "other machines may write unheard" in capsys.readouterr().err


def test_one_watcher_one_recipe_and_no_clean_in_between(watched):
    watched.add(0, 1)
    watched.once()
    with folder_writer(watched.places.clean, "another"), pytest.raises(LockedError, match="another"):
        watched.once()
    other = watched.made.plain.model_copy(update={"split": SplitRules(val=0.0)})
    with pytest.raises(ConfigError, match="judged by another recipe"):
        watched.once(recipe=other)
    blocks = watched.made.plain.model_copy(update={"split": SplitRules(by="blocks")})
    with pytest.raises(ConfigError, match="such a store cannot grow"):
        watched.once(recipe=blocks)
    (watched.places.clean / "manifest.part").write_text("")
    with pytest.raises(ConfigError, match="`greenprep clean` was stopped there"):
        watched.once(recipe=None)


@pytest.mark.parametrize("which", ["inbox", "clean", "store"])
def test_a_url_is_no_folder(watched, which):
    watched.places = replace(watched.places, **{which: Path("s3://bucket/some/where")})
    with pytest.raises(ConfigError, match="s3://bucket/some/where: is a URL, and a folder of this machine is due"):
        watched.once()


def test_after_a_clean_of_the_same_folders_it_begins_with_the_manifest(watched):
    watched.add(0, 1)
    watched.once()
    watched.add(2)
    clean(watched.made.raw, watched.places.clean, watched.made.plain, workers=1)
    assert not (watched.places.clean / LOG_NAME).exists()
    watched.once()
    assert not watched.events("verdict") and open_store(watched.places.store).contract.sources == 3
    assert watched.answer(2)["verdict"] == "accepted"


def test_a_half_that_clean_rejected_is_forgotten_when_its_partner_comes(watched):
    watched.add(0, 1)
    mask = next(watched.made.raw.glob("masks/**/T_2020_1_1_*.tif"))
    mask.rename(watched.folder / "mask.tif")
    clean(watched.made.raw, watched.places.clean, watched.made.plain, workers=1)
    (watched.folder / "mask.tif").rename(mask)
    summary = watched.once()
    assert (summary.found, summary.accepted) == (2, 2) and watched.answer(1)["verdict"] == "accepted"


@pytest.mark.parametrize(("text", "due"), [("90", 90), ("1.5s", 1.5), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_times_are_read(text, due):
    assert seconds("--every", text) == due


@pytest.mark.skipif(not hasattr(os, "nice"), reason="this system knows no such thing")
def test_the_command_gives_way_to_other_programs_and_so_do_its_workers():
    code = (
        "import os, subprocess; from greenprep.cli.watch import _step_back;"
        "from greenprep.engine.pool import run_batches;"
        "before = os.nice(0); _step_back(); _step_back();"
        "of_worker, = run_batches(subprocess.check_output, ['nice'], workers=1, batch=1, dead=int, preload='os');"
        "print(before, os.nice(0), bytes(of_worker).decode())"
    )
    before, own, worker = map(int, subprocess.check_output([sys.executable, "-c", code]).split())
    assert own == worker == max(10, before)


def test_no_time_is_named():
    with pytest.raises(ConfigError, match="--every: `soon` is no time"):
        seconds("--every", "soon")


def test_killed_three_times_while_pairs_come_it_answers_each_file_once(tmp_path):
    counts = kill_while_pairs_come(tmp_path, 40, 3, seconds=3, batch=10)
    assert counts["verdicts"] == {"accepted": 38, "rejected": 2}


def overrule(watched, area, verdict, *, stamp=None):
    known = {entry.image: entry for entry in read_manifest(watched.places.clean)}
    entry = known[f"images/T/T_2020_{area}_1_GeoTIFF.tif"]
    said = {"by": "Ann", "at": "2026-11-27T12:00:00Z", "reason": "seen on the ground"}
    what = {"image": entry.image, "mask": entry.mask, "stamp": stamp or entry.stamp}
    add_act(watched.places.clean, Act(act="overrule", verdict=verdict, **what, **said))


def test_a_verdict_that_was_overruled_stands_in_the_manifest_and_clean_and_tile_honour_it(watched):
    watched.add(0, 1, 2)
    spoil(watched, 1)
    watched.once()
    assert watched.answer(1)["verdict"] == "rejected"
    overrule(watched, 1, "accepted")
    overrule(watched, 2, "rejected")
    watched.once()
    verdicts = [entry.verdict for entry in read_manifest(watched.places.clean)]
    assert verdicts == [Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.REJECTED]
    assert watched.answer(1)["verdict"] == "accepted" and watched.answer(2)["verdict"] == "rejected"
    marks = [reason["found"] for reason in watched.answer(1)["reasons"] if reason["code"] == "by-hand"]
    assert marks == ["accepted by Ann at 2026-11-27T12:00:00Z: seen on the ground"]
    assert "images/T/T_2020_1_1_GeoTIFF.tif" in open_store(watched.places.store).texts("path").tolist()
    watched.once()
    assert not watched.told
    manifest = list(read_manifest(watched.places.clean))
    for options in ({}, {"verify": True}):
        assert (
            list(clean(watched.made.raw, watched.places.clean, watched.made.plain, workers=1, **options)[0]) == manifest
        )


def spoil(watched, area):
    """An image that is the same everywhere: rejected, and yet it has pixels."""
    image, fraction = scene(area, 40, 45)
    image[:4] = 700
    write_pair(watched.made.raw, area, 1, image, fraction)


def test_what_cannot_be_used_cannot_be_accepted_by_hand_and_other_files_are_judged_anew(watched):
    watched.add(0, 1, 2)
    image_of(watched, 1).write_bytes(b"no picture")
    watched.once()
    overrule(watched, 1, "accepted")
    overrule(watched, 2, "rejected", stamp="v1 1:1 2:2")
    watched.once()
    assert [event["event"] for event in watched.told] == ["problem"]
    assert "there are no pixels to use" in watched.told[0]["message"] and watched.answer(2)["verdict"] == "accepted"


def test_ground_that_is_excluded_is_in_no_split_from_then_on(watched):
    watched.add(*range(5))
    watched.once()
    act = Act(act="exclude", image="images/T/T_2020_1_1_GeoTIFF.tif", tile=3, group="T_2020_1", by="Ann", at="now",
              reason="a cloud")  # fmt: skip
    add_act(watched.places.clean, act)
    watched.once()
    assert watched.events("excluded") == [{"event": "excluded", "groups": ["T_2020_1"]}]
    watched.add(6)
    watched.add(1, times=(2,))
    watched.once()
    splits = splits_of(watched)
    assert splits.pop("T_2020_1") == 255 and set(splits.values()) == {0, 1}
    tile(watched.places.clean, watched.folder / "anew.zarr", workers=0)
    assert tree(watched.folder / "anew.zarr") == tree(watched.places.store)


def test_half_a_decision_is_none(watched):
    watched.places.clean.mkdir()
    act = Act(act="exclude", image="a.tif", group="a", by="Ann", at="now", reason="x")
    for _ in range(2):
        add_act(watched.places.clean, act)
        with (watched.places.clean / "acts.jsonl").open("ab") as file:
            file.write(b'{"act": "excl')
    assert read_acts(watched.places.clean) == [act, act]
