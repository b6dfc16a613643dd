"""A decoder that hangs, or takes all memory, is a verdict on its file and ends no run."""

import time
from contextlib import nullcontext
from itertools import chain

import numpy as np
import pytest

from greenprep.build import read
from greenprep.build.run import run
from greenprep.clean import worker
from greenprep.engine.guard import guarded
from greenprep.engine.pool import run_batches
from greenprep.raw.pairs import find_pairs
from greenschemas.limits import Limits


def sleep_on_seven(items):
    """Hangs in C, where no exception of Python's reaches."""
    for item in items:
        with guarded(1):
            time.sleep(600 if item == 7 else 0)
    return list(items)


def take(items):
    """Asks for more than any machine has."""
    answers = []
    for item in items:
        with guarded(60):
            try:
                np.ones(item, np.uint8)
                answers.append("had it")
            except MemoryError:
                answers.append("refused")
    return answers


def test_the_process_of_the_user_is_never_ended():
    with guarded(0.05):
        time.sleep(0.2)


def test_an_item_that_hangs_is_answered_for_and_the_others_are_done():
    answers = run_batches(
        sleep_on_seven, list(range(9)), workers=2, batch=3, dead=lambda item: -item, preload="greenprep.engine.guard"
    )
    assert sorted([*chain(*answers)]) == [-7, 0, 1, 2, 3, 4, 5, 6, 8]


def test_a_worker_that_asks_for_all_memory_is_refused():
    answers = run_batches(take, [1000, 1 << 45], workers=1, batch=2, dead=str, preload="greenprep.engine.guard")
    assert [*chain(*answers)] == ["had it", "refused"]


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_limit_is_positive(seconds):
    with pytest.raises(ValueError, match="greater than 0"):
        Limits(seconds_max=seconds)


def test_a_pair_is_read_under_its_limit_by_clean_and_by_run(collection, monkeypatch):
    held = []

    def noted(seconds):
        held.append(seconds)
        return nullcontext()

    monkeypatch.setattr(worker, "guarded", noted)
    monkeypatch.setattr(read, "guarded", noted)
    recipe = collection.plain
    [*candidates] = find_pairs(collection.raw, recipe.pairing)
    worker.clean_one(collection.raw, None, recipe.bands, recipe.mask, Limits(seconds_max=77), candidates[0])
    run(collection.recipe(limits={"seconds_max": 78}), workers=0)
    assert held == [77] + [78] * len(candidates)
