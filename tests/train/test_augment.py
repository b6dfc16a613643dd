"""Augmentation: identity bit for bit, the three parts move together, labels that were there, seeds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from greentrain.data.augment import Augment, Samples, augment, generator_for, move, resample

OFF = Augment(crop=None, flip=0, shift=0)


def random_batch(seed: int, count: int = 3, side: int = 12) -> Samples:
    """Image of 4 bands, fractions of 3 classes in steps of 1/200 with holes, valid with zeros."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn((count, 4, side, side), generator=generator)
    cuts = torch.randint(201, (count, 2, side, side), generator=generator).sort(1).values
    fraction = torch.stack([cuts[:, 0], cuts[:, 1] - cuts[:, 0], 200 - cuts[:, 1]], 1) / 200
    holes = torch.rand((count, 1, side, side), generator=generator) < 0.1
    valid = torch.rand((count, side, side), generator=generator) > 0.1
    return Samples(image, fraction.masked_fill(holes, math.nan), valid)


def identical_bands(seed: int) -> Samples:
    """A batch whose three parts hold the same numbers, 0 where invalid."""
    batch = random_batch(seed)
    numbers = torch.rand(batch.valid.shape, generator=torch.Generator().manual_seed(seed)) * batch.valid
    return Samples(numbers[:, None], numbers[:, None], batch.valid)


def same(a: Samples, b: Samples) -> bool:
    return all(
        x.dtype == y.dtype and torch.equal(x.isnan(), y.isnan()) and torch.equal(x.nan_to_num(), y.nan_to_num())
        for x, y in zip(a, b, strict=True)
    )


def test_with_everything_off_the_inputs_come_back_as_they_are() -> None:
    batch = random_batch(0)
    after = augment(batch, OFF, generator_for(0, 0, 0), blend_labels=True)
    assert all(x is y for x, y in zip(after, batch, strict=True))


def test_by_default_there_is_no_rotation_and_no_change_of_colour() -> None:
    default = Augment()
    assert default.flip and default.shift
    assert not (default.turn or default.rotate or default.scale or default.mix_times or default.mix_tiles)
    assert not (default.band_jitter or default.haze or default.band_drop)


@settings(deadline=None)
@given(seed=st.integers(0, 2**20), fill=st.sampled_from(["reflect", "invalid"]))
def test_moves_take_image_labels_and_mask_together(seed: int, fill: str) -> None:
    moves = Augment.model_validate({"shift": 0.5, "turn": True, "fill": fill})
    after = augment(identical_bands(seed), moves, generator_for(seed, 0, 0), blend_labels=False)
    seen = ~after.fraction.isnan()
    assert torch.equal(after.image[seen], after.fraction[seen])
    assert (after.image[:, 0][~after.valid] == 0).all()
    if fill == "reflect":
        assert seen.all()
    else:
        assert not after.valid[after.fraction[:, 0].isnan()].any()


def test_flips_are_torchs() -> None:
    batch = random_batch(1)
    after = augment(batch, Augment(flip=1, shift=0), generator_for(0, 0, 0), blend_labels=False)
    assert same(after, Samples(*(part.flip(-2, -1) for part in batch)))


def test_a_shift_mirrors_the_tile_or_leaves_nothing() -> None:
    row = torch.arange(5.0).view(1, 1, 1, 5)
    batch = Samples(row, row, torch.ones(1, 1, 5, dtype=torch.uint8))
    rows, columns = torch.zeros(1, 1, dtype=torch.int64), torch.arange(5)[None] - 2
    mirrored = move(batch, rows, columns, "reflect")
    assert mirrored.image.flatten().tolist() == [2, 1, 0, 1, 2]
    assert mirrored.valid.all()
    empty = move(batch, rows, columns, "invalid")
    assert empty.image.flatten().tolist() == [0, 0, 0, 1, 2]
    assert empty.valid.flatten().tolist() == [0, 0, 1, 1, 1]
    assert empty.fraction.isnan().flatten().tolist() == [True, True, False, False, False]


def test_shifts_reach_their_limit_and_no_further() -> None:
    ones = Samples(torch.ones(400, 1, 8, 8), torch.ones(400, 1, 8, 8), torch.ones(400, 8, 8))
    only = Augment(flip=0, shift=0.25, fill="invalid")
    after = augment(ones, only, generator_for(0, 0, 0), blend_labels=False)
    lost = 8 - after.valid.amax(1).sum(1)
    assert set(lost.tolist()) == {0, 1, 2}


def affine(angle: float = 0.0, zoom: float = 1.0) -> Tensor:
    turn = math.radians(angle)
    c, s = math.cos(turn) / zoom, math.sin(turn) / zoom
    return torch.tensor([[[c, -s, 0.0], [s, c, 0.0]]])


