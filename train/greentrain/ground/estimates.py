"""What a filled sample, or a run's validation tiles, say of a map: accuracy, and areas with their intervals.

Letters: P filled points, S strata, K classes, C numbers, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.errors import ConfigError
from greenschemas.grid import Grid
from greentrain.areas.clusters import accuracy_of_groups, quantile
from greentrain.areas.estimate import Accuracy, Estimate, Z, accuracy, put_right
from greentrain.areas.shares import difference, regression
from greentrain.ground.area import Cover
from greentrain.ground.reference import Sample, read_sample
from greentrain.ground.sample import Frame, Question, frame_of, question_of
from greentrain.ground.zones import Zone
from greentrain.maps.raster import Raster

__all__ = ["estimate", "estimate_by_groups", "zone_parts", "zone_rows"]

_ZONE_POINTS = 20
"""Points in a zone below which their spread says too little of it."""
_NOTHING = 1e-12
"""Of the whole: what rounding makes of 0."""
_NO_SAMPLE = (
    "NOT FOR PUBLICATION: the {} groups of validation tiles of {} are no probability sample of this map. They say how "
    "the net errs where its labels are; how it errs elsewhere they cannot tell, and no interval holds that. The net's "
    "best epoch was chosen on them, too. For numbers to publish, draw a sample: greentrain sample."
)

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def estimate(raster: Raster, path: Path, zones: Sequence[Zone] = (), covers: Sequence[Cover] = ()) -> dict[str, Any]:
    """What a filled sample says of the map from which it was drawn, and of zones of it, ready for JSON.

    covers: what the map says of each zone. Raises SourceError as `match`.
    """
    sample, frame, question, about = read_sample(raster, path)
    classes = question.classes
    if question.bands:
        found, wrong = _share_summary(sample, frame, question), (sample.found - sample.mapped)[:, None]
        columns = {str(question.share_of): np.isin(np.arange(len(classes)), question.bands)}
    else:
        counts, each = sample.counts(len(classes)), np.eye(len(classes))
        found = _accuracy_summary(accuracy(_weight_of_classes(frame, classes), counts), counts, frame, classes)
        shown = [classes.index(name) for name in found["classes"]]
        columns = {classes[k]: each[k] for k in shown}
        wrong = (each[sample.found.astype(np.int64)] - each[sample.mapped.astype(np.int64)])[:, shown]
    rows = []
    for zone, cover in zip(zones, covers, strict=True):
        mapped = np.stack(list(columns.values())) @ (cover.pixels if found["unit"] == "pixels" else cover.hectares)
        inside = zone_parts(zone, raster.grid, sample.pixel)
        known = zone_rows(frame, sample, wrong, inside, mapped)
        own = {name: {found["unit"]: row} for name, row in zip(columns, known, strict=True)}
        rows.append({"name": zone.name, "points": int((inside > 0).sum()), "classes": own})
    return {"from": "sample", **about, **found, "zones": rows}


def estimate_by_groups(raster: Raster, classes: Sequence[str], counts: Counts, run: Path) -> dict[str, Any]:
    """What the validation tiles of the run that drew a class map say of it, ready for JSON, with a warning.

    classes, counts: of the run, (G, K, K) a group's pixels, rows the truth. Raises ConfigError where the map has other
    classes or holds shares, and for fewer than two groups.
    """
    if raster.count > 1:
        raise ConfigError("--reference", f"{raster.path} is a map of fractions", "give the class map beside it")
    question = question_of(raster)
    if question.classes != tuple(classes):
        raise ConfigError(
            "--reference", f"{raster.path} has other classes than {run}", "give the run that drew the map"
        )
    if len(counts) < 2:
        raise ConfigError(
            "--reference", f"{len(counts)} groups of labelled tiles in the val split of {run}", "two are the least"
        )
    frame, on_map = frame_of(raster, question), counts.transpose(0, 2, 1)
    found = accuracy_of_groups(_weight_of_classes(frame, question.classes), on_map)
    about = {"from": "groups", "run": str(run), "groups": len(counts), "says": _NO_SAMPLE.format(len(counts), run)}
    return {**about, **_accuracy_summary(found, on_map.sum(0), frame, question.classes, quantile(len(counts)))}


def _accuracy_summary(
    found: Accuracy, counts: Counts, frame: Frame, classes: Sequence[str], z: float = Z
) -> dict[str, Any]:
    """All of an estimate, ready for JSON; areas in hectares, or in pixels where the map has no CRS.

    counts: (K, K) what the estimate was made of, rows the map. z: standard errors that make the interval.
    Classes that are neither on the map nor in the reference are left out.
    """
    total, unit = _size_of(frame)
    kept = [k for k, name in enumerate(classes) if name in frame.strata or counts[:, k].any()]
    size = dict(zip(frame.strata, frame.weight * total, strict=True))
    columns = {
        "users_accuracy": found.users.rows(z),
        "producers_accuracy": found.producers.rows(z),
        "share": found.share.rows(z),
        unit: found.share.times(total).rows(z),
    }
    return {
        "overall_accuracy": found.overall.rows(z)[0],
        "unit": unit,
        "classes": {
            classes[k]: {
                "points": int(counts[k].sum()),
                f"mapped_{unit}": float(size.get(classes[k], 0.0)),
                **{name: column[k] for name, column in columns.items()},
            }
            for k in kept
        },
        "counts": counts[np.ix_(kept, kept)].tolist(),
        "matrix": np.where(np.isfinite(found.matrix), found.matrix, 0)[np.ix_(kept, kept)].tolist(),
    }


def _share_summary(sample: Sample, frame: Frame, question: Question) -> dict[str, Any]:
    """The mean share and the area of the asked classes, by both estimators, ready for JSON."""
    total, unit = _size_of(frame)
    pixels = frame.pixels / frame.pixels.sum()
    mean = float(pixels @ frame.mean)
    asked = pixels, mean, sample.stratum, sample.mapped, sample.found

    def both(estimate: Estimate) -> dict[str, Any]:
        return {"share": estimate.rows()[0], unit: estimate.times(total).rows()[0]}

    return {
        "share_of": question.share_of,
        "unit": unit,
        "mapped": {"share": mean, unit: mean * total},
        "difference": both(difference(*asked)),
        "regression": both(regression(*asked)),
        "strata": {
            name: {"points": int((sample.stratum == i).sum()), "pixels": int(frame.pixels[i])}
            for i, name in enumerate(frame.strata)
        },
    }


def zone_parts(zone: Zone, grid: Grid, pixels: Counts) -> Floats:
    """(P,) share of each point's pixel that lies in the zone; pixels: (P, 2) row and column."""
    found = np.zeros(len(pixels))
    for block, part in zone.blocks(grid):
        at = pixels - (block.row, block.col)
        here = ((at >= 0) & (at < (block.height, block.width))).all(1)
        found[here] = part[at[here, 0], at[here, 1]]
    return found


