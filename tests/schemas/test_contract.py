"""The contract: round trips, what it refuses, and opening stores."""

import json
import pickle

import numpy as np
import pytest
import zarr
from hypothesis import given

from greenschemas import errors
from greenschemas import store as store_module
from greenschemas.bands import Role
from greenschemas.console import run
from greenschemas.contract import ATTRIBUTE, Contract, adopt_dead
from greenschemas.errors import GreenError, StoreError, nearest
from greenschemas.frozen import digest
from greenschemas.manifest import Entry, Summary, read_manifest
from greenschemas.recipe import Recipe, load_recipe
from greenschemas.store import open_store
from greenschemas.yaml_file import commented_yaml
from support.stores import bands, entries, reseal, tiny_contract, unseal, write_tiny_store


def changed(**fields):
    return {**tiny_contract().model_dump(mode="json"), **fields}


def test_a_contract_survives_json():
    contract = tiny_contract()
    again = Contract.parse("x", json.loads(contract.to_json()))
    assert again == contract and again.identity() == contract.identity()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tile_sizes": 3}, "Did you mean `tile_size`"),
        ({"version": 2}, "`version` is 2"),
        ({"recipe_hash": "0"}, "recipe_hash is the digest"),
        ({"tile_size": 0}, "`tile_size` is 0"),
    ],
)
def test_a_contract_that_cannot_be_is_refused(fields, message):
    with pytest.raises(StoreError, match=message):
        Contract.parse("x", changed(**fields), StoreError)


def test_statistics_and_weights_must_fit_bands_and_classes():
    stats = tiny_contract().model_dump(mode="json")["statistics"]
    with pytest.raises(StoreError, match="statistics of 2 bands for 3"):
        Contract.parse("x", changed(statistics={**stats, "bands": stats["bands"][:2]}), StoreError)
    with pytest.raises(StoreError, match="2 weights `inverse` for 3 classes"):
        Contract.parse("x", changed(statistics={**stats, "class_weights": {"inverse": [0.5, 0.5]}}), StoreError)
    with pytest.raises(StoreError, match="global_mean` is nan"):
        Contract.parse("x", changed(statistics={**stats, "global_mean": float("nan")}), StoreError)


@given(bands())
def test_dead_bands_are_no_features(some):
    dead = adopt_dead(some, [True] * len(some))
    assert all(band.role is Role.DEAD for band in dead)
    assert adopt_dead(some, [False] * len(some)) == some


@pytest.fixture
def store(tmp_path):
    write_tiny_store(tmp_path / "s")
    return tmp_path / "s"


def test_a_store_opens_with_its_contract(store):
    opened = open_store(store)
    assert opened.usable_tiles("train").tolist() + opened.usable_tiles("val").tolist() != []
    assert set(opened.usable_tiles("train")) | set(opened.usable_tiles("val")) == set(opened.usable_tiles())
    assert opened.groups_of("train").sum() == 2 and opened.groups_of(None).all()
    assert opened.texts("group_name")[0] == "T_2020_0"


def test_what_is_no_store_is_named(tmp_path, store):
    with pytest.raises(StoreError, match="no Zarr group there"):
        open_store(tmp_path / "none")
    zarr.open_group(str(tmp_path / "g"), mode="w")
    with pytest.raises(StoreError, match="without a contract"):
        open_store(tmp_path / "g")
    with pytest.raises(StoreError, match="no split `dev`"):
        open_store(store).usable_tiles("dev")


def test_a_damaged_store_is_named(store):
    chunk = next(path for path in (store / "mean/c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:9])
    with pytest.raises(StoreError, match="files of `mean` are not those that were written"):
        open_store(store)
    unseal(store)
    with pytest.raises(StoreError, match="`mean` cannot be read"):
        open_store(store).read("mean")
    (store / "zarr.json").write_text('{"zarr_form')
    with pytest.raises(StoreError, match="metadata cannot be read"):
        open_store(store)


@pytest.mark.parametrize("name", ["split", "group_index", "mean", "image/zarr.json"])
def test_a_file_that_is_gone_is_named_at_the_opening(store, name):
    path = store / name
    path = path if path.is_file() else next(path for path in (path / "c").rglob("*") if path.is_file())
    path.unlink()
    with pytest.raises(StoreError, match=f"{path.relative_to(store)} is missing"):
        open_store(store)


def test_a_contract_that_was_changed_is_refused(store):
    text = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(text.replace("1000.0", "1001.0"))
    with pytest.raises(StoreError, match="its contract is not the one that was written"):
        open_store(store)


def test_a_large_array_is_verified_when_it_is_read(store, monkeypatch):
    monkeypatch.setattr("greenschemas.integrity._HEAVY_BYTES", 0)
    opened = open_store(store)
    next(path for path in (store / "mean/c").rglob("*") if path.is_file()).unlink()
    with pytest.raises(StoreError, match="mean/c/0/0 is missing"):
        opened.read("mean")


def test_whoever_opens_while_a_split_is_written_gets_the_old_store_or_the_new(store):
    """The contract is read, then the arrays: a writer comes in between, once and for ever."""
    real, calls = store_module._verified, []

    def slow(where, group, contract):
        if not calls:
            calls.append(zarr.open_group(where, mode="r+")["split"].__setitem__(slice(None), 1))
            reseal(store)
        return real(where, group, contract)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "_verified", slow)
        assert open_store(store).read("split").tolist() == [1, 1, 1, 1]


def test_another_format_of_zarr_is_refused(tmp_path, store):
    group = zarr.open_group(str(tmp_path / "v2"), mode="w", zarr_format=2)
    group.attrs[ATTRIBUTE] = open_store(store).contract.model_dump(mode="json")
    group.create_array("mean", shape=(2,), dtype="float64")
    with pytest.raises(StoreError, match="Zarr format 2"):
        open_store(tmp_path / "v2")
    (tmp_path / "v2/mean/.zarray").write_text((tmp_path / "v2/mean/.zarray").read_text().replace("<f8", "|O"))
    with pytest.raises(StoreError, match="Zarr format 2"):
        open_store(tmp_path / "v2")


def test_an_error_of_the_file_system_is_one_message(tmp_path, capsys):
    def app():
        (tmp_path / "none/file").write_text("")

    with pytest.raises(SystemExit) as end:
        run(app)
    assert end.value.code == 2 and "none/file: No such file or directory. Make room" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("row", None, "no array `row`"),
        ("extent", None, "no array `extent`"),
        ("histogram", None, "no array `histogram`"),
        ("row", np.zeros(3, np.int64), "8 along `tile` in the contract, 3 in `row`"),
        ("mean", np.zeros(4), "`mean` has 1 axes, the contract 2"),
        ("split", np.zeros(4, np.int64), "`split` is int64, the contract says uint8"),
    ],
)
def test_an_array_that_does_not_fit_is_named(store, name, make, message):
    group = zarr.open_group(str(store), mode="r+", use_consolidated=False)
    del group[name]
    if make is not None:
        group.create_array(name, data=make)
    raw = json.loads((store / "zarr.json").read_text())
    raw.pop("consolidated_metadata", None)
    (store / "zarr.json").write_text(json.dumps(raw))
    with pytest.raises(StoreError, match=message):
        open_store(store)


