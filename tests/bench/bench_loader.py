"""Our loader against raw memory-mapped reads and against other ways to feed a net: epochs in pairs, medians of ratios.
Long, because each of the others has its own way to write and to read.

    python tests/bench/bench_loader.py [--tiles 8000] [--rounds 5] [--work DIR] [--only WORD …]

All read the same images (19 x 128 x 128, uint16) in batches of 16, in random order, from a warm page cache: before it
is timed each contender runs one epoch. In each round an epoch of np.memmap goes before an epoch of the contender, or
its first 10 s. Loaders are opened once and keep their worker processes. Contenders come one after the other, so that
memory need not hold all their files; those whose package does not import are left out and named.

What a batch is
- np.memmap: `raw[ids]`, one new array of uint16, which lives until the next is there, as in any loop over batches;
  "freed at once": before the next is read; "with labels": the same of fractions and validity, as stored.
- ours: image (raw: uint16, all 19 bands; normalised: float32, the 18 feature bands), fractions of 5 classes as float32,
  validity as bool, and ids, as torch tensors.
- webdataset with labels: the same three as torch tensors, as stored, from one file a sample.
- the others: the image alone, uint16, as a torch tensor (xbatcher: an array).

Settings: webdataset, litdata, mosaicml-streaming hold raw, uncompressed tiles in files of some 64 to 160 MB (their
fastest form), on the local disk; all shuffle (webdataset: shards, then a buffer of 1,000; the others their own way);
xbatcher has no random order and reads neighbouring tiles. All that can are tried with 0 and with 2 worker processes,
which prefetch 4 batches each. Chunks of the store that ours, zarr-python and xbatcher read are lz4 with bit shuffle;
GeoTIFFs are deflated with predictor 2, 2,000 files at most.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import math
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch.utils.data import DataLoader, Dataset
from zarr.codecs import BloscCodec

from greenschemas.layout import ARRAYS
from greenschemas.store import write_contract
from greentrain.data.loader import open_loader
from greentrain.data.tiles import forget_tiles
from support.stores import tiny_contract, write_tiny_store

BATCH, WORKERS, SHAPE = 16, (0, 2), (19, 128, 128)
EACH = 20  # tiles of a source of the synthetic store

Epoch = Callable[[], Iterator[int]]


def main() -> None:
    """Make the data, run each contender in turn beside np.memmap, print its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=None, help="folder for the data; else a temporary one")
    parser.add_argument("--only", nargs="*", default=[], help="contenders whose name begins with one of these words")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # as in worker processes: without them, torch's threads would fight over stacking a batch
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        raw = make_store(work, options.tiles)
        print(f"{options.tiles} tiles of {SHAPE}, batches of {BATCH}; ratios to np.memmap of {options.rounds} pairs")
        for name, prepare in contenders(work, raw).items():
            if not options.only or name.startswith(tuple(options.only)):
                race(name, prepare(), lambda: memmap(raw), options.rounds)


def race(name: str, contender: Epoch, floor: Epoch, rounds: int) -> None:
    """One line: the median of the ratios, all of them, and the median speed."""
    for warm_up in (contender, floor):
        sum(warm_up())
    pairs = [(speed(floor), speed(contender)) for _ in range(rounds)]
    ratios = sorted(ours / theirs for theirs, ours in pairs)
    tiles = statistics.median(ours for _, ours in pairs)
    print(
        f"{name:42} {statistics.median(ratios):6.3f} ({', '.join(f'{r:.3f}' for r in ratios)}) {tiles:7.0f} tiles/s",
        flush=True,
    )
    forget_tiles()


def speed(epoch: Epoch, seconds: float = 10.0) -> float:
    """Tiles a second of one epoch, or of its first seconds."""
    gc.collect()
    began, seen = time.perf_counter(), 0
    for count in epoch():
        seen += count
        if time.perf_counter() - began > seconds:
            break
    return seen / (time.perf_counter() - began)


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
    for name, shape, dtype in (
        ("image", SHAPE, "uint16"),
        ("fraction", (5, *SHAPE[1:]), "uint8"),
        ("valid", SHAPE[1:], "uint8"),
    ):
        arrays[name] = group.create_array(
            name,
            shape=(contract.tiles, *shape),
            chunks=(1, *shape),
            shards=(64, *shape),
            dtype=dtype,
            overwrite=True,
            compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")],
            dimension_names=ARRAYS[name].axes,
        )
    flat = np.lib.format.open_memmap(raw, mode="w+", dtype=np.uint16, shape=(contract.tiles, *SHAPE))
    chance = np.random.default_rng(0)
    scene = smooth(chance)
    for start in range(0, contract.tiles, 64):
        count = min(64, contract.tiles - start)
        images = np.zeros((count, *SHAPE), np.uint16)
        for image, (y, x) in zip(images, chance.integers(0, 384, (count, 2)), strict=True):
            image[:13] = scene[:, y : y + 128, x : x + 128]  # the last six bands are empty, as in the user's files
        labels = np.digitize(images[:, 0], [1500, 1900, 2200, 2700])
        arrays["image"][start : start + count] = flat[start : start + count] = images
        arrays["fraction"][start : start + count] = np.moveaxis(np.eye(5, dtype=np.uint8)[labels] * 200, -1, 1)
        arrays["valid"][start : start + count] = 1
    write_contract(group, contract)
    flat.flush()
    return flat


