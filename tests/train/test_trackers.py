"""Packages that watch a run: named as they want it, never able to end it, and found again after --resume."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from greenschemas.errors import ConfigError
from greenschemas.store import open_store
from greentrain.config import load_config
from greentrain.training.fit import fit
from greentrain.training.trackers import Trackers, read_rows
from support.stores import write_tiny_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own

QUICK = (
    "model.preset=tiny",
    "model.d_state=1",
    "model.dims=[8,16]",
    "model.depths=[1,1]",
    "model.depths_decoder=[1,1]",
    "batch_size=2",
    "accelerator=cpu",
    "ema=0",
)
ROW = {"epoch": 1, "step": 1, "train_loss": 0.5, "classes": {"Bäume & Büsche": {"iou": 0.25}}, "nothing": None}


class Mlflow(ModuleType):
    """The part of MLflow that is used, with its rules on names and parameters."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.began: list[str | None] = []
        self.params: dict[str, Any] = {}
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.ends: list[str] = []
        self.breaks_at = -1

    def start_run(self, run_id: str | None = None, run_name: str | None = None) -> Any:
        assert (run_id is None) != (run_name is None)
        self.began.append(run_id)
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "r1"))

    def log_params(self, params: dict[str, Any]) -> None:
        assert not params.keys() & self.params.keys(), "MLflow refuses to change a parameter"
        assert not any(isinstance(value, dict) for value in params.values())
        self.params.update(params)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        if len(self.rows) == self.breaks_at:
            raise ConnectionError("no route\nto the server")
        assert all(re.fullmatch(r"[/\w.\- ]+", name) for name in metrics)
        self.rows.append((step, metrics))

    def end_run(self, status: str) -> None:
        self.ends.append(status)


