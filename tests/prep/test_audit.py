"""`greenprep.split.audit`, `ground` and `likeness`: planted leaks are found, clean splits pass."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from greenprep.build.run import run
from greenprep.inspect.verify import verify
from greenprep.split.assign import SplitPlan, split_store
from greenprep.split.audit import audit_store
from greenprep.split.footprints import footprints, gaps, near_pairs
from greenprep.store.fingerprint import fingerprint, like_pairs
from greenschemas.errors import ConfigError
from greenschemas.recipe import SplitRules
from greenschemas.store import open_store
from support.stores import reseal, write_tiny_store


@pytest.fixture
def built(collection):
    run(collection.recipe(), workers=0)
    return open_store(collection.folder / "store.zarr")


def dealt(store, **places):
    """(G,) split codes: those named, the others train."""
    names = store.texts("group_name").tolist()
    return np.array([places.get(name, 0) for name in names], np.uint8)


def test_areas_apart_pass_and_distances_are_told(built):
    found = audit_store(built, dealt(built, T_2020_1=1, T_2020_4=2))
    assert found.passed and found.unplaced == 0
    # Areas begin every 3 km; those to the west of a neighbour are 45, or for area 2 75 pixels wide.
    assert found.distance == {"train-val": 3000 - 450, "train-test": 3000 - 450, "val-test": 9000 - 450}
    for shares in found.class_share.values():
        assert sum(shares.values()) == pytest.approx(1)


def test_overlapping_ground_is_a_leak(collection):
    collection.add(7, 1)
    for path in collection.raw.rglob("T_2020_7_1*"):
        path.rename(path.with_name(path.name.replace("2020_7_", "2020_17_")))
    collection.add(7, 1, 60, 60)
    image = next(collection.raw.rglob("images/T/T_2020_17_1_GeoTIFF.tif"))
    assert image.exists()
    run(collection.recipe(), workers=0)
    store = open_store(collection.folder / "store.zarr")
    found = audit_store(store, dealt(store, T_2020_17=1))
    assert not found.passed
    assert {leak.kind for leak in found.leaks} >= {"ground"}
    assert "footprints overlap" in str(found.leaks[0])
    _, audit = split_store(store.location, SplitPlan(SplitRules(val=0.3), given=_given(collection.folder, store)))
    assert not audit.passed
    contract = open_store(store.location).contract
    assert contract.split is not None and contract.split.audit == "failed" and contract.split.leaks


def _given(folder, store):
    path = folder / "split.csv"
    rows = [f"{name},{'val' if name == 'T_2020_17' else 'train'}" for name in store.texts("group_name")]
    path.write_text("group,split\n" + "\n".join(rows))
    return path


def test_a_noisy_brighter_copy_in_another_group_is_found(collection):
    image, fraction = collection.pixels["images/T/T_2020_0_1_GeoTIFF.tif"]
    rng = np.random.default_rng(0)
    copy = np.rint(image * 1.2 + rng.normal(0, 3, image.shape)).clip(0, 65535).astype(np.uint16)
    copy[-1] = 0
    collection.write(6, 1, copy, fraction)
    run(collection.recipe(), workers=0)
    store = open_store(collection.folder / "store.zarr")
    found = audit_store(store, dealt(store, T_2020_6=1))
    assert {leak.kind for leak in found.leaks} == {"likeness"}
    assert "correlate by" in found.leaks[0].found


def test_equal_checksums_and_a_group_twice_are_leaks(tmp_path):
    write_tiny_store(tmp_path / "s")
    group = zarr.open_group(str(tmp_path / "s"), mode="r+")
    group["checksum"][1] = group["checksum"][0]
    group["group_name"][1] = group["group_name"][0]
    group["crs"][:] = np.array([""] * 4, dtype=object).astype(np.dtypes.StringDType())
    reseal(tmp_path / "s")
    store = open_store(tmp_path / "s")
    found = audit_store(store, store.splits())
    assert sorted(leak.kind for leak in found.leaks) == ["content", "group"]
    assert found.unplaced == 4 and found.distance == {"train-val": None}


def test_sources_of_two_zones_and_of_degrees_are_compared_on_one_map(tmp_path):
    write_tiny_store(tmp_path / "s", sources=3)
    group = zarr.open_group(str(tmp_path / "s"), mode="r+")
    # The same place in the two zones on both sides of its meridian, and in degrees.
    group["crs"][:] = np.array(["EPSG:32618", "EPSG:32617", "EPSG:4326"], dtype=object).astype(np.dtypes.StringDType())
    group["transform"][:] = [
        [10, 0, 223_000, 0, -10, 4_000_000],
        [10, 0, 762_700, 0, -10, 3_999_700],
        [1e-4, 0, -78.07, 0, -1e-4, 36.105],
    ]
    reseal(tmp_path / "s")
    boxes = footprints(open_store(tmp_path / "s"))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.hypot(*(centre - centre[0]).T).max() < 5_000


def test_a_source_where_no_projection_reaches_has_no_place_and_the_others_keep_theirs(tmp_path):
    write_tiny_store(tmp_path / "s", sources=4)
    group = zarr.open_group(str(tmp_path / "s"), mode="r+")
    systems = ["EPSG:32618", "EPSG:32618", "EPSG:4326", "EPSG:4326"]
    group["crs"][:] = np.array(systems, dtype=object).astype(np.dtypes.StringDType())
    utm = [10, 0, 223_000, 0, -10, 4_000_000]
    group["transform"][:] = [utm, utm, [1e-4, 0, -78.07, 0, -1e-4, 36.105], [1e-4, 0, -78, 0, -1e-4, 900]]
    reseal(tmp_path / "s")
    store = open_store(tmp_path / "s")
    assert np.isfinite(footprints(store)).all(axis=1).tolist() == [True, True, True, False]
    assert audit_store(store, np.zeros(store.contract.groups, np.uint8)).unplaced == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 40), st.floats(0, 300))
def test_near_pairs_are_those_of_all_pairs(seed, n, reach):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 1000, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 200, (n, 2))], axis=1)
    boxes[rng.random(n) < 0.1] = np.nan
    found = {pair for i, j in near_pairs(boxes, reach) for pair in zip(i.tolist(), j.tolist(), strict=True)}
    i, j = np.triu_indices(n, 1)
    close = gaps(boxes, i, j) <= reach
    assert found == set(zip(i[close].tolist(), j[close].tolist(), strict=True))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_like_pairs_are_those_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    base = rng.integers(1, 2**63, 12).astype(np.uint64)
    flips = np.array(
        [
            np.bitwise_or.reduce(np.uint64(1) << rng.integers(0, 64, k).astype(np.uint64), initial=0)
            for k in rng.integers(0, 6, 40)
        ],
        np.uint64,
    )
    prints = base[rng.integers(0, 12, 40)] ^ flips
    side = rng.integers(-1, 3, 40)
    i, j = np.triu_indices(40, 1)
    due = (
        (np.bitwise_count(prints[i] ^ prints[j]) <= 3)
        & (side[i] != side[j])
        & (side[i] >= 0)
        & (side[j] >= 0)
        & (prints[i] != 0)
        & (prints[j] != 0)
    )
    found = {tuple(pair) for pair in like_pairs(prints, side).tolist()}
    assert found == set(zip(i[due].tolist(), j[due].tolist(), strict=True))


def test_flat_and_tiny_tiles_have_no_fingerprint():
    assert fingerprint(np.full((2, 32, 32), 7, np.uint16)) == 0
    assert fingerprint(np.zeros((2, 8, 8), np.uint16)) == 0
    assert fingerprint(np.tile(np.arange(36), (2, 32, 1))) == 2**64 - 1


def groups_by_split(store):
    return [set(store.texts("group_name")[store.splits() == code].tolist()) for code in range(3)]


def test_splits_by_name_block_fold_and_buffer(collection):
    for area in (20, 21, 22):
        collection.add(area, 1, city="U")
    run(collection.recipe(), workers=0)
    where = collection.folder / "store.zarr"
    split_store(where, SplitPlan(SplitRules(val=0.4, by="city")))
    train, val, _ = groups_by_split(open_store(where))
    assert len({name[0] for name in train}) == len({name[0] for name in val}) == 1
    split_store(where, SplitPlan(SplitRules(val=0.3), block=7_000))
    train, val, _ = groups_by_split(open_store(where))
    for pair in ("T_2020_0", "T_2020_1"), ("T_2020_3", "T_2020_4"):
        assert set(pair) <= train or set(pair) <= val
    split_store(where, SplitPlan(SplitRules(val=0.3), buffer=2_600))
    store = open_store(where)
    assert audit_store(store, store.splits()).distance["train-val"] >= 2_600
    folds = set()
    for fold in range(3):
        contract, _ = split_store(where, SplitPlan(SplitRules(), folds=3, fold=fold))
        assert contract.split is not None and contract.split.recipe["fold"] == fold
        held = groups_by_split(open_store(where))[1]
        assert held and not held & folds
        folds |= held
    assert len(folds) == 8
    assert verify(str(where), deep=False) == []


@pytest.mark.parametrize(
    ("column", "said", "gone"),
    [
        ("group", "T_2020_1", "T_2020_1"),
        ("path", "images/T/T_2020_1_1_GeoTIFF.tif", "T_2020_1"),
        ("tile", "0", "T_2020_0"),
    ],
)
def test_what_a_csv_names_is_left_out(built, tmp_path, column, said, gone):
    (tmp_path / "x.csv").write_text(f"loss,{column}\n0.1,{said}\n")
    split_store(built.location, SplitPlan(SplitRules(val=0.3), exclude=tmp_path / "x.csv"))
    store = open_store(built.location)
    assert store.splits()[store.texts("group_name").tolist().index(gone)] == 255
    assert not set().union(*groups_by_split(store)) & {gone}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group,split\nnone,val", "The store has no such group"),
        ("group,split\nT_2020_1,vall", "split `vall`"),
        ("group,split\nT_2020_1,val\nT_2020_1,train", "in two splits"),
        ("area\n1", "columns area"),
        ("group,split\nT_2020_1,val", "no group is left for train"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused(built, tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        split_store(built.location, SplitPlan(SplitRules(), given=tmp_path / "x.csv"))