def smooth(chance: np.random.Generator) -> np.ndarray[Any, Any]:
    """(13, 512, 512) of something that compresses like reflectances: smooth fields with sensor noise."""
    waves = np.fft.rfftfreq(512)[None, :] ** 2 + np.fft.fftfreq(512)[:, None] ** 2
    fields = np.fft.irfft2(np.fft.rfft2(chance.normal(size=(13, 512, 512))) / (waves + 1e-3))
    fields *= 500 / fields.std(axis=(1, 2), keepdims=True)
    return (2000 + fields + chance.normal(0, 40, fields.shape)).clip(1, 10000).astype(np.uint16)


def contenders(work: Path, raw: np.memmap[Any, Any]) -> dict[str, Callable[[], Epoch]]:
    """All that can run here, each with what prepares it."""
    store = work / "store.zarr"
    found: dict[str, Callable[[], Epoch]] = {
        "np.memmap with labels": partial(memmaps, work, raw),
        "np.memmap, freed at once": lambda: partial(memmap_freed, raw),
    }
    for kept, budget in (("kept in memory", "auto"), ("streamed", "none")):
        for form, normalise in (("raw", False), ("normalised", True)):
            found[f"ours, {kept}, {form}"] = partial(ours, store, cache=budget, normalise=normalise)
    optional = (
        ("zarr", "DataLoader over zarr-python", zarr_python),
        ("rasterio", "DataLoader over GeoTIFFs", geotiffs),
        ("webdataset", "webdataset", webdataset),
        ("webdataset", "webdataset with labels", webdataset_labels),
        ("litdata", "litdata", litdata),
        ("streaming", "mosaicml-streaming", mosaic),
    )
    for package, name, make in optional:
        if importable(package):
            for workers in WORKERS:
                found[f"{name}, {workers} workers"] = partial(make, work, raw, workers)
    if importable("xbatcher"):
        found["xbatcher, in order"] = partial(xbatcher, work)
    return found


@cache
def importable(package: str) -> bool:
    """Whether a peer can run here; why not is printed."""
    try:
        importlib.import_module(package)
    except Exception as problem:  # whatever another's package raises, it must not end the benchmark
        why, *_ = str(problem).split("\n")
        print(f"left out: {package} ({type(problem).__name__}: {why})")
        return False
    return True


def ours(store: Path, **how: Any) -> Epoch:
    """Our loader; from memory from the second epoch on."""
    loader = open_loader(store, "all", BATCH, **how)
    if loader.cached != (how["cache"] == "auto"):
        raise SystemExit("the tiles do not fit half of the free memory: take fewer by --tiles")
    return lambda: (len(batch["tile"]) for batch in loader)


def memmap(raw: np.memmap[Any, Any]) -> Iterator[int]:
    """The floor: one copy of each tile."""
    order = np.random.default_rng(1).permutation(len(raw))
    for start in range(0, len(raw), BATCH):
        batch = raw[order[start : start + BATCH]]
        yield len(batch)


def memmap_freed(raw: np.memmap[Any, Any]) -> Iterator[int]:
    """The same without a loop that holds a batch: the next goes where it lay, which the CPU's cache still has."""
    order = np.random.default_rng(1).permutation(len(raw))
    for start in range(0, len(raw), BATCH):
        yield len(raw[order[start : start + BATCH]])


def memmaps(work: Path, raw: np.memmap[Any, Any]) -> Epoch:
    """Image, fractions and validity, each a raw file."""
    others = labels(work)

    def epoch() -> Iterator[int]:
        order = np.random.default_rng(1).permutation(len(raw))
        for start in range(0, len(raw), BATCH):
            ids = order[start : start + BATCH]
            batch = [array[ids] for array in (raw, *others)]
            yield len(batch[0])

    return epoch


def labels(work: Path) -> list[np.memmap[Any, Any]]:
    """Fractions and validity as stored, each in a raw file."""
    found = []
    for name in ("fraction", "valid"):
        file = work / f"{name}.npy"
        if not file.exists():
            np.save(file, zarr.open_group(str(work / "store.zarr"), mode="r")[name][:])  # type: ignore[index]
        found.append(np.load(file, mmap_mode="r"))
    return found


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


