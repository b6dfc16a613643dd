"""`--append`: a larger store whose old tiles and full shards stay as they were."""

import shutil

import numpy as np
import pytest
import zarr

from greenprep.build import assemble
from greenprep.build import run as build_run
from greenprep.build.append import ExistingStore, open_existing
from greenprep.build.run import run, tile
from greenprep.clean.clean import clean
from greenprep.inspect.verify import verify
from greenprep.split.assign import split
from greenprep.store import location
from greenprep.store.location import Location
from greenschemas.errors import ConfigError, SourceError, StoreError
from greenschemas.frozen import digest
from greenschemas.layout import NO_SPLIT
from greenschemas.recipe import Recipe, load_recipe
from greenschemas.store import open_store, write_contract


@pytest.fixture
def grown(collection, monkeypatch):
    """A store of shards of four tiles, then three more sources, one of them of a group that is there."""
    monkeypatch.setattr("greenprep.store.arrays._MOST_TILES", 4)
    run(collection.recipe(), workers=0)
    before = open_store(collection.folder / "store.zarr")
    old = {name: before.read(name) for name in ("image", "fraction", "valid")}
    inodes = {
        path: path.stat().st_ino
        for path in (collection.folder / "store.zarr").glob("[ifv]*/c/*/0/**/*")
        if path.is_file() and path.relative_to(collection.folder / "store.zarr").parts[0] in old
    }
    for area, time in ((0, 3), (8, 1), (9, 1)):
        collection.add(area, time)
    run(collection.recipe(), workers=0, append=True)
    return collection, before.contract, old, inodes


def test_old_tiles_keep_their_ids_and_new_ones_follow(grown):
    collection, contract, old, _ = grown
    store = open_store(collection.folder / "store.zarr")
    assert store.contract.sources == contract.sources + 3 and store.contract.tiles > contract.tiles
    for name, tiles in old.items():
        assert np.array_equal(store.read(name)[: contract.tiles], tiles)
    assert store.texts("path")[: contract.sources].tolist() == sorted(store.texts("path")[: contract.sources])
    assert verify(store.location, deep=True) == []


def test_full_shards_are_the_same_files(grown):
    collection, contract, _, inodes = grown
    full = contract.tiles // 4
    for path, inode in inodes.items():
        if int(path.relative_to(collection.folder / "store.zarr").parts[2]) < full:
            assert path.stat().st_ino == inode


def test_the_grown_store_holds_what_one_built_at_once_holds(grown):
    collection, *_ = grown
    run(collection.recipe("fresh"), workers=0)
    ours, fresh = open_store(collection.folder / "store.zarr"), open_store(collection.folder / "fresh.zarr")
    assert ours.texts("group_name").tolist() == fresh.texts("group_name").tolist()
    assert sorted(ours.texts("path")) == sorted(fresh.texts("path"))
    for name in ("count", "minimum", "maximum", "class_count", "histogram"):
        assert np.array_equal(ours.read(name), fresh.read(name))
    for name in ("mean", "comoment", "class_sum"):
        np.testing.assert_allclose(ours.read(name), fresh.read(name), rtol=1e-9, atol=1e-6)


def test_nobody_sees_half_of_it(collection, monkeypatch, files):
    run(collection.recipe(), workers=0)
    before = files(collection.folder / "store.zarr")
    collection.add(8, 1)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(build_run, "finish", lambda store: (_ for _ in ()).throw(RuntimeError))
        run(collection.recipe(), workers=0, append=True)
    assert files(collection.folder / "store.zarr") == before
    run(collection.recipe(), workers=0, append=True)
    assert open_store(collection.folder / "store.zarr").contract.sources == 10


def cleaned_and_split(collection, more=((0, 3), (8, 1), (9, 1)), **rules):
    """A clean folder and a split store of it; then three more pairs in the clean folder, one of a group of before."""
    folder = collection.folder
    clean(collection.raw, folder / "c", collection.plain, workers=1)
    tile(folder / "c", folder / "s.zarr", workers=0)
    split(folder / "s.zarr", **rules)
    before = open_store(folder / "s.zarr")
    for area, time in more:
        collection.add(area, time)
    clean(collection.raw, folder / "c", collection.plain, workers=1)
    return folder, before.contract, splits_of(before)


