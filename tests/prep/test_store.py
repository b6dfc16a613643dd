"""Stores elsewhere than on a disk, their statistics, checks, pictures and commands."""

import io
import json

import numpy as np
import pytest
import xarray as xr
import zarr
from PIL import Image
from typer.testing import CliRunner

from greenprep.build.run import run
from greenprep.clean.clean import clean
from greenprep.cli.store import app
from greenprep.engine.choose import engine
from greenprep.inspect.report import bin_shares
from greenprep.inspect.verify import verify
from greenprep.store.histogram import RELATIVE_ERROR, Histogram
from greenprep.store.location import Location
from greenprep.store.statistics import group_table, merged, stats_table
from greenschemas.errors import ConfigError, StoreError
from greenschemas.store import open_store
from support.stores import reseal, unseal, write_tiny_store


@pytest.fixture
def built(collection):
    run(collection.recipe(), workers=0)
    return collection.folder / "store.zarr"


def invoke(*args, code=0):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


def test_a_store_in_memory_is_the_one_on_disk(built, collection, files, tmp_path):
    url = f"memory://{tmp_path.name}/s.zarr"
    recipe = collection.recipe("there")
    recipe.write_text(recipe.read_text().replace("store: there.zarr", f"store: {url}"))
    run(recipe, workers=0)
    due = files(built)
    assert {name: (Location.at(url) / name).read() for name in due} == due
    assert not Location.at(url + ".partial").names()
    with pytest.raises(StoreError, match="cannot grow"):
        run(recipe, workers=0, append=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_store_on_s3_is_the_one_on_disk(built, collection, files, monkeypatch):
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        there = {
            "ACCESS_KEY_ID": "k",
            "SECRET_ACCESS_KEY": "s",
            "DEFAULT_REGION": "us-east-1",
            "ENDPOINT_URL": f"http://{host}:{port}",
        }
        for key, value in there.items():
            monkeypatch.setenv(f"AWS_{key}", value)
        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        fs.mkdir("bucket")
        recipe = collection.recipe("there")
        recipe.write_text(recipe.read_text().replace("store: there.zarr", "store: s3://bucket/s.zarr"))
        run(recipe, workers=0)
        due = files(built)
        assert {name: fs.cat_file(f"bucket/s.zarr/{name}") for name in due} == due
        assert open_store("s3://bucket/s.zarr").contract.tiles > 0
        assert not fs.exists("bucket/s.zarr.partial")
    finally:
        server.stop()


def test_statistics_of_any_split_are_those_of_its_pixels(built):
    invoke("split", built, "--val", 0.3, "--test", 0.2)
    store = open_store(built)
    for split in ("train", "val", "test", None):
        table = stats_table(store, split)
        tiles = store.usable_tiles(split)
        x = np.moveaxis(store.read("image")[tiles], 1, 0)[:, store.read("valid")[tiles].astype(bool)].astype(float)
        moments = merged(store, store.groups_of(split))
        np.testing.assert_allclose(moments.comoment[:4, :4], np.cov(x[:4], bias=True) * x.shape[1], rtol=1e-9)
        for band, one in enumerate(table["bands"].values()):
            assert one["mean"] == pytest.approx(x[band].mean(), rel=1e-9)
            due = np.percentile(x[band], 50, method="inverted_cdf")
            assert abs(one["percentiles"]["50"] - due) <= due / 32
        assert sum(one["share"] for one in table["classes"].values()) == pytest.approx(1)
        assert sum(one["share_by_argmax"] for one in table["classes"].values()) == pytest.approx(1)


def test_the_odd_group_stands_first(built):
    group = zarr.open_group(str(built), mode="r+")
    group["mean"][2, 1] += 5000
    reseal(built)
    rows = group_table(open_store(built))
    worst = max(rows, key=lambda row: row["robust_z"])
    assert worst["group"] == "T_2020_2" and worst["band_of_z"] == "green"
    assert invoke("stats", built, "--by", "group").splitlines()[1].startswith("T_2020_2")


def test_commands_print_what_people_and_machines_read(built, tmp_path):
    assert "9 sources in 5 groups" in invoke("inspect", built)
    assert json.loads(invoke("inspect", built, "--json"))["tile_size"] == 32
    assert json.loads(invoke("stats", built, "--split", "val", "--json"))["split"] == "val"
    assert "percentiles are within 3.1%" in invoke("stats", built)
    assert json.loads(invoke("split", built, "--val", 0.4, "--json"))["audit"]["passed"]
    assert "no leak found" in invoke("audit", built)
    assert invoke("check", built, "--deep").strip() == "nothing wrong"
    invoke("show", built, 3, "--png", tmp_path / "t.png")
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.size == ((2 * 32 + 4) * 8, 32 * 8)
    page = tmp_path / "r.html"
    invoke("report", built, "--out", page)
    assert "data:image/png;base64," in page.read_text() and "http://" not in page.read_text()


def test_a_leak_ends_split_and_audit_with_one(collection):
    collection.add(7, 1)
    image, fraction = collection.pixels["images/T/T_2020_7_1_GeoTIFF.tif"]
    collection.write(7, 2, image + 40, fraction, city="U")
    run(collection.recipe(), workers=0)
    store = collection.folder / "store.zarr"
    names = open_store(store).texts("group_name")
    rows = [f"{name},{'val' if name.startswith('U') else 'train'}" for name in names]
    (collection.folder / "s.csv").write_text("group,split\n" + "\n".join(rows))
    result = CliRunner().invoke(app, ["split", str(store), "--file", str(collection.folder / "s.csv")])
    assert result.exit_code == 1 and "ground" in result.output
    assert "ground" in invoke("audit", store, code=1)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda group, path: group["valid_share"].__setitem__(0, 0.5), "tile 0: valid_share 0.5"),
        (lambda group, path: group["mean"].__setitem__((0, 0), 5.0), "mean of group T_2020_0"),
        (lambda group, path: group["split"].__setitem__(slice(None), 0), "split train: 5 groups"),
        (lambda group, path: group["source_index"].__setitem__(0, 99), "source_index: values from"),
        (lambda group, path: (path / "image/c/0/0/0/0").unlink(), "image/c/0/0/0/0"),
        (lambda group, path: (path / "fraction/c/0/0/0/0").write_bytes(b"x" * 99), "its checksum is not"),
        (lambda group, path: (path / "mean/c/0/0").write_bytes(b"x" * 9), "`mean` cannot be read"),
    ],
)
def test_what_was_written_wrong_is_found(built, spoil, says):
    spoil(zarr.open_group(str(built), mode="r+"), built)
    reseal(built)
    problems = verify(str(built), deep=True)
    assert any(says in problem for problem in problems), problems
    assert "problems" in invoke("check", built, "--deep", code=1)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "as version 0.1 wrote"])
