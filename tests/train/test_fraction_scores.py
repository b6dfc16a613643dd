"""Scores of fractions and calibration: scikit-learn as oracle, constants, absent classes, merging."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from torch import Tensor

from greentrain.scores.fractions import calibration_error, calibration_sums, fraction_scores, fraction_sums

NAMES = ("a", "b", "c")


def random_batch(seed: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities and fractions (B, 3, 6, 7) in steps of 1/200 with holes; what counts."""
    generator = torch.Generator().manual_seed(seed)
    cuts = torch.randint(201, (batch, 2, 6, 7), generator=generator).sort(1).values
    fraction = torch.stack([cuts[:, 0], cuts[:, 1] - cuts[:, 0], 200 - cuts[:, 1]], 1) / 200
    probability = torch.randn(fraction.shape, generator=generator).softmax(1)
    fraction[:, :, 0, :2] = math.nan
    return probability, fraction, torch.rand((batch, 6, 7), generator=generator) > 0.2


def pixels_of(probability: Tensor, fraction: Tensor, counted: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction (N, K) in float64 of the pixels that count."""
    keep = counted & ~fraction.isnan().any(1)
    return tuple(part.movedim(1, -1)[keep].double().numpy() for part in (fraction, probability))  # type: ignore[return-value]


def test_fraction_scores_are_those_of_scikit_learn() -> None:
    batch = random_batch(0)
    truth, predicted = pixels_of(*batch)
    found = fraction_scores(fraction_sums(*batch), NAMES)
    for k, name in enumerate(NAMES):
        t, p = truth[:, k], predicted[:, k]
        assert found["classes"][name] == pytest.approx(
            {
                "mae": oracle.mean_absolute_error(t, p),
                "rmse": oracle.root_mean_squared_error(t, p),
                "bias": (p - t).mean(),
                "r2": oracle.r2_score(t, p),
            },
            rel=1e-6,
        )
    assert found["mean"]["mae"] == pytest.approx(oracle.mean_absolute_error(truth, predicted))
    assert found["mean"]["r2"] == pytest.approx(oracle.r2_score(truth, predicted))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_constant_says_the_mean_fractions() -> None:
    probability, fraction, counted = random_batch(1)
    truth, _ = pixels_of(probability, fraction, counted)
    constant = fraction_scores(fraction_sums(probability, fraction, counted), NAMES)["constant"]
    mean = truth.mean(0)
    assert list(constant["fractions"].values()) == pytest.approx(mean, rel=1e-6)
    for k, name in enumerate(NAMES):
        assert constant["classes"][name] == pytest.approx(
            {"mae": np.abs(truth[:, k] - mean[k]).mean(), "rmse": truth[:, k].std(), "bias": 0.0, "r2": 0.0}, rel=1e-6
        )


def test_perfect_fractions_have_no_error() -> None:
    _, fraction, counted = random_batch(2)
    found = fraction_scores(fraction_sums(fraction, fraction, counted), NAMES)
    assert found["mean"] == {"mae": 0.0, "rmse": 0.0, "bias": 0.0, "r2": 1.0}


def test_an_absent_class_and_a_constant_one() -> None:
    fraction = torch.zeros(1, 3, 2, 2)
    fraction[:, 0] = 1.0
    found = fraction_scores(fraction_sums(torch.full((1, 3, 2, 2), 0.25), fraction, torch.ones(1, 2, 2)), NAMES)
    assert found["classes"]["b"] == dict.fromkeys(("mae", "rmse", "bias", "r2"))
    assert found["classes"]["a"] == {"mae": 0.75, "rmse": 0.75, "bias": -0.75, "r2": None}
    assert found["mean"] == found["classes"]["a"]


def test_without_a_pixel_everything_is_absent() -> None:
    probability, fraction, _ = random_batch(3)
    nothing = torch.zeros(2, 6, 7)
    found = fraction_scores(fraction_sums(probability, fraction, nothing), NAMES)
    assert set(found["mean"].values()) == {None}
    assert calibration_error(calibration_sums(probability, fraction, nothing)) is None


@settings(deadline=None)
@given(seed=st.integers(0, 2**20), cut=st.integers(0, 3))
def test_merging_any_cut_gives_the_sums_of_the_whole(seed: int, cut: int) -> None:
    batch = random_batch(seed, batch=3)
    for sums in (fraction_sums, calibration_sums):
        parts = [sums(*(part[place] for part in batch)) for place in (slice(cut), slice(cut, None))]
        torch.testing.assert_close(parts[0] + parts[1], sums(*batch), rtol=1e-12, atol=1e-12)


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 names"):
        fraction_scores(fraction_sums(*random_batch(4)), ("a", "b"))


def test_calibration_by_hand() -> None:
    """Two pixels 0.55 sure, one right; two certain, both right: 0.05 off in half of the pixels."""
    probability = torch.tensor([[0.55, 0.45], [0.55, 0.45], [1.0, 0.0], [1.0, 0.0]]).T[None, :, None]
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.8, 0.2]]).T[None, :, None]
    sums = calibration_sums(probability, target, torch.ones(1, 1, 4), bins=10)
    assert sums[5].tolist() == pytest.approx([2, 1.1, 1])
    assert sums[9].tolist() == pytest.approx([2, 2, 2])
    assert calibration_error(sums) == pytest.approx(0.025)


def test_probabilities_that_tell_the_truth_are_calibrated() -> None:
    generator = torch.Generator().manual_seed(5)
    sure = torch.rand((1, 1, 400, 400), generator=generator)
    right = (torch.rand(sure.shape, generator=generator) < sure).float()
    probability, target = torch.cat([sure, 1 - sure], 1), torch.cat([right, 1 - right], 1)
    error = calibration_error(calibration_sums(probability, target, torch.ones(1, 400, 400)))
    assert error is not None
    assert error < 0.01
