"""The patches of a class map as polygons: found strip by strip, joined across strips, their corners cut. Pure.

A patch is what hangs together by the edges of its pixels. Memory: one strip of the map, a bit for each pixel, and the
outlines of the patches that reach the strip's last row, since these may go on.

Coordinates are pixels: x columns from the left edge of the map, y rows from its top. Letters: H rows, W columns,
P polygons, N corners.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.features import shapes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["find_joints", "find_patches", "smoothed", "weighed"]

Polygons = NDArray[np.object_]
Labels = NDArray[np.uint8]
"""(H, W) class of each pixel, in memory or in a file (np.memmap)."""
Whole = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Held:
    """Patches that may go on below the last row that was seen."""

    kinds: Labels
    """The class of each."""
    pieces: list[list[shapely.Geometry]]
    """What was seen of each."""
    row: Whole
    """(W,) which of them each pixel of that row belongs to; -1: none."""


def find_patches(labels: Labels, empty: int, rows: int = 512) -> Iterator[tuple[Labels, Polygons]]:
    """(P,) class and (P,) polygon of each patch, some at a time; the patches are the same whatever `rows`.

    empty: value that is no class. rows: of a strip.
    """
    height, width = labels.shape
    held = _Held(np.zeros(0, np.uint8), [], np.full(width, -1))
    for top in range(0, height, rows):
        strip = np.ascontiguousarray(labels[top : top + rows])
        values, pieces = _pieces(strip, empty, top)
        patch = _linked(held, values, _owners(pieces, top, width))
        kinds = np.zeros(patch.max(initial=-1) + 1, np.uint8)
        kinds[patch] = np.concatenate([held.kinds, values])
        parts: list[list[shapely.Geometry]] = [[] for _ in kinds]
        for number, some in zip(patch, [*held.pieces, *([piece] for piece in pieces)], strict=True):
            parts[number] += some
        last = _owners(pieces, top + rows, width)  # nothing reaches so far down at the end of the map
        known = last >= 0
        owner = patch[len(held.pieces) + last[known]]
        goes_on = np.zeros(len(kinds), bool)
        goes_on[owner] = top + rows < height
        row = np.full(width, -1)
        if top + rows < height:
            row[known] = (np.cumsum(goes_on) - 1)[owner]
        done = np.flatnonzero(~goes_on)
        yield kinds[done], np.array([_joined(parts[index]) for index in done], object)
        held = _Held(kinds[goes_on], [parts[index] for index in np.flatnonzero(goes_on)], row)


def find_joints(labels: Labels, rows: int = 512) -> NDArray[np.uint8]:
    """(H + 1, bytes) a bit for each corner between pixels: set where more than two patches or the map's edge meet."""
    height, width = labels.shape
    found = np.full((height + 1, (width + 8) // 8), 255, np.uint8)
    for top in range(0, height - 1, rows):
        four = np.asarray(labels[top : top + rows + 1])
        across, down = four[:, 1:] != four[:, :-1], four[1:] != four[:-1]
        meeting = across[1:].astype(np.uint8) + across[:-1] + down[:, 1:] + down[:, :-1]
        fixed = np.ones((len(four) - 1, width + 1), bool)
        fixed[:, 1:-1] = meeting != 2
        found[top + 1 : top + len(four)] = np.packbits(fixed, axis=1)
    return found


def smoothed(polygons: Polygons, joints: NDArray[np.uint8]) -> Polygons:
    """Polygons of pixels with every corner cut off, from the middle of one pixel's side to the middle of the next.

    G. M. Chaikin: An algorithm for high-speed curve generation (1974), once, with sides cut at their middle, which
    makes stairs a straight line. Where three patches meet, the corner stays. What is done at a corner depends on the
    four pixels around it alone, so neighbours keep their common edge: no gap and no overlap. No outline moves by more
    than 0.36 pixels, half the diagonal of half a pixel. joints: as `find_joints` has them.
    """
    xy, ring, owner = _corners(polygons)
    before, after = _neighbours(ring)
    x, y = xy.T
    fixed = joints[y, x // 8] >> (7 - x % 8) & 1 == 1
    at = xy.astype(np.float64)
    ends = [at + np.where(fixed[:, None], 0.0, np.sign(at[side] - at) / 2) for side in (before, after)]
    points = np.stack(ends, 1).reshape(-1, 2)
    return _built(*_lean(points, np.repeat(ring, 2)), owner)


def weighed(polygons: Polygons, rows: Floats) -> Floats:
    """(P,) area of polygons of pixels, where a pixel of row r has the area rows[r]. Exact, by Green's theorem."""
    until = np.concatenate([[0.0], np.cumsum(rows)])
    xy, ring, owner = _corners(shapely.orient_polygons(polygons))
    _, after = _neighbours(ring)
    strip = xy[:, 0] * (until[xy[after, 1]] - until[xy[:, 1]])
    areas: Floats = np.abs(np.bincount(owner[ring], strip, len(polygons)))
    return areas


def _pieces(strip: Labels, empty: int, top: int) -> tuple[Labels, Polygons]:
    """(class, polygon) of each patch of a strip whose first row is `top`."""
    values, corners, sizes, owner = [], [], [], []
    found = shapes(strip, strip != empty, connectivity=4, transform=Affine.translation(0, top))
    for index, (geometry, value) in enumerate(found):
        values.append(value)
        for ring in geometry["coordinates"]:
            corners += ring
            sizes.append(len(ring))
            owner.append(index)
    xy = np.array(corners, np.float64).reshape(-1, 2)
    return np.array(values, np.uint8), _built(xy, np.repeat(np.arange(len(sizes)), sizes), np.array(owner, np.int64))


def _linked(held: _Held, values: Labels, first: Whole) -> Whole:
    """The number of the patch of what is held and then of each piece. first: (W,) pieces of the strip's first row."""
    both = np.flatnonzero((held.row >= 0) & (first >= 0))
    old, new = held.row[both], first[both]
    same = held.kinds[old] == values[new]
    count = len(held.pieces) + len(values)
    if count == 0:
        return np.zeros(0, np.int64)
    links = coo_array((np.ones(same.sum()), (old[same], new[same] + len(held.pieces))), shape=(count, count))
    numbers: Whole = connected_components(links, directed=False)[1].astype(np.int64)
    return numbers


def _owners(polygons: Polygons, y: int, width: int) -> Whole:
    """(W,) which polygon has an edge on the line y above or below each pixel; -1: none."""
    rings, owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    edge = np.flatnonzero((ring[1:] == ring[:-1]) & (xy[1:, 1] == y) & (xy[:-1, 1] == y))
    ends = np.sort(np.stack([xy[edge, 0], xy[edge + 1, 0]]), axis=0).astype(np.int64)
    lengths = ends[1] - ends[0]
    at = np.arange(lengths.sum()) + np.repeat(ends[0] - np.cumsum(lengths) + lengths, lengths)
    found = np.full(width, -1)
    found[at] = np.repeat(owner[ring[edge]], lengths)
    return found


def _joined(pieces: list[shapely.Geometry]) -> shapely.Geometry:
    return pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)


def _corners(polygons: Polygons) -> tuple[Whole, Whole, Whole]:
    """(N, 2) corners where the outline turns, (N,) their rings, and the polygon of each ring."""
    rings, owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    repeated = np.append(ring[1:] != ring[:-1], True) if len(ring) else np.zeros(0, bool)
    corners, ring = _lean(xy[~repeated], ring[~repeated])  # a ring ends where it began
    return np.rint(corners).astype(np.int64), ring, owner


def _lean(xy: Floats, ring: Whole) -> tuple[Floats, Whole]:
    """Without corners that stand twice or on the line between their neighbours; exact, for halves of pixels."""
    for _ in range(2):  # a corner that stands twice hides whether it turns
        before, after = _neighbours(ring)
        back_x, back_y = (xy - xy[before]).T
        on_x, on_y = (xy[after] - xy).T
        first_of_two = (on_x == 0) & (on_y == 0)
        keep = ((back_x != 0) | (back_y != 0)) & (first_of_two | (back_x * on_y != back_y * on_x))
        xy, ring = xy[keep], ring[keep]
    return xy, ring


def _neighbours(ring: Whole) -> tuple[Whole, Whole]:
    """Which corner comes before and after each in its ring."""
    index = np.arange(len(ring))
    turn = np.flatnonzero(ring[1:] != ring[:-1])
    first, last = np.append(index[:1], turn + 1), np.append(turn, index[-1:])
    before, after = index - 1, index + 1
    before[first], after[last] = last, first
    return before, after


def _built(xy: Floats, ring: Whole, owner: Whole) -> Polygons:
    """Polygons of rings; the first of each polygon is its shell. owner: the polygon of each ring."""
    rings: Polygons = shapely.linearrings(xy, indices=ring) if len(xy) else np.zeros(0, object)
    return shapely.polygons(rings, indices=owner) if len(rings) else np.zeros(0, object)
