"""The loader against zarr-python and numpy, and its laws."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

from greenschemas.bands import Role
from greenschemas.contract import ATTRIBUTE
from greenschemas.errors import ConfigError, StoreError
from greenschemas.store import open_store
from greentrain.data.buffers import Buffers
from greentrain.data.loader import Batch, open_loader, tile_weights
from greentrain.data.normalise import build_normaliser
from greentrain.data.tiles import available_memory, forget_tiles, kvstore
from support.stores import reseal, tiny_contract, write_tiny_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_tiny_store(tmp_path / "s.zarr", channels=4, sources=6, tiles_each=3)
    return tmp_path / "s.zarr"


@pytest.mark.parametrize("cache", ["none", "auto", 1.0])
@pytest.mark.parametrize("order", ["random", "blocks", "sequential"])
def test_raw_batches_hold_what_zarr_reads(store: Path, cache: str | float, order: str) -> None:
    group = zarr.open_group(str(store), mode="r")
    loader = open_loader(store, "all", 4, normalise=False, cache=cache, order=order)  # type: ignore[arg-type]
    assert loader.cached == (cache != "none")
    for _ in range(2):
        seen = []
        for batch in loader:
            tiles = batch["tile"].numpy()
            seen += tiles.tolist()
            assert batch["image"].dtype == torch.uint16
            for name in ("image", "valid"):
                assert np.array_equal(batch[name].numpy(), group[name].oindex[tiles])  # type: ignore[union-attr, index]
            stored = group["fraction"].oindex[tiles]  # type: ignore[union-attr]
            expected = np.where(stored == 255, np.nan, np.asarray(stored) / 200)
            np.testing.assert_allclose(batch["fraction"].numpy(), expected, atol=1e-7)
        assert sorted(seen) == list(range(18))


def test_normalised_batches_are_z_scores_of_the_feature_bands_and_zero_where_invalid(store: Path) -> None:
    group = zarr.open_group(str(store), mode="r")
    batch = next(iter(open_loader(store, "train", 5)))
    raw = np.asarray(group["image"].oindex[batch["tile"].numpy()])[:, :3].astype(np.float64)  # type: ignore[union-attr]
    z = np.where(batch["valid"].numpy()[:, None], (raw - 1000) / 200, 0)
    assert batch["image"].dtype == torch.float32
    np.testing.assert_allclose(batch["image"].numpy(), z, atol=1e-5)
    assert not batch["valid"][:, 0].any()
    assert batch["valid"][:, 1:].all()
    assert torch.isnan(batch["fraction"][:, :, -1]).all()


def test_the_train_split_is_read_from_train_groups_alone(store: Path) -> None:
    tiles = np.concatenate([b["tile"].numpy() for b in open_loader(store, "train", 4)])
    assert sorted(tiles) == open_store(store).usable_tiles("train").tolist()


def test_a_loader_starts_anywhere_in_an_epoch(store: Path) -> None:
    loader = open_loader(store, None, 4, seed=3)
    whole = [b["tile"].tolist() for b in loader.batches(2)]
    assert len(whole) == len(loader) == 5
    assert [b["tile"].tolist() for b in loader.batches(2, start=3)] == whole[3:]
    assert [b["tile"].tolist() for b in open_loader(store, None, 4, seed=3, epoch=2)] == whole


def test_iterating_again_gives_the_next_epoch(store: Path) -> None:
    loader = open_loader(store, None, 4, seed=3, epoch=5)
    seen = [[b["tile"].tolist() for b in loader] for _ in range(3)]
    assert seen == [[b["tile"].tolist() for b in loader.batches(epoch)] for epoch in (5, 6, 7)]
    assert seen[0] != seen[1] != seen[2]
    loader.epoch = 6
    assert [b["tile"].tolist() for b in loader] == seen[1]


def test_an_epoch_left_early_counts_as_one(store: Path) -> None:
    loader = open_loader(store, None, 4)
    next(iter(loader))
    assert loader.epoch == 1


def test_torch_dataloader_hands_on_the_batches_and_the_epochs(store: Path) -> None:
    wrapped = DataLoader(open_loader(store, "train", 4, seed=1), batch_size=None)
    plain = open_loader(store, "train", 4, seed=1)
    assert len(wrapped) == len(plain)
    for _ in range(2):
        for a, b in zip(wrapped, plain, strict=True):
            assert a.keys() == b.keys()
            assert all(torch.equal(torch.nan_to_num(a[name]), torch.nan_to_num(b[name])) for name in a)


def test_a_loader_in_worker_processes_is_refused_where_each_would_give_the_whole_epoch(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greentrain.data.loader.get_worker_info", lambda: "worker 0 of 2")
    with pytest.raises(ConfigError, match=r"num_workers: .*Leave it at 0"):
        iter(open_loader(store, "train", 4))


# Fabric looks for an optional package of its own through an interface that Python is giving up.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("wrapper", ["none", "torch", "fabric"])
def test_a_plain_loop_of_pytorch_learns_from_a_loader(store: Path, wrapper: str) -> None:
    """The loop that people write themselves; Fabric is what Lightning's Trainer wraps a DataLoader with."""
    torch.manual_seed(0)
    batches: Iterable[Batch] = open_loader(store, "train", 4)
    net = torch.nn.Conv2d(3, 3, 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    if wrapper != "none":
        batches = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    if wrapper == "fabric":
        batches = Fabric(accelerator="cpu", devices=1).setup_dataloaders(batches)  # type: ignore[assignment, arg-type]
    losses = []
    for _epoch in range(12):
        for batch in batches:
            counted = batch["valid"] & ~batch["fraction"].isnan().any(1)
            logits = net(batch["image"]).movedim(1, -1)[counted]
            loss = torch.nn.functional.cross_entropy(logits, batch["fraction"].movedim(1, -1)[counted])
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.item())
    assert len(losses) == 12 * 3
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_the_number_of_readers_does_not_change_the_batches(store: Path, ahead: int) -> None:
    one = list(open_loader(store, "all", 4, ahead=1))
    for a, b in zip(one, open_loader(store, "all", 4, ahead=ahead), strict=True):
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["tile"], b["tile"])


