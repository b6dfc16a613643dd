"""The proof of a split: the same ground or the same picture must not stand in two splits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.split.footprints import footprints, gaps, near_pairs
from greenprep.store.fingerprint import like_pairs
from greenschemas.layout import SPLITS
from greenschemas.store import Store

__all__ = ["REACH", "Audit", "Leak", "audit_store"]

REACH = 10_000.0
"""Metres within which distances between splits are measured."""
_MOST_LOOKED_AT = 200
"""Pairs of look-alikes whose pixels are compared."""
_SAME = 0.98
"""Correlation of the pixels of two tiles from which on they are called the same picture."""


@dataclass(frozen=True)
class Leak:
    """Two things in different splits that should not be apart."""

    kind: str
    """`group`, `ground` (footprints overlap), `content` (equal checksums) or `likeness` (nearly equal pixels)."""
    first: str
    """Source or group in one split."""
    second: str
    splits: tuple[str, str]
    found: str
    """How much, in words."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.first} ({self.splits[0]}) and {self.second} ({self.splits[1]}): {self.found}"


@dataclass(frozen=True)
class Audit:
    """What came of it."""

    leaks: tuple[Leak, ...]
    distance: dict[str, float | None]
    """Least metres between the sources of each pair of splits, or None where more than the reach, or unknown."""
    class_share: dict[str, dict[str, float]]
    """By split and class."""
    unplaced: int
    """Sources without a coordinate system: nothing is known of their ground."""

    @property
    def passed(self) -> bool:
        """No leak was found."""
        return not self.leaks

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"passed": self.passed, **asdict(self)}


def audit_store(
    store: Store,
    split: NDArray[np.uint8],
    *,
    boxes: NDArray[np.float64] | None = None,
    reach: float = REACH,
    pixels: bool = True,
) -> Audit:
    """Look for ground that stands in two splits.

    split: (G,) code of each group, as the store would hold it.
    boxes: `footprints` of the store, where the caller has them.
    reach: metres within which distances between splits are measured.
    pixels: whether look-alikes are confirmed by reading the pixels of both tiles; without, none is reported.
    """
    index, path = store.read("group_index"), store.texts("path")
    side = np.where(split < len(SPLITS), split.astype(np.int64), -1)[index]
    boxes = footprints(store) if boxes is None else boxes
    overlaps, distance = _ground(store, boxes, index, side, path, reach)
    leaks = [*_twice(store, split), *overlaps, *_checksums(store, side, path)]
    if pixels:
        leaks += _likenesses(store, side, path)
    shares = {}
    for code, name in enumerate(SPLITS):
        total = store.read("class_sum")[split == code].sum(axis=0)
        if total.sum() > 0:
            shares[name] = dict(zip(store.contract.classes, (total / total.sum()).tolist(), strict=True))
    return Audit(tuple(leaks), distance, shares, int((~np.isfinite(boxes).all(axis=1)).sum()))


def _twice(store: Store, split: NDArray[np.uint8]) -> list[Leak]:
    """Groups of one name in two splits: only a store written by other means has them."""
    seen: dict[str, int] = {}
    leaks = []
    for name, code in zip(store.texts("group_name"), split.tolist(), strict=True):
        if code < len(SPLITS) and seen.setdefault(name, code) != code:
            leaks.append(Leak("group", name, name, (SPLITS[seen[name]], SPLITS[code]), "the same group"))
    return leaks


def _ground(
    store: Store,
    boxes: NDArray[np.float64],
    index: NDArray[np.int64],
    side: NDArray[np.int64],
    path: NDArray[Any],
    reach: float,
) -> tuple[list[Leak], dict[str, float | None]]:
    """Overlapping footprints, and the least distances, between sources of different splits."""
    # The times of a group show the same box: one of them is enough.
    kept = np.unique(np.column_stack([index, np.round(boxes, 3)]), axis=0, return_index=True)[1]
    kept = np.sort(kept[side[kept] >= 0])
    tolerance = 0.5 * float(np.median(np.abs(store.read("transform")[:, 0]))) if store.contract.sources else 0.0
    if np.nanmax(np.abs(boxes), initial=0) > 0 and tolerance < 1e-2:
        tolerance = 0.5
    leaks: list[Leak] = []
    least: dict[tuple[int, int], float] = {}
    for i, j in near_pairs(boxes[kept], reach):
        i, j = kept[i], kept[j]
        apart = side[i] != side[j]
        i, j = i[apart], j[apart]
        gap = gaps(boxes, i, j)
        for a, b, metres in zip(i[gap < -tolerance], j[gap < -tolerance], gap[gap < -tolerance], strict=True):
            leaks.append(
                Leak(
                    "ground",
                    path[a],
                    path[b],
                    (SPLITS[side[a]], SPLITS[side[b]]),
                    f"their footprints overlap by {-metres:.0f} m",
                )
            )
        for low in range(len(SPLITS)):
            for high in range(low + 1, len(SPLITS)):
                between = gap[(np.minimum(side[i], side[j]) == low) & (np.maximum(side[i], side[j]) == high)]
                if between.size:
                    least[low, high] = min(least.get((low, high), np.inf), float(between.min()))
    names = {
        f"{SPLITS[low]}-{SPLITS[high]}": least.get((low, high))
        for low in range(len(SPLITS))
        for high in range(low + 1, len(SPLITS))
        if (side == low).any() and (side == high).any()
    }
    return leaks, names


def _checksums(store: Store, side: NDArray[np.int64], path: NDArray[Any]) -> list[Leak]:
    first: dict[str, int] = {}
    leaks = []
    for source, checksum in enumerate(store.texts("checksum")):
        if side[source] < 0 or not checksum:
            continue
        other = first.setdefault(checksum, source)
        if side[other] != side[source]:
            leaks.append(
                Leak("content", path[other], path[source], (SPLITS[side[other]], SPLITS[side[source]]), "equal pixels")
            )
    return leaks


def _likenesses(store: Store, side: NDArray[np.int64], path: NDArray[Any]) -> list[Leak]:
    """Tiles with nearly the same fingerprint whose pixels are nearly the same too."""
    source = store.read("source_index")
    pairs = like_pairs(store.read("fingerprint"), side[source])
    leaks: list[Leak] = []
    told: set[tuple[int, int]] = set()
    for a, b in pairs[:_MOST_LOOKED_AT].tolist():
        i, j = int(source[a]), int(source[b])
        if (i, j) in told:
            continue
        alike = _correlation(store.read("image", a), store.read("image", b))
        if alike >= _SAME:
            told.add((i, j))
            leaks.append(
                Leak(
                    "likeness",
                    path[i],
                    path[j],
                    (SPLITS[side[i]], SPLITS[side[j]]),
                    f"tiles {a} and {b} correlate by {alike:.3f}",
                )
            )
    return leaks


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Median of the correlations of the bands that vary in both tiles."""
    a = a.reshape(len(a), -1).astype(np.float64)
    b = b.reshape(len(b), -1).astype(np.float64)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    moving = scale > 0
    return float(np.median((a * b).sum(axis=1)[moving] / scale[moving])) if moving.any() else 0.0
