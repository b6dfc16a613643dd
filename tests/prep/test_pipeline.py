"""`greenprep run` and `tile`: one reading, the same store byte for byte, whatever happens on the way."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import greenprep as gp
from greenprep.build import read as reading
from greenprep.build import sources as pipeline
from greenprep.build.run import run
from greenprep.clean.clean import clean
from greenprep.engine.choose import engine
from greenprep.raw import pair as raster
from greenprep.split.assign import SplitPlan, rules_of, split_store
from greenschemas.errors import ConfigError, GreenError, SourceError, StoreError
from greenschemas.store import open_store


@pytest.fixture
def built(collection):
    run(collection.recipe(), workers=0)
    return collection


def test_the_store_holds_the_pixels_of_the_files(built):
    store = open_store(built.folder / "store.zarr")
    data = xr.open_zarr(built.folder / "store.zarr")
    assert store.contract.tiles == data.sizes["tile"] > 9
    paths = store.texts("path")
    assert paths.tolist() == sorted(built.pixels)
    for tile in range(store.contract.tiles):
        image, fraction = built.pixels[paths[int(data.source_index[tile])]]
        row, col = int(data.row[tile]), int(data.col[tile])
        part = image[:, row : row + 32, col : col + 32]
        height, width = part.shape[1:]
        assert np.array_equal(data.image[tile, :, :height, :width], part)
        assert data.valid[tile].values.sum() == height * width == round(float(data.valid_share[tile]) * 32 * 32)
        found = data.fraction[tile].values
        np.testing.assert_allclose(found[:, :height, :width], fraction[:, row : row + 32, col : col + 32], atol=1e-6)
        assert np.isnan(found[:, height:]).all() and np.isnan(found[:, :, width:]).all()
        assert not data.image[tile, :, height:].values.any()


def test_tiles_are_in_the_order_of_path_row_and_column(built):
    store = open_store(built.folder / "store.zarr")
    order = list(zip(store.read("source_index"), store.read("row"), store.read("col"), strict=True))
    assert order == sorted(order)


def test_it_opens_in_xarray_without_a_warning_and_groups_are_whole(built):
    data = xr.open_zarr(built.folder / "store.zarr")
    assert data.fraction.dims == ("tile", "class", "y", "x")
    assert float(data.fraction.min()) >= 0 and float(data.fraction.max()) <= 1
    store = open_store(built.folder / "store.zarr")
    assert set(store.splits().tolist()) == {0, 1}
    assert store.contract.split is not None and store.contract.split.audit == "passed"
    assert [band.role.value for band in store.contract.bands] == ["reflectance"] * 4 + ["dead"]


def test_statistics_are_those_of_a_two_pass_float64_over_the_train_tiles(built):
    store = open_store(built.folder / "store.zarr")
    tiles = store.usable_tiles("train")
    image, valid = store.read("image")[tiles], store.read("valid")[tiles].astype(bool)
    x = np.moveaxis(image, 1, 0)[:, valid].astype(np.float64)
    assert store.contract.statistics is not None
    for band, one in enumerate(store.contract.statistics.bands):
        assert one.mean == pytest.approx(x[band].mean(), rel=1e-9)
        assert one.std == pytest.approx(x[band].std(), rel=1e-9)
        assert (one.minimum, one.maximum) == (x[band].min(), x[band].max())
    share = store.read("fraction")[tiles].astype(float)
    share = np.where(share == 255, 0, share).sum(axis=(0, 2, 3))
    np.testing.assert_allclose(store.contract.statistics.class_share, share / share.sum(), rtol=1e-12)


def test_run_is_clean_then_tile_then_split_byte_for_byte(built, files):
    folder = built.folder
    clean(built.raw, folder / "c", built.plain, workers=1)
    gp.tile(folder / "c", folder / "other.zarr", workers=0)
    before = open_store(folder / "other.zarr")
    split_store(folder / "other.zarr", SplitPlan(rules_of(before, None, None, None, None)))
    assert files(folder / "store.zarr") == files(folder / "other.zarr")
    assert (folder / "store.clean/manifest.jsonl").read_bytes() == (folder / "c/manifest.jsonl").read_bytes()
    assert (folder / "store.clean/summary.json").read_bytes() == (folder / "c/summary.json").read_bytes()


def test_each_source_is_opened_once_and_decoded_once(collection, monkeypatch):
    opened = []
    whole = raster.open_file

    def counted(root, name, *rest):
        opened.append(name)
        return whole(root, name, *rest)

    monkeypatch.setattr(raster, "open_file", counted)
    run(collection.recipe(), workers=0)
    assert sorted(opened) == sorted(set(opened)) and len(opened) == 2 * len(collection.pixels)


def test_a_shuffled_list_of_files_gives_the_same_store(built, files, monkeypatch):
    from greenprep.build import run as build_run

    found = build_run.find_pairs
    monkeypatch.setattr(
        build_run, "find_pairs", lambda *args: random.Random(1).sample(list(found(*args)), len(found(*args)))
    )
    run(built.recipe("shuffled"), workers=0)
    assert files(built.folder / "shuffled.zarr") == files(built.folder / "store.zarr")


def test_strips_of_a_large_source_give_the_same_store_as_the_whole(empty_collection, files, monkeypatch):
    made = empty_collection
    made.add(0, 1, 300, 90, blockysize=16, tiled=True, blockxsize=16)
    made.add(1, 1, 90, 300)
    made.add(2, 1, 61, 40)
    monkeypatch.setattr(raster, "STRIP_BYTES", 0)
    run(made.recipe("whole"), workers=0)
    monkeypatch.setattr(reading, "_WHOLE_BYTES", 30_000)
    monkeypatch.setattr(reading, "_STRIP_BYTES", 120_000)
    monkeypatch.setattr(reading, "_WINDOW_BYTES", 20_000)
    run(made.recipe("strips"), workers=0)
    assert files(made.folder / "whole.zarr") == files(made.folder / "strips.zarr")


@pytest.mark.parametrize(
    "tile", [{"size": 32, "stride": 20}, {"size": 32, "edge": "shift"}, {"size": 32, "edge": "drop"}]
)
def test_strips_are_exact_whatever_the_edges_and_the_stride(empty_collection, files, monkeypatch, tile):
    made = empty_collection
    made.add(0, 1, 211, 70)
    made.add(1, 1, 70, 211)
    monkeypatch.setattr(raster, "STRIP_BYTES", 0)
    run(made.recipe("whole", tile=tile), workers=0)
    monkeypatch.setattr(reading, "_WHOLE_BYTES", 30_000)
    monkeypatch.setattr(reading, "_STRIP_BYTES", 60_000)
    monkeypatch.setattr(reading, "_WINDOW_BYTES", 20_000)
    run(made.recipe("strips", tile=tile), workers=0)
    assert files(made.folder / "whole.zarr") == files(made.folder / "strips.zarr")


def test_sources_of_several_types_share_the_narrowest_that_holds_them(empty_collection):
    made = empty_collection
    for area, dtype in enumerate(["uint16", "int16", "uint16"]):
        made.add(area, 1, dtype=dtype)
    run(made.recipe(), workers=0)
    store = open_store(made.folder / "store.zarr")
    assert store.contract.dtype == "int16"
    for tile in range(store.contract.tiles):
        image, _ = made.pixels[store.texts("path")[store.read("source_index")[tile]]]
        row, col = store.read("row")[tile], store.read("col")[tile]
        part = image[:, row : row + 32, col : col + 32]
        assert np.array_equal(store.read("image")[tile, :, : part.shape[1], : part.shape[2]], part)


def test_a_build_that_failed_goes_on_where_it_was(collection, files, monkeypatch):
    run(collection.recipe("whole"), workers=0)
    recipe = collection.recipe("part")
    read, done = reading.read_task, []

    def failing(piece):
        if done:
            raise SourceError("x", "the power went", "wait")
        done.append(piece)
        return read(piece)

    monkeypatch.setattr(pipeline, "_TASKS", 1)
    monkeypatch.setattr(pipeline, "_BATCH_PAIRS", 2)
    monkeypatch.setattr(pipeline, "read_task", failing)
    with pytest.raises(SourceError, match="the power went"):
        run(recipe, workers=0)
    again = []
    monkeypatch.setattr(pipeline, "read_task", lambda piece: (again.append(piece), read(piece))[1])
    run(recipe, workers=0)
    assert len(again) == 4
    assert files(collection.folder / "whole.zarr") == files(collection.folder / "part.zarr")
    assert not (collection.folder / "part.zarr.partial").exists()


def test_what_a_stopped_build_of_other_sources_left_is_not_kept(collection, files, monkeypatch):
    from greenprep.build import run as build_run

    monkeypatch.setattr("greenprep.store.arrays._MOST_TILES", 2)
    recipe = collection.recipe("some")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(build_run, "finish", lambda store: (_ for _ in ()).throw(RuntimeError))
        run(recipe, workers=0)
    for path in sorted(collection.raw.rglob("T_2020_[3-9]*")):
        path.unlink()
    run(recipe, workers=0)
    run(collection.recipe("fresh"), workers=0)
    assert files(collection.folder / "some.zarr") == files(collection.folder / "fresh.zarr")


def test_a_store_that_is_there_is_not_written_over_unless_asked(built):
    recipe = built.recipe()
    with pytest.raises(StoreError, match="there is a store already"):
        run(recipe, workers=0)
    built.add(7, 1)
    run(recipe, workers=0, overwrite=True)
    assert open_store(built.folder / "store.zarr").contract.sources == 10


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tile": {"size": 500}}, StoreError, "no tile in 9 accepted pairs"),
        ({"store": None}, StoreError, "where `raw` files are"),
        ({"raw": "nowhere"}, SourceError, "no such folder"),
        ({"raw": "empty"}, SourceError, "no TIFF"),
        ({"clean": "raw"}, ConfigError, "is the raw folder"),
        ({"clean": "store.zarr/c"}, ConfigError, "lies in the store"),
        ({"split": {"val": 0.4, "by": "town"}}, ConfigError, "finds nothing"),
    ],
)
def test_what_cannot_be_is_said(collection, changes, error, message):
    (collection.folder / "empty").mkdir()
    with pytest.raises(error, match=message):
        run(collection.recipe(**changes), workers=0)


@pytest.mark.parametrize("name", ["raw", ".", "thesis", "thesis/text.txt", "c"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_but_a_store_is_ever_replaced(collection, files, name, overwrite):
    (collection.folder / "thesis").mkdir()
    (collection.folder / "thesis/text.txt").write_text("years of work")
    clean(collection.raw, collection.folder / "c", collection.plain, workers=1)
    recipe = collection.recipe(store=name, clean="m")
    before = files(collection.folder)
    with pytest.raises(GreenError, match=r"another name|a folder beside"):
        run(recipe, workers=0, overwrite=overwrite)
    with pytest.raises(StoreError, match="another name"):
        gp.tile(collection.folder / "c", collection.folder / name, workers=0, overwrite=overwrite)
    assert files(collection.folder) == before


def test_a_file_that_cannot_be_looked_at_stops_no_run(built, files):
    (built.raw / "images/T/T_2020_9_1_GeoTIFF.tif").symlink_to(built.folder / "nowhere")
    outcome = run(built.recipe("other"), workers=0)
    assert (outcome.summary.accepted, outcome.summary.rejected) == (9, 1)
    assert {reason.code for reason in outcome.entries[-1].reasons} == {"missing-mask", "unreadable"}
    assert files(built.folder / "other.zarr") == files(built.folder / "store.zarr")
    entries, _ = clean(built.raw, built.folder / "c", built.plain, workers=1)
    assert tuple(entries) == outcome.entries


def test_an_empty_folder_may_become_the_store(collection):
    (collection.folder / "store.zarr").mkdir()
    run(collection.recipe(), workers=0)
    assert open_store(collection.folder / "store.zarr").contract.tiles


def test_the_manifest_never_takes_the_place_of_the_recipe(collection):
    recipe = collection.recipe("recipe", clean=".")
    before = recipe.read_text()
    with pytest.raises(ConfigError, match=r"recipe\.yaml itself"):
        run(recipe, workers=0)
    assert recipe.read_text() == before


def test_a_folder_that_clean_did_not_write_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"no recipe\.yaml"):
        gp.tile(tmp_path, tmp_path / "s.zarr", workers=0)


def test_a_file_changed_since_it_was_cleaned_is_named(collection):
    clean(collection.raw, collection.folder / "c", collection.plain, workers=1)
    victim = next((collection.folder / "c/images").rglob("*.tif"))
    data = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=victim.name):
        gp.tile(collection.folder / "c", collection.folder / "s.zarr", workers=0)


def command(recipe: Path, workers: int) -> list[str]:
    code = "from greenprep.cli.store import app; from greenschemas.console import run; run(app)"
    return [sys.executable, "-c", code, "run", str(recipe), "--workers", str(workers)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_gives_the_same_bytes(built, files, workers):
    recipe = built.recipe(f"w{workers}")
    done = subprocess.run(command(recipe, workers), check=True, capture_output=True, text=True, timeout=200)
    assert "9 found = 9 accepted" in done.stderr
    assert files(built.folder / f"w{workers}.zarr") == files(built.folder / "store.zarr")


@pytest.mark.slow
def test_dask_gives_the_same_bytes(built, files):
    words = [*command(built.recipe("dask"), 2), "--scheduler", "local"]
    subprocess.run(words, check=True, capture_output=True, timeout=200)
    assert files(built.folder / "dask.zarr") == files(built.folder / "store.zarr")


CRASH = """
import sys
from greenprep.engine.choose import engine, warm_up
from greenprep.engine.job import KilledJob
if __name__ == "__main__":
    scheduler = sys.argv[1] or None
    warm_up(2, scheduler)
    bad = "__import__('os')._exit(3)"
    with engine(2, scheduler) as run:
        answers = dict(run.run(eval, ["1 + 1", bad, "2 + 2", "3 + 3"]))
    assert answers == {"1 + 1": 2, bad: KilledJob(bad), "2 + 2": 4, "3 + 3": 6}, answers