def zone_rows(frame: Frame, sample: Sample, wrong: Floats, inside: Floats, mapped: Floats) -> list[dict[str, Any]]:
    """Totals (C,) of a zone, put right by the points in it; None each where fewer than _ZONE_POINTS lie there.

    Without an interval where all points of a stratum agree, in every stratum: so many points show no error of theirs.

    wrong: (P, C) found less mapped; inside: (P,) as `zone_parts`; mapped: (C,) what the map says of the zone.
    """
    total, _ = _size_of(frame)
    if (inside > 0).sum() < _ZONE_POINTS:
        return [dict.fromkeys(row) for row in Estimate(mapped, mapped).rows()]
    known = put_right(frame.weight, sample.stratum, wrong * inside[:, None], mapped, total)
    known.value[np.abs(known.value) < _NOTHING * total] = 0.0
    told = known.error > _NOTHING * total
    return Estimate(known.value, np.where(told, known.error, np.nan)).rows()


def _weight_of_classes(frame: Frame, classes: Sequence[str]) -> Floats:
    """(K,) share of the mapped ground that the map calls each class."""
    weight = np.zeros(len(classes))
    weight[[classes.index(name) for name in frame.strata]] = frame.weight
    return weight


def _size_of(frame: Frame) -> tuple[float, str]:
    if np.isnan(frame.hectares).any():
        return float(frame.pixels.sum()), "pixels"
    return float(frame.hectares.sum()), "hectares"