def test_metadata_that_is_not_what_the_group_says_is_found(built, sealed):
    if not sealed:
        unseal(built)
    assert verify(str(built), deep=True) == []
    whole = (built / "image/zarr.json").read_text()
    for text in (whole[:99], whole.replace('"uint16"', '"int16"'), None):
        (built / "image/zarr.json").unlink() if text is None else (built / "image/zarr.json").write_text(text)
        assert any("image" in problem for problem in verify(str(built), deep=False))


def test_a_store_without_digests_opens_and_check_says_what_it_lacks_and_how_to_get_it(built):
    unseal(built)
    assert "without digests of its small arrays" in invoke("check", built)
    invoke("split", built)
    assert open_store(built).contract.digests.keys() >= {"split", "mean", "image"}
    assert json.loads(invoke("check", built, "--deep", "--json"))["lacks"] == []


def test_a_flipped_byte_or_a_missing_file_anywhere_is_found(built):
    """In every file of the store; of the group's own, a flip may also leave it as it was to all who read it."""
    due = open_store(built).contract
    for path in sorted(path for path in built.rglob("*") if path.is_file()):
        data = path.read_bytes()
        path.unlink()
        assert verify(str(built), deep=False), path
        for at in (0, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            assert verify(str(built), deep=True) or open_store(built).contract == due, (path, at)
        path.write_bytes(data)
    assert verify(str(built), deep=True) == []


def test_tile_and_run_are_commands(collection):
    recipe = collection.recipe()
    out = json.loads(invoke("run", recipe, "--workers", 0, "--json"))
    assert (out["summary"]["found"], out["sources"], out["split"]["audit"]) == (9, 9, "passed")
    clean(collection.raw, collection.folder / "c", collection.plain, workers=1)
    out = invoke("tile", collection.folder / "c", collection.folder / "t.zarr", "--size", 16, "--workers", 0)
    assert "9 sources in 5 groups" in out and open_store(collection.folder / "t.zarr").contract.tile_size == 16


def test_an_unknown_tile_or_scheduler_is_refused(built):
    from greenprep.inspect.tile_picture import write_tile

    with pytest.raises(ConfigError, match="Ids go from 0"):
        write_tile(str(built), 10**6, built.parent / "x.png")
    with pytest.raises(ConfigError, match="no Dask scheduler answers"), engine(None, "tcp://127.0.0.1:9"):
        pass


def test_statistics_of_a_store_that_a_hand_made(tmp_path):
    contract = write_tiny_store(tmp_path / "s")
    table = stats_table(open_store(tmp_path / "s"), "train")
    assert table["pixels"] > 0 and len(table["bands"]) == len(contract.bands)
    middle = next(iter(table["bands"].values()))["percentiles"]["50"]
    assert middle == pytest.approx(1000, rel=RELATIVE_ERROR)


def test_a_png_is_a_png_whatever_its_name(built, tmp_path):
    invoke("show", built, 0, "--png", tmp_path / "x.picture")
    with Image.open(io.BytesIO((tmp_path / "x.picture").read_bytes())) as picture:
        assert picture.format == "PNG"


def test_fractions_decode_in_xarray(built):
    data = xr.open_zarr(built)
    total = data.fraction.sum("class", skipna=False)
    assert float(total.min()) == pytest.approx(1) == float(total.max())


def test_the_page_of_a_store_finds_the_manifest_of_its_sources_beside_it(built, tmp_path):
    store, clean = open_store(built), built.parent / "cleaned"
    built.with_suffix(".clean").rename(clean)
    (built.parent / "another").mkdir()
    (built.parent / "another" / "manifest.jsonl").write_text("half a li")
    page = tmp_path / "r.html"
    invoke("report", built, "--out", page)
    told = page.read_text()
    assert "What was left out" in told and "--clean" not in told
    assert "red, green, blue as red, green, blue" in told and "within 10 km" not in told
    assert told.count('<polyline class="train"') == len(store.contract.features)
    far = tmp_path / "far" / "away"
    far.parent.mkdir()
    clean.rename(far)
    invoke("report", built, "--out", page)
    assert "--clean" in page.read_text()
    invoke("report", built, "--out", page, "--clean", far)
    assert "--clean" not in page.read_text()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_the_bins_of_a_page_hold_what_numpy_counts_in_them_and_are_not_narrow(dtype):
    rng, whole = np.random.default_rng(0), np.dtype(dtype).kind in "iu"
    low = 0 if np.dtype(dtype).kind == "u" else -50
    parts = {name: rng.normal(60, 40, 20_000).clip(low, 200).astype(dtype) for name in ("train", "val")}
    edges, shares = bin_shares({name: Histogram.of(part[None]) for name, part in parts.items()}, 0, integer=whole)
    for name, values in parts.items():
        # An edge belongs to the bin further from 0.
        inner = np.where(edges < 0, np.nextafter(edges, 0), edges)
        np.testing.assert_allclose(shares[name], 100 * np.histogram(values, inner)[0] / len(values), atol=1e-9)
        assert 98 < shares[name].sum() <= 100 + 1e-9
    assert len(edges) > 15 and np.diff(edges).min() >= (1 if whole else 2)


def test_a_band_of_one_value_has_no_bins_on_the_page():
    edges, shares = bin_shares({"train": Histogram.of(np.full((1, 9), 7))}, 0, integer=True)
    assert not len(edges) and not shares
