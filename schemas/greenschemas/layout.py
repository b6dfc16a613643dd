"""The arrays of a store, version 1, as data: names, axes and types. Every writer and reader goes by this table.

Axis letters: T tiles, C bands, K classes, S pixels a side, G groups, F source files, N histogram bins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ARRAYS", "CELL", "FRACTION_SCALE", "NO_SPLIT", "SPLITS", "TILED", "UNLABELLED", "ArraySpec", "without_cell"]

FRACTION_SCALE = 200
"""Fractions are stored as round(fraction * 200), so that hundredths are exact."""
UNLABELLED = 255
"""Stored value of a fraction where there is no label."""
SPLITS = ("train", "val", "test")
"""Names of the splits; the `split` array holds indices into it."""
TILED = ("image", "fraction", "valid")
"""Arrays of one chunk a tile, in shards of many tiles; along the axis `tiled` in this order."""
NO_SPLIT = 255
"""Value of `split` for a group that is in none."""

CELL = re.compile(r"#(\d+),(\d+)$")
"""End of the names of sources and groups in a store that was split by blocks: row and column of a cell of ground."""


def without_cell(name: str) -> str:
    """The source or group that a cell was cut from; any other name as it is."""
    return CELL.sub("", name)


@dataclass(frozen=True)
class ArraySpec:
    """What the contract says of one array."""

    axes: tuple[str, ...]
    """Dimension names, slowest first."""
    dtype: str | None
    """NumPy type, `string` for text, or None where the sources decide."""
    optional: bool = False
    """Missing where nothing asked for it: `fold`, in a store that was not dealt out to folds."""


ARRAYS: dict[str, ArraySpec] = {
    "image": ArraySpec(("tile", "band", "y", "x"), None),
    "fraction": ArraySpec(("tile", "class", "y", "x"), "uint8"),
    "valid": ArraySpec(("tile", "y", "x"), "uint8"),
    "source_index": ArraySpec(("tile",), "int64"),
    "row": ArraySpec(("tile",), "int64"),
    "col": ArraySpec(("tile",), "int64"),
    "valid_share": ArraySpec(("tile",), "float32"),
    "path": ArraySpec(("source",), "string"),
    "checksum": ArraySpec(("source",), "string"),
    "crs": ArraySpec(("source",), "string"),
    "transform": ArraySpec(("source", "coefficient"), "float64"),
    "group_index": ArraySpec(("source",), "int64"),
    "time": ArraySpec(("source",), "string"),
    "group_name": ArraySpec(("group",), "string"),
    "split": ArraySpec(("group",), "uint8"),
    "count": ArraySpec(("group", "band"), "int64"),
    "mean": ArraySpec(("group", "band"), "float64"),
    "comoment": ArraySpec(("group", "band", "band2"), "float64"),
    "minimum": ArraySpec(("group", "band"), "float64"),
    "maximum": ArraySpec(("group", "band"), "float64"),
    "class_sum": ArraySpec(("group", "class"), "float64"),
    "class_count": ArraySpec(("group", "class"), "int64"),
    "histogram": ArraySpec(("group", "band", "bin"), "int64"),
    "bin_code": ArraySpec(("bin",), "int64"),
    "fingerprint": ArraySpec(("tile",), "uint64"),
    "extent": ArraySpec(("source", "side"), "int64"),
    "fold": ArraySpec(("group",), "uint8", optional=True),
    "shard_digest": ArraySpec(("shard", "tiled"), "string"),
}
