"""One scene is enough: blocks of ground within it, apart from each other."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from greenprep.build.run import run
from greenprep.inspect.verify import verify
from greenprep.split.assign import SplitPlan, rules_of, split_store
from greenprep.split.cells import block_of_cells, without_seams
from greenschemas.errors import ConfigError, StoreError
from greenschemas.layout import NO_SPLIT
from greenschemas.recipe import SplitRules
from greenschemas.store import open_store

TILE = {"size": 16, "min_cover": 0.25}


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 9), st.integers(2, 9), st.sampled_from([0.1, 0.2, 0.3]), st.randoms(use_true_random=False))
def test_cells_of_different_splits_never_touch(rows, cols, share, random) -> None:  # type: ignore[no-untyped-def]
    names = [f"g#{row},{col}" for row in range(rows) for col in range(cols)]
    blocks = block_of_cells(names, share)
    code = {block: random.choice([0, 1, 2]) for block in sorted(set(blocks))}
    dealt = np.array([code[block] for block in blocks], np.uint8)
    found = without_seams(names, dealt)
    grid = found.reshape(rows, cols)
    assert np.all((found == dealt) | (found == NO_SPLIT)) and np.array_equal(found[dealt == 2], dealt[dealt == 2])
    for row in range(rows):
        for col in range(cols):
            near = grid[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
            assert grid[row, col] == NO_SPLIT or set(near.ravel().tolist()) <= {grid[row, col], NO_SPLIT}


@pytest.fixture
def scene_store(empty_collection):  # type: ignore[no-untyped-def]
    """One place at two times, and its plain store, before any split by blocks."""
    for time in (1, 2):
        empty_collection.add(1, time, 150, 165)
    run(empty_collection.recipe("plain", tile=TILE, split={"val": 0}), workers=0)
    return empty_collection, str(empty_collection.folder / "plain.zarr")


def test_one_scene_is_dealt_out_and_the_audit_agrees(scene_store) -> None:  # type: ignore[no-untyped-def]
    location = scene_store[1]
    before = open_store(location)
    old = {name: before.read(name) for name in ("image", "fraction", "valid", "row", "col")}
    first = before.read("transform")[before.read("source_index")]
    rules = rules_of(before, 0.2, 0.0, 0, "blocks")
    contract, audit = split_store(location, SplitPlan(rules))
    assert audit.passed and contract.split is not None and contract.split.audit == "passed"
    assert min(contract.split.tiles["train"], contract.split.tiles["val"]) > 10
    store = open_store(location)
    assert verify(location, deep=True) == []
    for name in ("image", "fraction", "valid"):
        assert np.array_equal(store.read(name), old[name])
    # Where the tiles lie on the ground has not changed.
    transform = store.read("transform")[store.read("source_index")]
    assert np.array_equal(transform[:, 2] + 10 * store.read("col"), first[:, 2] + 10 * old["col"])
    assert np.array_equal(transform[:, 5] - 10 * store.read("row"), first[:, 5] - 10 * old["row"])
    ground = np.stack([old["row"], old["col"]], axis=1)
    train, val = (ground[store.usable_tiles(name)] for name in ("train", "val"))
    apart = np.abs(train[:, None] - val[None]).max(axis=2)
    assert apart.min() >= 2 * TILE["size"], "at least one tile lies between"
    pixels = store.read("image")[store.usable_tiles("train")].transpose(1, 0, 2, 3)
    valid = store.read("valid")[store.usable_tiles("train")] > 0
    assert contract.statistics is not None
    np.testing.assert_allclose(
        [one.mean for one in contract.statistics.bands], pixels[:, valid].mean(axis=1), rtol=1e-9
    )


def test_run_by_blocks_gives_what_tile_and_split_give_and_it_can_be_dealt_again(scene_store) -> None:  # type: ignore[no-untyped-def]
    collection, location = scene_store
    outcome = run(collection.recipe("blocks", tile=TILE, split={"val": 0.2, "by": "blocks"}), workers=0)
    split_store(location, SplitPlan(rules_of(open_store(location), 0.2, 0.0, 0, "blocks")))
    one, other = open_store(outcome.store), open_store(location)
    assert np.array_equal(one.splits(), other.splits())
    np.testing.assert_allclose(one.read("mean"), other.read("mean"))
    with pytest.raises(StoreError, match="cut into blocks"):
        run(collection.recipe("blocks", tile=TILE, split={"val": 0.2, "by": "blocks"}), workers=0, append=True)
    again, _ = split_store(location, SplitPlan(rules_of(other, 0.3, 0.1, 1, "blocks")))
    assert again.split is not None and min(again.split.tiles.values()) > 0
    with pytest.raises(ConfigError, match="by: blocks"):
        split_store(location, SplitPlan(rules_of(other, 0.2, 0.0, 0, "group")))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_scenes_without_a_place_can_be_dealt_too(empty_collection) -> None:  # type: ignore[no-untyped-def]
    empty_collection.add(1, 1, 150, 165, crs=None, transform=None)
    outcome = run(empty_collection.recipe(tile=TILE, split={"val": 0.2, "by": "blocks"}), workers=0)
    assert outcome.audit is not None and outcome.audit.passed and outcome.contract.split is not None
    assert outcome.contract.split.tiles["val"] > 5


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("placed", [{}, {"crs": None, "transform": None}], ids=["placed", "not placed"])
def test_a_source_is_all_of_its_cells_and_a_cell_a_part_of_it(empty_collection, placed) -> None:  # type: ignore[no-untyped-def]
    for area in (1, 2):
        empty_collection.add(area, 1, 150, 165, **placed)
    run(empty_collection.recipe(tile=TILE | {"min_cover": 0}), workers=0)
    where = str(empty_collection.folder / "store.zarr")
    names = ("T_2020_1_1", "images/T/T_2020_2_1_GeoTIFF.tif")
    whole = [open_store(where).source(name) for name in names]
    split_store(where, SplitPlan(SplitRules(val=0.2, by="blocks")))
    store = open_store(where)
    assert store.contract.sources > 8
    for name, before in zip(names, whole, strict=True):
        xr.testing.assert_identical(store.source(name), before)
    cell = store.source("T_2020_1_1_GeoTIFF.tif#1,2")
    part = {axis: cell[axis] for axis in ("x", "y")}
    xr.testing.assert_equal(cell.drop_vars("spatial_ref"), whole[0].sel(part).drop_vars("spatial_ref"))
