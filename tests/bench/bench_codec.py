"""Codecs for the tiles of a store: bytes on the disk against the CPU time to read a tile and to write one.

    python tests/bench/bench_codec.py [--store STORE] [--tiles 256] [--rounds 7]

The first images of STORE, else synthetic ones, are written anew with each codec, in shards of 64 chunks that end with a
CRC32C, and read in random order, batches of 16, by tensorstore with the settings of the loader, from the page cache.
Times are of the CPU, of all threads, medians of rounds in which the codecs take turns; `read_ratio` is the median of
each round's ratio to the first codec.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorstore as ts
import zarr
from bench_run import scene
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

BATCH, SHARD = 16, 64
CODECS = {
    "lz4, bit shuffle (today's)": (BloscCodec(cname="lz4", clevel=3, shuffle="bitshuffle"),),
    "lz4, byte shuffle": (BloscCodec(cname="lz4", clevel=3, shuffle="shuffle"),),
    "lz4, no shuffle": (BloscCodec(cname="lz4", clevel=3, shuffle="noshuffle"),),
    "zstd 1": (ZstdCodec(level=1),),
    "blosc zstd 1, bit shuffle": (BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),),
    "none": (),
}


def synthetic(tiles: int) -> np.ndarray:
    """(tiles, 19, 128, 128) uint16."""
    rng = np.random.default_rng(0)
    scenes = [scene(rng, 128, 128)[0] for _ in range(16)]
    noise = rng.integers(0, 9, (tiles, 13, 128, 128), dtype=np.uint16)
    return np.stack([np.concatenate([scenes[i % 16][:13] + noise[i], scenes[i % 16][13:]]) for i in range(tiles)])


def write(folder: Path, images: np.ndarray, codec: tuple[object, ...]) -> float:
    """CPU seconds to write all images."""
    began = time.process_time()
    array = zarr.create_array(
        folder,
        shape=images.shape,
        dtype=images.dtype,
        chunks=(1, *images.shape[1:]),
        shards=(SHARD, *images.shape[1:]),
        compressors=[*codec, Crc32cCodec()],
        fill_value=0,
    )
    for at in range(0, len(images), SHARD):
        array[at : at + SHARD] = images[at : at + SHARD]
    return time.process_time() - began


def epoch(array: ts.TensorStore, order: np.ndarray) -> float:
    """CPU seconds to read all images once."""
    began = time.process_time()
    waiting = []
    for at in range(0, len(order), BATCH):
        with ts.Batch() as batch:
            waiting.append(array.oindex[order[at : at + BATCH]].read(batch=batch))
        if len(waiting) > 4:
            waiting.pop(0).result()
    for one in waiting:
        one.result()
    return time.process_time() - began


def main() -> None:
    """Write all, then read in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--tiles", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    tiles = args.tiles // SHARD * SHARD
    images = zarr.open_group(args.store, mode="r")["image"][:tiles] if args.store else synthetic(tiles)
    order = np.random.default_rng(0).permutation(len(images))
    with tempfile.TemporaryDirectory() as scratch:
        arrays, took, size = {}, {}, {}
        for number, (name, codec) in enumerate(CODECS.items()):
            folder = Path(scratch) / str(number)
            took[name] = write(folder, images, codec)
            size[name] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            spec = {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": str(folder)},
                "recheck_cached_data": False,
                "recheck_cached_metadata": False,
            }
            context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
            arrays[name] = ts.open(spec, context=context).result()
            assert np.array_equal(arrays[name][order[0]].read().result(), images[order[0]])
        rounds: dict[str, list[float]] = {name: [] for name in CODECS}
        for _ in range(args.rounds):
            for name, array in arrays.items():
                rounds[name].append(epoch(array, order))
    first = rounds[next(iter(CODECS))]
    report = {
        name: {
            "share_of_raw": round(size[name] / images.nbytes, 3),
            "read_us_a_tile": round(statistics.median(taken) / len(images) * 1e6),
            "read_ratio": round(statistics.median(a / b for a, b in zip(taken, first, strict=True)), 2),
            "write_us_a_tile": round(took[name] / len(images) * 1e6),
        }
        for name, taken in rounds.items()
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