def splits_of(store):
    return dict(zip(store.texts("group_name").tolist(), store.splits().tolist(), strict=True))


@pytest.mark.parametrize(
    "rules", [{"val": 0.3}, {"folds": 3, "fold": 1}, {"block": 1.0}, {"by": r"_(\d)_\d_Geo"}], ids=str
)
def test_the_split_stays_and_new_groups_are_dealt_by_its_rules(collection, rules):
    folder, before, theirs = cleaned_and_split(collection, seed=4, **rules)
    built = tile(folder / "c", folder / "s.zarr", workers=0, append=True)
    store = open_store(folder / "s.zarr")
    ours = splits_of(store)
    assert {name: ours[name] for name in theirs} == theirs and len(ours) == len(theirs) + 2
    assert set(ours.values()) <= {0, 1}
    assert store.contract.split.recipe == before.split.recipe | {"grown": True}
    assert built.audit is not None and built.audit.passed and verify(store.location, deep=True) == []
    if "folds" in rules:
        fold = store.read("fold")
        assert np.array_equal(store.splits() == 1, fold == rules["fold"]) and fold.max() < 3
    assert store.contract.statistics.pixels > before.statistics.pixels


def test_new_groups_stay_in_no_split_where_that_is_asked_for(collection):
    folder, *_ = cleaned_and_split(collection, val=0.3)
    tile(folder / "c", folder / "s.zarr", workers=0, append=True, unassigned=True)
    ours = splits_of(open_store(folder / "s.zarr"))
    assert {name for name, split in ours.items() if split == NO_SPLIT} == {"T_2020_8", "T_2020_9"}
    with pytest.raises(ConfigError, match="Give it with --append"):
        tile(folder / "c", folder / "t.zarr", workers=0, unassigned=True)


def test_a_split_that_a_csv_said_or_a_buffer_keeps_new_ground_out_of_it(collection):
    folder = collection.folder
    (folder / "by.csv").write_text("group,split\nT_2020_0,val\nT_2020_1,train\nT_2020_2,none\n")
    *_, theirs = cleaned_and_split(collection, file=folder / "by.csv")
    tile(folder / "c", folder / "s.zarr", workers=0, append=True)
    ours = splits_of(open_store(folder / "s.zarr"))
    assert ours == theirs | {"T_2020_8": NO_SPLIT, "T_2020_9": NO_SPLIT}


def test_new_ground_within_the_buffer_of_another_split_goes_out_and_old_ground_stays(collection):
    folder, _, theirs = cleaned_and_split(collection, [(5, 1), (9, 1)], val=0.2, seed=3, buffer=3_500.0)
    tile(folder / "c", folder / "s.zarr", workers=0, append=True)
    ours = splits_of(open_store(folder / "s.zarr"))
    assert {name: ours[name] for name in theirs} == theirs
    # Areas lie in a row, 3 km apart: only the next one is too near.
    assert ours["T_2020_9"] != NO_SPLIT and ours["T_2020_5"] in (theirs["T_2020_4"], NO_SPLIT)


def test_nothing_new_leaves_the_store_and_no_rest(collection, files):
    folder, *_ = cleaned_and_split(collection, val=0.3)
    tile(folder / "c", folder / "s.zarr", workers=0, append=True)
    due = files(folder / "s.zarr")
    (folder / "s.zarr.partial" / "store").mkdir(parents=True)
    tile(folder / "c", folder / "s.zarr", workers=0, append=True)
    assert files(folder / "s.zarr") == due and not (folder / "s.zarr.partial").exists()


