"""Devices: named ones that are here, and words for those that are not."""

from __future__ import annotations

import pytest
import torch

from greenschemas.errors import ConfigError
from greentrain.config import load_config
from greentrain.devices import find_device
from greentrain.training.session import start_fabric


def gpus(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


@pytest.mark.parametrize(
    ("number", "name", "found"),
    [(0, "auto", "cpu"), (2, "auto", "cuda"), (2, "cpu", "cpu"), (2, "cuda", "cuda"), (2, "cuda:1", "cuda:1")],
)
def test_a_device_that_is_here_is_taken(monkeypatch: pytest.MonkeyPatch, number: int, name: str, found: str) -> None:
    gpus(monkeypatch, number)
    assert find_device(name, "--device") == torch.device(found)


@pytest.mark.parametrize(("number", "name"), [(0, "cuda"), (2, "cuda:2"), (2, "gpu"), (0, "mps"), (0, "")])
def test_a_device_that_is_not_here_is_named_beside_those_that_are(
    monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    gpus(monkeypatch, number)
    with pytest.raises(ConfigError, match=rf"--device: `{name}`, and torch .* sees cpu"):
        find_device(name, "--device")


def test_training_asks_for_no_more_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    with pytest.raises(ConfigError, match="accelerator: `cuda`"):
        start_fabric(load_config(None, ["accelerator=cuda"]))
    gpus(monkeypatch, 2)
    with pytest.raises(ConfigError, match="devices: 3, and torch sees 2 GPUs"):
        start_fabric(load_config(None, ["devices=3"]))
