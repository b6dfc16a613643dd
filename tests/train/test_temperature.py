"""Temperature: SciPy's minimiser as oracle, laws of scale, what a checkpoint and `evaluate` make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor

from greenschemas.store import open_store
from greentrain.config import load_config
from greentrain.scores.temperature import best_temperature, thinned
from greentrain.study.evaluate import evaluate
from greentrain.training.checkpoint import load_trained
from greentrain.training.fit import fit
from support.stores import write_tiny_store

seeds = st.integers(0, 2**20)


def pixels(seed: int, count: int = 400, classes: int = 4, sure: float = 3.0) -> tuple[Tensor, Tensor]:
    """Logits (P, K) of some spread, and fractions that they are right about more often than not."""
    chance = torch.Generator().manual_seed(seed)
    logits = sure * torch.randn((count, classes), generator=chance)
    fraction = (0.7 * logits + 2 * torch.randn((count, classes), generator=chance)).softmax(1)
    return logits, fraction


@settings(deadline=None, max_examples=30)
@given(seed=seeds, sure=st.floats(0.5, 6))
def test_it_is_what_scipy_finds(seed: int, sure: float) -> None:
    logits, fraction = (part.double() for part in pixels(seed, sure=sure))

    def loss(inverse: float) -> float:
        return float(-(fraction * (inverse * logits).log_softmax(1)).sum(1).mean())

    oracle = minimize_scalar(loss, bounds=(0.2, 5.0), method="bounded", options={"xatol": 1e-7})
    # A minimiser that sees values alone is exact to the root of the rounding.
    assert 1 / best_temperature(logits, fraction) == pytest.approx(oracle.x, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, factor=st.floats(0.8, 1.25))
def test_logits_times_a_number_have_that_many_times_the_temperature(seed: int, factor: float) -> None:
    logits, fraction = pixels(seed)
    once = best_temperature(logits.double(), fraction)
    assert best_temperature(factor * logits.double(), fraction) == pytest.approx(factor * once, rel=1e-6)


@given(seed=seeds)
@settings(deadline=None, max_examples=30)
def test_no_largest_class_changes(seed: int) -> None:
    logits, fraction = pixels(seed)
    assert torch.equal((logits / best_temperature(logits, fraction)).softmax(1).argmax(1), logits.argmax(1))


def test_a_net_that_is_as_sure_as_it_may_be_is_left_alone() -> None:
    logits, _ = pixels(0)
    assert best_temperature(logits, logits.softmax(1)) == pytest.approx(1.0, abs=1e-6)


def test_no_pixel_changes_nothing_and_the_bounds_hold() -> None:
    nothing = torch.zeros(0, 3)
    assert best_temperature(nothing, nothing) == 1.0
    logits = torch.eye(3)
    assert best_temperature(logits, torch.eye(3)) == pytest.approx(0.2, abs=1e-6)
    assert best_temperature(logits, 1 - torch.eye(3)) == pytest.approx(5.0, abs=1e-6)


def test_thinning_keeps_every_so_many_pixels_that_count() -> None:
    maps = torch.arange(2 * 1 * 2 * 3 * 4).view(2, 1, 2, 3, 4)
    counted = torch.ones(1, 3, 4, dtype=torch.bool)
    counted[0, 0, 0] = False
    found = thinned(maps, counted, 4)
    assert found[0].tolist() == [[i, i + 12] for i in (1, 5, 9)]
    assert found[1].tolist() == [[i + 24, i + 36] for i in (1, 5, 9)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_keeps_its_temperature_and_is_scored_with_it(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", channels=2, classes=3, sources=4, tiles_each=2, size=16)
    settings = ["model.preset=unet", "model.width=4", "epochs=12", "batch_size=2", "accelerator=cpu", "loss=dice"]
    fit(open_store(tmp_path / "s.zarr"), tmp_path / "run", load_config(None, settings))
    trained = load_trained(tmp_path / "run", "last")
    assert trained.temperature != 1.0
    found = evaluate(tmp_path / "run", which="last", device="cpu")
    assert found["temperature"] == trained.temperature
    raw, valid = torch.randint(500, 1500, (1, 1, 16, 16)).float(), torch.ones(1, 16, 16, dtype=torch.bool)
    with torch.no_grad():
        logits = trained.net(torch.from_numpy(trained.normaliser(raw.numpy(), valid.numpy())))
    assert torch.equal(trained.probabilities(raw, valid), (logits / trained.temperature).softmax(1))
    # The same pixels as it was found on: no other temperature has a smaller cross-entropy, so that of 1 has none.
    assert not np.isclose(found["calibration_error"], found["calibration_error_before"])
