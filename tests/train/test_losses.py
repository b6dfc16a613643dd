"""Losses on fractions: hand-worked values, limits, gradients, and torch's own cross-entropy as oracle."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torch.nn.functional import one_hot

from greenschemas.errors import ConfigError
from greentrain.training.losses import build_loss, cross_entropy, dice, focal, lovasz, tversky

ALL = [cross_entropy, dice, focal, tversky, lovasz]
NAMES = ["ce", "dice", "focal", "tversky", "lovasz"]


def random_batch(seed: int, shape: tuple[int, int, int, int] = (2, 4, 5, 3)) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Float64 logits and fractions, a weight with zeros, labels (B, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.rand(shape, generator=generator, dtype=torch.float64)
    target = target / target.sum(1, keepdim=True)
    weight = (torch.rand((shape[0], *shape[2:]), generator=generator) > 0.3).double()
    labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    return logits, target, weight, labels


def hard(labels: Tensor, classes: int) -> Tensor:
    return one_hot(labels, classes).movedim(-1, 1).double()


def pixels(*probabilities: tuple[float, ...]) -> Tensor:
    """One row of pixels, (1, K, 1, W), as logits whose softmax gives the probabilities."""
    return torch.tensor(probabilities, dtype=torch.float64).T.log()[None, :, None, :]


def shares(*fractions: tuple[float, ...]) -> Tensor:
    return torch.tensor(fractions, dtype=torch.float64).T[None, :, None, :]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.1, 2.0, 1.0, 0.5], dtype=torch.float64)])
def test_cross_entropy_on_hard_labels_is_what_torch_computes(weights: Tensor | None, smoothing: float) -> None:
    logits, _, weight, labels = random_batch(0)
    ours = cross_entropy(logits, hard(labels, 4), weight, weights, smoothing)
    ignored = labels.masked_fill(weight == 0, -100)
    oracle = torch_cross_entropy(logits, ignored, weights, ignore_index=-100, label_smoothing=smoothing)
    torch.testing.assert_close(ours, oracle)


def test_cross_entropy_of_a_mixed_pixel_by_hand() -> None:
    loss = cross_entropy(pixels((0.8, 0.2)), shares((0.25, 0.75)), torch.ones(1, 1, 1), torch.tensor([2.0, 1.0]))
    by_hand = -(2 * 0.25 * math.log(0.8) + 0.75 * math.log(0.2)) / (2 * 0.25 + 0.75)
    assert loss.item() == pytest.approx(by_hand, rel=1e-12)


def test_cross_entropy_is_least_where_the_probabilities_are_the_fractions() -> None:
    _, target, _, _ = random_batch(1)
    logits = target.log().requires_grad_()
    cross_entropy(logits, target, torch.ones(2, 5, 3)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-15


def test_a_pixel_of_weight_two_counts_as_two_pixels() -> None:
    logits, target = pixels((0.7, 0.3), (0.4, 0.6)), shares((1.0, 0.0), (0.2, 0.8))
    for loss in (cross_entropy, focal, dice, tversky):
        once = loss(logits[..., [0, 0, 1]], target[..., [0, 0, 1]], torch.ones(1, 1, 3))
        weighted = loss(logits, target, torch.tensor([[[2.0, 1.0]]]))
        torch.testing.assert_close(weighted, once)


def test_focal_by_hand_and_cross_entropy_at_gamma_zero() -> None:
    logits, target, weight, _ = random_batch(2)
    by_hand = -((0.5**2) * math.log(0.5) + (0.1**2) * math.log(0.9)) / 2
    value = focal(pixels((0.5, 0.5), (0.1, 0.9)), shares((1.0, 0.0), (0.0, 1.0)), torch.ones(1, 1, 2))
    assert value.item() == pytest.approx(by_hand, rel=1e-12)
    torch.testing.assert_close(focal(logits, target, weight, gamma=0.0), cross_entropy(logits, target, weight))


def test_dice_by_hand_over_the_classes_that_are_present() -> None:
    logits = pixels((0.6, 0.3, 0.1), (0.2, 0.7, 0.1))
    target = shares((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    first = 1 - 2 * 0.6 / (0.6 + 0.2 + 1.0)
    second = 1 - 2 * 0.7 / (0.3 + 0.7 + 1.0)
    assert dice(logits, target, torch.ones(1, 1, 2)).item() == pytest.approx((first + second) / 2, rel=1e-12)
    weighted = dice(logits, target, torch.ones(1, 1, 2), torch.tensor([3.0, 1.0, 9.0]))
    assert weighted.item() == pytest.approx((3 * first + second) / 4, rel=1e-12)


def test_tversky_by_hand_on_fractions() -> None:
    value = tversky(pixels((0.6, 0.4)), shares((0.5, 0.5)), torch.ones(1, 1, 1), alpha=0.2, beta=0.8)
    first = 1 - 0.5 / (0.5 + 0.2 * 0.1)
    second = 1 - 0.4 / (0.4 + 0.8 * 0.1)
    assert value.item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_overlap_losses_vanish_where_the_probabilities_are_the_fractions() -> None:
    _, target, weight, _ = random_batch(3)
    assert dice(target.log(), target, weight).item() == pytest.approx(0.0, abs=1e-12)
    assert tversky(target.log(), target, weight).item() == pytest.approx(0.0, abs=1e-12)


def test_on_hard_labels_the_dice_overlap_is_the_product() -> None:
    logits, _, _, labels = random_batch(4)
    target, p = hard(labels, 4), logits.softmax(1)
    by_product = 1 - 2 * (p * target).sum((0, 2, 3)) / (p + target).sum((0, 2, 3))
    torch.testing.assert_close(dice(logits, target, torch.ones(2, 5, 3)), by_product.mean())


def test_lovasz_by_hand() -> None:
    # class 0: errors 0.4 (its pixel) and 0.2; class 1: errors 0.4 and 0.2 (its pixel)
    value = lovasz(pixels((0.6, 0.4), (0.2, 0.8)), shares((1.0, 0.0), (0.0, 1.0)), torch.ones(1, 1, 2))
    first = 0.4 * 1.0 + 0.2 * 0.0  # missing the only true pixel already costs the whole index
    second = 0.4 * 0.5 + 0.2 * 0.5  # a false pixel halves the index, the missed one takes the rest
    assert value.item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_lovasz_of_certain_predictions_is_one_minus_iou() -> None:
    _, _, weight, labels = random_batch(5)
    guesses = torch.randint(4, labels.shape, generator=torch.Generator().manual_seed(1))
    counted = weight > 0
    ious = []
    for k in range(4):
        true, predicted = (labels == k) & counted, (guesses == k) & counted
        ious.append((true & predicted).sum() / (true | predicted).sum())
    value = lovasz(1e4 * hard(guesses, 4), hard(labels, 4), weight)
    assert value.item() == pytest.approx(1 - torch.stack(ious).mean().item(), abs=1e-6)


def test_lovasz_takes_the_largest_fraction_and_the_first_of_equal_ones() -> None:
    logits = pixels((0.6, 0.4), (0.3, 0.7))
    tie = lovasz(logits, shares((0.5, 0.5), (0.4, 0.6)), torch.ones(1, 1, 2))
    torch.testing.assert_close(tie, lovasz(logits, shares((1.0, 0.0), (0.0, 1.0)), torch.ones(1, 1, 2)))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    logits, target, weight, _ = random_batch(6, (1, 3, 3, 2))
    loss = build_loss(name, torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weight), logits.requires_grad_())


@pytest.mark.parametrize("loss", ALL)
@settings(deadline=None)
@given(seed=st.integers(0, 2**20), filler=st.sampled_from([0.0, -1e30, math.inf, math.nan]))
def test_pixels_that_do_not_count_change_nothing(loss, seed: int, filler: float) -> None:  # type: ignore[no-untyped-def]
    logits, target, weight, _ = random_batch(seed)
    out = (weight == 0).unsqueeze(1)
    logits.requires_grad_()
    before = loss(logits, target, weight)
    (gradient,) = torch.autograd.grad(before, logits)
    other = logits.detach().masked_fill(out, filler).requires_grad_()
    after = loss(other, target.masked_fill(out, filler), weight)
    (other_gradient,) = torch.autograd.grad(after, other)
    assert torch.equal(before, after)
    assert torch.equal(gradient, other_gradient)
    assert (gradient.masked_select(out) == 0).all()


@pytest.mark.parametrize("loss", ALL)
def test_one_missing_fraction_leaves_the_whole_pixel_out(loss) -> None:  # type: ignore[no-untyped-def]
    logits, target, weight, _ = random_batch(8)
    holed = target.clone()
    holed[0, 1, 2, 2] = math.nan
    without = weight.clone()
    without[0, 2, 2] = 0.0
    assert torch.equal(loss(logits, holed, weight), loss(logits, target, without))
    assert torch.equal(loss(logits, target, weight), loss(logits, target, weight.bool()))


@pytest.mark.parametrize("loss", ALL)
def test_a_batch_without_labels_gives_zero_and_zero_gradients(loss) -> None:  # type: ignore[no-untyped-def]
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    for target, weight in (
        (torch.full((2, 3, 4, 4), math.nan), torch.ones(2, 4, 4)),
        (torch.full((2, 3, 4, 4), 1 / 3), torch.zeros(2, 4, 4, dtype=torch.bool)),
    ):
        value = loss(logits, target, weight)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.item() == 0.0
        assert (gradient == 0).all()


@pytest.mark.parametrize("loss", ALL)
def test_huge_logits_stay_finite(loss) -> None:  # type: ignore[no-untyped-def]
    logits = (1e4 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).T[None, :, None, :].requires_grad_()
    for target in (shares((1.0, 0.0), (0.0, 1.0)), shares((0.0, 1.0), (1.0, 0.0)), shares((0.5, 0.5), (0.5, 0.5))):
        value = loss(logits, target.float(), torch.ones(1, 1, 2))
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", ALL)
def test_half_precision_logits_are_lifted_to_float32(loss) -> None:  # type: ignore[no-untyped-def]
    logits, target, weight, _ = random_batch(9)
    low = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(low, target.float(), weight.float())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(low.float(), target.float(), weight.float()))


@pytest.mark.parametrize("loss", ALL)
def test_weights_of_any_type_leave_the_loss_in_that_of_the_logits(loss) -> None:  # type: ignore[no-untyped-def]
    logits, target, weight, _ = random_batch(13)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    value = loss(logits.float(), target, weight, weights)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(logits, target, weight, weights), rtol=1e-5, atol=1e-6)
    assert loss(logits, target.float(), weight.float(), weights.float()).dtype == torch.float64


def test_settings_that_are_not_given_are_those_of_the_papers() -> None:
    logits, target, weight, _ = random_batch(14)
    assert torch.equal(tversky(logits, target, weight), tversky(logits, target, weight, alpha=0.3, beta=0.7))
    assert torch.equal(focal(logits, target, weight), focal(logits, target, weight, gamma=2.0))
    by_hand = -math.sqrt(0.5) * math.log(0.5)
    assert focal(pixels((0.5, 0.5)), shares((1.0, 0.0)), torch.ones(1, 1, 1), gamma=0.5).item() == pytest.approx(
        by_hand
    )


def test_lovasz_weighs_its_classes() -> None:
    logits, _, weight, labels = random_batch(15)
    labels[labels == 3] = 0
    each = torch.stack([lovasz(logits, hard(labels, 4), weight, torch.eye(4)[k]) for k in range(3)])
    weights = torch.tensor([3.0, 1.0, 2.0, 9.0])
    found = lovasz(logits, hard(labels, 4), weight, weights)
    torch.testing.assert_close(found, (each * weights[:3]).sum() / 6)
    assert each.std() > 0.01 and abs(found - lovasz(logits, hard(labels, 4), weight)) > 1e-3


def test_a_sum_is_the_weighted_sum_of_its_terms() -> None:
    logits, target, weight, _ = random_batch(10)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    value = build_loss("0.3*ce + 0.7*dice+focal(gamma=3) + 1e+0*tversky(alpha=0.1, beta=0.9)", weights)
    parts = (
        0.3 * cross_entropy(logits, target, weight, weights)
        + 0.7 * dice(logits, target, weight, weights)
        + focal(logits, target, weight, weights, gamma=3.0)
        + tversky(logits, target, weight, weights, alpha=0.1, beta=0.9)
    )
    torch.testing.assert_close(value(logits, target, weight), parts)


def test_weights_of_the_call_take_the_place_of_the_built_ones() -> None:
    logits, target, weight, _ = random_batch(11)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    built = build_loss("ce", weights)
    torch.testing.assert_close(build_loss("ce")(logits, target, weight, weights), built(logits, target, weight))
    assert not built.state_dict()


def test_smoothing_reaches_the_terms_that_are_sums_over_pixels() -> None:
    logits, target, weight, _ = random_batch(12)
    value = build_loss("ce+dice", label_smoothing=0.1)(logits, target, weight)
    parts = cross_entropy(logits, target, weight, None, 0.1) + dice(logits, target, weight)
    torch.testing.assert_close(value, parts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.3*ce+0.7*dize", "no term is called `dize`. Did you mean `dice`?"),
        ("cross-entropy", "no term is called `cross-entropy`. Did you mean `ce`?"),
        ("lovash", "no term is called `lovash`. Did you mean `lovasz`?"),
        ("hinge", "no term is called `hinge`. Known: ce, dice, focal, lovasz, tversky"),
        ("ce+", "`ce+`, which cannot be read from `` on. Write it as 0.3*ce+0.7*dice"),
        ("", "``, which cannot be read from `` on. Write it as 0.3*ce+0.7*dice"),
        ("0.3 ce", "`0.3 ce`, which cannot be read from `0.3 ce` on. Write it as 0.3*ce+0.7*dice"),
        ("ce dice", "`ce dice`, which cannot be read from `dice` on. Write it as 0.3*ce+0.7*dice"),
        ("ce+2 dice", "`ce+2 dice`, which cannot be read from `2 dice` on. Write it as 0.3*ce+0.7*dice"),
        ("-1*ce", "`-1*ce`, which cannot be read from `-1*ce` on. Write it as 0.3*ce+0.7*dice"),
        ("0*ce", "factor 0 of `ce`. Give a number above 0"),
        ("1e999*ce", "factor 1e999 of `ce`. Give a number above 0"),
        ("ce(gamma=2)", "`ce` has no setting `gamma`. Leave the brackets out: it has no settings"),
        ("focal(gama=2)", "`focal` has no setting `gama`. Did you mean `gamma`?"),
        ("focal(2)", "`2` in the brackets of `focal`. Write settings as gamma=2"),
    ],
)
def test_a_loss_that_cannot_be_read_says_why(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_loss(text)
    assert str(error.value).rstrip(".") == f"loss: {message}"


@pytest.mark.parametrize(
    ("text", "smoothing", "says"),
    [
        ("dice", 0.1, "0.1 with the loss `dice`. Add a `ce` or `focal` term, or set it to 0"),
        ("ce", 1.0, "1.0. Give a share from 0 to below 1"),
        ("ce", -0.1, "-0.1. Give a share from 0 to below 1"),
    ],
)
def test_smoothing_that_makes_no_sense_is_refused(text: str, smoothing: float, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_loss(text, label_smoothing=smoothing)
    assert str(error.value).rstrip(".") == f"label_smoothing: {says}"
