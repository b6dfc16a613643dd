"""Targets from fractions: ties, mixed pixels, missing labels, one class against all."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from greenschemas.errors import ConfigError
from greentrain.data.targets import against_all, as_fractions, as_hard, ignore_mixed, target_rule
from greentrain.scores.metrics import confusion, scores
from greentrain.training.losses import build_loss

CLASSES = ("impervious", "low", "trees")


def column(*pixels: tuple[float, ...]) -> Tensor:
    """Fractions (1, K, 1, W) of a row of pixels."""
    return torch.tensor(pixels).T[None, :, None, :]


def random_fractions(seed: int) -> tuple[Tensor, Tensor]:
    """Fractions (2, 3, 4, 5) in steps of 1/200 with holes, and the mask of valid pixels."""
    generator = torch.Generator().manual_seed(seed)
    cuts = torch.randint(201, (2, 2, 4, 5), generator=generator).sort(1).values
    parts = torch.stack([cuts[:, 0], cuts[:, 1] - cuts[:, 0], 200 - cuts[:, 1]], 1) / 200
    holes = torch.rand((2, 1, 4, 5), generator=generator) < 0.2
    return parts.masked_fill(holes, math.nan), torch.rand((2, 4, 5), generator=generator) > 0.2


def test_ties_go_to_the_first_class_and_to_it_alone() -> None:
    """`target == max` made every tied class positive."""
    pixels = column((0.5, 0.5, 0.0), (0.2, 0.4, 0.4), (1 / 3, 1 / 3, 1 / 3))
    hard = as_hard(as_fractions(pixels, torch.ones(1, 1, 3)))
    assert hard.fraction[0, :, 0].T.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


@settings(deadline=None)
@given(seed=st.integers(0, 2**20), text=st.sampled_from(["fractions", "hard", *CLASSES]), purity=st.floats(0, 1))
def test_targets_sum_to_one_where_they_count_and_are_zero_elsewhere(seed: int, text: str, purity: float) -> None:
    fraction, valid = random_fractions(seed)
    rule = target_rule(text, CLASSES, purity)
    target, counted = rule(fraction, valid)
    assert target.shape[1] == len(rule.classes)
    torch.testing.assert_close(target.sum(1), counted.float())
    assert not (counted & (~valid | fraction.isnan().any(1))).any()


def test_mixed_pixels_are_ignored_below_the_purity_and_kept_at_it() -> None:
    fractions, valid = column((0.6, 0.4, 0.0), (0.595, 0.405, 0.0), (1.0, 0.0, 0.0)), torch.ones(1, 1, 3)
    assert ignore_mixed(as_fractions(fractions, valid), 0.6).counted.tolist() == [[[True, False, True]]]
    assert target_rule("hard", CLASSES, 1.0)(fractions, valid).counted.tolist() == [[[False, False, True]]]


def test_one_hole_unlabels_the_pixel_and_an_invalid_pixel_stays_out() -> None:
    fractions = column((math.nan, 0.4, 0.6), (0.1, 0.4, 0.5), (0.0, 0.0, 1.0))
    target, counted = as_fractions(fractions, torch.tensor([[[1, 0, 1]]]))
    assert counted.tolist() == [[[False, False, True]]]
    assert target[0, :, 0].T.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_one_class_against_all_has_two_channels_and_a_prediction_that_can_be_wrong() -> None:
    rule = target_rule("trees", CLASSES)
    target, counted = rule(column((0.2, 0.2, 0.6), (0.5, 0.1, 0.4)), torch.ones(1, 1, 2))
    assert rule.classes == ("other", "trees")
    torch.testing.assert_close(target[0, :, 0].T, torch.tensor([[0.4, 0.6], [0.6, 0.4]]))
    assert scores(confusion(target, target, counted), rule.classes)["classes"]["trees"]["specificity"] == 1.0
    folded = against_all(as_hard(as_fractions(column((0.3, 0.3, 0.4)), torch.ones(1, 1, 1))), 2)
    assert folded.fraction.flatten().tolist() == [0.0, 1.0]


def test_counts_fold_as_the_pixels_do() -> None:
    sums = np.array([[5.0, 2.0, 1.0], [0.0, 3.0, 1.0]])
    assert target_rule("low", CLASSES).fold(sums).tolist() == [[6.0, 2.0], [1.0, 3.0]]
    assert target_rule("low", CLASSES).fold([5, 2, 1]).tolist() == [6.0, 2.0]
    assert target_rule("hard", CLASSES).fold(sums).tolist() == sums.tolist()


def test_a_target_goes_into_a_loss_as_it_is() -> None:
    fraction, valid = random_fractions(1)
    logits = torch.randn(2, 2, 4, 5)
    assert build_loss("ce+dice+lovasz")(logits, *target_rule("trees", CLASSES)(fraction, valid)).isfinite()


def test_unknown_targets_and_purities_are_refused() -> None:
    with pytest.raises(ConfigError, match="trees"):
        target_rule("tree", CLASSES)
    with pytest.raises(ConfigError, match="min_purity"):
        target_rule("hard", CLASSES, 1.5)
