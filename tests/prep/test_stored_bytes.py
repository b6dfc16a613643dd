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
# Other digests mean that stores get other bytes: that is a line in CHANGELOG.md.
SHARDS = {
    "uint8": "f8b993ac65f7ed57fe00dc5abcdffc6c45f66930bd112f3a9363c5225ccfe3b9",
    "uint16": "888be8a46a604a4a21d4e08af9b72af4edba4e8448fecfd2df71814130c33ea9",
    "int16": "888be8a46a604a4a21d4e08af9b72af4edba4e8448fecfd2df71814130c33ea9",
    "float32": "5fc1440cd8d5d1bcda5b65cccc83944f921d53e5965841e208adb7674e02d650",
}
DESCRIPTIONS = "616af62a1f3d37715aaba674b4f08fd6790e557281bb56182a2404d0e6077c07"


@pytest.mark.parametrize("dtype", SHARDS)
def test_shards_are_the_bytes_on_record(dtype):
    ramp = np.arange(2 * 3 * 64 * 64, dtype=np.uint32).reshape(2, 3, 64, 64)
    tiles = ((ramp * ramp >> 9) % 251).astype(dtype)
    assert digest_of(shard_bytes([encode_chunk(tile, 0) for tile in tiles], 4)) == SHARDS[dtype]


def test_descriptions_of_arrays_are_the_bytes_on_record(collection):
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