"""


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["", "local"])
def test_a_job_that_takes_its_worker_down_is_lost_alone(tmp_path, scheduler):
    (tmp_path / "crash.py").write_text(CRASH)
    words = [sys.executable, str(tmp_path / "crash.py"), scheduler]
    subprocess.run(words, check=True, capture_output=True, timeout=200)


def test_a_pool_answers_each_job_once_and_raises_what_a_job_raises():
    with engine(2, None) as work:
        assert sorted(work.run(abs, [-3, 1, -3, 0])) == [(-3, 3), (-3, 3), (0, 0), (1, 1)]
        assert list(work.run(abs, [])) == []
        with pytest.raises(ValueError, match="invalid literal"):
            list(work.run(int, ["1", "x"]))


def children(pid: int) -> list[int]:
    """Processes that a process started and that live."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the workers by Linux's /proc")
@pytest.mark.parametrize("victim", ["driver", "worker"])
def test_killed_at_random_moments_and_resumed_it_is_the_same_store(built, files, victim):
    chance = random.Random(victim)
    for turn in range(10):
        recipe = built.recipe(f"{victim}{turn}")
        process = subprocess.Popen(command(recipe, 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.5, 3.0))
        for pid in (children(process.pid) if victim == "worker" else []) or [process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait(timeout=200)
        if not (built.folder / f"{victim}{turn}.zarr").exists():  # killed after the rename, it is whole already
            subprocess.run(command(recipe, 1), check=True, capture_output=True, timeout=200)
        assert files(built.folder / f"{victim}{turn}.zarr") == files(built.folder / "store.zarr")
