"""`greenprep watch s3://…`: what lies in a bucket is answered there, and the store is that of a local inbox."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import fsspec
import pytest

from greenprep.build.run import grow
from greenprep.clean.worker import clean_batch
from greenprep.raw.pairs import ANSWERS
from greenprep.serve.uploads import bring_in
from greenprep.watch import remote as remote_module
from greenprep.watch import watcher as watcher_module
from greenprep.watch.remote import Bucket, is_spool, refusal
from greenprep.watch.watch import watch, watch_once
from greenprep.watch.watcher import Pace, Places
from greenschemas.errors import ConfigError, SourceError
from greenschemas.store import open_store
from support.raw import Collection, tree

PACE = Pace(settle=0.0, every=0.0, batch=1)
NAMES = ("images/T/T_2020_{}_1_GeoTIFF.tif", "masks/T_masks/T_2020_{}_1_GeoTIFF_fractional_mask.tif")


@pytest.fixture(scope="module")
def server():
    """moto's S3, its address in the environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    there = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (there | {"ENDPOINT_URL": f"http://{host}:{port}"}).items():
            patch.setenv(f"AWS_{key}", value)
        yield server
    server.stop()


class Watched:
    """A bucket's folder, what a watcher makes of it, and what it tells."""

    def __init__(self, made: Collection) -> None:
        self.made, self.told = made, []
        self.files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        self.root = f"bucket/{made.folder.name}"
        self.files.makedirs("bucket", exist_ok=True)
        self.clean = made.folder / "clean"
        self.places = Places(self.clean.with_name("clean.inbox"), self.clean, made.folder / "s.zarr")

    def bucket(self):
        return Bucket(f"s3://{self.root}", self.clean)

    def once(self, bucket=None):
        self.told.clear()
        bucket = bucket or self.bucket()
        return watch_once(
            self.places, self.made.plain, workers=1, tell=self.told.append, pace=PACE, bucket=bucket
        )  # fmt: skip

    def add(self, *areas):
        """Pairs come into the bucket."""
        for area in areas:
            self.made.add(area, 1)
            for name in NAMES:
                self.put(name.format(area), (self.made.raw / name.format(area)).read_bytes())

    def put(self, name, data):
        self.files.pipe_file(f"{self.root}/{name}", data)

    def there(self):
        """Names in the bucket."""
        return {name.removeprefix(f"{self.root}/") for name in self.files.find(self.root)}

    def answer(self, area, which=0):
        name = f"{self.root}/{NAMES[which].format(area)}.verdict.json"
        return json.loads(self.files.cat_file(name)) if self.files.exists(name) else None

    def events(self, kind):
        return [event for event in self.told if event["event"] == kind]


@pytest.fixture
def in_process(monkeypatch):
    """Judged and built by this process alone, without a page."""

    def judge(raw, out, recipe, todo, workers, scheduler=None):
        yield clean_batch(raw, out, recipe.bands, recipe.mask, recipe.limits, todo)

    monkeypatch.setattr(watcher_module, "judge_pairs", judge)
    monkeypatch.setattr(watcher_module, "grow", lambda *args, **options: grow(*args, workers=0))
    monkeypatch.setattr(import_module("greenprep.clean.report"), "write_clean_report", lambda *args: None)


@pytest.fixture
def watched(server, empty_collection, in_process):
    return Watched(empty_collection)


def test_a_bucket_is_answered_beside_its_objects_and_its_store_is_that_of_a_local_inbox(watched):
    watched.add(0, 1, 2)
    watched.put(NAMES[0].format(2), b"no picture")
    (watched.made.raw / NAMES[0].format(2)).write_bytes(b"no picture")
    watched.put("notes/read.pdf", b"none of ours")
    before = watched.there()
    summary = watched.once()
    assert (summary.accepted, summary.rejected) == (2, 1)
    for which in (0, 1):
        assert [watched.answer(area, which)["verdict"] for area in range(3)] == ["accepted", "accepted", "rejected"]
    objects = {name.format(area) for name in NAMES for area in range(3)}
    assert watched.there() == before | {f"{name}{ending}" for name in objects for ending in ANSWERS}
    assert not (watched.places.inbox / "notes").exists()
    local = Places(watched.made.raw, watched.made.folder / "local", watched.made.folder / "local.zarr")
    watch_once(local, watched.made.plain, workers=1, tell=watched.told.append, pace=PACE)
    assert tree(watched.places.store) == tree(local.store)
    watched.once()  # Answers are no inputs, and nothing is judged twice.
    assert not watched.told and len(watched.there()) == len(before) + 12


