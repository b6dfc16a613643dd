"""For tests alone: a tiny valid store, and Hypothesis strategies for the models. Needs the `dev` extra."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from hypothesis import strategies as st
from numpy.typing import NDArray

from greenschemas.bands import Band, Role
from greenschemas.contract import ATTRIBUTE, SEAL, BandStats, Contract, Split, Statistics
from greenschemas.layout import ARRAYS, FRACTION_SCALE, TILED, UNLABELLED
from greenschemas.manifest import Entry, Level, Reason, Verdict
from greenschemas.recipe import Recipe
from greenschemas.store import write_contract

__all__ = ["bands", "entries", "reseal", "tiny_contract", "unseal", "write_tiny_store"]


def tiny_contract(
    *, channels: int = 3, classes: int = 3, size: int = 32, sources: int = 4, tiles_each: int = 2, dtype: str = "uint16"
) -> Contract:
    """A valid contract with one mask band at the end and one train and one val group in turn."""
    recipe = Recipe()
    names = tuple(
        Band(name=f"B{i + 1}", role=Role.MASK if i == channels - 1 and channels > 1 else Role.REFLECTANCE)
        for i in range(channels)
    )
    share = (1 / classes,) * classes
    return Contract(
        bands=names,
        classes=tuple(f"class{k}" for k in range(classes)),
        tile_size=size,
        stride=size,
        dtype=dtype,
        tiles=sources * tiles_each,
        sources=sources,
        groups=sources,
        shard_tiles=4,
        recipe=recipe.about_data(),
        recipe_hash=recipe.hash(),
        split=Split(
            recipe={"val": 0.5, "test": 0.0, "seed": 0, "by": "group"},
            groups={"train": (sources + 1) // 2, "val": sources // 2, "test": 0},
            tiles={"train": (sources + 1) // 2 * tiles_each, "val": sources // 2 * tiles_each, "test": 0},
            audit="passed",
        ),
        statistics=Statistics(
            pixels=sources * tiles_each * size * size,
            bands=(BandStats(mean=1000.0, std=200.0, minimum=0.0, maximum=3000.0),) * channels,
            global_mean=1000.0,
            global_std=200.0,
            class_share=share,
            class_weights=dict.fromkeys(("inverse", "sqrt", "effective", "median"), share),
        ),
    )


def write_tiny_store(path: Path, *, seed: int = 0, **of_contract: Any) -> Contract:
    """Write a store small enough for any test; classes follow the first band, so that a net can learn them.

    `of_contract` goes to `tiny_contract`. The first row of each tile is invalid, the last is unlabelled.
    """
    contract = tiny_contract(**of_contract)
    group = zarr.open_group(str(path), mode="w")
    for name, data in _arrays(contract, np.random.default_rng(seed)).items():
        tiled = name in ("image", "fraction", "valid")
        array = group.create_array(
            name,
            data=data,
            dimension_names=ARRAYS[name].axes,
            chunks=(1, *data.shape[1:]) if tiled else "auto",
            shards=(contract.shard_tiles, *data.shape[1:]) if tiled else None,
            fill_value=UNLABELLED if name == "fraction" else None,
        )
        if name == "fraction":
            array.attrs.update({"scale_factor": 1 / FRACTION_SCALE, "_FillValue": UNLABELLED})
    digests = [
        [_digest(path, name, shard) for name in TILED] for shard in range(-(-contract.tiles // contract.shard_tiles))
    ]
    text = np.array(digests, object).astype(np.dtypes.StringDType())
    group.create_array("shard_digest", data=text, dimension_names=ARRAYS["shard_digest"].axes)
    return write_contract(group, contract)


def reseal(path: Path) -> Contract:
    """Write the contract again with the digests of what stands there now: as a program that changes arrays must."""
    group = zarr.open_group(str(path), mode="r+")
    contract = Contract.parse(path, group.attrs.asdict()[ATTRIBUTE])
    return write_contract(group, contract)


def unseal(path: Path) -> None:
    """Leave out of a contract what version 0.1 did not write."""
    text = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    del text["attributes"][SEAL], text["attributes"][ATTRIBUTE]["digests"]
    (path / "zarr.json").write_text(json.dumps(text), encoding="utf-8")


def _digest(store: Path, name: str, shard: int) -> str:
    """SHA-256 of a shard's file."""
    (file,) = (path for path in (store / name / "c" / str(shard)).rglob("*") if path.is_file())
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _arrays(contract: Contract, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    t, c, k, s = contract.tiles, len(contract.bands), len(contract.classes), contract.tile_size
    g, each = contract.groups, contract.tiles // contract.sources
    labels = np.kron(rng.integers(0, k, (t, -(-s // 8), -(-s // 8))), np.ones((8, 8), np.int64))[:, :s, :s]
    image = rng.normal(1000, 30, (t, c, s, s))
    image[:, 0] += 150 * (labels - (k - 1) / 2)
    fraction = np.moveaxis(np.eye(k, dtype=np.uint8)[labels] * np.uint8(FRACTION_SCALE), -1, 1).copy()
    fraction[:, :, -1] = UNLABELLED
    valid = np.ones((t, s, s), np.uint8)
    valid[:, 0] = 0
    index = np.arange(contract.sources)
    return {
        "image": image.astype(contract.dtype),
        "fraction": fraction,
        "valid": valid,
        "source_index": np.repeat(index, each),
        "row": np.zeros(t, np.int64),
        "col": np.tile(np.arange(each) * s, contract.sources),
        "valid_share": np.full(t, (s - 1) / s, np.float32),
        "path": np.array([f"images/T/T_2020_{i}_1_GeoTIFF.tif" for i in index], object).astype(np.dtypes.StringDType()),
        "checksum": np.array([f"{i:064x}" for i in index], object).astype(np.dtypes.StringDType()),
        "crs": np.array(["EPSG:32618"] * len(index), object).astype(np.dtypes.StringDType()),
        "transform": np.tile([10.0, 0.0, 400000.0, 0.0, -10.0, 4080000.0], (len(index), 1)),
        "group_index": index,
        "time": np.array(["1"] * len(index), object).astype(np.dtypes.StringDType()),
        "group_name": np.array([f"T_2020_{i}" for i in range(g)], object).astype(np.dtypes.StringDType()),
        "split": (np.arange(g) % 2).astype(np.uint8),
        "count": np.full((g, c), each * s * (s - 1)),
        "mean": np.full((g, c), 1000.0),
        "comoment": np.tile(np.eye(c) * 4e4 * each * s * (s - 1), (g, 1, 1)),
        "minimum": np.zeros((g, c)),
        "maximum": np.full((g, c), 3000.0),
        "class_sum": np.full((g, k), each * s * (s - 2) / k),
        "class_count": np.full((g, k), each * s * (s - 2) // k),
        "histogram": np.full((g, c, 1), each * s * (s - 1)),
        "bin_code": np.array([320], np.int64),
        "fingerprint": np.zeros(t, np.uint64),
        "extent": np.tile([s, s * each], (len(index), 1)),
    }


def bands() -> st.SearchStrategy[tuple[Band, ...]]:
    """Tuples of bands whose names differ."""
    names = st.lists(st.text("ABCxyz0123456789_", min_size=1, max_size=6), min_size=1, max_size=20, unique=True)
    return names.flatmap(
        lambda chosen: st.tuples(
            *(st.builds(Band, name=st.just(name), role=st.sampled_from(Role), common=st.none()) for name in chosen)
        )
    )


def entries() -> st.SearchStrategy[Entry]:
    """Manifest entries whose verdict follows from their reasons."""
    text = st.text(max_size=20)
    reason = st.builds(
        Reason,
        code=st.sampled_from(["nan", "blank", "size"]),
        level=st.sampled_from(Level),
        file=st.sampled_from(["image", "mask", "pair"]),
        found=text,
        limit=text,
        remedy=text,
    )

    def entry(reasons: list[Reason], image: str) -> Entry:
        verdict = Verdict.of(r.level for r in reasons)
        return Entry(image=image, mask=None, group="g", time="1", verdict=verdict, reasons=tuple(reasons))

    return st.builds(entry, st.lists(reason, max_size=4), text)
