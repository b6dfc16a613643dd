"""The command line: what people script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from greenschemas.errors import ConfigError
from greenschemas.store import open_store
from greentrain.cli import app
from greentrain.data.loader import open_loader
from greentrain.scores import metrics
from greentrain.study.beside_trees import BesideTrees, beside_trees
from greentrain.study.evaluate import probabilities
from greentrain.study.trees import TreesBaseline
from greentrain.training.checkpoint import write_checkpoint
from greentrain.training.trackers import read_rows
from support.stores import write_tiny_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUICK = [
    part
    for change in (
        "model.preset=tiny",
        "model.dims=[8,16]",
        "model.depths=[1,1]",
        "model.depths_decoder=[1,1]",
        "batch_size=2",
        "accelerator=cpu",
        "seed=1",
        "trees=false",
    )
    for part in ("--set", change)
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `s.zarr`, a run `run` on it, and stores of other bands and classes."""
    folder = tmp_path_factory.mktemp("cli")
    write_tiny_store(folder / "s.zarr", channels=3, classes=3, sources=4, tiles_each=2, size=16)
    write_tiny_store(folder / "same.zarr", channels=3, classes=3, sources=2, tiles_each=1, size=24, seed=1)
    write_tiny_store(folder / "bands.zarr", channels=1, classes=3, sources=2, tiles_each=1, size=16)
    write_tiny_store(folder / "classes.zarr", channels=3, classes=4, sources=2, tiles_each=1, size=16)
    done = CliRunner().invoke(
        app, ["fit", str(folder / "s.zarr"), "--out", str(folder / "run"), "--epochs", "2", *QUICK]
    )
    assert done.exit_code == 0, done.output
    assert "mean of constant" in done.output
    assert "Gradient boosting on single pixels" in done.output
    assert re.search(r"Epoch [12], the best on the val split, whose net is kept:\n +iou", done.output)
    return folder


def test_fit_leaves_rows_a_report_and_the_command(place: Path) -> None:
    rows = read_rows(place / "run")
    assert [row["epoch"] for row in rows if "train_loss" not in row] == [1, 2]
    assert (place / "run" / "report.html").exists()
    assert json.loads((place / "run" / "run.json").read_text())["command"][0] == "greentrain"


def test_trees_stand_beside_the_net_at_the_end_of_fit(place: Path) -> None:
    """On all pixels of so small a store, so that the score is what the trees themselves get."""
    store = open_store(place / "s.zarr")
    best = max((row for row in read_rows(place / "run") if "mean" in row), key=lambda row: row["mean"]["iou"])
    beside = beside_trees(place / "run", store, best)
    assert beside is not None and beside.net == best["mean"]["iou"]
    tiles = {
        split: open_loader(store, split, 99, order="sequential", normalise=False, bands=("B1", "B2"))
        for split in ("train", "val")
    }
    train, val = (next(iter(loader)) for loader in tiles.values())
    trees = TreesBaseline(iterations=[100]).fit(
        train["image"].numpy().astype(np.float32), train["fraction"].numpy(), train["valid"].numpy()
    )
    found = torch.from_numpy(trees.predict(val["image"].numpy().astype(np.float32)))
    counts = metrics.confusion(found, val["fraction"], val["valid"])
    truth = metrics.scores(counts, store.contract.classes)
    assert beside.trees == pytest.approx(truth["mean"]["iou"], abs=0.05)  # trees of the same pixels, drawn otherwise
    assert json.loads((place / "run" / "run.json").read_text())["trees_iou"] == beside.trees


def test_a_net_that_is_not_above_the_trees_is_said_to_be_so() -> None:
    above = str(BesideTrees(0.6, 0.7, 0.2, 0.69, False, 3.0, around=False))
    assert "the net's 0.700 is above it" in above and "0.690: the net stands alone" in above
    assert above.startswith("Gradient boosting on single pixels, fitted in 3 s")
    below = str(BesideTrees(0.7, 0.6, 0.2, 0.65, True, 3.0, around=True))
    assert below.startswith("WARNING") and "not above" in below and below.endswith("more epochs or patches.")
    # What the run answers with is above the trees, whatever the net is by itself: nothing to be warned of.
    text = str(BesideTrees(0.7, 0.7, 0.2, 0.75, True, 3.0, around=True))
    assert "not above" in text and text.endswith("0.750: the run predicts with it.") and "WARNING" not in text