@given(entries())
def test_an_entry_survives_its_line(entry):
    assert Entry.parse("x", json.loads(entry.to_json())) == entry


def test_sums_add_up_over_any_entries(tmp_path):
    lines = [Entry(image=f"{i}", mask=None, group=None, time=None, verdict="accepted") for i in range(3)]
    summary = Summary.of(lines, "h")
    assert (summary.found, summary.accepted) == (3, 3)
    (tmp_path / "manifest.jsonl").write_text("".join(f"{line.to_json()}\n" for line in lines))
    assert list(read_manifest(tmp_path)) == lines
    (tmp_path / "manifest.jsonl").write_text(lines[0].to_json())
    with pytest.raises(errors.SourceError, match="not whole"):
        list(read_manifest(tmp_path))


def test_an_error_survives_pickling_and_reads_as_one_message():
    problem = pickle.loads(pickle.dumps(StoreError("a", "b", "c")))
    assert isinstance(problem, GreenError) and str(problem) == "a: b. C."
    assert nearest("tille", ["tile", "split"]) == "did you mean `tile`?"
    assert nearest("zzz", ["tile", "split"]) == "known: split, tile"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("til: {}", "Did you mean `tile`"),
        ("tile: {sizes: 3}", "Did you mean `size`"),
        ("- 1", "holds a list"),
        ("a: [", "not YAML"),
        ("split: {val: 0.6, test: 0.5}", "val \\+ test"),
        ("tile: {size: 0}", "`tile.size` is 0"),
        ("mask: {classes: [a, a]}", "class names differ"),
        ("bands: [{name: a}, {name: a}]", "band names differ"),
        ("pairing: {images: /data/*.tif}", "below the raw folder"),
        ("pairing: {masks: ''}", "below the raw folder"),
        ("pairing: {images: ../*.tif}", "below the raw folder"),
        ("pairing: {image_name: '('}", "a regular expression"),
        ("pairing: {group: '{town}'}", "is made of"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(errors.RecipeError, match=message):
        load_recipe(path)


def test_a_recipe_finds_its_files_beside_itself_and_its_hash_does_not_know_them(tmp_path):
    (tmp_path / "r.yaml").write_text("raw: data\nstore: /x/s.zarr\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.raw == tmp_path / "data" and str(recipe.store) == "/x/s.zarr"
    assert recipe.hash() == Recipe().hash() == digest(Recipe().about_data())
    assert load_recipe(tmp_path / "r.yaml") == recipe
    with pytest.raises(errors.RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {
            "mask": {"classes": {10: "trees", 20: "low", 30: "low"}, "unlabelled": 0},
            "raw": "x",
            "store": "s3://b/s.zarr",
        },
        {"bands": [{"name": "no"}, {"name": "B2", "role": "mask"}], "limits": {"levels": {"cloud": "reject"}}},
        {"pairing": {"images": "{a: b}/x.tif".replace(": ", "_"), "masks": "m/{a_b}.tif", "group": "{a_b}"}},
    ],
)
def test_a_printed_recipe_reads_back_as_it_was(tmp_path, data):
    recipe = Recipe.model_validate(data)
    text = commented_yaml(recipe)
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    again = load_recipe(tmp_path / "r.yaml")
    assert again.about_data() == recipe.about_data() and again.hash() == recipe.hash()
    keys = [line for line in text.splitlines() if not line.lstrip().startswith(("#", "-"))]
    comments = [above for above, line in zip(text.splitlines(), text.splitlines()[1:], strict=False) if line in keys]
    assert all(line.lstrip().startswith("#") for line in comments if not line.endswith(":")), "a key without comment"
