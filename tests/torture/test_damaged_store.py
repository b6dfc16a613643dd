"""A store of which a file is flipped, cut or gone: whoever trains on it gets the same batches, or is told."""

import shutil

import pytest
import torch

from greenprep.build.run import run
from greenschemas.errors import GreenError
from greentrain.data.loader import open_loader
from greentrain.data.tiles import forget_tiles
from support.raw import Collection


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    made = Collection(tmp_path_factory.mktemp("built"))
    for area in range(4):
        made.add(area, 1)
    run(made.recipe(), workers=0)
    return made.folder / "store.zarr"


def batches(store):
    """All that training reads, with the statistics by which it is normalised."""
    return [
        batch for split in ("train", "val") for batch in open_loader(store, split, 4, order="sequential", cache="none")
    ]


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: flipped(data, len(data) // 3),
        lambda data: flipped(data, len(data) - 1),
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: None,
    ],
    ids=["a byte flipped", "the last byte flipped", "cut in half", "emptied", "gone"],
)
def test_training_gets_what_was_written_or_is_told(built, tmp_path, spoil):
    due = batches(built)
    store = tmp_path / "s.zarr"
    shutil.copytree(built, store)
    told = 0
    for path in sorted(path for path in store.rglob("*") if path.is_file()):
        data = path.read_bytes()
        changed = spoil(data)
        path.unlink() if changed is None else path.write_bytes(changed)
        forget_tiles()
        try:
            for one, other in zip(batches(store), due, strict=True):
                assert all(torch.equal(one[key].nan_to_num(-1), other[key].nan_to_num(-1)) for key in one), path
        except GreenError as problem:
            told += 1
            assert "tensorstore" not in str(problem) and "\n" not in str(problem)
        path.write_bytes(data)
    assert told >= 25