@pytest.mark.parametrize("blend_labels", [True, False])
def test_a_rotation_by_90_degrees_is_a_turn(blend_labels: bool) -> None:
    batch = random_batch(2, count=1)
    after = resample(batch, affine(90), "reflect", blend_labels=blend_labels)
    turned = Samples(*(part.rot90(1, (-2, -1)) for part in batch))
    assert torch.equal(after.valid, turned.valid)
    usable = turned.valid[:, None].expand_as(turned.image)
    torch.testing.assert_close(after.image[usable], turned.image[usable], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.fraction, turned.fraction, atol=1e-4, rtol=1e-4, equal_nan=True)


def test_scaling_a_ramp_gives_the_ramp_of_that_slope() -> None:
    ramp = ((torch.arange(16) - 7.5) / 8).expand(1, 1, 16, 16).contiguous()
    batch = Samples(ramp, torch.ones(1, 1, 16, 16), torch.ones(1, 16, 16))
    torch.testing.assert_close(resample(batch, affine(zoom=2.0), "reflect", blend_labels=True).image, ramp / 2)


@settings(deadline=None)
@given(seed=st.integers(0, 2**20), fill=st.sampled_from(["reflect", "invalid"]))
def test_hard_labels_are_never_interpolated_into_new_values(seed: int, fill: str) -> None:
    changes = Augment.model_validate({"scale": 0.5, "rotate": 45, "fill": fill})
    batch = random_batch(seed, count=2, side=9)
    after = augment(batch, changes, generator_for(seed, 0, 0), blend_labels=False)
    for before, now in zip(batch.fraction, after.fraction, strict=True):
        known = {tuple(pixel) for pixel in before.flatten(1).T.tolist()}
        assert all(tuple(pixel) in known or math.isnan(pixel[0]) for pixel in now.flatten(1).T.tolist())


@settings(deadline=None)
@given(seed=st.integers(0, 2**20))
def test_blended_fractions_stay_fractions_and_use_labelled_pixels_alone(seed: int) -> None:
    changes = Augment(scale=0.5, rotate=180, fill="invalid")
    after = augment(random_batch(seed), changes, generator_for(seed, 1, 0), blend_labels=True)
    labelled = ~after.fraction.isnan().any(1)
    torch.testing.assert_close(after.fraction.sum(1)[labelled], torch.ones(int(labelled.sum())))
    assert after.fraction.nan_to_num().min() >= 0
    flat = random_batch(seed)._replace(fraction=torch.full((3, 1, 12, 12), 0.3))
    flat.fraction[:, :, ::4] = math.nan
    even = augment(flat, changes, generator_for(seed, 1, 0), blend_labels=True).fraction
    torch.testing.assert_close(even[~even.isnan()], torch.full_like(even[~even.isnan()], 0.3))


def test_an_invalid_pixel_spoils_no_valid_one() -> None:
    batch = random_batch(3)
    changes = Augment(scale=0.3, rotate=30)
    spoilt = batch._replace(image=batch.image.masked_fill(~batch.valid[:, None], math.nan))
    after = augment(spoilt, changes, generator_for(1, 0, 0), blend_labels=True)
    assert after.image.isfinite().all()
    assert same(after, augment(batch, changes, generator_for(1, 0, 0), blend_labels=True))


EVERYTHING = Augment(scale=0.2, turn=True, rotate=10, band_jitter=0.1, haze=0.5, band_drop=0.3, mix_times=1.0)


def test_the_same_four_numbers_give_the_same_batch_and_others_another() -> None:
    batch, ground = random_batch(4, count=4), torch.tensor([0, 0, 1, 1])

    def after(*numbers: int) -> Samples:
        return augment(batch, EVERYTHING, generator_for(*numbers), blend_labels=True, ground=ground)

    first = after(1, 2, 3, 4)
    assert same(first, after(1, 2, 3, 4))
    assert not any(same(first, after(*other)) for other in [(2, 2, 3, 4), (1, 1, 3, 4), (1, 2, 4, 3), (1, 2, 3, 0)])
    assert [part.shape for part in first] == [part.shape for part in batch]
    assert [part.dtype for part in first] == [part.dtype for part in batch]


def test_the_batch_given_is_left_alone() -> None:
    batch = random_batch(5, count=4)
    copy = Samples(*(part.clone() for part in batch))
    augment(batch, EVERYTHING, generator_for(0, 0, 0), blend_labels=True, ground=torch.zeros(4))
    assert same(batch, copy)


def test_band_jitter_is_a_line_for_each_band_and_leaves_labels_alone() -> None:
    batch = random_batch(6)
    after = augment(batch, Augment(flip=0, shift=0, band_jitter=0.2), generator_for(0, 0, 0), blend_labels=True)
    x, y = batch.image[1, 2].flatten(), after.image[1, 2].flatten()
    correlation = torch.corrcoef(torch.stack([x, y]))[0, 1]
    assert correlation == pytest.approx(1.0, abs=1e-5)
    assert after.fraction is batch.fraction
    assert after.valid is batch.valid


