"""Laws of the sampler: nothing lost, nothing twice, the same for any number of readers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greentrain.data.sampler import Order, Sampler

counts = st.integers(1, 200)
sizes = st.integers(1, 9)
seeds = st.integers(0, 2**32)


def epoch(n: int, size: int, world: int, seed: int, order: Order = Order.RANDOM, number: int = 0) -> list[list[int]]:
    """Global batches of an epoch, put together from all ranks."""
    ranks = [Sampler(np.arange(n) * 3, size, seed, rank, world, order, block=12) for rank in range(world)]
    return [[int(t) for r in ranks for t in r.batch(r.epoch_order(number), step)] for step in range(len(ranks[0]))]


@given(counts, sizes, st.integers(1, 5), seeds, st.sampled_from([Order.RANDOM, Order.BLOCKS, Order.SEQUENTIAL]))
def test_every_tile_comes_once_an_epoch_whatever_the_ranks(
    n: int, size: int, world: int, seed: int, order: Order
) -> None:
    seen = [tile for batch in epoch(n, size, world, seed, order) for tile in batch]
    assert sorted(seen) == list(range(0, 3 * n, 3))


@given(counts, sizes, st.integers(1, 5), seeds)
def test_one_process_and_many_train_on_the_same_tiles_in_the_same_steps(
    n: int, size: int, world: int, seed: int
) -> None:
    assert epoch(n, size * world, 1, seed) == epoch(n, size, world, seed)


@given(counts, sizes, st.integers(1, 5), seeds)
def test_ranks_of_a_step_differ_by_one_tile_at_most(n: int, size: int, world: int, seed: int) -> None:
    ranks = [Sampler(np.arange(n), size, seed, rank, world) for rank in range(world)]
    order = ranks[0].epoch_order(0)
    for step in range(len(ranks[0])):
        lengths = [len(r.batch(order, step)) for r in ranks]
        assert max(lengths) - min(lengths) <= 1
        assert max(lengths) <= size


def test_epochs_and_seeds_give_other_orders_and_the_same_ones_again() -> None:
    sampler = Sampler(np.arange(100), 4, seed=1)
    assert not np.array_equal(sampler.epoch_order(0), sampler.epoch_order(1))
    assert not np.array_equal(sampler.epoch_order(0), Sampler(np.arange(100), 4, seed=2).epoch_order(0))
    assert np.array_equal(sampler.epoch_order(3), Sampler(np.arange(100), 4, seed=1).epoch_order(3))


def test_the_order_of_a_seed_is_the_same_for_ever() -> None:
    assert Sampler(np.arange(8), 4, seed=7).epoch_order(2).tolist() == [0, 3, 5, 1, 4, 2, 6, 7]


def test_random_order_puts_every_tile_in_every_place_about_equally_often() -> None:
    n, draws = 6, 3000
    table = np.zeros((n, n))
    sampler = Sampler(np.arange(n), 1)
    for number in range(draws):
        table[np.arange(n), sampler.epoch_order(number)] += 1
    chi2 = ((table - draws / n) ** 2 / (draws / n)).sum()
    assert chi2 < 70  # 25 degrees of freedom: 52.6 is the 99.9 percent point


@given(st.integers(1, 100), seeds)
def test_block_order_reads_a_block_to_its_end(n: int, seed: int) -> None:
    blocks = Sampler(np.arange(n), 1, seed, order=Order.BLOCKS, block=8).epoch_order(0) // 8
    assert np.count_nonzero(np.diff(blocks)) == len(np.unique(blocks)) - 1


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50).filter(lambda w: sum(w) > 1e-3), seeds)
def test_weighted_order_draws_each_tile_floor_or_ceil_of_its_share(weights: list[float], seed: int) -> None:
    w = np.array(weights)
    n = len(w)
    drawn = Sampler(np.arange(n), 1, seed, order=Order.WEIGHTED, weights=w).epoch_order(0)
    due = w / w.sum() * n
    got = np.bincount(drawn, minlength=n)
    assert len(drawn) == n
    assert np.all(got >= np.floor(due - 1e-6))
    assert np.all(got <= np.ceil(due + 1e-6))


def test_impossible_samplers_cannot_be_born() -> None:
    with pytest.raises(ValueError, match="rank 2 of 2"):
        Sampler(np.arange(4), 1, rank=2, world_size=2)
    with pytest.raises(ValueError, match="one finite weight"):
        Sampler(np.arange(4), 1, order=Order.WEIGHTED)


@pytest.mark.parametrize(
    "weights", [[1.0, -0.5, 1.0], [0.0, 0.0, 0.0], [1.0, np.inf, 1.0], [1.0, np.nan, 1.0], [1.0, 1.0]]
)
def test_each_thing_that_weights_must_not_be_is_refused_alone(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^order `weighted` needs one finite weight of 0 or more a tile, not all 0$"):
        Sampler(np.arange(3), 1, order=Order.WEIGHTED, weights=np.array(weights))


def test_a_block_of_one_tile_is_a_block() -> None:
    assert sorted(Sampler(np.arange(9), 2, order=Order.BLOCKS, block=1).epoch_order(0)) == list(range(9))
    with pytest.raises(ValueError, match="block 0"):
        Sampler(np.arange(9), 2, order=Order.BLOCKS, block=0)


def test_a_weight_gives_its_share_over_many_epochs() -> None:
    """The draw begins anywhere between 0 and 1: else a tile of 0.8 draws would come in every epoch, or too seldom."""
    sampler = Sampler(np.arange(2), 1, order=Order.WEIGHTED, weights=np.array([0.4, 0.6]))
    drawn = [np.count_nonzero(sampler.epoch_order(epoch) == 0) for epoch in range(1000)]
    assert abs(np.mean(drawn) - 0.8) < 0.05  # its deviation is 0.4, that of the mean 0.013
