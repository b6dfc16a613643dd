"""What was decided by hand holds in every build from the clean folder, in one go and step by step alike."""

import shutil

import pytest

from greenprep.acts import ACTS_NAME, Act, add_act, excluded, read_acts
from greenprep.build.run import grow, run, tile
from greenprep.clean.clean import clean
from greenprep.split.assign import split
from greenschemas.layout import NO_SPLIT
from greenschemas.manifest import MANIFEST_NAME, read_manifest
from greenschemas.store import open_store
from support.raw import scene, tree, write_pair

SAID = {"by": "Ann", "at": "2026-11-27T12:00:00Z", "reason": "seen on the ground"}


def name(area):
    return f"images/T/T_2020_{area}_1_GeoTIFF.tif"


def decide(folder, **verdicts):
    """Overrule verdicts: accepted=area, rejected=area."""
    known = {entry.image: entry for entry in read_manifest(folder)}
    for verdict, area in verdicts.items():
        entry = known[name(area)]
        what = {"image": entry.image, "mask": entry.mask, "stamp": entry.stamp}
        add_act(folder, Act(act="overrule", verdict=verdict, **what, **SAID))


def leave_out(folder, area):
    add_act(folder, Act(act="exclude", image=name(area), tile=3, group=f"T_2020_{area}", **SAID))


def splits_of(store):
    opened = open_store(store)
    return dict(zip(opened.texts("group_name").tolist(), opened.splits().tolist(), strict=True))


@pytest.fixture
def made(empty_collection):
    """Six pairs, of which the checks reject one that has pixels and one that has none."""
    for area in (0, 2, 3, 4, 5):
        empty_collection.add(area, 1)
    image, fraction = scene(1, 40, 45)
    image[:4] = 700
    write_pair(empty_collection.raw, 1, 1, image, fraction)
    (empty_collection.raw / name(5)).write_bytes(b"no picture")
    return empty_collection


def test_a_build_in_one_go_holds_to_decisions_as_clean_tile_and_split_do(made, capsys):
    recipe = made.recipe("one")
    first = run(recipe, workers=0)
    assert first.summary.rejected == 2
    decide(first.clean, accepted=1, rejected=2)
    decide(first.clean, accepted=5)
    leave_out(first.clean, 3)
    built = run(recipe, workers=0, overwrite=True)
    assert open_store(built.store).texts("path").tolist() == [name(area) for area in (0, 1, 3, 4)]
    splits = splits_of(built.store)
    assert splits.pop("T_2020_3") == NO_SPLIT and set(splits.values()) == {0, 1}
    assert "there are no pixels to use" in capsys.readouterr().err
    other, stepwise = made.folder / "b.clean", made.folder / "b.zarr"
    clean(made.raw, other, made.plain, workers=1)
    shutil.copy(first.clean / ACTS_NAME, other)
    clean(made.raw, other, made.plain, workers=1)
    assert (other / MANIFEST_NAME).read_bytes() == (first.clean / MANIFEST_NAME).read_bytes()
    tile(other, stepwise, workers=0)
    (made.folder / "out.csv").write_text("group\nT_2020_3\n")
    split(stepwise, exclude=made.folder / "out.csv")
    assert tree(stepwise) == tree(made.folder / "one.zarr")


def test_ground_that_was_excluded_before_a_store_began_or_since_its_last_batch_is_in_no_split(made):
    folder, recipe = made.folder / "c", made.plain
    entries, _ = clean(made.raw, folder, recipe, workers=1)
    good = [entry for entry in entries if entry.verdict != "rejected"]
    leave_out(folder, 0)
    grow(folder, made.folder / "c.zarr", recipe, good[:3], workers=0)
    assert splits_of(made.folder / "c.zarr")["T_2020_0"] == NO_SPLIT
    grow(folder, made.folder / "c.zarr", recipe, good[3:], workers=0)
    tile(folder, made.folder / "again.zarr", workers=0)
    assert tree(made.folder / "again.zarr") == tree(made.folder / "c.zarr")
    leave_out(folder, 3)
    tile(folder, made.folder / "late.zarr", workers=0)
    late, before = splits_of(made.folder / "late.zarr"), splits_of(made.folder / "c.zarr")
    assert late == before | {"T_2020_3": NO_SPLIT}
    assert excluded(read_acts(folder)) == {"T_2020_0", "T_2020_3"}