def test_a_changed_object_is_judged_anew_and_one_that_has_gone_leaves_the_copy(watched):
    watched.add(0, 1, 2)
    watched.put(NAMES[0].format(1), b"no picture")
    watched.once()
    assert watched.answer(1)["verdict"] == "rejected"
    watched.put(NAMES[0].format(1), b"no PICTURE")  # As long, within the same second.
    watched.once()
    assert [event["image"] for event in watched.events("verdict")] == [NAMES[0].format(1)]
    watched.put(NAMES[0].format(1), (watched.made.raw / NAMES[0].format(1)).read_bytes())
    watched.files.rm(f"{watched.root}/{NAMES[0].format(0)}")
    watched.once()
    assert watched.answer(1)["verdict"] == "accepted" and watched.answer(1)["again"]
    assert not (watched.places.inbox / NAMES[0].format(0)).exists()
    assert open_store(watched.places.store).contract.sources == 3


def test_killed_between_an_answer_and_its_upload_it_goes_on(watched, monkeypatch):
    watched.add(0, 1)

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Bucket, "give", killed)
        watched.once()
    copy = watched.places.inbox / NAMES[0].format(0)
    draft = copy.with_name(f".{copy.name}.0-1-2.tmp")
    draft.write_bytes(b"half of an obj")
    read = []
    pieces = Bucket._pieces
    monkeypatch.setattr(Bucket, "_pieces", lambda self, name: read.append(name) or pieces(self, name))
    assert watched.answer(0) is None
    watched.once()
    assert watched.answer(0)["verdict"] == watched.answer(1, 1)["verdict"] == "accepted"
    assert not watched.events("verdict") and not read and not draft.exists()  # Judged and fetched but once.
    assert open_store(watched.places.store).contract.sources == 2


def test_an_answer_that_was_taken_away_comes_back_unless_its_object_went_too(watched):
    watched.add(0, 1)
    watched.once()
    for name in (NAMES[0].format(0), NAMES[1].format(0)):
        watched.files.rm(f"{watched.root}/{name}.verdict.json")
    watched.files.rm(f"{watched.root}/{NAMES[1].format(0)}")
    watched.once()
    assert watched.answer(0, 0)["verdict"] == "accepted" and watched.answer(0, 1) is None


def test_a_waiting_half_is_told_in_the_bucket(watched):
    watched.add(0)
    watched.files.rm(f"{watched.root}/{NAMES[1].format(0)}")
    watch_once(
        watched.places, watched.made.plain, workers=1, tell=watched.told.append, bucket=watched.bucket(),
        pace=replace(PACE, patience=0.0),
    )  # fmt: skip
    assert watched.answer(0) == {"verdict": "waiting", "image": NAMES[0].format(0), "mask": None, "lacks": "mask"}


HOSTILE = {
    "images/../../../out.tif": "`..`",
    "../out.tif": "`..`",
    "images/T//x.tif": "empty",
    "images/T/a\\b.tif": "backslash",
    f"images/T/{'n' * 201}.tif": "longer than 200 bytes",
    "images/T/x.tif": "other objects lie below it",
}


def test_hostile_keys_are_told_and_left(watched):
    watched.add(0, 1)
    outside = {path for path in watched.made.folder.parent.rglob("*") if "clean" not in str(path)}
    for name in (*HOSTILE, "images/T/x.tif/y.tif", ".hidden/x.tif", "images/T/late.tif.part"):
        watched.put(name, b"II*")
    summary = watched.once()
    said = {event["message"] for event in watched.events("problem")}
    assert len(said) == len(HOSTILE)
    for name, why in HOSTILE.items():
        assert any(f"{watched.root}/{name}: is no name for a file here: " in one and why in one for one in said), name
    assert summary.accepted == 2 and summary.rejected == 1  # What lies below x.tif is a stray.
    now = {path for path in watched.made.folder.parent.rglob("*") if "clean" not in str(path)}
    assert {path.name for path in now - outside if "s.zarr" not in str(path)} <= {"s.zarr"}
    copies = {name for name in tree(watched.places.inbox) if name.endswith(".tif")}
    assert copies == {name.format(area) for name in NAMES for area in (0, 1)} | {"images/T/x.tif/y.tif"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a/b.tif", None),
        ("ä b/ü (1).tif", None),
        ("/etc/x.tif", "empty"),
        ("a/./b.tif", "empty"),
        ("a/b\x1b[2J.tif", "control"),
        ("a/b\n.tif", "control"),
        ("/".join(["d" * 100] * 10) + ".tif", "1000 with its folders"),
        ("ü" * 99 + ".tif", "longer"),
    ],
)
def test_a_name_that_is_none_here_is_refused(name, why):
    found = refusal(name, set())
    assert found is None if why is None else why in found


