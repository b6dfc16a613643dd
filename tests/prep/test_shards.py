"""`greenprep.store.codec`, `pack`, `place` and `ledger`: bytes that others read back, files that appear whole."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec

from greenprep.build.ledger import Ledger
from greenprep.store.codec import CLEVEL, decode_chunk, encode_chunk, shard_bytes, shard_chunks
from greenprep.store.location import Location, swap_into_place
from greenschemas.errors import StoreError
from greenschemas.manifest import Level, Reason


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_zarr_reads_the_shards_that_are_written_here(tmp_path, dtype):
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 100, (6, 3, 8, 8)).astype(dtype)
    tiles[2] = 0
    codec = BloscCodec(typesize=np.dtype(dtype).itemsize, cname="lz4", clevel=CLEVEL, shuffle="bitshuffle")
    array = zarr.create_array(
        str(tmp_path / "a"),
        shape=tiles.shape,
        dtype=dtype,
        chunks=(1, 3, 8, 8),
        shards=(4, 3, 8, 8),
        compressors=[codec, Crc32cCodec()],
        fill_value=0,
    )
    for shard in range(2):
        chunks = [encode_chunk(tile, 0) for tile in tiles[4 * shard : 4 * shard + 4]]
        Location(str(tmp_path / f"a/c/{shard}/0/0/0")).write(shard_bytes(chunks, 4))
    assert np.array_equal(array[:], tiles)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=9), max_size=5))
def test_a_shard_gives_its_chunks_back(chunks):
    shard = shard_bytes(chunks, 5)
    assert shard_chunks(shard, 5) == [*chunks, *[b""] * (5 - len(chunks))]
    assert bool(shard) == any(chunks)


def test_a_tile_of_fill_alone_takes_no_byte_and_comes_back():
    values = np.full((2, 3), 255, np.uint8)
    assert encode_chunk(values, 255) == b""
    assert np.array_equal(decode_chunk(b"", values.dtype, (2, 3), 255), values)


def test_a_damaged_chunk_is_noticed():
    chunk = bytearray(encode_chunk(np.arange(999), 0))
    chunk[len(chunk) // 2] ^= 1
    with pytest.raises(ValueError, match="does not match its checksum"):
        decode_chunk(bytes(chunk), np.dtype(np.int64), (999,), 0)


def test_a_damaged_index_is_noticed():
    shard = bytearray(shard_bytes([b"abc"], 2))
    shard[-10] ^= 1
    with pytest.raises(ValueError, match="does not match"):
        shard_chunks(bytes(shard), 2)


@pytest.fixture(params=["folder", "memory"])
def place(request, tmp_path):
    found = Location.at(tmp_path / "p") if request.param == "folder" else Location.at(f"memory://{tmp_path.name}/p")
    yield found
    found.remove()


def test_a_place_holds_files(place):
    file = place / "a/b.bin"
    assert not file.exists() and place.names() == []
    file.write([b"012", b"3456789"])
    assert file.read() == b"0123456789" and file.read(2, 5) == b"234"
    assert (place / "a").names() == ["b.bin"]
    with pytest.raises(FileNotFoundError):
        (place / "none").read()
    (place / "a").remove()
    assert not file.exists()
    (place / "a").remove()


def test_a_folder_is_uploaded_with_its_last_file_last(tmp_path, monkeypatch):
    (tmp_path / "from/a").mkdir(parents=True)
    for name in ("zarr.json", "a/zarr.json", "z"):
        (tmp_path / "from" / name).write_text(name)
    written = []
    whole = Location.write
    monkeypatch.setattr(Location, "write", lambda self, data: (written.append(self.url), whole(self, data)))
    target = Location.at(tmp_path / "to")
    target.upload(tmp_path / "from", last="zarr.json")
    assert written[-1] == f"{target.url}/zarr.json"
    assert (tmp_path / "to/a/zarr.json").read_text() == "a/zarr.json"


@pytest.mark.parametrize("swaps", [True, False])
def test_folders_change_places(tmp_path, monkeypatch, swaps):
    if not swaps:
        monkeypatch.setattr("greenprep.store.location._swap", lambda a, b: False)
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    swap_into_place(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old/f").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_an_unknown_file_system_says_what_to_install():
    with pytest.raises(StoreError, match="fsspec cannot open it"):
        Location.at("nosuch://x/y").exists()


def test_a_ledger_recalls_what_it_was_told(tmp_path):
    ledger = Ledger(Location.at(tmp_path))
    reason = Reason(code="nan", level=Level.WARN, file="image", found="3", limit="0", remedy="none")
    ledger.record("k", (reason, np.arange(6, dtype=np.int16)))
    assert ledger.keys() == {"k"}
    found, array = ledger.recall("k")
    assert found == reason and array.dtype == np.int16 and array.tolist() == list(range(6))


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_a_record_that_was_cut_or_changed_is_none_and_not_loaded(tmp_path_factory, data):
    ledger = Ledger(Location.at(tmp_path_factory.mktemp("ledger")))
    ledger.record("k", [1, "two"])
    file = ledger.folder.path / "k.done"
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    file.write_bytes(data.draw(st.sampled_from([whole[:at], changed])))
    assert ledger.recall("k") is None
