"""A comparison says what it may, and no more."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenschemas.errors import ConfigError
from greenschemas.store import open_store
from greentrain.config import load_config
from greentrain.study import contenders
from greentrain.study.compare import ComparePlan, Result, below_trees, compare, picture_tiles, ranking
from greentrain.study.compare_page import remarks, write_comparison
from greentrain.study.contenders import check_names, clock
from greentrain.study.evaluate import evaluate
from greentrain.study.significance import compare_pairs, difference, mean_iou
from greentrain.training.fit import fit
from greentrain.training.record import read_record, write_record
from support.interrupt import STOPPED, interrupted
from support.stores import write_tiny_store


def confusion(right: float, groups: int = 8, seeds: int = 3, noise: float = 0.0) -> np.ndarray:
    """(S, G, 2, 2) of a model that is right in that share of the pixels, give or take."""
    share = right + noise * np.random.default_rng(0).standard_normal((seeds, groups))
    hit = np.round(1000 * share).astype(np.int64)
    return np.stack([np.stack([hit, 1000 - hit], -1), np.stack([1000 - hit, hit], -1)], -2)


def test_a_clear_lead_may_be_said() -> None:
    (verdict,) = compare_pairs({"worse": confusion(0.6), "better": confusion(0.9)})
    assert verdict.sure and verdict.text.startswith("better beats worse: +")
    assert verdict.interval is not None and verdict.interval[0] > 0


def test_a_lead_inside_the_spread_of_the_seeds_may_not_be_said() -> None:
    wild, calm = confusion(0.8), confusion(0.79)
    wild[0] = confusion(0.7)[0]
    wild[1] = confusion(0.95)[0]
    (verdict,) = compare_pairs({"wild": wild, "calm": calm})
    assert not verdict.sure and "inside the seeds' spread" in verdict.text


def test_a_lead_that_one_place_makes_may_not_be_said() -> None:
    a, b = confusion(0.8, noise=0.001), confusion(0.8, noise=0.001)
    a[:, 0] = confusion(0.99)[:, 0]
    (verdict,) = compare_pairs({"a": a, "b": b})
    assert not verdict.sure and "the interval holds 0" in verdict.text


def test_one_group_says_nothing_about_other_places() -> None:
    (verdict,) = compare_pairs({"a": confusion(0.9, groups=1), "b": confusion(0.6, groups=1)})
    assert not verdict.sure and verdict.interval is None and "one group" in verdict.text


def test_with_one_seed_each_the_verdict_over_groups_stands_by_itself() -> None:
    (verdict,) = compare_pairs({"a": confusion(0.9, seeds=1), "b": confusion(0.6, seeds=1)})
    assert verdict.sure and verdict.text.startswith("a beats b: +") and "seed" not in verdict.text
    (verdict,) = compare_pairs({"a": confusion(0.9, seeds=2), "constant": confusion(0.6, seeds=1)})
    assert verdict.sure and "every seed above every seed" in verdict.text
    same = confusion(0.9, seeds=1)
    (verdict,) = compare_pairs({"a": same, "b": same.copy()})
    assert not verdict.sure and "seed" not in verdict.text


@given(st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_a_difference_turns_its_sign_with_the_models(p: float, q: float) -> None:
    a, b = confusion(p, noise=0.02), confusion(q, noise=0.05)
    forth, back = difference(a, b, draws=50), difference(b, a, draws=50)
    assert forth is not None and back is not None
    assert forth == pytest.approx((-back[1], -back[0]))


def test_a_model_does_not_beat_itself() -> None:
    a = confusion(0.7, noise=0.05)
    assert difference(a, a) == (0.0, 0.0)
    (verdict,) = compare_pairs({"a": a, "b": a.copy()})
    assert not verdict.sure


def test_mean_iou_by_hand() -> None:
    assert mean_iou(np.array([[3, 1], [0, 4]])) == pytest.approx((3 / 4 + 4 / 5) / 2)


@pytest.mark.parametrize(
    ("names", "found"), [(["vmunett"], "Did you mean `vmunet`"), (["unet", "unet"], "each once"), ([], "each once")]
)
def test_models_that_are_not_there_are_refused(names: list[str], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        check_names(names)


def test_seeds_and_budget_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for plan in (
        ComparePlan(tmp_path, ("constant",), 0, 1.0, tmp_path),
        ComparePlan(tmp_path, ("constant",), 1, 0.0, tmp_path),
        ComparePlan(tmp_path, ("constant",), 1, 1.0, tmp_path, changes=("target=trees",)),
    ):
        with pytest.raises(ConfigError):
            compare(plan)


def test_what_draws_nothing_needs_one_seed_only(tmp_path: Path) -> None:
    plan = ComparePlan(tmp_path, ("constant", "linear", "unet"), 2, 1.0, tmp_path)
    assert list(plan.runs()) == [("constant", 0), ("linear", 0), ("unet", 0), ("unet", 1)]


def test_a_budget_on_a_cpu_does_not_count_while_nothing_is_done() -> None:
    began = clock()
    time.sleep(0.2)
    assert clock() - began < 0.1
    while clock() - began < 0.1:
        pass


def test_baselines_are_compared_written_down_and_not_trained_twice(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", sources=8)
    plan = ComparePlan(tmp_path / "s.zarr", ("constant", "index", "spectral"), 1, 1.0, tmp_path / "out")
    report = compare(plan)
    iou = {name: model["mean"]["iou"] for name, model in report["models"].items()}
    assert iou["spectral"] > 0.9 > iou["constant"]
    assert iou["index"] > iou["constant"]
    assert report["models"]["constant"]["mean"]["iou"] <= report["models"]["constant"]["constant"]["mean"]["iou"]
    assert report["groups"] == 4 and report["models"]["spectral"]["cost"]["peak_memory_mb"] > 50
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == report
    before = (tmp_path / "out" / "runs" / "spectral_0" / "result.json").stat().st_mtime_ns
    assert compare(plan) == report
    assert (tmp_path / "out" / "runs" / "spectral_0" / "result.json").stat().st_mtime_ns == before
    write_comparison(plan, report, tmp_path / "out" / "compare.html")
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "spectral beats constant: +" in page and "It cannot be said that spectral beats constant" not in page
    assert page.count("data:image/png") == 4 * 5
    assert "http" not in page.replace("http-equiv", "")


def test_few_seeds_and_few_groups_are_remarked_upon() -> None:
    model = {"interval": {"mean": {"iou": [0.1, 0.5]}}, "constant": {"mean": {"iou": 0.2}, "class": "trees"}}
    found = " ".join(remarks({"seeds": 1, "groups": 2, "models": {"unet": model}, "warnings": ["unet is not above"]}))
    assert "With 1 seed it is hardly known" in found and "2 groups cannot" in found
    assert "unet is not surely better than always saying trees" in found and "unet is not above" in found


def test_a_net_that_is_not_above_the_trees_is_warned_of() -> None:
    def model(seeds: list[float], seconds: float, parameters: int | None = None) -> dict[str, object]:
        return {"seed_iou": seeds, "cost": {"cpu_seconds": seconds}, "parameters": parameters}

    models = {
        "constant": model([0.2], 1.0),
        "spectral": model([0.5, 0.7], 30.0),
        "context": model([0.4], 30.0),
        "unet": model([0.5, 0.7], 90.0, 9),
        "detail": model([0.6, 0.7], 90.0, 9),
    }
    (warning,) = below_trees(models)
    assert warning.startswith("unet is not above gradient boosting: 0.600 against 0.600 of spectral, for 3.0 times")
    assert below_trees({"unet": models["unet"]}) == []
    models["unet"]["cost"] = {"cpu_seconds": None}
    (warning,) = below_trees(models)
    assert "of spectral; give it more time" in warning


def test_pictures_come_from_different_groups(tmp_path: Path) -> None:
    from greenschemas.store import open_store

    write_tiny_store(tmp_path / "s.zarr", sources=20)
    store = open_store(tmp_path / "s.zarr")
    tiles = picture_tiles(store, "val")
    assert len(tiles) == 4 and len(set(store.tile_group()[list(tiles)])) == 4


def test_a_result_gives_its_matrices_back() -> None:
    result = Result("unet", 0, 1.0, 1.0, 1.0, 1.0, None, "", ("g",), [[[1, 2], [3, 4]]], {})
    assert result.counts().tolist() == [[[1, 2], [3, 4]]]


def test_ctrl_c_ends_it_by_one_sentence_and_no_run_is_scored(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr")
    run = tmp_path / "out/runs/tiny_0"
    words = ("compare", tmp_path / "s.zarr", "--models", "tiny", "--seeds", 1, "--budget", 9, "--out", tmp_path / "out")
    assert interrupted("greentrain", *words, when=(run / "log.txt").exists) == (130, STOPPED)
    assert not (run / "result.json").exists()


def test_a_run_ends_with_the_comparison_that_was_killed(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr")
    words = ["compare", tmp_path / "s.zarr", "--models", "tiny", "--seeds", 1, "--budget", 9, "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "greentrain", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "out/runs/tiny_0/log.txt").exists():
            assert process.poll() is None
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert family
    assert not psutil.wait_procs(family, timeout=60)[1]


def test_a_run_that_was_told_to_stop_is_not_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_store(tmp_path / "s.zarr")
    monkeypatch.setattr(contenders, "fit", lambda *_: SimpleNamespace(signal=signal.SIGTERM))
    monkeypatch.setattr(contenders, "_epochs", lambda *_: (1, False))
    with pytest.raises(KeyboardInterrupt):
        contenders.learn("tiny", contenders.Task(tmp_path / "s.zarr", 0, 1, tmp_path))


def test_a_trained_run_stands_among_them_as_it_is(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr")
    small = ("preset=tiny", "dims=[8,16]", "depths=[1,1]", "depths_decoder=[1,1]", "d_state=1")
    config = load_config(None, ["epochs=2", "accelerator=cpu", *(f"model.{one}" for one in small)])
    fit(open_store(tmp_path / "s.zarr"), tmp_path / "run", config)
    plan = ComparePlan(
        tmp_path / "s.zarr", ("constant", "tiny"), 2, 1.0, tmp_path / "out", trained=("tiny", tmp_path / "run")
    )
    assert list(plan.runs()) == [("constant", 0), ("tiny", 0)]
    found = compare(plan)
    tiny, record = found["models"]["tiny"], read_record(tmp_path / "run")
    assert tiny["note"] == "epochs: 2, trained before" and tiny["cost"]["train_seconds"] == record.seconds
    assert record.cpu_seconds is not None and tiny["cost"]["cpu_seconds"] == record.cpu_seconds > 0
    last = evaluate(tmp_path / "run", split="val", which="last", device="cpu")
    assert tiny["mean"]["iou"] == pytest.approx(last["mean"]["iou"])
    assert re.fullmatch(r"Mean IoU on val: \w+ 0\.\d{3} > \w+ 0\.\d{3}\.", ranking(found))
    assert any(one.startswith("tiny was trained before") for one in remarks(found))
    write_comparison(plan, found, tmp_path / "page.html")
    assert "Each run, but that of tiny, had 1 minute to train" in (tmp_path / "page.html").read_text(encoding="utf-8")
    write_record(tmp_path / "run", record.model_copy(update={"cpu_seconds": None}))  # as of before it was recorded
    found = compare(plan)
    assert found["models"]["tiny"]["cost"]["cpu_seconds"] is None
    write_comparison(plan, found, tmp_path / "page.html")
    assert f"<td>{record.seconds:.0f}</td><td>unknown</td>" in (tmp_path / "page.html").read_text(encoding="utf-8")
    write_tiny_store(tmp_path / "other.zarr", seed=9)
    with pytest.raises(ConfigError, match="it learnt from another store"):
        compare(replace(plan, store=tmp_path / "other.zarr"))