def test_resuming_reads_checkpoints_once_and_names_a_broken_one_once(place: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(place / "run", tmp_path / "run"))
    newest = max((run / "checkpoints").glob("step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    done = CliRunner().invoke(app, ["fit", str(place / "s.zarr"), "--out", str(run), "--resume"])
    assert done.exit_code == 0, done.output
    assert done.output.count("a broken checkpoint") == 1
    assert "going on after epoch 1" in done.output


def test_resuming_a_run_of_another_version_of_a_net_is_refused(place: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(place / "run", tmp_path / "run"))
    for path in (run / "checkpoints").glob("step-*.pt"):
        content = torch.load(path, weights_only=True)
        content["weights"]["a.part.of.before"] = torch.zeros(1)
        write_checkpoint(path, {key: value for key, value in content.items() if key != "format"})
    done = CliRunner().invoke(app, ["fit", str(place / "s.zarr"), "--out", str(run), "--resume"])
    assert isinstance(done.exception, ConfigError)
    assert "weights of another net than `tiny` is in this version" in str(done.exception)


def test_evaluate_gives_the_promised_json(place: Path) -> None:
    for extra, tiles in ((["--split", "all"], 8), (["--store", str(place / "same.zarr")], 1), (["--tta"], 4), ([], 4)):
        done = CliRunner().invoke(app, ["evaluate", str(place / "run"), "--json", *extra])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert list(found["classes"]) == ["class0", "class1", "class2"]
        for scores in (found, found["constant"]):
            assert {"iou", "f1", "accuracy", "specificity", "sensitivity"} <= scores["mean"].keys()
            assert scores["mean"].keys() == scores["classes"]["class0"].keys()
        assert list(found["boundary"]) == ["class0", "class1", "class2", "mean"]
        assert found["tiles"] == tiles
        assert sum(map(sum, found["confusion"])) == found["pixels"]
    table = CliRunner().invoke(app, ["evaluate", str(place / "run")]).output
    assert "boundary iou" in table and f"{found['boundary']['mean']:.4f}" in table
    val = [row for row in read_rows(place / "run") if "train_loss" not in row]
    assert found["confusion"] == max(val, key=lambda row: row["mean"]["iou"])["confusion"]


@pytest.mark.parametrize(
    ("store", "message"),
    [("bands.zarr", "bands B2 of the net are not in it"), ("classes.zarr", "classes class0, class1, class2, class3")],
)
def test_evaluate_refuses_a_store_of_other_bands_or_classes(place: Path, store: str, message: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(place / "run"), "--store", str(place / store)])
    assert isinstance(done.exception, ConfigError)
    assert message in str(done.exception)


def test_mirror_images_give_the_mirrored_answer() -> None:
    net = torch.nn.Conv2d(2, 3, 3, padding=1)
    image = torch.randn(1, 2, 6, 5)
    with torch.no_grad():
        [plain], [mean] = probabilities(net, image, False), probabilities(net, image, True)
        torch.testing.assert_close(probabilities(net, image.flip(-1), True)[0], mean.flip(-1))
    torch.testing.assert_close(plain, net(image).softmax(1).detach())
    assert not torch.equal(plain, mean)


def test_config_prints_settings_that_fit_takes() -> None:
    done = CliRunner().invoke(app, ["config", "--set", "epochs=3"])
    settings = yaml.safe_load(done.stdout)
    assert settings["epochs"] == 3
    assert {"model", "seed", "batch_size", "learning_rate"} <= settings.keys()
    assert "# " in done.stdout


def test_doctor_says_how_each_check_came_out_and_fails_with_1(place: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", str(place / "s.zarr"), "--json", *QUICK])
    assert done.exit_code == 0, done.output
    assert {check["name"] for check in json.loads(done.stdout)} >= {"store", "overfit"}
    done = CliRunner().invoke(app, ["doctor", str(place / "s.zarr"), "--set", "bands=B7"])
    assert done.exit_code == 1
    assert "fail  bands: " in done.output


def test_report_is_written_again(place: Path) -> None:
    (place / "run" / "report.html").unlink()
    done = CliRunner().invoke(app, ["report", str(place / "run")])
    assert done.exit_code == 0, done.output
    assert (place / "run" / "report.html").exists()


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from greentrain.cli import app; from typer.testing import CliRunner;"
        "r = CliRunner().invoke(app, ['fit', '--help']); assert r.exit_code == 0 and 'Example' in r.output;"
        "assert not {'torch', 'matplotlib', 'tensorstore', 'rasterio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_errors_end_with_2_and_one_message(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "greentrain", "fit", str(tmp_path), "--out", str(tmp_path / "r"), "--set", "epocs=3"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