class Wandb(ModuleType):
    """The part of Weights & Biases that is used."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.began: list[tuple[str | None, str | None]] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.ends: list[int] = []

    def init(self, *, name: str, dir: str, config: dict[str, Any], id: str | None, resume: str | None) -> Any:
        assert Path(dir).is_dir()
        self.began.append((id, resume))
        return SimpleNamespace(
            id=id or "w1",
            log=lambda row, step: self.rows.append((step, row)),
            finish=lambda exit_code: self.ends.append(exit_code),
        )


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    fake = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return fake


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    fake = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_numbers_settings_and_the_end_reach_both(tmp_path: Path, mlflow: Mlflow, wandb: Wandb) -> None:
    trackers = Trackers(tmp_path / "run", {"seed": 1, "model": {"preset": "tiny"}}, mlflow=True, wandb=True)
    trackers.write(ROW)
    trackers.close("stopped by a signal")
    assert mlflow.params == {"seed": 1, "model.preset": "tiny"}
    assert mlflow.rows == [(1, {"train_loss": 0.5, "classes.Bäume _ Büsche.iou": 0.25})]
    assert wandb.rows == [(1, {"train_loss": 0.5, "classes/Bäume & Büsche/iou": 0.25})]
    assert (mlflow.ends, wandb.ends) == (["KILLED"], [0])


def test_after_resume_they_go_on_in_the_same_run(tmp_path: Path, mlflow: Mlflow, wandb: Wandb) -> None:
    for step in (0, 1):
        trackers = Trackers(tmp_path / "run", {"seed": 1}, step=step, mlflow=True, wandb=True)
        trackers.close("failed")
    assert mlflow.began == [None, "r1"]
    assert wandb.began == [(None, None), ("w1", "allow")]
    assert (mlflow.ends, wandb.ends) == (["FAILED"] * 2, [1, 1])
    Trackers(tmp_path / "run", {"seed": 1}, step=2).close()
    Trackers(tmp_path / "run", {"seed": 1}, step=2, mlflow=True).close()
    assert mlflow.began == [None, "r1", "r1"]  # one session without does not forget it


def test_one_that_fails_is_named_once_and_the_run_goes_on(
    tmp_path: Path, mlflow: Mlflow, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow.breaks_at = 2
    write_tiny_store(tmp_path / "s.zarr", channels=3, classes=3, sources=4, tiles_each=3, size=16)
    outcome = fit(
        open_store(tmp_path / "s.zarr"), tmp_path / "run", load_config(None, [*QUICK, "epochs=2"]), mlflow=True
    )
    said = " ".join(capsys.readouterr().err.split())
    assert outcome.status == "finished"
    assert said.count("mlflow failed (ConnectionError: no route) and is left out") == 1
    assert len(mlflow.rows) == 2
    assert mlflow.ends == []
    assert len(read_rows(tmp_path / "run")) > 4


def test_tensorboard_is_not_needed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trackers = Trackers(tmp_path / "run", {})

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    trackers.write(ROW)
    trackers.write({**ROW, "step": 2})
    trackers.close()
    assert " ".join(capsys.readouterr().err.split()).count("TensorBoard failed (OSError: no space left)") == 1
    assert len(read_rows(tmp_path / "run")) == 2


def test_a_run_killed_while_it_starts_again_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackers = Trackers(tmp_path / "run", {})
    for step in (1, 2, 3):
        trackers.write({**ROW, "step": step})
    trackers.close()
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()

    def killed(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_bytes", killed)
        Trackers(tmp_path / "run", {}, step=2)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    Trackers(tmp_path / "run", {}, step=2).close()
    assert [row["step"] for row in read_rows(tmp_path / "run")] == [1, 2]


def test_a_line_that_is_no_json_is_named_and_one_cut_short_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n{"step": 2}\n{"ste')
    assert read_rows(tmp_path) == [{"step": 1}, {"step": 2}]
    file.write_bytes(b'{"step": 1}\n\x00\xff\n{"step": 3}\n')
    with pytest.raises(ConfigError, match=r"metrics\.jsonl: line 2 is not JSON.*delete that line"):
        read_rows(tmp_path)


def test_one_that_does_not_start_says_so_before_training(
    tmp_path: Path, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(**_: Any) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(mlflow, "start_run", refuses)
    with pytest.raises(ConfigError, match="--mlflow: it does not start: no server"):
        Trackers(tmp_path / "run", {}, mlflow=True)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("raise ImportError('wants another protobuf')", "does not import: ImportError: wants another protobuf"),
        ("import a_package_that_is_missing", "does not import: ModuleNotFoundError: .*a_package_that_is_missing"),
    ],
)
def test_one_that_is_broken_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, says: str
) -> None:
    (tmp_path / "wandb.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ConfigError, match=says):
        Trackers(tmp_path / "run", {}, wandb=True)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_itself_takes_a_run_and_its_going_on(tmp_path: Path) -> None:
    package = pytest.importorskip("mlflow", reason="no part of the package: pip install mlflow")
    package.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for step in (1, 2):
        trackers = Trackers(tmp_path / "run", {"net": {"seed": 1}}, step=step - 1, mlflow=True)
        trackers.write({**ROW, "step": step})
        trackers.close("finished")
    client = package.MlflowClient()
    (found,) = client.search_runs(["0"])
    assert (found.info.status, found.data.params) == ("FINISHED", {"net.seed": "1"})
    assert found.data.metrics["classes.Bäume _ Büsche.iou"] == 0.25
    assert [m.step for m in client.get_metric_history(found.info.run_id, "train_loss")] == [1, 2]


@pytest.mark.filterwarnings("ignore")
def test_wandb_itself_takes_a_run_and_its_going_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="no part of the package: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for step in (1, 2):
        trackers = Trackers(tmp_path / "run", {"net": {"seed": 1}}, step=step - 1, wandb=True)
        trackers.write({**ROW, "step": step})
        trackers.close("finished")
    id_ = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
    written = list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{id_}/run-{id_}.wandb"))
    assert len(written) == len({path.parent for path in written}) >= 1
    assert any(b"train_loss" in path.read_bytes() for path in written)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_tiny_store(tmp_path / "s.zarr")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=f"--{name}: the package {name} is not installed"):
        fit(open_store(tmp_path / "s.zarr"), tmp_path / "run", load_config(None, QUICK), **{name: True})
    assert not (tmp_path / "run").exists()
