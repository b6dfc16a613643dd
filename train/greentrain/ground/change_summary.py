"""What a map of change says in numbers: gains and losses by class and zone, and how sure they are.

Letters: K classes, P points of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.console import Ticker
from greenschemas.errors import ConfigError
from greentrain.ground.area import Cover, measure
from greentrain.ground.change import Pair, change_names, origin, pair_of, write_change
from greentrain.ground.estimates import zone_parts, zone_rows
from greentrain.ground.reference import read_sample
from greentrain.ground.zones import Zone, read_zones
from greentrain.maps.outputs import spare_others
from greentrain.maps.raster import Raster, open_raster

__all__ = ["Change", "by_two_estimates", "flows_of", "make_change"]

Floats = NDArray[np.float64]
_FLOWS = ("before", "after", "gain", "loss", "net")


@dataclass(frozen=True)
class Change:
    """What is asked of two maps."""

    out: Path
    min_area: float = 0.0
    """Hectares below which a patch is not called change."""
    zones: Path | None = None
    name: str | None = None
    """Field that names the zones."""
    reference: Path | None = None
    """Sample of the map of change, filled in."""
    overwrite: bool = False


def make_change(
    before: Raster, after: Raster, asked: Change, estimates: tuple[dict[str, Any], dict[str, Any]] | None, bar: Ticker
) -> dict[str, Any]:
    """Write the map of change, and say what it shows, ready for JSON.

    estimates: of either map, as `estimates.estimate`; gives intervals of the net change. Raises SourceError and
    ConfigError where maps and zones do not fit, before anything is written, and where the sample does not.
    """
    pair = pair_of(before, after)
    zones = () if asked.zones is None else read_zones(asked.zones, before.grid, asked.name)
    if pair.fractions and asked.reference is not None:
        raise ConfigError(
            "--reference", "differences of fractions are no strata", "give a sample of each map by --errors"
        )
    if not asked.overwrite:
        spare_others([asked.out], origin(pair))
    small = write_change(pair, asked.out, asked.min_area, bar)
    found = _summarise(pair, asked.out, zones, asked.min_area, small)
    if asked.reference is not None:
        found["estimate"] = _by_change_sample(found, asked.out, asked.reference, zones)
    elif estimates is not None:
        found["estimate"] = by_two_estimates(found, *estimates)
    return found


def _summarise(pair: Pair, out: Path, zones: Sequence[Zone], min_area: float, small: float) -> dict[str, Any]:
    """The map of change at `out` in hectares, or in pixels where it has no CRS, ready for JSON."""
    with open_raster(out) as raster:
        if pair.fractions:
            covers = measure(raster, _parts_names(pair.classes), zones, _parts)
        else:
            covers = measure(raster, change_names(pair.classes), zones)
        unit = "pixels" if raster.crs_kind == "none" else "hectares"
    of_change = _of_shares if pair.fractions else _of_classes
    whole, *others = (of_change(cover, pair.classes, unit) for cover in covers)
    return {
        "before": str(pair.before.path),
        "after": str(pair.after.raster.path),
        "map": str(out),
        "counted": "fractions of pixels" if pair.fractions else "whole pixels",
        "after_brought": _brought(pair),
        "unit": unit,
        "min_area_hectares": min_area,
        "below_min_area_hectares": small,
        **whole,
        "zones": others,
    }


def _brought(pair: Pair) -> str | None:
    if pair.after.why is None:
        return None
    return f"to the grid of BEFORE ({pair.after.why}), by {'average' if pair.fractions else 'the nearest pixel'}"


def _parts(values: NDArray[Any]) -> NDArray[Any]:
    """(2 K + 1, H, W) what each pixel gained and lost of each class, and 1: of differences (K, H, W)."""
    return np.concatenate([np.maximum(values, 0), np.maximum(-values, 0), np.ones_like(values[:1])])


def _parts_names(classes: Sequence[str]) -> tuple[str, ...]:
    return (*(f"{name} gained" for name in classes), *(f"{name} lost" for name in classes), "all")


def _of_shares(cover: Cover, classes: Sequence[str], unit: str) -> dict[str, Any]:
    size = cover.pixels if unit == "pixels" else cover.hectares
    k = len(classes)
    return {
        "name": cover.name,
        unit: float(size[-1]),
        "classes": {
            name: {"gain": float(size[i]), "loss": float(size[k + i]), "net": float(size[i] - size[k + i])}
            for i, name in enumerate(classes)
        },
    }


def _of_classes(cover: Cover, classes: Sequence[str], unit: str) -> dict[str, Any]:
    size = cover.pixels if unit == "pixels" else cover.hectares
    k = len(classes)
    flows = flows_of(k) @ size
    return {
        "name": cover.name,
        unit: float(size.sum()),
        "classes": {
            name: {flow: float(flows[i, at]) for at, flow in enumerate(_FLOWS)} for i, name in enumerate(classes)
        },
        "transitions": {
            one: {other: float(size[i * k + j]) for j, other in enumerate(classes)} for i, one in enumerate(classes)
        },
    }


def flows_of(k: int) -> Floats:
    """(K, flows, K K) what each class of change counts for: before, after, gain, loss and net of each class."""
    one, other = np.divmod(np.arange(k * k), k)
    each = np.arange(k)[:, None]
    before, after = (one == each).astype(np.float64), (other == each).astype(np.float64)
    moved = (one != other).astype(np.float64)
    return np.stack([before, after, after * moved, before * moved, after - before], 1)


def _by_change_sample(found: dict[str, Any], out: Path, reference: Path, zones: Sequence[Zone]) -> dict[str, Any]:
    """Gains and losses by a filled sample of the map of change at `out`, of the whole and of each zone.

    found: as `make_change`. Raises SourceError as `reference.match`.
    """
    with open_raster(out) as raster:
        sample, frame, _, about = read_sample(raster, reference)
        parts = [np.ones(len(sample.found)), *(zone_parts(zone, raster.grid, sample.pixel) for zone in zones)]
    flows = flows_of(len(found["classes"])).reshape(-1, len(found["classes"]) ** 2).T
    wrong = flows[sample.found.astype(np.int64)] - flows[sample.mapped.astype(np.int64)]

    def estimate(part: dict[str, Any], inside: Floats) -> dict[str, Any]:
        mapped = np.array([row[flow] for row in part["classes"].values() for flow in _FLOWS])
        rows = iter(zone_rows(frame, sample, wrong, inside, mapped))
        return {
            "name": part["name"],
            "points": int((inside > 0).sum()),
            "classes": {name: {flow: next(rows) for flow in _FLOWS} for name in part["classes"]},
        }

    whole, *others = (estimate(part, inside) for part, inside in zip((found, *found["zones"]), parts, strict=True))
    return {**whole, **about, "zones": others}


def by_two_estimates(found: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Net change of each class by an estimate of each map, as `estimates.estimate` makes it, errors independent.

    The variance of a difference of independent estimates is the sum of theirs. Gains and losses by themselves cannot be
    told so: they hang on whether both maps err at the same pixels, which two samples do not say.
    """
    ground = found[found["unit"]]
    one, other = _shares(before), _shares(after)
    rows = {}
    for name in dict.fromkeys((*one, *other)):
        first, second = one.get(name, _NONE), other.get(name, _NONE)
        if None in (first["low"], second["low"]):
            rows[name] = {"net": dict.fromkeys(_NONE)}
            continue
        net = ground * (second["value"] - first["value"])
        half = ground * math.hypot(first["value"] - first["low"], second["value"] - second["low"])
        error = ground * math.hypot(first["standard_error"], second["standard_error"])
        rows[name] = {"net": {"value": net, "standard_error": error, "low": net - half, "high": net + half}}
    says = (
        "Net change by an estimate of each map, as if the errors of the two were independent, and held for the ground "
        "that both maps know. Gains and losses by themselves take a sample of the map of change."
    )
    says = " ".join([says, *(each["says"] for each in (before, after) if each["from"] == "groups")])
    return {"name": found["name"], "estimates": [before, after], "says": says, "classes": rows, "zones": []}


_NONE = {"value": 0.0, "standard_error": 0.0, "low": 0.0, "high": 0.0}
"""Of a class that neither the map nor its sample holds."""


def _shares(estimate: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if "share_of" in estimate:
        return {estimate["share_of"]: estimate["regression"]["share"]}
    return {name: row["share"] for name, row in estimate["classes"].items()}
