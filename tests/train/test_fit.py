"""The loop: it learns, it goes on bit for bit after any end, and it says no where it should.

Long, because each way to end a run is tried here against the same undisturbed one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import zarr

from greenschemas.errors import ConfigError, StoreError
from greenschemas.store import open_store, write_contract
from greentrain.config import load_config
from greentrain.nets import build as nets
from greentrain.study.run_report import write_run_report
from greentrain.training import fit as fit_module
from greentrain.training import session
from greentrain.training.checkpoint import load_trained
from greentrain.training.fit import TrainingError, fit
from greentrain.training.record import read_record, write_record
from greentrain.training.trackers import Trackers, read_rows
from support.stores import reseal, write_tiny_store

# Fabric asks for a package that we do not use; TensorBoard's own reader of old files.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUICK = (
    "model.preset=tiny",
    "model.d_state=1",
    "model.dims=[8,16]",
    "model.depths=[1,1]",
    "model.depths_decoder=[1,1]",
    "model.drop_path=0.2",
    "batch_size=2",
    "epochs=2",
    "accelerator=cpu",
    "warmup=0.1",
    "ema=0",
    "learning_rate=1e-3",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit") / "s.zarr"
    write_tiny_store(path, channels=3, classes=3, sources=4, tiles_each=3, size=16)
    return path


def train(store: Path, run: Path, *changes: str, **how: Any) -> Any:
    return fit(open_store(store), run, load_config(None, [*QUICK, *changes]), **how)


def losses(run: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["train_loss"]) for row in read_rows(run) if "train_loss" in row]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_trained(run, "last").net.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_net_learns_and_leaves_all_that_it_should(store: Path, tmp_path: Path) -> None:
    outcome = train(store, tmp_path / "run", "epochs=8", "learning_rate=5e-3", command=("greentrain", "fit"))
    assert outcome.status == "finished"
    assert outcome.best["mean"]["iou"] > outcome.best["constant"]["mean"]["iou"] + 0.2
    rows = read_rows(tmp_path / "run")
    steps = [row for row in rows if "train_loss" in row]
    epochs = [row for row in rows if "train_loss" not in row]
    assert [row["step"] for row in steps] == list(range(1, 25))
    assert [row["epoch"] for row in epochs] == list(range(1, 9))
    promised = {"epoch", "step", "val_loss", "mean", "classes", "confusion", "constant"}
    assert all(promised <= row.keys() for row in epochs)
    record = read_record(tmp_path / "run")
    assert (record.status, record.command) == ("finished", ("greentrain", "fit"))
    assert record.store_hash == open_store(store).contract.identity()
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert load_config(tmp_path / "run" / "config.yaml").epochs == 8
    # `best` is the epoch with the best score, `last` the last.
    best = max(range(8), key=lambda i: epochs[i]["mean"]["iou"])
    assert load_trained(tmp_path / "run").epoch == best + 1
    assert load_trained(tmp_path / "run", "last").epoch == 8


def test_epochs_between_validations_train_only(store: Path, tmp_path: Path) -> None:
    train(store, tmp_path / "run", "epochs=5", "validate_every=2", "augment.crop=8", "augment.mix_tiles=0.5")
    epochs = [row for row in read_rows(tmp_path / "run") if "train_loss" not in row]
    assert [row["epoch"] for row in epochs if "val_iou" in row] == [2, 4, 5]
    assert all("mean_train_loss" in row for row in epochs) and len(epochs) == 5
    assert "Mean IoU on val" in write_run_report(tmp_path / "run", open_store(store)).read_text()


def test_the_same_seed_gives_the_same_run_and_another_another(store: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(store, tmp_path / name, f"seed={seed}", "epochs=1")
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize("extra", [(), ("ema=0.9", "accumulate=2", "schedule=plateau", "order=weighted", "cache=none")])
def test_a_run_broken_off_at_any_step_goes_on_to_the_bit(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...]
) -> None:
    train(store, tmp_path / "whole", *extra)
    every = ("checkpoint_steps=2", *extra)
    wrote = Trackers.write
    for victim in (1, 3, 4):

        def fragile(self: Trackers, row: dict[str, Any], victim: int = victim) -> None:
            wrote(self, row)
            if row["step"] == victim:
                raise OSError("power cut")

        run = tmp_path / f"broken{victim}"
        with monkeypatch.context() as patch:
            patch.setattr(Trackers, "write", fragile)
            try:
                train(store, run, *every)
            except OSError:
                assert read_record(run).status == "failed"
        outcome = train(store, run, *every, resume=True)
        assert outcome.status == "finished"
        assert losses(run) == losses(tmp_path / "whole")
        assert same(weights(run), weights(tmp_path / "whole"))
        assert same(load_trained(run).net.state_dict(), load_trained(tmp_path / "whole").net.state_dict())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile wants a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's compiler, about itself
def test_compiled_it_gives_the_losses_of_eager_and_goes_on_to_the_bit(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(store, tmp_path / "eager")
    changes = ("compile=true", "checkpoint_steps=2")
    train(store, tmp_path / "whole", *changes)
    assert dict(losses(tmp_path / "whole")) == pytest.approx(dict(losses(tmp_path / "eager")), abs=1e-5)
    wrote = Trackers.write

    def fragile(self: Trackers, row: dict[str, Any]) -> None:
        wrote(self, row)
        if row["step"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trackers, "write", fragile)
        train(store, tmp_path / "broken", *changes)
    train(store, tmp_path / "broken", *changes, resume=True)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    assert same(weights(tmp_path / "broken"), weights(tmp_path / "whole"))


def command(store: Path, run: Path, *changes: str) -> list[str]:
    settings = [part for change in (*QUICK, *changes) for part in ("--set", change)]
    return [sys.executable, "-m", "greentrain", "fit", str(store), "--out", str(run), "--resume", *settings]


def wait_for_step(process: subprocess.Popen[bytes], run: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any(done >= step for done, _ in losses(run)):
            return
        time.sleep(0.01)


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_with_kill_9_and_resumed_it_is_the_undisturbed_run(store: Path, tmp_path: Path, kills: int) -> None:
    # Epochs of three steps and a checkpoint every five: most kills leave steps behind that must be done again.
    changes = (f"epochs={4 * kills}", "checkpoint_steps=5")
    train(store, tmp_path / "whole", *changes)
    run, last = tmp_path / "killed", losses(tmp_path / "whole")[-1][0]
    for step in sorted(random.Random(kills).sample(range(1, last), kills)):
        process = subprocess.Popen(command(store, run, *changes), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for_step(process, run, step)
        process.kill()
        process.wait()
    subprocess.run(command(store, run, *changes), check=True, capture_output=True)
    assert losses(run) == losses(tmp_path / "whole")
    assert same(weights(run), weights(tmp_path / "whole"))


def test_told_to_stop_it_writes_a_checkpoint_and_ends_without_a_traceback(store: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*command(store, tmp_path / "run", "epochs=400"), "--allow-leak"], stderr=subprocess.PIPE
    )
    wait_for_step(process, tmp_path / "run", 2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in said
    assert f"Go on with: greentrain fit {store} --out {tmp_path / 'run'} --resume --allow-leak" in said.decode()
    done = losses(tmp_path / "run")[-1][0]
    assert (tmp_path / "run" / "checkpoints" / f"step-{done:08d}.pt").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_after_any_signal_a_run_goes_on_to_the_bit(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    wrote = Trackers.write

    def told(self: Trackers, row: dict[str, Any]) -> None:
        wrote(self, row)
        if row["step"] == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Trackers, "write", told)
        outcome = train(store, tmp_path / "told")
    assert (outcome.status, outcome.signal) == ("stopped by a signal", number)
    assert len(losses(tmp_path / "told")) == 2
    assert signal.getsignal(number) is not None
    train(store, tmp_path / "told", resume=True)
    train(store, tmp_path / "whole")
    assert losses(tmp_path / "told") == losses(tmp_path / "whole")
    assert same(weights(tmp_path / "told"), weights(tmp_path / "whole"))


@pytest.mark.parametrize("launcher", ["devices", "torchrun"])
def test_two_processes_give_the_losses_of_one(tmp_path: Path, launcher: str) -> None:
    store = tmp_path / "s.zarr"
    write_tiny_store(store, channels=3, classes=3, sources=4, tiles_each=3, size=16)
    # Five tiles in batches of four: in the second step one process has a tile and the other none.
    zarr.open_group(str(store), mode="r+")["valid_share"][0] = 0  # type: ignore[index]
    reseal(store)
    still = ("model.drop_path=0", "augment.flip=0", "augment.shift=0", "epochs=2")
    train(store, tmp_path / "one", "batch_size=4", *still)
    # `batch_size` is that of a process: two of them take halves of the same global batch.
    two = command(store, tmp_path / "two", "batch_size=2", *(["devices=2"] if launcher == "devices" else []), *still)
    if launcher == "torchrun":
        two[1:2] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(two, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mean of constant") == 1
    for one, two in zip(read_rows(tmp_path / "one"), read_rows(tmp_path / "two"), strict=True):
        if "train_loss" in one:
            assert one["train_loss"] == pytest.approx(two["train_loss"], abs=1e-5)
        else:
            assert one["mean"]["iou"] == pytest.approx(two["mean"]["iou"], abs=1e-3)


@pytest.mark.parametrize(
    ("preset", "channels", "classes", "size"), [("tiny", 1, 2, 20), ("detail", 4, 3, 24), ("unet", 7, 6, 40)]
)
def test_any_store_is_trained_on(tmp_path: Path, preset: str, channels: int, classes: int, size: int) -> None:
    write_tiny_store(tmp_path / "s.zarr", sources=2, tiles_each=2, channels=channels, classes=classes, size=size)
    config = load_config(None, [f"model.preset={preset}", "epochs=1", "batch_size=2", "accelerator=cpu"])
    outcome = fit(open_store(tmp_path / "s.zarr"), tmp_path / "run", config)
    assert outcome.best is not None
    assert load_trained(tmp_path / "run").net.training is False


def test_settings_reach_what_they_name(store: Path, tmp_path: Path) -> None:
    outcome = train(
        store,
        tmp_path / "run",
        "bands=B2",
        "target=class1",
        "loss=0.5*focal(gamma=1)+lovasz",
        "class_weights=inverse",
        "normalise=global",
        "precision=bf16-mixed",
        "epochs=1",
        "augment.mix_times=0.5",
        "order=blocks",
    )
    trained = load_trained(tmp_path / "run")
    assert trained.normaliser.bands == ("B2",)
    assert set(outcome.best["classes"]) == {"other", "class1"}


def test_training_stops_early_where_nothing_gets_better(store: Path, tmp_path: Path) -> None:
    outcome = train(store, tmp_path / "run", "epochs=50", "patience=2", "learning_rate=1e-9")
    assert outcome.status == "stopped early"
    assert outcome.epochs < 50


def test_a_loss_that_is_not_finite_ends_the_run_naming_tiles_and_layer(store: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"batch of tiles \d+, .* is (nan|inf), first in"):
        train(store, tmp_path / "run", "learning_rate=1e30", "gradient_clip=null", "epochs=50", "warmup=0")
    assert read_record(tmp_path / "run").status == "failed"


def test_a_net_that_collapses_is_barked_at_or_stopped(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def mute(*args: Any) -> Any:
        net = nets.build_net(*args)
        torch.nn.init.zeros_(net.final_conv.weight)  # the first class is predicted everywhere
        torch.nn.init.eye_(net.final_conv.bias[:, None])
        return net

    monkeypatch.setattr(session, "build_net", mute)
    still = ("learning_rate=1e-12", "collapse_checks=2", "patience=0")
    with pytest.raises(TrainingError, match="collapse"):
        train(store, tmp_path / "run", *still, "stop_on_collapse=true")
    assert load_trained(tmp_path / "run", "last").epoch == 2
    assert train(store, tmp_path / "run2", *still).status == "finished"
    said = capsys.readouterr().err
    assert "WARNING collapse" in said
    assert said.index("labels") < said.index("statistics") < said.index("class weights") < said.index("rate:")


def test_a_store_whose_audit_failed_or_that_is_not_split_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    contract = write_tiny_store(path, sources=2, tiles_each=2)
    group = zarr.open_group(str(path), mode="r+")
    assert contract.split is not None
    failed = contract.model_copy(update={"split": contract.split.model_copy(update={"audit": "failed"})})
    write_contract(group, failed)
    with pytest.raises(StoreError, match="same ground stands in two splits"):
        train(path, tmp_path / "run")
    assert train(path, tmp_path / "run", "epochs=1", allow_leak=True).status == "finished"
    write_contract(group, contract.model_copy(update={"split": None, "statistics": None}))
    with pytest.raises(StoreError, match=r"(?i)run `greenprep split`"):
        train(path, tmp_path / "other")


def test_the_normaliser_is_built_once(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built, real = [], session.build_normaliser
    monkeypatch.setattr(session, "build_normaliser", lambda *a, **k: built.append(1) or real(*a, **k))
    train(store, tmp_path / "run", "epochs=1", "bands=pca:2")
    assert len(built) == 1


def test_a_run_resumed_elsewhere_says_that_its_last_bits_may_differ(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(store, run)
    train(store, run, resume=True)
    assert "resumed elsewhere" not in capsys.readouterr().err
    record = read_record(run)
    there = {**record.machine, "device": "1 x cpu (64 threads)"}, {**record.versions, "torch": "2.1"}
    write_record(run, record.model_copy(update={"machine": there[0], "versions": there[1]}))
    train(store, run, resume=True)
    said = capsys.readouterr().err
    assert f"device: 1 x cpu (64 threads) -> 1 x cpu ({torch.get_num_threads()} threads); torch: 2.1 -> " in said
    assert "not bit for bit" in said


def test_resume_refuses_other_settings_another_store_and_a_folder_in_use(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(store, run, "epochs=1")
    with pytest.raises(ConfigError, match="holds a run already"):
        train(store, run)
    with pytest.raises(ConfigError, match=r"other settings than the run's: epochs: 1 -> 2"):
        train(store, run, resume=True)
    with pytest.raises(ConfigError, match=r"--out: .* is in the store .*s\.zarr"):
        train(store, store / "run")
    write_tiny_store(tmp_path / "other.zarr", channels=3, classes=3, sources=6, tiles_each=3, size=16)
    with pytest.raises(ConfigError, match=r"has changed since: groups: 4 -> 6"):
        train(tmp_path / "other.zarr", run, "epochs=1", resume=True)


def test_a_store_without_validation_keeps_the_newest_net(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", sources=1, tiles_each=4)
    outcome = train(tmp_path / "s.zarr", tmp_path / "run", "epochs=2")
    assert outcome.best is None
    assert load_trained(tmp_path / "run").epoch == 2


def test_the_newest_net_without_validation_is_the_moving_average(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", channels=2, classes=2, sources=1, tiles_each=2, size=16)
    train(tmp_path / "s.zarr", tmp_path / "run", "ema=0.9", "epochs=3")
    best = load_trained(tmp_path / "run").net.state_dict()
    assert same(best, weights(tmp_path / "run"))
    raw = torch.load(tmp_path / "run" / "checkpoints" / "last.pt")["weights"]
    assert not same(best, raw)


def test_rows_hold_only_what_json_knows(tmp_path: Path) -> None:
    trackers = Trackers(tmp_path, {})
    trackers.write({"epoch": 1, "step": 1, "train_loss": float("nan"), "mean": {"iou": float("inf")}})
    trackers.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text) == {"epoch": 1, "step": 1, "train_loss": None, "mean": {"iou": None}}
    (tmp_path / "metrics.jsonl").write_text(text + '{"epoch": 2, "st')
    assert len(read_rows(tmp_path)) == 1
    with pytest.raises(ConfigError, match="pip install wandb"):
        Trackers(tmp_path, {}, wandb=True)


def test_ground_is_the_same_at_all_times_of_a_group(store: Path) -> None:
    ground = fit_module._ground(open_store(store), torch.tensor([0, 1, 0, 5]))
    assert ground.tolist()[0] == ground.tolist()[2]
    assert len(set(ground.tolist())) == 3
