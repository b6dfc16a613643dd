"""A store's bytes hang on its inputs alone: not on the releases of Python, zarr and numcodecs that write it."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from greenprep.build.run import run
from greenprep.store.codec import digest_of, encode_chunk, shard_bytes

OTHER = os.environ.get("OTHER_PYTHON")
COMMAND = "from greenprep.cli import main; main()"
# Written with Python 3.11, zarr 3.1.6 and numcodecs 0.16.6; from whole numbers, so that no rounding can change them.
SHARDS = {
    "uint8": "4038d27910892921bfdf7d573b50b827ffbee80e5e913b404d98f448411727b2",
    "uint16": "3ed22d48a35552e76882c0229dd40ef39d92d04b0034858e6d88a22dc4e32d3e",
    "int16": "3ed22d48a35552e76882c0229dd40ef39d92d04b0034858e6d88a22dc4e32d3e",
    "float32": "2e57105699968f28b5163adac416dcbece37248a33e2b9e2ad51cfbcb1449fc9",
}
DESCRIPTIONS = "607154ee5a6bfedfac556c58afb6fd2bacf6b4c93c8bac1219de943bf20154af"


@pytest.mark.parametrize("dtype", SHARDS)
def test_shards_are_those_of_the_first_version(dtype):
    ramp = np.arange(2 * 3 * 64 * 64, dtype=np.uint32).reshape(2, 3, 64, 64)
    tiles = ((ramp * ramp >> 9) % 251).astype(dtype)
    assert digest_of(shard_bytes([encode_chunk(tile, 0) for tile in tiles], 4)) == SHARDS[dtype]


def test_descriptions_of_arrays_are_those_of_the_first_version(collection):
    run(collection.recipe(), workers=0)
    found = hashlib.sha256()
    for path in sorted((collection.folder / "store.zarr").glob("*/zarr.json")):
        found.update(path.parent.name.encode() + path.read_bytes())
    assert found.hexdigest() == DESCRIPTIONS


@pytest.mark.skipif(OTHER is None, reason="OTHER_PYTHON names no second Python; `make test-next` does")
def test_another_python_writes_the_same_bytes_and_each_reads_the_others(collection, files):
    def greenprep(python, *words):
        done = subprocess.run([python, "-c", COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    made = {}
    for name, python in (("here", sys.executable), ("there", OTHER)):
        greenprep(python, "run", collection.recipe(name), "--workers", "0")
        made[name] = files(collection.folder / f"{name}.zarr")
    assert made["here"] == made["there"]
    greenprep(sys.executable, "check", collection.folder / "there.zarr", "--deep")
    greenprep(OTHER, "check", collection.folder / "here.zarr", "--deep")
