"""Checkpoints: whole or not at all, and what is said of those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from greenschemas.errors import ConfigError
from greentrain.config import load_config
from greentrain.data.normalise import build_normaliser
from greentrain.nets.build import build_net
from greentrain.training.checkpoint import (
    describe_net,
    link_last,
    load_trained,
    newest_checkpoint,
    prune,
    write_checkpoint,
)
from greentrain.training.ema import Ema
from support.stores import tiny_contract


def write(run: Path, step: int) -> Path:
    path = run / "checkpoints" / f"step-{step:08d}.pt"
    write_checkpoint(path, {"step": step, "weights": {"a": torch.ones(1000)}})
    link_last(path)
    return path


def test_the_newest_whole_checkpoint_is_found_past_broken_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert newest_checkpoint(tmp_path) is None
    for step in (5, 10, 15, 20):
        write(tmp_path, step)
    whole = (tmp_path / "checkpoints" / "step-00000020.pt").read_bytes()
    (tmp_path / "checkpoints" / "step-00000020.pt").write_bytes(whole[:-700])
    (tmp_path / "checkpoints" / "step-00000015.pt").write_bytes(b"")
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found["step"] == 10
    assert capsys.readouterr().err.count("a broken checkpoint") == 2


def test_a_bit_flipped_on_the_disk_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    data = bytearray(path.read_bytes())
    at = data.find(torch.ones(8).numpy().tobytes())
    data[at + 3] ^= 64
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"none of 1 checkpoints is whole.*delete them to start"):
        newest_checkpoint(tmp_path)


def test_pruning_leaves_the_newest_and_nothing_half_written(tmp_path: Path) -> None:
    for step in range(5):
        write(tmp_path, step)
    (tmp_path / "checkpoints" / ".step-00000009.pt.1.tmp").write_bytes(b"half")
    prune(tmp_path, 2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "last.pt",
        "step-00000003.pt",
        "step-00000004.pt",
    ]


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "best.pt"
    path.parent.mkdir()
    torch.save(print, path)
    with pytest.raises(ConfigError, match="a broken checkpoint"):
        load_trained(tmp_path)
    torch.save({"model": {}}, path)
    with pytest.raises(ConfigError, match="not a checkpoint of greentrain"):
        load_trained(tmp_path)
    with pytest.raises(ConfigError, match="no checkpoint `last`"):
        load_trained(tmp_path, "last")


def test_a_loaded_net_gives_what_the_saved_one_gave(tmp_path: Path) -> None:
    contract, config = tiny_contract(channels=3), load_config(None, ["model.preset=tiny", "target=class1"])
    net = build_net(config.model, 2, 2).eval()
    normaliser = build_normaliser(contract, clip=4)
    write_checkpoint(
        tmp_path / "checkpoints" / "best.pt",
        {**describe_net(normaliser, contract, config), "weights": net.state_dict(), "position": {"epoch": 3}},
    )
    trained = load_trained(tmp_path)
    raw, valid = torch.randint(500, 1500, (2, 2, 32, 32)).float(), torch.ones(2, 32, 32, dtype=torch.bool)
    with torch.no_grad():
        expected = net(torch.from_numpy(normaliser(raw.numpy(), valid.numpy()))).softmax(1)
    assert torch.equal(trained.probabilities(raw, valid), expected)
    assert trained.rule.classes == ("other", "class1")
    assert (trained.contract, trained.config, trained.epoch) == (contract, config, 3)
    assert len(trained.identity) == 16


def test_an_average_lies_between_the_weights_it_saw() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        net[0].weight.fill_(0.0)
    ema = Ema(net, 0.9)
    seen = []
    for value in (1.0, 2.0, 3.0):
        with torch.no_grad():
            net[0].weight.fill_(value)
        net(torch.randn(4, 2))
        ema.update(net)
        seen.append(float(ema.average["0.weight"][0, 0]))
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] < 3
    other = Ema(net, 0.9)
    other.load_state_dict(ema.state_dict())
    with other.applied(net):
        assert net[0].weight[0, 0].item() == seen[-1]
        assert int(net[1].num_batches_tracked) == 3
    assert net[0].weight[0, 0].item() == 3.0
