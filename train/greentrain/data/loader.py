"""From a store to batches: asynchronous reading, several batches ahead, no worker processes.

    loader = open_loader("city.zarr", "train", 16)
    for epoch in range(50):
        for batch in loader: …  # another order each epoch

Lightning's Trainer takes a loader as it is, and `torch.utils.data.DataLoader(loader, batch_size=None)` wraps one.

Letters: B tiles of a batch, C feature bands (or principal components), K classes, H = W pixels a side.
A batch is a dict of tensors:
    image     (B, C, H, W) float32, normalised; 0 where a pixel is invalid and in dead bands
    fraction  (B, K, H, W) float32, 0..1, NaN where there is no label
    valid     (B, H, W)    bool, True where the image may be used
    tile      (B,)         int64, ids in the store
With `normalise=False` image holds all bands of the store, or those named, as stored and in the store's own type.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from greenschemas.errors import ConfigError
from greenschemas.store import Store, open_store
from greentrain.data import compose
from greentrain.data.buffers import Buffers
from greentrain.data.normalise import Normaliser, band_positions, build_normaliser
from greentrain.data.sampler import Order, Sampler
from greentrain.data.tiles import Budget, TileBlock, TileReader

__all__ = ["Batch", "Loader", "open_loader", "tile_weights"]

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class _Draft:
    """The arrays of a batch while it is filled."""

    image: NDArray[Any]
    fraction: NDArray[np.float32]
    valid: NDArray[np.bool_]


class Loader(IterableDataset[Batch]):
    """Batches of one epoch after the other: each time it is iterated it gives the next one.

    `epoch` is the one that the next iteration gives; set it to go on from there. `batches` gives any epoch, from any
    batch on, and counts nothing. Being an IterableDataset, it can be given to whoever asks for one.
    """

    def __init__(
        self,
        reader: TileReader,
        sampler: Sampler,
        normaliser: Normaliser | None,
        buffers: Buffers,
        *,
        epoch: int = 0,
        ahead: int = 4,
        device: torch.device | None = None,
    ) -> None:
        self.sampler = sampler
        self.epoch = epoch
        self.cached = reader.cached
        """Whether raw tiles stay in memory after they were first read."""
        self._reader, self._normaliser, self._buffers = reader, normaliser, buffers
        self._ahead = ahead
        self._device = device if device is not None and device.type == "cuda" else None

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of `epoch`, which is one more from now on.

        Raises ConfigError in a worker process of a DataLoader: each would read, and give, the whole epoch.
        """
        if get_worker_info() is not None:
            raise ConfigError(
                "num_workers", "a loader in a worker process", "leave it at 0: the loader reads ahead by threads"
            )
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self.batches(epoch)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from position `start` on. Those under way when the caller stops are dropped."""
        order, ahead = self.sampler.epoch_order(epoch), self._ahead
        chosen = (self.sampler.batch(order, position) for position in range(start, len(self)))
        if self._reader.holds(order):
            if self._device is None:  # nothing to wait for: fewer batches under way stay in the CPU's cache
                for tiles in chosen:
                    yield self.load(tiles, parallel=True)
                return
            ahead = min(ahead, 2)
        under_way: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(ahead, thread_name_prefix="tiles")
        try:
            for tiles in chosen:
                under_way.append(pool.submit(self.load, tiles))
                if len(under_way) == ahead:
                    yield self._placed(under_way.popleft().result())
            while under_way:
                yield self._placed(under_way.popleft().result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def load(self, tiles: NDArray[np.int64], *, parallel: bool = False) -> Batch:
        """The batch of these tiles, on the CPU; put `parallel` by several threads or by this one."""
        draft = self._draft(len(tiles))
        for block in self._reader.read(tiles, draft.image if self._normaliser is None else None):
            self._fill(draft, block, parallel)
        return self._finished(draft, tiles)

    def _draft(self, count: int) -> _Draft:
        reader, lend = self._reader, self._buffers.lend
        return _Draft(
            lend((count, *reader.image_shape), reader.dtype if self._normaliser is None else np.float32),
            lend((count, *reader.fraction_shape), np.float32),
            lend((count, *reader.image_shape[1:]), np.bool_),
        )

    def _fill(self, draft: _Draft, block: TileBlock, parallel: bool) -> None:
        rows, places, normaliser = block.rows, block.places, self._normaliser
        if normaliser is not None:
            compose.gather_normalised(
                block.image,
                block.valid,
                rows,
                places,
                normaliser.mean,
                normaliser.scale,
                normaliser.clip,
                draft.image,
                how=normaliser.how,
                parallel=parallel,
            )
        elif block.image is not draft.image:  # else it was read into its place
            compose.gather_pixels(block.image, rows, places, draft.image, parallel=parallel)
        compose.gather_fractions(
            block.fraction, block.valid, rows, places, draft.fraction, draft.valid, parallel=parallel
        )

    def _finished(self, draft: _Draft, tiles: NDArray[np.int64]) -> Batch:
        image = draft.image if self._normaliser is None else self._normaliser.project(draft.image)
        batch = {
            "image": torch.from_numpy(image),
            "fraction": torch.from_numpy(draft.fraction),
            "valid": torch.from_numpy(draft.valid),
            "tile": torch.from_numpy(tiles.astype(np.int64)),
        }
        return batch if self._device is None else {name: part.pin_memory() for name, part in batch.items()}

    def _placed(self, batch: Batch) -> Batch:
        """On the device: the copy runs on a stream of its own, beside the step before."""
        if self._device is None:
            return batch
        stream = _copy_stream(self._device)
        with torch.cuda.stream(stream):
            moved = {name: part.to(self._device, non_blocking=True) for name, part in batch.items()}
        now = torch.cuda.current_stream(self._device)
        now.wait_stream(stream)
        for part in moved.values():
            part.record_stream(now)
        return moved


def open_loader(
    store: str | Path | Store,
    split: str | None,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    normalise: bool = True,
    bands: Sequence[str] | None = None,
    normaliser: Normaliser | None = None,
    order: Order | str = Order.RANDOM,
    rank: int = 0,
    world_size: int = 1,
    cache: Budget = "auto",
    ahead: int = 4,
    device: torch.device | str | None = None,
) -> Loader:
    """A loader of a split's usable tiles; the module's first lines say what a batch holds.

    split: train, val or test; `all` or None for every tile.
    epoch: the one that the first iteration gives, from 0; the order is a function of `seed` and the epoch alone.
    normalise: by the store's training statistics, band by band and without clipping; False for raw values.
    bands: by name; None for the feature bands, or for all if `normalise` is False.
    normaliser: another than the store's own, such as that of a run; it brings its bands.
    cache: how much memory may hold raw tiles: "auto" for half of what is free, "none", or GB. Tiles are kept if the
        whole split fits, and shared by all loaders of this process that read the same bands of the same store.
    ahead: batches read ahead, each on its own thread.

    Raises StoreError for what is not a store or a split that is not there, ConfigError for bands that it does not
    have.
    """
    opened = store if isinstance(store, Store) else open_store(store)
    contract = opened.contract
    tiles = opened.usable_tiles(None if split in (None, "all") else split)
    if batch_size < 1:
        raise ConfigError("batch_size", f"{batch_size}", "give 1 or more")
    if normaliser is None and normalise:
        normaliser = build_normaliser(contract, bands)
    if normaliser is not None:
        names: Sequence[str] = normaliser.bands
    else:
        names = [band.name for band in contract.bands] if bands is None else list(bands)
    at = band_positions(contract, names, opened.location)
    buffers = Buffers(keep=ahead + 2)
    reader = TileReader(opened, at, tiles, cache, buffers)
    kind = Order(order)
    sampler = Sampler(
        tiles,
        batch_size,
        seed,
        rank,
        world_size,
        kind,
        block=8 * contract.shard_tiles,
        weights=tile_weights(opened, tiles) if kind is Order.WEIGHTED else None,
    )
    return Loader(
        reader,
        sampler,
        normaliser,
        buffers,
        epoch=epoch,
        ahead=ahead,
        device=None if device is None else torch.device(device),
    )


def tile_weights(store: Store, tiles: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) how often each tile shall come: the mean over its group's pixels of 1 / sqrt(share of the pixel's class).

    From the class sums of groups in the store, so that no pixel is read.
    """
    sums = store.read("class_sum").astype(np.float64)
    wanted = store.tile_group()[tiles]
    total = sums[np.unique(wanted)].sum(0)
    weight = np.divide(1.0, np.sqrt(total), out=np.zeros_like(total), where=total > 0)
    labelled = np.maximum(sums.sum(1), 1.0)
    drawn: NDArray[np.float64] = ((sums @ weight) / labelled)[wanted]
    return drawn if drawn.sum() > 0 else np.ones(len(tiles))


_streams: dict[torch.device, torch.cuda.Stream] = {}


def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)
    return _streams[device]
