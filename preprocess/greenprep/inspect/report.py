"""`greenprep report`: one self-contained HTML page of a store, from its records and a few sample tiles."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from greenprep.inspect.tables import audit_text, contract_text
from greenprep.inspect.tile_picture import tile_pictures
from greenprep.split.footprints import footprints
from greenprep.store.histogram import SMALLEST, Histogram, middle_of
from greenprep.store.statistics import merged
from greenschemas.colours import as_hex, class_colours
from greenschemas.errors import SourceError
from greenschemas.layout import SPLITS
from greenschemas.manifest import Entry, Verdict, read_manifest
from greenschemas.pictures import data_uri
from greenschemas.store import Store, open_store

__all__ = ["write_store_report"]

_COLOURS = {"train": "#4477aa", "val": "#ee6677", "test": "#228833", "none": "#bbbbbb"}
_SAMPLES = 12
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem; color: #222 }
pre { overflow-x: auto; background: #f5f5f5; padding: .8rem; font-size: 13px }
img { max-width: 100%; height: auto } figure { display: inline-block; margin: .3rem }
figcaption { font-size: 12px; overflow-wrap: anywhere; max-width: 264px } table { border-collapse: collapse }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left; overflow-wrap: anywhere }
.key span { display: inline-block; padding: 0 .5rem; margin-right: .5rem; color: #fff }
</style>
<h1>{{ title }}</h1><pre>{{ contract }}</pre>
<h2>Where the groups lie</h2>
{% if map %}<img alt="map of the split" src="{{ map }}">{% else %}<p>No source has a coordinate system.</p>{% endif %}
<h2>Classes</h2><img alt="class shares by split" src="{{ classes }}">
<h2>Bands, by split</h2>
{% if bands %}<img alt="histograms of the bands" src="{{ bands }}">{% else %}<p>No histograms here.</p>{% endif %}
{% if audit %}<h2>Audit</h2><pre>{{ audit }}</pre>{% endif %}
<h2>Sample tiles</h2>
<p class="key">{% for name, colour in key %}<span style="background: {{ colour }}">{{ name }}</span>{% endfor %}</p>
{% for sample in samples %}<figure>
{% for src in sample.pictures %}<img alt="tile {{ sample.tile }}" src="{{ src }}"> {% endfor %}
<figcaption>{{ sample.tile }} ({{ sample.split }}) {{ sample.path }}</figcaption></figure>{% endfor %}
<h2>What was left out</h2>
{% if dropped is none %}<p>The manifest of the clean folder was not found beside the store.</p>
{% elif dropped %}<table><tr><th>file<th>why</tr>{% for name, why in dropped %}<tr><td>{{ name }}<td>{{ why }}</tr>
{% endfor %}</table>{% else %}<p>Nothing.</p>{% endif %}</html>
"""


