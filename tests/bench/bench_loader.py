"""Tiles a second of our loader, against raw memory-mapped reads and against other ways to feed a net, in one run.

    python tests/bench/bench_loader.py [--tiles 8000] [--rounds 3] [--work DIR]

All read the same images (19 x 128 x 128, uint16) in random order in batches of 16, from a warm page cache. Ours also
gives fractions and validity; the others read the image alone. Peers that are not installed are left out and named.
Settings: webdataset, litdata and the map-style loaders run with 2 worker processes; litdata and webdataset hold raw,
uncompressed tiles (their fastest form); webdataset shuffles in a buffer of 1,000; xbatcher reads neighbouring tiles,
because it has no random order.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch.utils.data import DataLoader, Dataset
from zarr.codecs import BloscCodec

from greenschemas.layout import ARRAYS
from greenschemas.store import write_contract
from greenschemas.testing import tiny_contract, write_tiny_store
from greentrain.data import open_loader
from greentrain.tilecache import forget_tiles

BATCH, WORKERS, SHAPE = 16, 2, (19, 128, 128)
EACH = 20  # tiles of a source of the synthetic store


def main() -> None:
    """Make the data, run every contender in turn in each round, print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="folder for the data; else a temporary one")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        raw = make_store(work, options.tiles)
        contenders = {**ours(work), **peers(work, raw)}
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name, epoch in contenders.items():
                began, seen = time.perf_counter(), sum(epoch())
                speeds[name].append(seen / (time.perf_counter() - began))
        first = first_batch(work)
    floor = statistics.median(speeds["np.memmap, fancy index"])
    print(f"{options.tiles} tiles of {SHAPE}, batches of {BATCH}, medians of {options.rounds}")
    for name, found in sorted(speeds.items(), key=lambda item: -statistics.median(item[1])):
        middle = statistics.median(found)
        print(f"{name:44} {middle:9.0f} tiles/s {middle / floor:7.3f} of memmap")
    print(f"first batch after {first:.2f} s")


