"""Ctrl-C ends a command by one sentence, and the same command goes on."""

import multiprocessing
import signal
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from greenprep.build.run import run, tile
from greenprep.clean.clean import clean
from greenprep.engine import dask_engine
from greenschemas.interrupt import deaf_children, held
from support.interrupt import STOPPED, interrupted


def test_tile_stopped_while_its_workers_start_says_so_and_goes_on(collection):
    clean(collection.raw, collection.folder / "c", collection.plain, workers=1)
    store = collection.folder / "s.zarr"
    words = ("tile", collection.folder / "c", store, "--workers", 1)
    scratch = collection.folder / "s.zarr.partial"
    assert interrupted("greenprep", *words, when=scratch.exists) == (130, STOPPED)
    assert not store.exists() and tile(collection.folder / "c", store, workers=0).contract.tiles


def test_run_stopped_at_work_says_so_and_goes_on(collection):
    recipe = collection.recipe()
    ledger = collection.folder / "store.zarr.partial" / "ledger"
    found = interrupted("greenprep", "run", recipe, "--workers", 1, when=lambda: any(ledger.glob("*")))
    assert found == (130, STOPPED)
    assert run(recipe, workers=0).contract.tiles


def test_clean_stopped_says_so(collection):
    out = collection.folder / "c"
    words = ("clean", collection.raw, out, "--workers", 1, "--recipe", collection.recipe())
    assert interrupted("greenprep", *words, when=out.exists) == (130, STOPPED)


def test_ctrl_c_is_held_until_the_end_of_what_must_not_be_cut_short():
    done = False
    with pytest.raises(KeyboardInterrupt), held():
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with held():
        pass


def test_a_process_started_deaf_ignores_ctrl_c_and_its_parent_does_not():
    with deaf_children():
        child = multiprocessing.get_context("spawn").Process(target=signal.raise_signal, args=(signal.SIGINT,))
        child.start()
    child.join()
    assert child.exitcode == 0 and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_signals_are_left_alone():
    seen = []

    def look():
        with deaf_children(), held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_the_dashboard_is_named_where_the_work_is_long(monkeypatch, patience):
    @contextmanager
    def client(workers, scheduler):
        yield SimpleNamespace(dashboard_link="http://127.0.0.1:1/status")

    monkeypatch.setattr(dask_engine, "_client", client)
    monkeypatch.setattr(dask_engine, "_SHORT", patience)
    said = threading.Event()
    monkeypatch.setattr(dask_engine, "say", lambda text: said.set())
    with dask_engine.dask_engine(1, None):
        assert said.wait(10 if patience == 0 else 0.01) == (patience == 0)
    assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer) and not one.finished.is_set()]
