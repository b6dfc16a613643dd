"""Which tiles a batch holds: a pure function of (seed, epoch, rank, world size, position), with no state to lose.

A global batch is what all ranks see in one step; each rank takes its own slice of it. So one process with batches of
16 and two with batches of 8 train on the same tiles in the same steps, and a run resumes in the middle of an epoch
from three integers: seed, epoch, position.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Order", "Sampler"]

Ids = NDArray[np.int64]


class Order(StrEnum):
    """In which order the tiles of an epoch come."""

    RANDOM = "random"
    """A new permutation of all tiles each epoch."""
    BLOCKS = "blocks"
    """Shards are permuted, then tiles within each few of them: nearly sequential reading, for slow disks."""
    WEIGHTED = "weighted"
    """Drawn by weight, so that rare classes are seen: a tile may come twice in an epoch, or not at all."""
    SEQUENTIAL = "sequential"
    """As stored."""


@dataclass(frozen=True)
class Sampler:
    """The batches of one rank. Every order but `weighted` gives each tile once an epoch over all ranks together."""

    tiles: Ids
    """(N,) ids to sample from."""
    batch_size: int
    """Tiles of one rank in one step."""
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    order: Order = Order.RANDOM
    block: int = 512
    """Order `blocks`: ids that divide to the same number stand together, such as those of eight shards."""
    weights: NDArray[np.float64] | None = None
    """(N,) order `weighted`: how often each tile comes, relative to the others."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not 0 <= self.rank < self.world_size or self.block < 1:
            raise ValueError(f"batch_size {self.batch_size}, rank {self.rank} of {self.world_size}, block {self.block}")
        if self.order is Order.WEIGHTED and (
            self.weights is None
            or len(self.weights) != len(self.tiles)
            or not np.all(self.weights >= 0)
            or not 0 < self.weights.sum() < np.inf
        ):
            raise ValueError("order `weighted` needs one finite weight of 0 or more a tile, not all 0")

    def __len__(self) -> int:
        """Steps of an epoch, the same for every rank."""
        return -(-len(self.tiles) // (self.batch_size * self.world_size))

    def epoch_order(self, epoch: int) -> Ids:
        """(N,) ids of all ranks in the order of an epoch."""
        if self.order is Order.SEQUENTIAL:
            return self.tiles
        bits = np.random.Philox(np.random.SeedSequence([self.seed, epoch]))
        if self.order is Order.WEIGHTED:
            return self.tiles[_shuffled(bits, _systematic(bits, self.weights))]  # type: ignore[arg-type]
        order = _shuffled(bits, np.arange(len(self.tiles)))
        if self.order is Order.BLOCKS:
            blocks = self.tiles[order] // self.block
            _, first, inverse = np.unique(blocks, return_index=True, return_inverse=True)
            # Blocks in the order in which their first tile stands in the permutation; within a block, as permuted.
            order = order[np.argsort(first[inverse], kind="stable")]
        return self.tiles[order]

    def batch(self, order: Ids, position: int) -> Ids:
        """Ids of this rank at step `position` of an epoch whose `epoch_order` is `order`; maybe fewer, maybe none.

        The last global batch is dealt out as evenly as it goes, the first ranks getting one more.
        """
        size = self.batch_size * self.world_size
        whole = order[position * size : (position + 1) * size]
        return np.array_split(whole, self.world_size)[self.rank]


def _shuffled(bits: np.random.Philox, items: Ids) -> Ids:
    # Sorting raw output: unlike Generator.permutation, its stream is guaranteed to stay the same over NumPy's versions.
    return items[np.argsort(bits.random_raw(len(items)), kind="stable")]


def _systematic(bits: np.random.Philox, weights: NDArray[np.float64]) -> Ids:
    """N positions drawn with one random number: each comes floor or ceil of N times its share (Madow 1949)."""
    n = len(weights)
    start = float(bits.random_raw(1)[0]) / 2.0**64
    edges = np.cumsum(weights) / weights.sum() * n
    edges[-1] = n  # rounding must not lose the last draw
    return np.searchsorted(edges, np.arange(n) + start, side="right").clip(max=n - 1)