def make_store(work: Path, tiles: int) -> np.memmap[Any, Any]:
    """`work/store.zarr` and the same images raw in `work/raw.npy`; reused if they are there."""
    store, raw = work / "store.zarr", work / "raw.npy"
    if raw.exists():
        return np.load(raw, mmap_mode="r")  # type: ignore[no-any-return]
    small = {"channels": SHAPE[0], "classes": 5, "sources": tiles // EACH, "tiles_each": EACH}
    write_tiny_store(store, size=8, **small)
    contract = tiny_contract(size=SHAPE[1], **small).model_copy(update={"shard_tiles": 64})
    group = zarr.open_group(str(store), mode="r+")
    arrays = {}
    for name, shape, dtype in (("image", SHAPE, "uint16"), ("fraction", (5, *SHAPE[1:]), "uint8"),
                               ("valid", SHAPE[1:], "uint8")):
        arrays[name] = group.create_array(
            name, shape=(contract.tiles, *shape), chunks=(1, *shape), shards=(64, *shape), dtype=dtype, overwrite=True,
            compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")], dimension_names=ARRAYS[name].axes)
    flat = np.lib.format.open_memmap(raw, mode="w+", dtype=np.uint16, shape=(contract.tiles, *SHAPE))
    chance = np.random.default_rng(0)
    scene = smooth(chance)
    for start in range(0, contract.tiles, 64):
        count = min(64, contract.tiles - start)
        images = np.zeros((count, *SHAPE), np.uint16)
        for image, (y, x) in zip(images, chance.integers(0, 384, (count, 2)), strict=True):
            image[:13] = scene[:, y:y + 128, x:x + 128]  # the last six bands are empty, as in the user's files
        labels = np.digitize(images[:, 0], [1500, 1900, 2200, 2700])
        arrays["image"][start:start + count] = flat[start:start + count] = images
        arrays["fraction"][start:start + count] = np.moveaxis(np.eye(5, dtype=np.uint8)[labels] * 200, -1, 1)
        arrays["valid"][start:start + count] = 1
    write_contract(group, contract)
    flat.flush()
    return flat


def smooth(chance: np.random.Generator) -> np.ndarray[Any, Any]:
    """(13, 512, 512) of something that compresses like reflectances: smooth fields with sensor noise."""
    waves = np.fft.rfftfreq(512)[None, :] ** 2 + np.fft.fftfreq(512)[:, None] ** 2
    fields = np.fft.irfft2(np.fft.rfft2(chance.normal(size=(13, 512, 512))) / (waves + 1e-3))
    fields *= 500 / fields.std(axis=(1, 2), keepdims=True)
    return (2000 + fields + chance.normal(0, 40, fields.shape)).clip(1, 10000).astype(np.uint16)


def ours(work: Path) -> dict[str, Callable[[], Iterator[int]]]:
    """Our loader, streaming from the store and from memory, raw and normalised."""
    def epoch(**how: Any) -> Callable[[], Iterator[int]]:
        def batches() -> Iterator[int]:
            yield from (len(b["tile"]) for b in open_loader(work / "store.zarr", "all", BATCH, **how))
        return batches

    forget_tiles()
    for normalise in (False, True):
        sum(epoch(normalise=normalise)())  # fills the caches, which readers of the same bands share
    return {"ours, kept in memory, raw": epoch(normalise=False), "ours, kept in memory, normalised": epoch(),
            "ours, streamed, raw": epoch(normalise=False, cache="none"),
            "ours, streamed, normalised": epoch(cache="none")}


def peers(work: Path, raw: np.memmap[Any, Any]) -> dict[str, Callable[[], Iterator[int]]]:
    """The floor and the other ways, as far as their packages are here."""
    found: dict[str, Callable[[], Iterator[int]]] = {"np.memmap, fancy index": lambda: memmap(raw)}
    store = work / "store.zarr"
    for workers in (0, WORKERS):
        found[f"DataLoader over zarr-python, {workers} workers"] = (
            lambda workers=workers: map_style(ZarrTiles(store), workers))
    optional = {"rasterio": ("DataLoader over GeoTIFFs, rasterio", geotiffs), "webdataset": ("webdataset", webdataset),
                "litdata": ("litdata", litdata), "xbatcher": ("xbatcher, in order", xbatcher)}
    for package, (name, prepare) in optional.items():
        if importlib.util.find_spec(package) is None:
            print(f"left out, not installed: {package}")
        else:
            found[name] = prepare(work, raw)
    return found


def memmap(raw: np.memmap[Any, Any]) -> Iterator[int]:
    """The floor: one copy of each tile."""
    order = np.random.default_rng(1).permutation(len(raw))
    for start in range(0, len(raw), BATCH):
        yield len(raw[order[start:start + BATCH]])


class ZarrTiles(Dataset[torch.Tensor]):
    """A tile at a time through zarr-python."""

    def __init__(self, store: Path) -> None:
        self.store, self.array = store, None
        self.count: int = zarr.open_group(str(store), mode="r")["image"].shape[0]  # type: ignore[union-attr]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.array is None:  # opened in the worker: zarr's event loop does not survive a fork
            self.array = zarr.open_group(str(self.store), mode="r")["image"]  # type: ignore[assignment]
        return torch.from_numpy(np.asarray(self.array[index]))  # type: ignore[index]


class TiffTiles(Dataset[torch.Tensor]):
    """A file a tile, as the sources are."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        import rasterio

        with rasterio.open(self.files[index]) as raster:
            return torch.from_numpy(raster.read())


def map_style(data: Dataset[torch.Tensor], workers: int = WORKERS) -> Iterator[int]:
    """torch's own loader, shuffled."""
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, prefetch_factor=4 if workers else None)
    yield from (len(batch) for batch in loader)


def geotiffs(work: Path, raw: np.memmap[Any, Any]) -> Callable[[], Iterator[int]]:
    """Deflate-compressed GeoTIFFs, at most 2,000 of them."""
    import rasterio

    folder = work / "tif"
    folder.mkdir(exist_ok=True)
    files = [folder / f"{i}.tif" for i in range(min(len(raw), 2000))]
    for image, file in zip(raw, files, strict=False):
        if not file.exists():
            with rasterio.open(file, "w", driver="GTiff", count=SHAPE[0], height=SHAPE[1], width=SHAPE[2],
                               dtype="uint16", compress="deflate", predictor=2) as out:
                out.write(image)
    return lambda: map_style(TiffTiles(files))


def webdataset(work: Path, raw: np.memmap[Any, Any]) -> Callable[[], Iterator[int]]:
    """Tar shards of raw bytes."""
    import webdataset as wds

    folder = work / "wds"
    if not folder.exists():
        folder.mkdir()
        with wds.ShardWriter(str(folder / "%04d.tar"), maxcount=256, verbose=0) as sink:
            for i, image in enumerate(raw):
                sink.write({"__key__": f"{i:08d}", "bin": image.tobytes()})
    urls = sorted(str(path) for path in folder.glob("*.tar"))

    def epoch() -> Iterator[int]:
        data = wds.WebDataset(urls, shardshuffle=len(urls)).shuffle(1000).map(as_tile)
        data = data.batched(BATCH, collation_fn=stack)
        yield from (len(batch) for batch in wds.WebLoader(data, batch_size=None, num_workers=WORKERS))
    return epoch


def as_tile(sample: dict[str, Any]) -> torch.Tensor:
    """The image of a webdataset sample."""
    return torch.frombuffer(bytearray(sample["bin"]), dtype=torch.uint16).view(SHAPE)


def stack(samples: list[torch.Tensor]) -> torch.Tensor:
    """A batch."""
    return torch.stack(samples)


def litdata(work: Path, raw: np.memmap[Any, Any]) -> Callable[[], Iterator[int]]:
    """Chunks of 64 MB of raw arrays."""
    import litdata as ld
    from litdata.streaming.cache import Cache

    folder = work / "lit"
    if not folder.exists():
        draft = work / "lit.draft"
        shutil.rmtree(draft, ignore_errors=True)
        cache = Cache(str(draft), chunk_bytes="64MB")
        for i, image in enumerate(raw):
            cache[i] = np.array(image)
        cache.done()
        cache.merge()
        draft.rename(folder)

    def epoch() -> Iterator[int]:
        data = ld.StreamingDataset(str(folder), shuffle=True)
        yield from (len(batch) for batch in ld.StreamingDataLoader(data, batch_size=BATCH, num_workers=WORKERS))
    return epoch


def xbatcher(work: Path, _raw: np.memmap[Any, Any]) -> Callable[[], Iterator[int]]:
    """Xarray's batches of neighbouring tiles."""
    import xarray as xr
    import xbatcher as xb

    def epoch() -> Iterator[int]:
        image = xr.open_zarr(work / "store.zarr", chunks=None)["image"]
        for batch in xb.BatchGenerator(image, {"tile": BATCH, "band": SHAPE[0], "y": SHAPE[1], "x": SHAPE[2]}):
            yield len(batch.load().values)
    return epoch


def first_batch(work: Path) -> float:
    """Seconds from nothing to the first normalised batch."""
    forget_tiles()
    began = time.perf_counter()
    next(iter(open_loader(work / "store.zarr", "all", BATCH)))
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