SEVERAL_READERS = """
import os, sys, threading, torch
torch.set_num_threads(1)
assert torch.get_num_threads() == 1  # without a first question torch would set it once more at the last one
from greentrain.data.loader import open_loader
loader = open_loader(sys.argv[1], "all", 4)
def epoch(seen):
    seen.append([(batch["tile"].tolist(), batch["image"].sum().item()) for batch in loader.batches(0)])
expected, seen = [], []
epoch(expected)
epoch(expected)  # from memory
threads = [threading.Thread(target=epoch, args=(seen,)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert seen == [expected[0]] * 4 == expected[1:] * 4
assert torch.get_num_threads() == 1
if (child := os.fork()) == 0:
    epoch(seen)
    os._exit(0 if seen[-1] == expected[0] else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_threads_and_forks_may_read_from_memory_at_once(store: Path, layer: str) -> None:
    # From 3.12 on, Python warns of a fork beside threads, which is what is tried here.
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SEVERAL_READERS, str(store)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_THREADING_LAYER": layer},
    )
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"numba has no threads by {layer} here")
    assert (done.returncode, done.stderr) == (0, "")


def test_batches_that_are_kept_are_not_written_over(store: Path) -> None:
    kept = list(open_loader(store, "all", 2, order="sequential"))
    again = [b["image"].clone() for b in open_loader(store, "all", 2, order="sequential")]
    assert all(torch.equal(a["image"], b) for a, b in zip(kept, again, strict=True))


def test_tiles_without_a_usable_pixel_are_skipped(store: Path) -> None:
    group = zarr.open_group(str(store), mode="r+")
    group["valid_share"][4] = 0  # type: ignore[index]
    reseal(store)
    tiles = np.concatenate([b["tile"].numpy() for b in open_loader(store, "all", 4)])
    assert 4 not in tiles
    assert len(tiles) == 17


def test_a_dead_band_gives_zero_and_nodata_never_gives_nan() -> None:
    contract = tiny_contract(channels=3)
    assert contract.statistics is not None
    stats = contract.statistics
    dead = stats.bands[0].model_copy(update={"std": 0.0})
    contract = contract.model_copy(update={"statistics": stats.model_copy(update={"bands": (dead, *stats.bands[1:])})})
    raw = np.full((1, 2, 2, 2), 1400, np.float32)
    raw[0, :, 0, 0] = np.nan
    raw[0, 1, 0, 1] = 9e9
    valid = np.array([[[False, True], [True, True]]])
    for method in ("channel", "global"):
        z = build_normaliser(contract, method=method, clip=4)(raw, valid)  # type: ignore[arg-type]
        assert not z[:, 0].any()
        assert z[0, 1].tolist() == [[0, 4], [2, 2]]


def test_a_projection_mixes_the_normalised_bands() -> None:
    matrix = np.array([[0.6, 0.8]], np.float32)
    normaliser = build_normaliser(tiny_contract(channels=3), projection=matrix)
    z = normaliser(np.full((1, 2, 1, 1), 1200, np.uint16), np.ones((1, 1, 1), np.bool_))
    assert normaliser.channels == 1
    np.testing.assert_allclose(z, [[[[1.4]]]], rtol=1e-6)


def test_rare_classes_weigh_more(store: Path) -> None:
    group = zarr.open_group(str(store), mode="r+")
    sums = np.tile([100.0, 0.0, 0.0], (6, 1))
    sums[2] = [50, 49, 1]
    group["class_sum"][:] = sums  # type: ignore[index]
    reseal(store)
    opened = open_store(store)
    weights = tile_weights(opened, np.arange(18))
    assert weights[6:9].min() > weights[:6].max()


def test_buffers_lend_again_what_nobody_holds() -> None:
    buffers = Buffers(keep=2)
    tensor = torch.from_numpy(buffers.lend((4,), np.float32))
    where = tensor.data_ptr()
    view = tensor[1:]
    del tensor
    assert buffers.lend((4,), np.float32).ctypes.data != where
    del view
    assert where in {buffers.lend((4,), np.float32).ctypes.data for _ in range(2)}


def test_memory_stays_flat_over_epochs_without_a_cache(store: Path) -> None:
    for _ in open_loader(store, "all", 2, cache="none"):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for epoch in range(20):
        for _ in open_loader(store, "all", 2, cache="none", epoch=epoch):
            pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_a_split_that_does_not_fit_the_budget_is_streamed(store: Path) -> None:
    forget_tiles()
    assert not open_loader(store, "all", 2, cache=1e-6).cached
    assert open_loader(store, "all", 2, cache=0.1).cached
    assert open_loader(store, "all", 2, cache=1e-6).cached  # held already
    assert available_memory() > 1e7


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"bands": ["B9"]}, "B9 not in"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"bands": ["B9"], "normalise": False}, "It has B1, B2, B3, B4"),
    ],
)
def test_impossible_loaders_say_why(store: Path, kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_loader(store, "train", **{"batch_size": 2, **kwargs})  # type: ignore[arg-type]


def test_unknown_splits_and_missing_stores_say_so(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no split `trian`"):
        open_loader(store, "trian", 2)
    with pytest.raises(StoreError, match="no Zarr group"):
        open_loader(tmp_path / "nothing", "train", 2)


def test_a_store_without_statistics_or_features_is_refused(store: Path) -> None:
    contract = open_store(store).contract
    with pytest.raises(ConfigError, match="no statistics"):
        build_normaliser(contract.model_copy(update={"statistics": None}))
    masks = tuple(b.model_copy(update={"role": Role.MASK}) for b in contract.bands)
    with pytest.raises(ConfigError, match="no feature band"):
        build_normaliser(contract.model_copy(update={"bands": masks}))


def test_any_type_of_store_is_read(tmp_path: Path) -> None:
    for dtype in ("uint8", "int16", "uint32", "float32", "float64"):
        path = tmp_path / f"{dtype}.zarr"
        write_tiny_store(path, dtype=dtype, sources=2, tiles_each=1, size=8)
        batch = next(iter(open_loader(path, "all", 2, normalise=False)))
        assert str(batch["image"].dtype) == f"torch.{dtype}"
        assert torch.isfinite(next(iter(open_loader(path, "all", 2)))["image"]).all()
        assert ATTRIBUTE in zarr.open_group(str(path), mode="r").attrs


def test_a_store_behind_s3_is_asked_for_where_the_environment_says() -> None:
    here = {"driver": "s3", "bucket": "b", "path": "a/c.zarr/image/"}
    assert kvstore("s3://b/a/c.zarr", "image", {}) == here
    assert kvstore("s3://b/a/c.zarr/", "image", {"AWS_REGION": "eu-1"}) == here | {"aws_region": "eu-1"}
    there = {"AWS_ENDPOINT_URL": "http://h:1", "AWS_ACCESS_KEY_ID": "k"}
    due = {"endpoint": "http://h:1", "aws_region": "us-east-1", "aws_credentials": {"type": "environment"}}
    assert kvstore("s3://b/a/c.zarr", "image", there) == here | due
    assert kvstore("gs://b/c.zarr", "image", {}) == "gs://b/c.zarr/image/"
