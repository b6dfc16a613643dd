"""`--append`: a larger store whose old tiles and full shards stay as they were."""

import numpy as np
import pytest
import zarr

from greenprep.build import run as build_run
from greenprep.build.append import open_existing
from greenprep.build.run import run, tile
from greenprep.clean.clean import clean
from greenprep.inspect.verify import verify
from greenprep.store.location import Location
from greenschemas.errors import SourceError, StoreError
from greenschemas.frozen import digest
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
    with pytest.raises(SourceError, match="in the store already, with other pixels"):
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
