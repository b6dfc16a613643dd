"""What trees reach before a net is trained: the trees' own score as oracle, train groups alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import zarr
from typer.testing import CliRunner

from greenschemas.store import open_store
from greentrain.cli import app
from greentrain.config import load_config
from greentrain.study.floor import find_floor
from support.nets import QUICK
from support.stores import reseal, write_tiny_store


def write(path: Path, sources: int = 16) -> Path:
    write_tiny_store(path, channels=3, classes=3, sources=sources, tiles_each=1, size=16)
    return path


def found(path: Path) -> str:
    return find_floor(open_store(path), load_config(None, QUICK)).found


def test_classes_that_follow_a_band_are_found_on_groups_held_out(tmp_path: Path) -> None:
    said = find_floor(open_store(write(tmp_path / "s.zarr")), load_config(None, QUICK))
    assert said.level == "ok" and "fitted to 6 train groups" in said.found and "on 2 others (class0 " in said.found
    reached, constant = (float(said.found.split(text)[1][:5]) for text in ("mean IoU of ", "best constant "))
    assert reached > constant + 0.3


def test_the_val_split_is_not_looked_at(tmp_path: Path) -> None:
    first = write(tmp_path / "a.zarr")
    other = write(tmp_path / "b.zarr")
    group = zarr.open_group(str(other))
    for tile in open_store(other).usable_tiles("val"):
        group["fraction"][int(tile)] = 0
    reseal(other)
    assert found(first).split("reaches")[1] == found(other).split("reaches")[1]


def test_a_class_that_single_pixels_do_not_tell_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "s.zarr")
    group = zarr.open_group(str(path))
    image = group["image"]
    image[:] = 1000  # nothing to tell one class from the other
    reseal(path)
    said = find_floor(open_store(path), load_config(None, QUICK))
    assert said.level == "warn" and "single pixels do not tell class" in said.found
    assert "texture has to tell it" in said.remedy


def test_few_groups_are_said_to_be_few(tmp_path: Path) -> None:
    path = write(tmp_path / "s.zarr", sources=4)
    assert "2 groups in the train split: none can be held out" in found(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_doctor_says_it_last(tmp_path: Path) -> None:
    words = ["doctor", str(write(tmp_path / "s.zarr")), *(word for change in QUICK for word in ("--set", change))]
    lines = CliRunner().invoke(app, words, catch_exceptions=False).stdout.splitlines()
    assert lines[-1].split()[1] == "trees:"
