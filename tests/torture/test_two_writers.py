"""Two commands that write into one place at once: one does its work as if alone, the other is told, or comes after."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenprep.clean.clean import clean
from greenprep.inspect.verify import verify
from greentrain.training.trackers import read_rows
from support.raw import Collection, tree
from support.stores import write_tiny_store

SAID = (
    "writes there",
    "there is a store already",
    "it holds a run already",
    "no manifest.jsonl in it",
    "no recipe.yaml",
)


def start(program, *args):
    """A command in a process of its own."""
    code = f"from {program}.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )


def together(*commands):
    """How many of some commands, started at once, succeeded; the others must say why they did not."""
    processes = [start(*command) for command in commands]
    ends = [(process.communicate()[1], process.returncode) for process in processes]
    for said, code in ends:
        assert code == 0 or (code == 2 and any(text in said for text in SAID)), said
    assert any(code == 0 for _, code in ends), ends
    return sum(code == 0 for _, code in ends)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Nine pairs of five areas, and the folder that `clean` makes of them."""
    made = Collection(tmp_path_factory.mktemp("raw"))
    for area in range(5):
        for time in (1, 2) if area < 4 else (1,):
            made.add(area, time)
    clean(made.raw, made.folder / "clean", made.plain, workers=1)
    return made


def no_rest(folder: Path) -> bool:
    """Whether nothing half-made lies in a folder."""
    return not [path for path in folder.iterdir() if path.name.startswith(".") or path.name.endswith(".partial")]


def test_two_builds_of_one_store_make_the_store_that_one_makes(raw, tmp_path):
    start("greenprep", "tile", raw.folder / "clean", tmp_path / "alone.zarr", "--workers", 0).communicate()
    build = ("greenprep", "tile", raw.folder / "clean", tmp_path / "s.zarr", "--workers", 0)
    assert together(build, build) == 1
    assert tree(tmp_path / "s.zarr") == tree(tmp_path / "alone.zarr")
    assert no_rest(tmp_path) and verify(str(tmp_path / "s.zarr"), deep=True) == []


def test_a_build_beside_a_split_leaves_one_of_both_whole(raw, tmp_path):
    store = tmp_path / "s.zarr"
    build = ("greenprep", "tile", raw.folder / "clean", store, "--workers", 0, "--overwrite")
    start(*build).communicate()
    for seed in range(2):
        together(build, ("greenprep", "split", store, "--seed", seed))
        assert no_rest(tmp_path) and verify(str(store), deep=True) == []


def test_two_cleans_into_one_folder_leave_what_one_leaves(raw, tmp_path):
    recipe = raw.recipe("c")
    command = ("greenprep", "clean", raw.raw, tmp_path / "out", "--recipe", recipe, "--workers", 1)
    together(command, command)
    assert tree(tmp_path / "out").keys() == tree(raw.folder / "clean").keys()
    assert (tmp_path / "out" / "manifest.jsonl").read_text() == (raw.folder / "clean" / "manifest.jsonl").read_text()


def test_of_two_fits_into_one_folder_one_trains_and_keeps_all_its_rows(tmp_path):
    write_tiny_store(tmp_path / "s.zarr")
    net = ("preset=tiny", "d_state=1", "dims=[8,16]", "depths=[1,1]", "depths_decoder=[1,1]")
    settings = [part for one in net for part in ("--set", f"model.{one}")] + [
        "--set",
        "batch_size=2",
        "--set",
        "trees=false",
        "--epochs",
        3,
    ]
    command = ("greentrain", "fit", tmp_path / "s.zarr", "--out", tmp_path / "run", "--resume", *settings)
    together(command, command)
    steps = [row["step"] for row in read_rows(tmp_path / "run") if "train_loss" in row]
    assert steps == list(range(1, 7))
