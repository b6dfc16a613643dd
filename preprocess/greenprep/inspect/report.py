"""`greenprep report`: one self-contained HTML page of a store, from its records and a few sample tiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from greenprep.inspect.tables import distance_text
from greenprep.inspect.tile_picture import tile_pictures
from greenprep.split.audit import audit_store
from greenprep.split.footprints import footprints
from greenprep.store.histogram import Histogram, bounds_of
from greenprep.store.statistics import merged
from greenschemas.errors import SourceError
from greenschemas.layout import SPLITS
from greenschemas.manifest import MANIFEST_NAME, Entry, Verdict, read_manifest
from greenschemas.pages.charts import Chart, bar_chart, box_map, line_chart
from greenschemas.pages.page import write_page
from greenschemas.pictures import Shot, tile_row, visible_bands
from greenschemas.store import Store, open_store

__all__ = ["bin_shares", "store_charts", "write_store_report"]

_NAMES = (*SPLITS, "none")
_SAMPLES = 12
_BINS = 60
_TAIL = 0.002
"""Share of the pixels left out at either end of a histogram, so that a few odd values do not squeeze the rest."""


def write_store_report(location: str, out: Path | None, clean: Path | None = None) -> Path:
    """Write the page and return its path; by default beside a local store.

    clean: folder with the manifest; by default the one beside a local store that lists the store's sources.
    Raises SourceError where `clean` holds no manifest.
    """
    store = open_store(location)
    contract, remote = store.contract, "://" in location
    path = out or (Path(Path(location).name) if remote else Path(location)).with_suffix(".html")
    entries = list(read_manifest(clean)) if clean else None if remote else _manifest_beside(Path(location), store)
    codes = _codes(store)
    map_chart, classes, histograms = store_charts(store)
    write_page(
        path,
        __package__,
        "report.html.j2",
        name=Path(location).name,
        contract=contract,
        statistics=contract.statistics,
        usable=len(store.usable_tiles()),
        map=map_chart,
        classes=classes,
        audit=None if contract.split is None else audit_store(store, store.splits()),
        distance_text=distance_text,
        histograms=histograms,
        bins=_BINS,
        bands=visible_bands(contract.bands),
        samples=list(_samples(store, codes)),
        dropped=None if entries is None else _dropped(entries),
    )
    return path


def store_charts(store: Store) -> tuple[Chart | None, Chart, list[Chart]]:
    """(map of the sources by split, class shares by split, a histogram a feature band)."""
    codes = _codes(store)
    return _map(store, codes), _classes(store, codes), list(_histograms(store, codes))


def _codes(store: Store) -> NDArray[np.int64]:
    """(G,) index into `_NAMES` of each group."""
    if store.contract.split is None:
        return np.full(store.contract.groups, len(SPLITS))
    return np.minimum(store.splits().astype(np.int64), len(SPLITS))


def _map(store: Store, codes: NDArray[np.int64]) -> Chart | None:
    boxes, side, paths = footprints(store), codes[store.read("group_index")], store.texts("path")
    order = np.argsort(side, kind="stable")
    placed = [
        (tuple(boxes[i].tolist()), _NAMES[side[i]], f"{paths[i]} ({_NAMES[side[i]]})")
        for i in order.tolist()
        if np.isfinite(boxes[i]).all()
    ]
    return box_map("Where the sources lie", placed, "km", 1000) if placed else None


def _classes(store: Store, codes: NDArray[np.int64]) -> Chart:
    sums = store.read("class_sum")
    totals = {name: sums[codes == code].sum(axis=0) for code, name in enumerate(_NAMES)}
    rows = {
        label: {name: float(100 * total[k] / total.sum()) for name, total in totals.items() if total.sum()}
        for k, label in enumerate(store.contract.classes)
    }
    return bar_chart("Classes", rows, "% of the labelled pixels")


def _histograms(store: Store, codes: NDArray[np.int64]) -> Iterator[Chart]:
    """A chart a feature band, a line a split."""
    if "histogram" not in store.group or not store.contract.features:
        return
    by_split = {
        name: merged(store, codes == code).histogram for code, name in enumerate(_NAMES) if (codes == code).any()
    }
    integer = store.contract.whole_numbers
    for name in store.contract.features:
        edges, shares = bin_shares(by_split, store.contract.band_index(name), integer=integer)
        middle, width = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
        wide = (edges[-1] - edges[0]) / _BINS
        lines = {
            split: list(zip(middle.tolist(), (share / width * wide).tolist(), strict=True))
            for split, share in shares.items()
        }
        if chart := line_chart(name, lines, "value"):
            yield chart


def bin_shares(
    histograms: dict[str, Histogram], band: int, *, integer: bool
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """(n + 1,) edges of bins, and by name (n,) percent of the pixels in each; no bins for a band of one value.

    The bins of a `Histogram` are of very unlike widths, the narrowest near 0: those narrower than a sixtieth of the
    range, or than a whole number, are taken together.
    """
    whole = sum(histograms.values(), Histogram.empty(len(next(iter(histograms.values())).count)))
    low, high = (float(whole.percentiles(share, integer=integer)[band]) for share in (_TAIL, 1 - _TAIL))
    if not high > low:
        return np.zeros(0), {}
    bounds = np.array([bounds_of(code, integer) for code in range(int(whole.code[0]), int(whole.code[-1]) + 1)])
    least = max((high - low) / _BINS, integer) * (1 - 1e-9)
    edges: list[float] = []
    for edge in np.unique(bounds[(bounds[:, 1] > low) & (bounds[:, 0] < high)]).tolist():
        if not edges or edge - edges[-1] >= least:
            edges.append(edge)
    found = {}
    for name, histogram in histograms.items():
        count = histogram.count[band]
        ends = np.array([bounds_of(int(code), integer) for code in histogram.code]).reshape(-1)
        upto = np.stack([count.cumsum() - count, count.cumsum()], axis=1).reshape(-1)
        if count.sum():
            found[name] = 100 * np.diff(np.interp(edges, ends, upto)) / count.sum()
    return np.array(edges), found


def _samples(store: Store, codes: NDArray[np.int64]) -> Iterator[tuple[int, str, str, list[Shot]]]:
    """(tile, split, path, its pictures) of tiles spread over the store."""
    usable = store.usable_tiles()
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, _SAMPLES).astype(int))] if len(usable) else usable
    side, source, paths = codes[store.tile_group()], store.read("source_index"), store.texts("path")
    for tile in chosen.tolist():
        pictures = dict(zip(("image", "classes"), tile_pictures(store, tile), strict=True))
        yield tile, _NAMES[side[tile]], str(paths[source[tile]]), tile_row(pictures)


def _manifest_beside(store_path: Path, store: Store) -> list[Entry] | None:
    """The entries of the folder beside a store, `NAME.clean` first, whose kept pairs are the store's sources."""
    wanted = set(store.texts("path"))
    own = store_path.with_suffix(".clean")
    for folder in sorted(store_path.resolve().parent.iterdir(), key=lambda one: (one.name != own.name, one.name)):
        if (folder / MANIFEST_NAME).is_file():
            try:
                entries = list(read_manifest(folder))
            except SourceError:  # Of a run that was stopped, or another program's.
                continue
            if wanted <= {entry.image for entry in entries if entry.verdict is not Verdict.REJECTED}:
                return entries
    return None


def _dropped(entries: list[Entry]) -> list[tuple[str, str]]:
    """(file, why) of what was rejected."""
    return [
        (entry.image or entry.mask or "", "; ".join(f"{reason.code}: {reason.found}" for reason in entry.reasons))
        for entry in entries
        if entry.verdict is Verdict.REJECTED
    ]
