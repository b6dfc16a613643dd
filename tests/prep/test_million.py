"""What a million pairs need: memory that a few numbers a pair take, and no work that grows faster than they do."""

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from greenprep.clean import report
from greenprep.clean.report import spread_over_page
from greenprep.raw.pairs import pair_names
from greenprep.watch.known import Known, KnownVerdicts
from greenschemas.manifest import Entry, read_manifest
from greenschemas.measures import Measures
from greenschemas.recipe import Recipe
from greenschemas.store import open_store
from support.simulated import names_of, simulated_run

TEXT = st.text(st.characters(codec="utf-8"), max_size=4)


def test_a_thousand_pairs_of_names_go_through_a_whole_run(tmp_path):
    built = simulated_run(tmp_path, 1000)
    assert (built.summary.found, built.summary.accepted) == (1000, 1000) and built.audit.passed
    store = open_store(built.store)
    assert store.texts("path").tolist() == sorted(image for image, _ in names_of(1000))
    assert store.contract.groups == 250 and sum(store.contract.split.tiles.values()) == store.contract.tiles
    assert [entry.image for entry in read_manifest(built.clean)] == store.texts("path").tolist()


@given(st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=6))
@settings(max_examples=30, deadline=None)
def test_measures_are_what_a_dict_of_them_is_there_and_back(values):
    held = Measures(values)
    assert held == values and list(held.items()) == list(values.items()) and len(held) == len(values)
    assert pickle.loads(pickle.dumps(held)) == values and repr(held) == repr(values)
    for name in (*values, "no such"):
        assert held.get(name, 7) == values.get(name, 7) and (name in held) == (name in values)
    entry = Entry(image="a", mask=None, group=None, time=None, verdict="accepted", measures=values)
    assert Entry.parse("x", entry.model_dump(mode="json")) == entry
    assert entry.model_dump(mode="json")["measures"] == values and entry.to_json().endswith("}")


def test_names_of_measures_are_kept_once():
    one, other = (Measures({"mean.red": float(i), "std.red": 2.0}) for i in range(2))
    assert one._index is other._index and not hasattr(one, "__dict__")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 3))))
@settings(max_examples=60)
def test_known_verdicts_are_what_a_dict_of_them_is(puts):
    known, due, marks = KnownVerdicts(), {}, {}
    for number, stamp, codes, mark in puts:
        key = f"{number}.tif", ""
        due[key] = one = Known(stamp, "rejected" if stamp else "accepted", tuple(codes), 10 * len(due), 9)
        known.put(key, one)
        known.mark(key, f"m{mark}")
        marks.setdefault(f"m{mark}", set()).add(key)
    assert dict(known) == due and list(known) == list(due) and len(known) == len(due)
    assert known.sharing(["m0", "m3"]) == marks.get("m0", set()) | marks.get("m3", set())
    verdicts, codes = known.counts()
    assert verdicts.total() == codes.total() == len(due)
    assert all(verdicts[name] == sum(one.verdict == name for one in due.values()) for name in verdicts)


@given(st.lists(st.booleans(), max_size=60), st.integers(2, 30))
def test_a_page_is_made_of_all_or_of_some_with_both_kinds(odd, most):
    kept = report.MOST
    report.MOST = most
    try:
        chosen = spread_over_page(odd)
    finally:
        report.MOST = kept
    assert chosen == sorted(set(chosen)) and len(chosen) == min(most, len(odd))
    found = sum(odd[i] for i in chosen)
    assert found >= min(sum(odd), most // 2) and len(chosen) - found >= min(len(odd) - sum(odd), most // 2)


def test_many_masks_of_one_stem_are_told_apart_by_their_folders():
    pairing = Recipe().pairing
    images = [f"images/c{i}/c_2020_1_1_GeoTIFF.tif" for i in range(50)]
    masks = [f"masks/c{i}_masks/c_2020_1_1_GeoTIFF_mask.tif" for i in range(50)]
    found = pair_names(images, masks, (), pairing)
    assert np.all([one.image.split("/")[1] == one.mask.split("/")[1].removesuffix("_masks") for one in found])
    assert len(found) == 50
