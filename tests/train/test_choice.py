"""The trial of models before training: only train groups, sentences that the numbers bear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from greenschemas.store import open_store
from greentrain.cli import app
from greentrain.config import load_config
from greentrain.study.choice import Trial, judge, try_models
from support.stores import reseal, write_tiny_store

QUICK = (
    "model.preset=tiny",
    "model.dims=[8,16]",
    "model.depths=[1,1]",
    "model.depths_decoder=[1,1]",
    "batch_size=4",
    "accelerator=cpu",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("choice") / "s.zarr"
    write_tiny_store(path, channels=3, classes=3, sources=10, tiles_each=1, size=16)
    return path


def counts(right: list[int], wrong: int, groups: int = 6) -> np.ndarray:
    """(1, G, K, K): of each class so many right in every group, the wrong ones in the first column."""
    one = np.diag(right)
    one[:, 0] += wrong
    return np.broadcast_to(one, (1, groups, *one.shape)).astype(np.int64)


def trial(**found: np.ndarray) -> Trial:
    return Trial({name.replace("_is_", "="): each for name, each in found.items()}, 15.0, ("a", "b", "c"))


def test_what_it_tells_follows_the_numbers() -> None:
    good, middling, bad = counts([90, 90, 90], 5), counts([80, 80, 80], 30), counts([60, 60, 60], 60)
    said = judge(trial(trees=bad, **{"as set": good}, class_weights_is_none=middling))
    assert said.level == "ok" and "none is surely ahead" in said.found and "6 train groups held out" in said.found
    said = judge(trial(trees=good, **{"as set": middling}, class_weights_is_none=bad))
    assert said.level == "ok" and "trees beats as set" in said.found and "`compare` measures it" in said.remedy
    said = judge(trial(trees=bad, **{"as set": middling}, class_weights_is_none=good))
    assert (said.level, said.remedy) == ("warn", "set class_weights=none")


def test_a_class_that_only_others_find_is_named() -> None:
    without, found = counts([90, 90, 0], 5), counts([90, 90, 40], 5)
    assert "as set, c is not found at all" in judge(trial(trees=found, **{"as set": without})).found
    assert "not found" not in judge(trial(trees=without, **{"as set": without})).found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_val_split_is_not_looked_at(store: Path, tmp_path: Path) -> None:
    config = load_config(None, QUICK)
    first = try_models(open_store(store), config, seconds=0.01)
    assert first is not None and list(first.counts) == ["trees", "as set", "class_weights=none", "model.preset=unet"]
    assert all(each.shape == (1, 2, 3, 3) for each in first.counts.values())
    other = tmp_path / "other.zarr"
    write_tiny_store(other, channels=3, classes=3, sources=10, tiles_each=1, size=16)
    group = zarr.open_group(str(other))
    for tile in open_store(other).usable_tiles("val"):
        group["fraction"][int(tile)] = 0
    reseal(other)
    again = try_models(open_store(other), config, seconds=0.01)
    assert again is not None
    np.testing.assert_array_equal(first.counts["trees"], again.counts["trees"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_groups_are_held_out_of_four(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", channels=2, classes=2, sources=8, tiles_each=1, size=16)
    found = try_models(open_store(tmp_path / "s.zarr"), load_config(None, QUICK), 0.01)
    assert found is not None and all(each.shape[:2] == (1, 2) for each in found.counts.values())


def test_few_groups_are_no_ground_for_a_choice(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", channels=2, classes=2, sources=4, size=16)
    found = judge(try_models(open_store(tmp_path / "s.zarr"), load_config(None, QUICK), 0.01))
    assert "fewer than four groups" in found.found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_doctor_prints_the_trial_last(store: Path) -> None:
    words = ["doctor", str(store), "--models", "1", *(word for change in QUICK for word in ("--set", change))]
    lines = CliRunner().invoke(app, words, catch_exceptions=False).stdout.splitlines()
    assert lines[-1].split()[1] == "models:" and "as set" in lines[-1]
