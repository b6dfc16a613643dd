"""A net and a loss of the caller: trained by the same loop, kept, gone on with, scored, refused where unfit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from greenschemas.errors import ConfigError
from greenschemas.store import open_store
from greentrain.config import load_config
from greentrain.nets.build import name_of, own_net
from greentrain.nets.presets import build_model
from greentrain.study.evaluate import evaluate
from greentrain.study.run_report import write_run_report
from greentrain.training.checkpoint import load_trained
from greentrain.training.fit import fit
from greentrain.training.losses import cross_entropy
from greentrain.training.record import read_record
from greentrain.training.trackers import read_rows
from support.stores import write_tiny_store

# Fabric asks for a package that we do not use; TensorBoard's own reader of old files.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SETTINGS = ("epochs=2", "batch_size=2", "accelerator=cpu", "learning_rate=1e-2", "loss=ce")


class Pixelwise(nn.Module):
    """Logits of a pixel from its bands alone."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 8, 1), nn.ReLU(), nn.Conv2d(8, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.layers(image)
        return logits


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "s.zarr"
    write_tiny_store(path, channels=3, classes=3, sources=4, tiles_each=3, size=16)
    return path


def train(store: Path, run: Path, *changes: str, **how: Any) -> Any:
    return fit(open_store(store), run, load_config(None, [*SETTINGS, *changes]), **how)


def losses(run: Path) -> list[float]:
    return [row["train_loss"] for row in read_rows(run) if "train_loss" in row]


def test_our_own_net_and_loss_brought_from_outside_give_the_same_losses(store: Path, tmp_path: Path) -> None:
    """The oracle is the loop itself with the same net by name."""
    train(store, tmp_path / "named", "model.preset=unet", "model.width=4", "class_weights=none")
    train(
        store,
        tmp_path / "brought",
        model=lambda channels, classes: build_model("unet", channels, classes, width=4).to(
            memory_format=torch.channels_last  # type: ignore[call-overload]
        ),
        loss=cross_entropy,
    )
    assert losses(tmp_path / "named") == losses(tmp_path / "brought") != []


def test_a_net_of_ones_own_is_trained_kept_scored_and_reported(store: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Pixelwise(2, 3)
    outcome = train(store, tmp_path / "run", "epochs=8", model=net)
    assert outcome.best["mean"]["iou"] > outcome.best["constant"]["mean"]["iou"] + 0.2
    assert read_record(tmp_path / "run").own == {"model": "Pixelwise"}
    found = evaluate(str(tmp_path / "run"), model=Pixelwise)
    assert found["mean"]["iou"] == pytest.approx(outcome.best["mean"]["iou"])
    before = {key: value.clone() for key, value in net.state_dict().items()}
    trained = load_trained(tmp_path / "run", "best", net)
    assert trained.net is not net and not trained.net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert write_run_report(tmp_path / "run", model=net).is_file()


def test_a_run_without_its_net_says_how_to_give_it(store: Path, tmp_path: Path) -> None:
    train(store, tmp_path / "run", model=Pixelwise)
    with pytest.raises(ConfigError, match=r"its caller's `Pixelwise`.*take it as `model`"):
        load_trained(tmp_path / "run")
    with pytest.raises(ConfigError, match="weights of another net than `Pixelwise`"):
        load_trained(tmp_path / "run", model=nn.Conv2d(2, 3, 1))
    train(store, tmp_path / "ours", "model.preset=unet", "model.width=4", loss=cross_entropy)
    assert read_record(tmp_path / "ours").own == {"loss": "cross_entropy"}
    assert load_trained(tmp_path / "ours").epoch
    with pytest.raises(ConfigError, match=r"its net is `unet` of its settings. Leave `model` out"):
        load_trained(tmp_path / "ours", model=Pixelwise)


def test_a_run_goes_on_with_what_it_was_given_and_with_nothing_else(store: Path, tmp_path: Path) -> None:
    train(store, tmp_path / "run", model=Pixelwise, loss=cross_entropy)
    again = train(store, tmp_path / "run", resume=True, model=Pixelwise, loss=cross_entropy)
    assert again.epochs == 2
    with pytest.raises(ConfigError, match="model `Pixelwise` and its caller's loss `cross_entropy`, now the settings'"):
        train(store, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda channels, classes: "no net", "gave str. Give a torch.nn.Module"),
        (nn.Conv2d(2, 5, 1), r"`Conv2d` gives \(1, 5, 16, 16\) of an image \(1, 2, 16, 16\). Let it give logits"),
        (nn.Conv2d(2, 3, 3), r"gives \(1, 3, 14, 14\)"),
    ],
)
def test_what_is_no_net_for_the_store_is_refused_before_training(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        own_net(given, 2, 3, 16)


def test_trying_a_net_changes_neither_it_nor_the_chance_of_what_follows() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    assert own_net(net, 2, 3, 16) is net and net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_names_are_those_of_functions_and_classes() -> None:
    assert [name_of(given) for given in (cross_entropy, Pixelwise, nn.ReLU())] == ["cross_entropy", "Pixelwise", "ReLU"]
