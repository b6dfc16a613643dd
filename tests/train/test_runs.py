"""The Python face of training: the same run as by the command, and predictions that are those of the map."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rioxarray
import torch
import xarray as xr
from torch import nn
from typer.testing import CliRunner

import greentrain as gt
from greenschemas.errors import ConfigError
from greentrain.cli import app
from greentrain.config import load_config
from greentrain.maps.predict import Options, classifier_of, predict_scene
from greentrain.training.trackers import read_rows
from support.stores import write_tiny_store

pytestmark = [
    # Fabric asks for a package that we do not use; TensorBoard's own reader of old files.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
]
QUICK = {"epochs": 2, "batch_size": 2, "accelerator": "cpu", "learning_rate": 1e-2, "trees": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    write_tiny_store(path / "s.zarr", channels=3, classes=3, sources=4, tiles_each=3, size=16)
    gt.fit(str(path / "s.zarr"), str(path / "run"), model={"preset": "unet", "width": 4}, **QUICK)
    return path


def losses(run: Path) -> list[float]:
    return [row["train_loss"] for row in read_rows(run) if "train_loss" in row]


def test_fit_is_what_the_command_does_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    given = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    net = ["--set", "model.preset=unet", "--set", "model.width=4"]
    done = CliRunner().invoke(app, ["fit", str(folder / "s.zarr"), "--out", str(tmp_path / "run"), *given, *net])
    assert done.exit_code == 0, done.output
    assert losses(tmp_path / "run") == losses(folder / "run") != []
    assert (tmp_path / "run" / "config.yaml").read_bytes() == (folder / "run" / "config.yaml").read_bytes()
    assert (folder / "run" / "report.html").is_file()
    assert json.loads((folder / "run" / "run.json").read_text())["command"] == ["greentrain.fit"]


def test_settings_come_by_file_by_text_and_by_keyword_the_later_winning(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("epochs: 3\nseed: 4\naugment: {crop: 8}\n")
    found = load_config(
        tmp_path / "c.yaml", ["epochs=5", "batch_size=3"], None, {"batch_size": 6, "augment": {"mix_tiles": 0.5}}
    )
    assert (found.epochs, found.seed, found.batch_size) == (5, 4, 6)
    assert (found.augment.crop, found.augment.mix_tiles) == (8, 0.5)
    with pytest.raises(ConfigError, match="epochs"):
        gt.fit("nowhere.zarr", tmp_path / "run", epoch=5)


def test_a_run_goes_on_by_keyword(folder: Path, tmp_path: Path) -> None:
    again = gt.fit(gt.open_store(folder / "s.zarr"), folder / "run", resume=True)
    assert (again.status, again.epochs) == ("finished", 2)
    assert again.beside is not None and "Gradient boosting on single pixels" in again.beside


def test_predictions_of_arrays_are_those_of_the_map(folder: Path, tmp_path: Path) -> None:
    """The oracle is the command's own map of fractions, of the same scene as a file."""
    run = gt.load_run(str(folder / "run"), device="cpu")
    store = gt.open_store(folder / "s.zarr")
    scene = store.source(store.texts("path")[0])
    scene.rio.write_nodata(np.nan).rio.to_raster(tmp_path / "s.tif")
    named = rioxarray.open_rasterio(tmp_path / "s.tif")
    predict_scene(
        classifier_of(run.trained), tmp_path / "s.tif", tmp_path / "m.tif", Options(fractions=True, force=True)
    )
    expected = rioxarray.open_rasterio(tmp_path / "m_fractions.tif")
    found = run.predict(scene)
    assert isinstance(found, xr.DataArray) and found.dims == ("class", "y", "x")
    assert found["class"].values.tolist() == list(run.classes)
    assert found.rio.crs == scene.rio.crs and found.rio.transform() == scene.rio.transform()
    assert found.shape == (3, 16, 48) and np.isnan(found[:, 0]).all() and not np.isnan(found[:, 1:]).any()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found.sum("class", skipna=False)[1:], 1, atol=1e-5)
    np.testing.assert_array_equal(run.predict(named), expected)  # all bands of the store, by order
    plain = run.predict(scene.values)
    assert isinstance(plain, np.ndarray)
    np.testing.assert_array_equal(plain, expected)
    np.testing.assert_array_equal(run.predict(scene.values[:2]), expected)  # those that the net sees
    turned = scene.isel(band=[2, 1, 0]).transpose("y", "band", "x")
    np.testing.assert_array_equal(run.predict(turned), expected)
    assert run.bands == ("B1", "B2") and not run.net.training