def test_haze_draws_every_pixel_towards_the_veil_and_never_beyond() -> None:
    batch = random_batch(7)
    after = augment(batch, Augment(flip=0, shift=0, haze=0.7), generator_for(0, 0, 0), blend_labels=True).image
    share = (after - batch.image) / (2.0 - batch.image)
    assert share.min() >= -1e-4
    assert share.max() <= 0.7 + 1e-4
    assert share.std() > 0.01


def test_dropped_bands_are_zero_and_one_band_stays() -> None:
    image = torch.ones(500, 3, 2, 2)
    batch = Samples(image, torch.ones(500, 1, 2, 2), torch.ones(500, 2, 2))
    after = augment(batch, Augment(flip=0, shift=0, band_drop=0.9), generator_for(0, 0, 0), blend_labels=True)
    bands = after.image.amax((2, 3))
    assert set(bands.unique().tolist()) == {0.0, 1.0}
    assert bands.sum(1).min() == 1
    assert (bands == 0).float().mean() > 0.6


def test_times_are_blended_within_one_ground_and_where_both_are_valid() -> None:
    image = torch.tensor([0.0, 1.0, 10.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4).contiguous()
    valid = torch.ones(3, 4, 4, dtype=torch.bool)
    valid[1, 0] = False
    batch = Samples(image, torch.ones(3, 1, 4, 4), valid)
    mixing = Augment(flip=0, shift=0, mix_times=1.0)
    after = augment(batch, mixing, generator_for(0, 0, 0), blend_labels=True, ground=torch.tensor([7, 7, 8])).image
    assert (after[0, :, 0] == 0).all()
    assert 0 < after[0, 0, 1, 0] <= 0.5 <= after[1, 0, 1, 0] < 1
    assert (after[2] == 10).all()


@given(seed=st.integers(0, 2**20), crop=st.integers(1, 14))
def test_a_crop_is_a_window_of_every_part_at_one_place(seed: int, crop: int) -> None:
    batch = random_batch(seed)
    numbers = torch.arange(12.0 * 12).view(1, 1, 12, 12).expand(3, 1, 12, 12)
    batch = batch._replace(image=torch.cat([batch.image, numbers], 1))
    after = augment(batch, Augment(crop=crop, flip=0, shift=0), generator_for(seed, 0, 0), blend_labels=True)
    side = min(crop, 12)
    for i in range(3):
        top, left = divmod(int(after.image[i, -1, 0, 0]), 12)
        window = Samples(*(part[i : i + 1, ..., top : top + side, left : left + side] for part in batch))
        assert same(window, Samples(*(part[i : i + 1] for part in after)))
    if crop >= 12:
        assert after.image is batch.image


def test_a_crop_reaches_every_place() -> None:
    numbers = torch.arange(6.0).view(1, 1, 1, 6).expand(300, 1, 6, 6)
    batch = Samples(numbers, numbers, torch.ones(300, 6, 6))
    after = augment(batch, Augment(crop=4, flip=0, shift=0), generator_for(0, 0, 0), blend_labels=True)
    assert after.image[:, 0, 0, 0].unique().tolist() == [0, 1, 2]


@given(seed=st.integers(0, 2**20))
def test_mixed_tiles_are_lines_between_two_and_count_where_both_do(seed: int) -> None:
    batch = random_batch(seed, count=2)
    after = augment(batch, Augment(flip=0, shift=0, mix_tiles=1.0), generator_for(seed, 0, 0), blend_labels=True)
    for i, j in ((0, 1), (1, 0)):
        span = batch.image[j] - batch.image[i]
        share = ((after.image[i] - batch.image[i]) / span)[span.abs() > 0.1].median()
        assert 0 <= share <= 0.5
        torch.testing.assert_close(
            after.image[i], torch.lerp(batch.image[i], batch.image[j], share), atol=1e-4, rtol=1e-3
        )
        torch.testing.assert_close(
            after.fraction[i],
            torch.lerp(batch.fraction[i], batch.fraction[j], share),
            atol=1e-4,
            rtol=1e-3,
            equal_nan=True,
        )
        assert torch.equal(after.valid[i].bool(), batch.valid[0] & batch.valid[1])
    alone = Samples(*(part[:1] for part in batch))
    assert same(
        alone, augment(alone, Augment(flip=0, shift=0, mix_tiles=1.0), generator_for(seed, 0, 0), blend_labels=True)
    )


def test_what_cannot_be_is_refused() -> None:
    batch = random_batch(8)
    with pytest.raises(ValueError, match="only fractions"):
        augment(batch, Augment(mix_tiles=0.5), generator_for(0, 0, 0), blend_labels=False)
    with pytest.raises(ValueError, match="ground"):
        augment(batch, Augment(mix_times=0.5), generator_for(0, 0, 0), blend_labels=True)
    oblong = Samples(*(part[..., :6] for part in batch))
    with pytest.raises(ValueError, match="square"):
        augment(oblong, Augment(turn=True), generator_for(0, 0, 0), blend_labels=True)
    with pytest.raises(ValidationError):
        Augment.model_validate({"flips": 1})