@pytest.mark.slow
def test_a_build_stopped_anywhere_leaves_the_old_store_or_the_new_one(collection, monkeypatch, files):
    """Each step of a build fails, before or after it is done; given again, the command ends as if none had."""
    monkeypatch.setattr("greenprep.store.arrays._MOST_TILES", 4)
    folder, *_ = cleaned_and_split(collection, val=0.3)
    shutil.copytree(folder / "s.zarr", folder / "old.zarr")
    tile(folder / "c", folder / "s.zarr", workers=0, append=True)
    old, new = files(folder / "old.zarr"), files(folder / "s.zarr")
    steps = [
        (build_run, "read_sources", True),
        (ExistingStore, "link_full_shards", True),
        (assemble, "write_shard", True),
        (assemble, "write_contract", False),
        (build_run, "write_split", False),
        (build_run, "write_split", True),
        (assemble, "swap_into_place", False),
        (location, "sync_folder", False),
        (assemble, "swap_into_place", True),
    ]
    for where, name, after in steps:
        shutil.rmtree(folder / "s.zarr")
        shutil.copytree(folder / "old.zarr", folder / "s.zarr")
        with monkeypatch.context() as patch:
            patch.setattr(where, name, failing(getattr(where, name), after=after))
            with pytest.raises(RuntimeError, match="stopped"):
                tile(folder / "c", folder / "s.zarr", workers=0, append=True)
        assert files(folder / "s.zarr") in (old, new), name
        tile(folder / "c", folder / "s.zarr", workers=0, append=True)
        assert files(folder / "s.zarr") == new, name
        assert [path.name for path in folder.glob("*.partial")] == []


def failing(function, *, after):
    """`function`, stopped before it does anything or after it has done all."""

    def stop(*args, **options):
        if after:
            function(*args, **options)
        raise RuntimeError("stopped")

    return stop


def test_a_file_system_without_links_gets_copies(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc")
    monkeypatch.setattr(location.os, "link", lambda old, new: (_ for _ in ()).throw(PermissionError(1, "no links")))
    location.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"abc" and not (tmp_path / "b").samefile(tmp_path / "a")


def test_a_cleaned_folder_that_grew_is_appended_without_a_split(collection):
    folder = collection.folder
    clean(collection.raw, folder / "c", collection.plain, workers=1)
    tile(folder / "c", folder / "s.zarr", workers=0)
    collection.add(8, 1)
    clean(collection.raw, folder / "c", collection.plain, workers=1)
    tile(folder / "c", folder / "s.zarr", workers=0, append=True)
    store = open_store(folder / "s.zarr")
    assert store.contract.sources == 10 and store.contract.split is None


def test_another_recipe_or_changed_pixels_are_refused(collection):
    run(collection.recipe(), workers=0)
    with pytest.raises(StoreError, match="`tile` of its recipe is not that"):
        run(collection.recipe(tile={"size": 16}), workers=0, append=True)
    collection.add(0, 1, 44, 44)
    with pytest.raises(SourceError, match="in the store already, and has other pixels now"):
        run(collection.recipe(), workers=0, append=True)
    image, fraction = collection.pixels["images/T/T_2020_0_1_GeoTIFF.tif"]
    collection.write(0, 1, image * 0, fraction)
    with pytest.raises(SourceError, match="in the store already, and is rejected now"):
        run(collection.recipe(), workers=0, append=True)


def test_a_store_whose_recipe_lacks_keys_that_were_added_since_can_be_added_to(collection):
    run(collection.recipe(), workers=0)
    store = open_store(collection.folder / "store.zarr")
    older = {**store.contract.recipe, "mask": {"classes": store.contract.recipe["mask"]["classes"]}}
    group = zarr.open_group(store.location, mode="r+")
    write_contract(group, store.contract.model_copy(update={"recipe": older, "recipe_hash": digest(older)}))
    open_existing(Location.at(store.location), load_recipe(collection.recipe()).about_data())
    theirs = {part: store.contract.recipe[part] for part in ("pairing", "bands")}
    with pytest.raises(StoreError, match="`mask` of its recipe"):
        open_existing(Location.at(store.location), Recipe().about_data() | theirs)
