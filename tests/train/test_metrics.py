"""Scores of a confusion matrix: scikit-learn as oracle, values by hand, laws of merging, absent classes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from torch import Tensor
from torch.nn.functional import one_hot

from greentrain.scores.metrics import (
    _interval,
    bootstrap,
    class_scores,
    confusion,
    confusion_by_group,
    constant_confusion,
    mean_scores,
    micro_scores,
    scores,
    sum_over_ranks,
)

METRICS = ("iou", "f1", "accuracy", "balanced_accuracy", "specificity", "sensitivity", "precision", "kappa")
NAMES = ("impervious", "low", "trees", "water", "clutter")


def random_batch(seed: int, batch: int = 3, classes: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and fractions (B, K, 6, 7) with some unlabelled pixels, and a mask of the pixels that count."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, classes, 6, 7)
    fraction = torch.rand(shape, generator=generator)
    fraction = fraction / fraction.sum(1, keepdim=True)
    logits = fraction.log() + torch.randn(shape, generator=generator)
    fraction[:, :, 0, :2] = math.nan
    return logits, fraction, torch.rand((batch, 6, 7), generator=generator) > 0.2


def labels_of(logits: Tensor, fraction: Tensor, counted: Tensor) -> tuple[np.ndarray, np.ndarray]:
    keep = counted & ~fraction.isnan().any(1)
    return fraction.argmax(1)[keep].numpy(), logits.argmax(1)[keep].numpy()


def test_the_confusion_matrix_is_that_of_scikit_learn() -> None:
    batch = random_batch(0)
    truth, predicted = labels_of(*batch)
    np.testing.assert_array_equal(confusion(*batch), oracle.confusion_matrix(truth, predicted, labels=range(5)))


def test_scores_of_each_class_are_those_of_scikit_learn() -> None:
    batch = random_batch(1)
    truth, predicted = labels_of(*batch)
    classes = scores(confusion(*batch), NAMES)["classes"]
    for k, name in enumerate(NAMES):
        t, p = truth == k, predicted == k
        expected = {
            "iou": oracle.jaccard_score(t, p),
            "f1": oracle.f1_score(t, p),
            "accuracy": oracle.accuracy_score(t, p),
            "balanced_accuracy": oracle.balanced_accuracy_score(t, p),
            "specificity": oracle.recall_score(~t, ~p),
            "sensitivity": oracle.recall_score(t, p),
            "precision": oracle.precision_score(t, p),
            "kappa": oracle.cohen_kappa_score(t, p),
        }
        assert classes[name] == pytest.approx(expected, rel=1e-12)


def test_mean_and_micro_scores_are_those_of_scikit_learn() -> None:
    batch = random_batch(2)
    truth, predicted = labels_of(*batch)
    found = scores(confusion(*batch), NAMES)
    assert found["mean"]["iou"] == pytest.approx(oracle.jaccard_score(truth, predicted, average="macro"))
    assert found["mean"]["f1"] == pytest.approx(oracle.f1_score(truth, predicted, average="macro"))
    assert found["mean"]["sensitivity"] == pytest.approx(oracle.balanced_accuracy_score(truth, predicted))
    assert found["micro"]["iou"] == pytest.approx(oracle.jaccard_score(truth, predicted, average="micro"))
    assert found["micro"]["f1"] == pytest.approx(oracle.f1_score(truth, predicted, average="micro"))
    assert found["micro"]["accuracy"] == pytest.approx(oracle.accuracy_score(truth, predicted))
    assert found["micro"]["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(truth, predicted))
    assert found["micro"]["kappa"] == pytest.approx(oracle.cohen_kappa_score(truth, predicted))
    binary = oracle.multilabel_confusion_matrix(truth, predicted).sum(0)
    assert found["micro"]["specificity"] == pytest.approx(binary[0, 0] / binary[0].sum())
    assert found["micro"]["sensitivity"] == found["micro"]["precision"] == found["micro"]["accuracy"]


def test_scores_by_hand() -> None:
    found = scores(np.array([[3, 1], [2, 4]]), ("other", "trees"))
    trees = found["classes"]["trees"]
    assert trees["iou"] == pytest.approx(4 / 7)
    assert trees["f1"] == pytest.approx(8 / 11)
    assert trees["sensitivity"] == pytest.approx(4 / 6)
    assert trees["specificity"] == pytest.approx(3 / 4)
    assert trees["precision"] == pytest.approx(4 / 5)
    assert found["mean"]["accuracy"] == found["micro"]["accuracy"] == pytest.approx(0.7)
    assert found["constant"]["class"] == "trees"
    assert found["constant"]["classes"]["trees"]["iou"] == pytest.approx(0.6)
    assert found["constant"]["mean"]["specificity"] == pytest.approx(0.5)


def test_a_perfect_classifier_scores_one_and_random_logits_do_not() -> None:
    """Predictions (N, 5, H, W) reshaped to (-1, 5) mix pixels and classes: perfection then scores badly."""
    generator = torch.Generator().manual_seed(3)
    truth = torch.randint(5, (8, 32, 32), generator=generator)
    target = one_hot(truth, 5).movedim(-1, 1).float()
    counted = torch.ones(8, 32, 32)
    perfect = scores(confusion(target * 10, target, counted), NAMES)
    assert set(perfect["mean"]) == set(METRICS)
    assert set(perfect["mean"].values()) == set(perfect["micro"].values()) == {1.0}
    chance = scores(confusion(torch.randn(target.shape, generator=generator), target, counted), NAMES)
    assert chance["micro"]["accuracy"] == pytest.approx(0.2, abs=0.02)
    mixed_up = target.reshape(-1, 5, 1, 1)  # what they did; the classes of a pixel are target.movedim(1, -1)
    rows = target.movedim(1, -1).reshape(-1, 5, 1, 1)
    scrambled = scores(confusion(mixed_up, rows, torch.ones(len(rows), 1, 1)), NAMES)
    assert scrambled["mean"]["iou"] < 0.2


def test_a_constant_prediction_scores_what_the_constant_scores() -> None:
    """`specificity 0, sensitivity 1` must never look like a result: the constant stands beside it."""
    _, fraction, counted = random_batch(4)
    truth = confusion(torch.zeros_like(fraction), fraction, counted).sum(1)
    logits = torch.zeros_like(fraction)
    logits[:, int(truth.argmax())] = 1.0
    found = scores(confusion(logits, fraction, counted), NAMES)
    constant = found.pop("constant")
    assert constant["class"] == NAMES[int(truth.argmax())]
    assert all(found[part] == constant[part] for part in ("mean", "micro", "classes"))
    assert found["mean"]["sensitivity"] == pytest.approx(1 / 5)
    assert found["mean"]["specificity"] == pytest.approx(4 / 5)


def test_a_class_that_the_truth_lacks_is_absent_and_enters_no_mean() -> None:
    found = scores(np.array([[6, 0, 2], [1, 3, 0], [0, 0, 0]]), ("a", "b", "c"))
    assert found["classes"]["c"] == dict.fromkeys(METRICS)
    assert found["mean"]["iou"] == pytest.approx((6 / 9 + 3 / 4) / 2)
    assert found["micro"]["accuracy"] == pytest.approx(9 / 12)


def test_a_class_never_predicted_has_precision_zero() -> None:
    found = scores(np.array([[6, 0], [2, 0]]), ("a", "b"))
    assert found["classes"]["b"]["precision"] == 0.0


def test_a_truth_of_one_class_has_no_specificity() -> None:
    found = scores(np.array([[6, 2], [0, 0]]), ("a", "b"))
    assert found["classes"]["a"]["specificity"] is None
    assert found["mean"]["sensitivity"] == 0.75


def test_without_a_pixel_everything_is_absent() -> None:
    found = scores(np.zeros((2, 2), dtype=np.int64), ("a", "b"))
    assert found["mean"] == found["micro"] == found["constant"]["mean"] == dict.fromkeys(METRICS)
    assert found["constant"]["class"] is None


def test_the_scores_are_json() -> None:
    found = scores(confusion(*random_batch(5)), NAMES)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_scores_of_many_matrices_are_those_of_each() -> None:
    """(2, 3, K, K), one of them empty and one of a single pixel."""
    many = np.random.default_rng(0).integers(0, 9, (2, 3, 5, 5))
    many[0, 1] = 0
    many[1, 2] = np.eye(5, dtype=int) * ([0, 1, 0, 0, 0],)
    flat = many.reshape(6, 5, 5)
    for of in (class_scores, micro_scores, lambda counts: mean_scores(class_scores(counts))):
        for metric, found in of(many).items():
            each = np.array([of(one)[metric] for one in flat])
            np.testing.assert_array_equal(found.reshape(each.shape), each, metric)
    best = constant_confusion(many)
    assert best.dtype == np.int64
    np.testing.assert_array_equal(best.reshape(6, 5, 5), [constant_confusion(one) for one in flat])


def test_one_pixel_is_enough_for_a_score() -> None:
    found = scores(np.array([[0, 1], [0, 0]]), ("a", "b"))
    assert found["constant"]["class"] == "a"
    assert found["classes"]["a"]["sensitivity"] == 0.0
    assert scores(np.array([[4, 1], [0, 1]]), ("a", "b"))["classes"]["b"]["sensitivity"] == 1.0
    once = scores(np.array([[4, 0], [2, 1]]), ("a", "b"))["classes"]["b"]
    assert (once["precision"], once["sensitivity"]) == (1.0, pytest.approx(1 / 3))


def test_scores_hold_the_matrix_in_whole_numbers() -> None:
    found = scores(torch.tensor([[3, 1], [2, 4]]), ("a", "b"))
    assert found["confusion"] == [[3, 1], [2, 4]]
    assert {type(cell) for row in found["confusion"] for cell in row} == {int}
    assert list(found) == ["mean", "micro", "classes", "confusion", "constant"]


def test_ties_go_to_the_first_class() -> None:
    half = torch.full((1, 2, 1, 1), 0.5)
    assert confusion(half, half, torch.ones(1, 1, 1)).tolist() == [[1, 0], [0, 0]]


@settings(deadline=None)
@given(seed=st.integers(0, 2**20), cut=st.integers(0, 4))
def test_merging_any_cut_gives_the_matrix_of_the_whole(seed: int, cut: int) -> None:
    logits, fraction, counted = random_batch(seed, batch=4)
    parts = [confusion(logits[part], fraction[part], counted[part]) for part in (slice(cut), slice(cut, None))]
    assert torch.equal(parts[0] + parts[1], confusion(logits, fraction, counted))


@settings(deadline=None)
@given(seed=st.integers(0, 2**20), filler=st.sampled_from([0.0, 1e30, math.nan]))
def test_pixels_that_do_not_count_change_nothing(seed: int, filler: float) -> None:
    logits, fraction, counted = random_batch(seed)
    out = ~counted.unsqueeze(1)
    other = confusion(logits.masked_fill(out, filler), fraction.masked_fill(out, filler), counted)
    assert torch.equal(other, confusion(logits, fraction, counted))


def test_matrices_by_group_are_those_of_the_groups() -> None:
    logits, fraction, counted = random_batch(6, batch=4)
    group = torch.tensor([2, 0, 2, 0])
    matrices = confusion_by_group(logits, fraction, counted, group, 3)
    for g in range(3):
        one = group == g
        assert torch.equal(matrices[g], confusion(logits[one], fraction[one], counted[one]))


def test_a_shape_that_does_not_fit_is_refused() -> None:
    logits, fraction, counted = random_batch(7)
    said = r"\(3, 5, 6, 7\), target \(3, 6, 7, 5\), counted \(3, 6, 7\): wanted \(B, K, H, W\) twice and \(B, H, W\)$"
    with pytest.raises(ValueError, match=said):
        confusion(logits, fraction.movedim(1, -1), counted)
    with pytest.raises(ValueError, match="2 classes"):
        scores(np.zeros((5, 5), dtype=np.int64), ("a", "b"))


def test_intervals_hold_the_score_and_come_again_with_the_seed() -> None:
    logits, fraction, counted = random_batch(8, batch=12)
    matrices = confusion_by_group(logits, fraction, counted, torch.arange(12), 12)
    whole, intervals = scores(matrices.sum(0), NAMES), bootstrap(matrices, NAMES, draws=300, seed=1)
    for metric in METRICS:
        low, high = intervals["mean"][metric]
        assert low < whole["mean"][metric] < high
    assert intervals == bootstrap(matrices, NAMES, draws=300, seed=1)
    assert intervals != bootstrap(matrices, NAMES, draws=300, seed=2)
    assert (intervals["groups"], intervals["draws"], intervals["level"]) == (12, 300, 0.95)
    assert list(intervals["classes"]) == list(NAMES)
    assert bootstrap(matrices, NAMES) == bootstrap(matrices, NAMES, draws=1000, level=0.95, seed=0)
    json.dumps(intervals, allow_nan=False)


def test_two_groups_are_enough_for_an_interval() -> None:
    matrices = np.array([[[3, 1], [2, 4]], [[4, 0], [0, 6]]])
    assert bootstrap(matrices, ("a", "b"), draws=100)["micro"]["accuracy"] == [0.7, 1.0]


@pytest.mark.parametrize(("lacking", "known"), [(1, True), (2, False)])
def test_what_has_no_value_in_more_than_one_draw_of_ten_has_no_interval(lacking: int, known: bool) -> None:
    values = np.arange(10.0)
    values[:lacking] = math.nan
    assert (_interval(values, 0.95) is not None) == known


def test_equal_groups_have_intervals_of_no_width() -> None:
    matrices = np.tile(np.array([[3, 1], [2, 4]]), (5, 1, 1))
    low, high = bootstrap(matrices, ("a", "b"), draws=50)["micro"]["accuracy"]
    assert low == high == pytest.approx(0.7)


def test_the_width_of_an_interval_is_that_of_the_mean_over_groups() -> None:
    """Groups of equal size: overall accuracy is their mean, of standard error s / sqrt(G)."""
    right = np.random.default_rng(0).integers(60, 100, 200)
    matrices = np.stack([np.diag([r, 0]) + np.array([[0, 100 - r], [0, 0]]) for r in right])
    low, high = bootstrap(matrices, ("a", "b"), draws=4000)["micro"]["accuracy"]
    error = right.std() / 100 / math.sqrt(200)
    assert (right.mean() / 100 - low) / error == pytest.approx(1.96, abs=0.1)
    assert (high - right.mean() / 100) / error == pytest.approx(1.96, abs=0.1)


@pytest.mark.parametrize("groups", [0, 1])
def test_one_group_gives_no_interval(groups: int) -> None:
    matrices = np.tile(np.array([[3, 1], [2, 4]]), (groups, 1, 1))
    assert bootstrap(matrices, ("a", "b"))["mean"]["iou"] is None


ONE_RANK = """
import sys, torch
from greentrain.scores.metrics import sum_over_ranks
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
counts = torch.load(f"{folder}/counts", weights_only=True)
torch.save(sum_over_ranks(counts[rank]), f"{folder}/total{rank}")
torch.distributed.destroy_process_group()
"""


def test_two_processes_each_get_the_matrix_of_both(tmp_path: Path) -> None:
    counts = torch.stack([confusion(*random_batch(seed)) for seed in (10, 11)])
    torch.save(counts, tmp_path / "counts")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ranks = [
        subprocess.Popen([sys.executable, "-c", ONE_RANK, str(rank), str(tmp_path)], env=environment) for rank in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    for rank in (0, 1):
        assert torch.equal(torch.load(tmp_path / f"total{rank}", weights_only=True), counts.sum(0))


def test_a_run_of_one_process_sums_to_itself() -> None:
    counts = confusion(*random_batch(9))
    assert sum_over_ranks(counts) is counts