def write_store_report(location: str, out: Path | None, clean: Path | None = None) -> Path:
    """Write the page and return its path; by default beside a local store.

    clean: folder with the manifest; by default the one that `greenprep run` leaves beside the store.
    """
    store = open_store(location)
    path = out or Path(Path(location).name).with_suffix(".html")
    if out is None and "://" not in location:
        path = Path(location).with_suffix(".html")
    page = (
        jinja2.Environment(autoescape=True)
        .from_string(_PAGE)
        .render(
            title=Path(location).name,
            contract=contract_text(store),
            map=_map(store),
            classes=_classes(store),
            bands=_bands(store),
            audit=_audit(store),
            samples=list(_samples(store)),
            key=[
                (name, as_hex(colour))
                for name, colour in zip(store.contract.classes, class_colours(store.contract.classes), strict=True)
            ],
            dropped=_dropped(clean or Path(location).with_suffix(".clean")),
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _codes(store: Store) -> NDArray[np.int64]:
    """(G,) index into the splits, and 3 for groups in none."""
    if store.contract.split is None:
        return np.full(store.contract.groups, 3)
    return np.minimum(store.splits().astype(np.int64), 3)


def _inline(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _map(store: Store) -> str | None:
    boxes = footprints(store)
    placed = np.isfinite(boxes).all(axis=1)
    if not placed.any():
        return None
    figure = Figure(figsize=(9, 6))
    axes = figure.add_subplot(xlabel="km", ylabel="km")
    axes.set_aspect("equal", adjustable="datalim")
    axes.ticklabel_format(useOffset=False)
    codes = _codes(store)[store.read("group_index")]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2000
    for code, name in enumerate(_COLOURS):
        here = placed & (codes == code)
        if here.any():
            axes.plot(*centre[here].T, "s", ms=4, color=_COLOURS[name], label=f"{name} ({here.sum()})")
    axes.legend()
    return _inline(figure)


def _classes(store: Store) -> str:
    figure = Figure(figsize=(9, 3))
    axes = figure.add_subplot(ylabel="share")
    codes, sums, names = _codes(store), store.read("class_sum"), store.contract.classes
    shown = [(code, name) for code, name in enumerate(_COLOURS) if sums[codes == code].sum() > 0]
    for at, (code, name) in enumerate(shown):
        total = sums[codes == code].sum(axis=0)
        axes.bar(
            np.arange(len(names)) + at * 0.8 / len(shown),
            total / total.sum(),
            0.8 / len(shown),
            color=_COLOURS[name],
            label=name,
        )
    axes.set_xticks(np.arange(len(names)) + 0.4 * (len(shown) - 1) / max(len(shown), 1), names)
    axes.legend()
    return _inline(figure)


def _bands(store: Store) -> str | None:
    """Histograms of the feature bands, a line a split."""
    if "histogram" not in store.group or not store.contract.features:
        return None
    codes = _codes(store)
    by_split = {
        name: merged(store, codes == code).histogram for code, name in enumerate(_COLOURS) if (codes == code).any()
    }
    features = store.contract.features
    rows = -(-len(features) // 4)
    figure = Figure(figsize=(11, 2.2 * rows), layout="constrained")
    for at, name in enumerate(features):
        axes = figure.add_subplot(rows, 4, at + 1, title=name)
        axes.set_yticks([])
        for split, histogram in by_split.items():
            axes.plot(*_density(histogram, store.contract.band_index(name)), color=_COLOURS[split], lw=1)
    return _inline(figure)


def _density(histogram: Histogram, band: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middles of the bins that the band has, and counts over their widths, at most 1."""
    used = histogram.count[band] > 0
    middle = np.array([middle_of(int(code), False) for code in histogram.code[used]])
    width = 2.0 ** np.floor(np.log2(np.maximum(np.abs(middle), SMALLEST))) / 16
    density = histogram.count[band][used] / width
    return middle, density / max(density.max(initial=0), 1e-300)


def _audit(store: Store) -> str | None:
    from greenprep.split.audit import audit_store

    return None if store.contract.split is None else audit_text(audit_store(store, store.splits()))


def _samples(store: Store) -> Iterator[dict[str, Any]]:
    """Tiles spread over the store, with picture, path and split."""
    usable = store.usable_tiles()
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, _SAMPLES).astype(int))] if len(usable) else usable
    codes, source, paths = _codes(store)[store.tile_group()], store.read("source_index"), store.texts("path")
    for tile in chosen.tolist():
        yield {
            "tile": tile,
            "path": str(paths[source[tile]]),
            "split": (*SPLITS, "none")[int(codes[tile])],
            "pictures": [data_uri(picture) for picture in tile_pictures(store, tile)],
        }


def _dropped(clean: Path) -> list[tuple[str, str]] | None:
    try:
        rejected: list[Entry] = [entry for entry in read_manifest(clean) if entry.verdict is Verdict.REJECTED]
    except SourceError:
        return None
    return [
        (entry.image or entry.mask or "", "; ".join(f"{reason.code}: {reason.found}" for reason in entry.reasons))
        for entry in rejected
    ]