def map_style(data: Dataset[Any], workers: int, **how: Any) -> DataLoader[Any]:
    """torch's own loader."""
    return DataLoader(
        data, BATCH, num_workers=workers, prefetch_factor=4 if workers else None, persistent_workers=workers > 0, **how
    )


def zarr_python(work: Path, _raw: np.memmap[Any, Any], workers: int) -> Epoch:
    """The store itself, a tile at a time."""
    loader = map_style(ZarrTiles(work / "store.zarr"), workers, shuffle=True)
    return lambda: (len(batch) for batch in loader)


def geotiffs(work: Path, raw: np.memmap[Any, Any], workers: int) -> Epoch:
    """Deflate-compressed GeoTIFFs, at most 2,000 of them."""
    import rasterio

    folder = work / "tif"
    folder.mkdir(exist_ok=True)
    files = [folder / f"{i}.tif" for i in range(min(len(raw), 2000))]
    for image, file in zip(raw, files, strict=False):
        if not file.exists():
            with rasterio.open(
                file,
                "w",
                driver="GTiff",
                count=SHAPE[0],
                height=SHAPE[1],
                width=SHAPE[2],
                dtype="uint16",
                compress="deflate",
                predictor=2,
            ) as out:
                out.write(image)
    loader = map_style(TiffTiles(files), workers, shuffle=True)
    return lambda: (len(batch) for batch in loader)


def webdataset(work: Path, raw: np.memmap[Any, Any], workers: int) -> Epoch:
    """Tar shards of raw bytes."""
    return tar_shards(work / "wds", [raw], workers)


def webdataset_labels(work: Path, raw: np.memmap[Any, Any], workers: int) -> Epoch:
    """The same, fractions and validity behind the image."""
    return tar_shards(work / "wds_labels", [raw, *labels(work)], workers)


def tar_shards(folder: Path, arrays: list[np.memmap[Any, Any]], workers: int) -> Epoch:
    """One file a sample: a tile of each array, one after the other."""
    import webdataset as wds

    if not folder.exists():
        folder.mkdir()
        with wds.ShardWriter(str(folder / "%04d.tar"), maxcount=256, verbose=0) as sink:
            for i, parts in enumerate(zip(*arrays, strict=True)):
                sink.write({"__key__": f"{i:08d}", "bin": b"".join(part.tobytes() for part in parts)})
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    shapes = [(array.shape[1:], torch.from_numpy(np.empty(0, array.dtype)).dtype) for array in arrays]
    data = (
        wds.WebDataset(urls, shardshuffle=len(urls))
        .shuffle(1000)
        .map(partial(as_tiles, shapes))
        .batched(BATCH, collation_fn=stack)
    )
    loader = wds.WebLoader(
        data,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
    )
    return lambda: (len(batch[0]) for batch in loader)


def as_tiles(shapes: list[tuple[tuple[int, ...], torch.dtype]], sample: dict[str, Any]) -> list[torch.Tensor]:
    """The tiles of a webdataset sample."""
    data, offset, tiles = bytearray(sample["bin"]), 0, []
    for shape, dtype in shapes:
        tiles.append(torch.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=offset).view(shape))
        offset += tiles[-1].nbytes
    return tiles


def stack(samples: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    """A batch."""
    return [torch.stack(tiles) for tiles in zip(*samples, strict=True)]


def litdata(work: Path, raw: np.memmap[Any, Any], workers: int) -> Epoch:
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

    loader = ld.StreamingDataLoader(
        ld.StreamingDataset(str(folder), shuffle=True),
        batch_size=BATCH,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
    )
    return lambda: (len(batch) for batch in loader)


def mosaic(work: Path, raw: np.memmap[Any, Any], workers: int) -> Epoch:
    """Shards of 64 MB of raw arrays."""
    from streaming import MDSWriter, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    folder = work / "mds"
    if not folder.exists():
        draft = work / "mds.draft"
        shutil.rmtree(draft, ignore_errors=True)
        columns = {"image": f"ndarray:uint16:{','.join(map(str, SHAPE))}"}
        with MDSWriter(out=str(draft), columns=columns, size_limit="64mb") as out:
            for image in raw:
                out.write({"image": np.array(image)})
        draft.rename(folder)
    clean_stale_shared_memory()
    loader = map_style(StreamingDataset(local=str(folder), batch_size=BATCH, shuffle=True), workers)
    return lambda: (len(batch["image"]) for batch in loader)


def xbatcher(work: Path) -> Epoch:
    """Xarray's batches of neighbouring tiles."""
    import xarray as xr
    import xbatcher as xb

    def epoch() -> Iterator[int]:
        image = xr.open_zarr(work / "store.zarr", chunks=None)["image"]
        for batch in xb.BatchGenerator(image, {"tile": BATCH, "band": SHAPE[0], "y": SHAPE[1], "x": SHAPE[2]}):
            yield len(batch.load().values)

    return epoch


if __name__ == "__main__":
    main()
