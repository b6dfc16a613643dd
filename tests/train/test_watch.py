"""Watchdogs: they bark at what the user's runs did, and keep quiet while a run learns."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from greentrain.scores.metrics import scores
from greentrain.training.watchdogs import Kind, find_collapse, find_non_finite, find_rising, first_non_finite

NAMES = ("low", "trees", "water")


def validation(matrix: list[list[int]]) -> dict[str, object]:
    return scores(np.array(matrix), NAMES)


LEARNT = validation([[80, 10, 10], [5, 90, 5], [2, 8, 40]])
ONE_CLASS = validation([[0, 100, 0], [0, 100, 0], [0, 49, 1]])
NO_BETTER = validation([[30, 40, 30], [35, 30, 35], [20, 15, 15]])
ALL_TREES = validation([[0, 0, 0], [0, 100, 0], [0, 0, 0]])


def test_one_class_nearly_everywhere_is_a_collapse() -> None:
    finding = find_collapse([LEARNT, ONE_CLASS, ONE_CLASS, ONE_CLASS])
    assert finding is not None
    assert finding.kind is Kind.COLLAPSE
    assert "`trees` is predicted on 99.6% of the pixels, the truth has it on 40.0%" in str(finding)
    assert [cause.split(":")[0] for cause in finding.causes] == ["labels", "statistics", "class weights", "rate"]


def test_the_scores_of_a_constant_are_a_collapse() -> None:
    near = validation([[0, 100, 0], [4, 96, 0], [0, 50, 0]])
    finding = find_collapse([near] * 3)
    assert finding is not None
    assert "no better than" in str(finding)
    assert "always predicting `low`" in str(finding)


@pytest.mark.parametrize(
    "history", [[], [ONE_CLASS] * 2, [ONE_CLASS, ONE_CLASS, LEARNT], [ONE_CLASS, LEARNT, ONE_CLASS], [NO_BETTER] * 3]
)
def test_a_run_that_learns_or_is_young_is_left_alone(history: list[dict[str, object]]) -> None:
    assert find_collapse(history) is None


def test_a_truth_of_one_class_is_no_collapse() -> None:
    assert find_collapse([ALL_TREES] * 3) is None


def test_validations_without_a_pixel_say_nothing() -> None:
    assert find_collapse([validation([[0] * 3] * 3)] * 3) is None


def test_a_loss_that_only_rises_is_found_and_others_are_not() -> None:
    finding = find_rising([1.0, 1.1, 1.2, 1.4, 1.5, 1.6])
    assert finding is not None
    assert "from 1 to 1.6" in str(finding)
    assert find_rising([1.0, 1.1, 1.2, 1.4, 1.5]) is None
    assert find_rising([1.0, 1.1, 1.2, 1.2, 1.5, 1.6]) is None
    assert find_rising([9.0, 1.0, 1.1, 1.2, 1.4, 1.5, 1.6]) is None


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_tiles_and_layer(loss: float) -> None:
    finding = find_non_finite(loss, [3, 17], "layers.0")
    assert finding is not None
    assert f"tiles 3, 17 is {loss}, first in `layers.0`" in str(finding)
    assert find_non_finite(1.0, [3, 17], None) is None


class Overflow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + 1e3).exp()


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), Overflow(), nn.Conv2d(3, 2, 1))
    image = torch.zeros(1, 2, 4, 4)
    assert first_non_finite(model, image) == "1"
    assert not any(module._forward_hooks for module in model.modules())
    assert first_non_finite(nn.Conv2d(2, 3, 1), image) is None
    assert first_non_finite(model, image.fill_(math.nan)) == "input"
    nn.init.constant_(model[2].bias, math.inf)
    assert first_non_finite(model, image) == "2.bias"
