"""A build that goes on where another was stopped: it trusts nothing that it has not verified."""

import hashlib
import os
import pickle

import pytest

from greenprep.build import run as run_module
from greenprep.build.ledger import Ledger, open_scratch
from greenprep.build.run import run, tile
from greenprep.clean.clean import clean
from greenprep.inspect.verify import verify
from greenprep.store.location import Location
from greenschemas.errors import StoreError
from support.raw import tree


class Stopped(Exception):
    """In the place of a kill."""


@pytest.fixture
def cleaned(collection):
    """A clean folder, and the store that an undisturbed build makes of it."""
    clean(collection.raw, collection.folder / "c", collection.plain, workers=1)
    tile(collection.folder / "c", collection.folder / "due.zarr", workers=0)
    return collection.folder


def stopped_before_the_end(monkeypatch, cleaned, **rules):
    """A build of s.zarr that is stopped when all shards are written."""

    def stop(*args):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "finish", stop)
        with pytest.raises(Stopped):
            tile(cleaned / "c", cleaned / "s.zarr", workers=0, **rules)
    return cleaned / "s.zarr.partial"


def spoil(path, how):
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        at = len(data) // 2
        path.write_bytes(
            {"cut": data[:at], "empty": b"", "flip": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]}[how]
        )


@pytest.mark.parametrize("how", ["cut", "empty", "flip", "gone"])
@pytest.mark.parametrize("what", ["spill", "ledger", "store/image/c", "store/valid/c"])
def test_what_was_spoilt_in_between_is_made_again(monkeypatch, cleaned, what, how):
    scratch = stopped_before_the_end(monkeypatch, cleaned)
    spoilt = sorted(path for path in (scratch / what).rglob("*") if path.is_file())
    for path in spoilt:
        spoil(path, how)
    assert spoilt
    tile(cleaned / "c", cleaned / "s.zarr", workers=0)
    assert tree(cleaned / "s.zarr") == tree(cleaned / "due.zarr")


@pytest.mark.parametrize("rules", [{"size": 16}, {"stride": 24}, {"edge": "drop"}])
def test_a_build_by_other_rules_in_between_leaves_no_trace(monkeypatch, cleaned, rules):
    stopped_before_the_end(monkeypatch, cleaned)
    stopped_before_the_end(monkeypatch, cleaned, **rules)
    tile(cleaned / "c", cleaned / "s.zarr", workers=0)
    assert tree(cleaned / "s.zarr") == tree(cleaned / "due.zarr")
    assert verify(str(cleaned / "s.zarr"), deep=True) == []


def test_what_is_sound_is_not_made_again(monkeypatch, cleaned):
    scratch = stopped_before_the_end(monkeypatch, cleaned)
    made = [path for name in ("spill", "ledger", "store/image", "store/valid") for path in (scratch / name).rglob("*0")]
    before = {path: path.stat().st_mtime_ns for path in made if path.is_file()}
    stopped_before_the_end(monkeypatch, cleaned)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_scratch_folder_that_another_user_could_write_is_refused(cleaned, tmp_path):
    """Its records are pickles: whoever writes there would run code as us."""

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    scratch = Location.at(tmp_path / "s.zarr.partial")
    (scratch.path / "ledger").mkdir(parents=True)
    data = pickle.dumps(Bomb())
    (scratch.path / "ledger/k.done").write_bytes(hashlib.sha256(data).digest() + data)
    scratch.path.chmod(0o777)
    with pytest.raises(StoreError, match="others may have written"):
        open_scratch(scratch)
    with pytest.raises(StoreError, match="others may have written"):
        tile(cleaned / "c", tmp_path / "s.zarr", workers=0)
    assert not (tmp_path / "ran").exists()


def test_a_record_that_is_cut_or_flipped_is_none(tmp_path):
    ledger = Ledger(Location.at(tmp_path / "ledger"))
    ledger.record("k", {"a": 1})
    whole = (tmp_path / "ledger/k.done").read_bytes()
    assert ledger.recall("k") == {"a": 1}
    for data in (b"", whole[:40], whole[:-1], whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]):
        (tmp_path / "ledger/k.done").write_bytes(data)
        assert ledger.recall("k") is None
    assert ledger.recall("other") is None


def test_a_run_that_is_stopped_and_goes_on_is_the_run_alone(monkeypatch, collection):
    run(collection.recipe("due"), workers=0)

    def stop(*args):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "finish", stop)
        with pytest.raises(Stopped):
            run(collection.recipe("s"), workers=0)
    run(collection.recipe("s"), workers=0)
    assert tree(collection.folder / "s.zarr") == tree(collection.folder / "due.zarr")