def test_an_object_that_may_not_be_read_is_told_and_left_and_one_that_vanishes_is_nothing(watched, monkeypatch):
    watched.add(0, 1, 2, 3)
    bucket = watched.bucket()
    opened = bucket._files.open

    def closed(path, *args, **options):
        if path.endswith(NAMES[0].format(1)):
            raise PermissionError("Access Denied")
        if path.endswith(NAMES[0].format(2)):
            raise FileNotFoundError(path)
        return opened(path, *args, **options)

    monkeypatch.setattr(bucket._files, "open", closed)
    summary = watched.once(bucket)
    assert summary.accepted == 2
    (told,) = watched.events("problem")
    assert "may not be read (Access Denied)" in told["message"] and NAMES[0].format(1) in told["message"]
    monkeypatch.undo()


def test_a_bucket_that_is_not_there_is_told_with_a_remedy(server, tmp_path, empty_collection):
    recipe = empty_collection.recipe()
    words = ("--clean", tmp_path / "clean", "--store", tmp_path / "s.zarr", "--recipe", recipe)
    call = ("-c", "from greenprep.cli import main; main()", "watch", "s3://no-such-bucket/inbox", *words)
    done = subprocess.run([sys.executable, *map(str, call)], capture_output=True, text=True, timeout=60)
    said = done.stderr
    assert done.returncode == 2, said
    assert "s3://no-such-bucket/inbox: does not answer as it should (The specified bucket does not exist)" in said
    assert "AWS_ENDPOINT_URL" in said and "Traceback" not in said
    with pytest.raises(ConfigError, match="nosuch://bucket/inbox: fsspec cannot open it"):
        Bucket("nosuch://bucket/inbox", tmp_path / "other")


def test_answers_that_the_bucket_does_not_take_are_given_when_it_does(watched, monkeypatch):
    watched.add(0, 1)
    bucket = watched.bucket()

    def closed(path, data):
        raise PermissionError("Access Denied")

    with monkeypatch.context() as patch, pytest.raises(SourceError, match=r"as it should .Access Denied.\. See to its"):
        patch.setattr(bucket._files, "pipe_file", closed)
        watched.once(bucket)
    assert watched.answer(0) is None
    watched.once(bucket)
    assert watched.answer(0)["verdict"] == "accepted" and not watched.events("verdict")


def test_a_bucket_that_does_not_answer_for_a_while_is_told_once_and_asked_again(watched, monkeypatch):
    watched.add(0, 1)
    monkeypatch.setattr(remote_module, "_EVERY", 0.05)
    monkeypatch.setattr(remote_module, "_TICK", 0.01)
    from botocore.exceptions import EndpointConnectionError

    bucket, stop, asked = watched.bucket(), threading.Event(), []
    find = bucket._files.find

    def found(*args, **options):
        asked.append(1)
        if 2 <= len(asked) <= 4:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
        return find(*args, **options)

    def tell(event):
        watched.told.append(event)
        if event["event"] == "batch":
            stop.set()

    monkeypatch.setattr(bucket._files, "find", found)
    late = threading.Timer(60, stop.set)
    late.start()
    watch(watched.places, watched.made.plain, pace=PACE, workers=1, bucket=bucket, stop=stop, tell=tell)
    late.cancel()
    (told,) = watched.events("problem")
    assert "does not answer as it should (Could not connect to the endpoint URL" in told["message"]
    assert "Tried again" in told["message"]
    assert watched.events("batch") and watched.answer(0)["verdict"] == "accepted"
    monkeypatch.undo()


def test_a_copy_is_of_one_bucket_and_no_other_folder_is_taken_for_one(tmp_path):
    clean = tmp_path / "clean"
    Bucket("memory://mistyped", clean)  # Nothing was copied yet.
    spool = Bucket("memory://a/inbox", clean).spool
    assert spool == tmp_path / "clean.inbox" and is_spool(spool)
    (spool / "x.tif").write_bytes(b"a copy")
    Bucket("memory://a/inbox/", clean)
    with pytest.raises(ConfigError, match="is a copy of memory://a/inbox, not of memory://b"):
        Bucket("memory://b", clean)
    (tmp_path / "mine.inbox").mkdir()
    (tmp_path / "mine.inbox/x.tif").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="is a copy of no bucket, not of memory://b"):
        Bucket("memory://b", tmp_path / "mine")
    with pytest.raises(ConfigError, match="is a URL, and a folder of this machine is due"):
        Bucket("memory://b", Path("s3://bucket/clean"))
    with open(os.devnull, "rb") as data, pytest.raises(SourceError, match="this inbox is the copy of a bucket"):
        bring_in(spool, "x.tif", data)
