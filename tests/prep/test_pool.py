"""Processes that may die at work: every item is answered once, whoever dies, and nobody waits for ever."""

import importlib

import pytest

from greenprep.engine.pool import run_batches
from greenschemas.errors import SourceError

WORK = """
import os, signal, threading, time

def work(items):
    for item in items:
        if item % 7 == 3:
            os._exit(11)
        if item % 7 == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if item == 100:
            raise ValueError("a hundred")
        if item == 102:
            return [threading.Lock()]
    return [item * 10 for item in items]
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    (tmp_path / "dying_at_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("dying_at_work").work


def answers(work, items, **options):
    return [a for some in run_batches(work, items, dead=lambda item: -item, preload="json", **options) for a in some]


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (1, 4), (3, 1), (3, 5), (8, 2)])
def test_every_item_is_answered_once_whoever_dies(work, workers, batch):
    """The first process dies while others are being started, which a pool with queues in common does not survive."""
    due = [-item if item % 7 in (3, 5) else item * 10 for item in range(3, 24)]
    assert sorted(answers(work, range(3, 24), workers=workers, batch=batch)) == sorted(due)


def test_what_work_raises_is_raised_here_with_its_trace(work):
    with pytest.raises(ValueError, match="a hundred") as raised:
        answers(work, [1, 100, 2], workers=2, batch=1)
    assert "in work" in raised.value.__notes__[0]


def test_an_answer_that_cannot_be_sent_is_told(work):
    with pytest.raises(RuntimeError, match="the answer cannot be sent"):
        answers(work, [102], workers=1, batch=1)


def test_who_asks_for_no_more_answers_leaves_no_process(work):
    import multiprocessing

    before = len(multiprocessing.active_children())
    some = run_batches(work, [1, 2] * 8, workers=2, batch=1, dead=str, preload="json")
    next(some)
    assert len(multiprocessing.active_children()) > before
    some.close()
    assert len(multiprocessing.active_children()) == before


def test_a_process_that_dies_at_once_is_no_verdict_on_any_item(tmp_path, monkeypatch):
    (tmp_path / "never_at_work.py").write_text("import os\n\ndef work(items):\n    os._exit(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SourceError, match="each ends as soon as it starts"):
        answers(importlib.import_module("never_at_work").work, [1, 2, 3], workers=2, batch=1)