def test_a_prediction_does_not_depend_on_the_size_of_its_batches(folder: Path) -> None:
    run = gt.load_run(folder / "run", "last", device="cpu")
    image = np.random.default_rng(0).normal(1000, 100, (2, 21, 37)).astype(np.float32)
    whole = run.predict(image, overlap=0.25, flips=True)
    assert whole.shape == (3, 21, 37)
    # Sums in a convolution may be taken in another order for another batch: float32, some hundred terms.
    np.testing.assert_allclose(run.predict(image, overlap=0.25, flips=True, batch_size=1), whole, atol=1e-4)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 8, 8)), r"4 bands without names. Give the 3 of the store \(B1, B2, B3\) or the 2"),
        (np.zeros((8, 8)), r"an array of shape \(8, 8\)"),
        (
            xr.DataArray(np.zeros((2, 8, 8)), dims=("band", "y", "x"), coords={"band": ["B1", "X"]}),
            "no band B2; it has",
        ),
        (xr.DataArray(np.zeros((8, 8)), dims=("y", "x")), "axes y, x. Give an array of a band axis"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(folder: Path, image: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gt.load_run(folder / "run", device="cpu").predict(image)


def test_a_window_that_cannot_be_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="overlap 1"):
        gt.load_run(folder / "run", device="cpu").predict(np.ones((2, 8, 8)), overlap=1)


def test_the_rest_of_the_face_works_together(folder: Path, tmp_path: Path) -> None:
    store = gt.open_store(folder / "s.zarr")
    [channels] = {batch["image"].shape[1] for batch in gt.open_loader(store, "train", 4)}
    net = gt.build_model("detail", in_channels=channels, num_classes=3)
    assert isinstance(gt.build_model("tiny", in_channels=channels, num_classes=3), gt.VMUNet)
    assert isinstance(net, nn.Module) and callable(gt.selective_scan)

    def my_loss(logits: torch.Tensor, fraction: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        return ((logits.softmax(1) - fraction) ** 2).mean(1)[counted].mean()

    gt.fit(store, tmp_path / "own", model=nn.Conv2d(channels, 3, 1), loss=my_loss, **QUICK)
    with pytest.raises(ConfigError, match="Conv2d"):
        gt.load_run(tmp_path / "own")
    run = gt.load_run(tmp_path / "own", model=nn.Conv2d(channels, 3, 1), device="cpu")
    assert run.predict(np.ones((2, 20, 20), np.float32)).shape == (3, 20, 20)
    assert gt.evaluate(str(folder / "run"), device="cpu")["mean"].keys() >= {"iou", "f1"}


def test_arrays_are_predicted_without_gdal_and_xarray(folder: Path) -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["rasterio", "xarray", "rioxarray", "dask"]))
import numpy, greentrain
print(greentrain.load_run({str(folder / "run")!r}, device="cpu").predict(numpy.ones((2, 9, 9), "f4")).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(3, 9, 9)", done.stderr


def test_the_python_of_the_readme_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    [code] = [part.partition("```")[0] for part in readme.split("```python\n")[1:]]
    assert len(code.strip().splitlines()) == 8
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "city.zarr").symlink_to(folder / "s.zarr")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code.replace("epochs=5", "epochs=1, accelerator='cpu', model={'preset': 'unet', 'width': 4}"), names)
    assert names["fractions"].dims == ("class", "y", "x")  # type: ignore[attr-defined]
    assert len(list(names["batches"])) > 0  # type: ignore[call-overload]
