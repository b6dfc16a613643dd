"""The commands of `greentrain` that say how sure areas are: sample, change. Each parses, calls, reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenschemas.console import print_json, progress, say, text_table
from greenschemas.errors import ConfigError

if TYPE_CHECKING:
    from greentrain.ground.area import Cover
    from greentrain.ground.zones import Zone
    from greentrain.maps.raster import Raster

__all__ = ["change", "estimate_of", "estimate_text", "sample"]

_HOW = {"before": ",.2f", "after": ",.2f", "gain": ",.2f", "loss": ",.2f", "net": "+,.2f"}


def sample(
    map: Annotated[Path, typer.Argument(help="Class map or map of fractions, or a map of `greentrain change`.")],
    n: Annotated[int, typer.Option("--n", min=2, help="Points to draw.")] = 500,
    out: Annotated[
        Path | None, typer.Option(help="GeoPackage to write, a CSV beside it; else MAP_sample.gpkg.")
    ] = None,
    least: Annotated[
        int | None, typer.Option(min=2, help="Points of each stratum at least; else 50, or what half of N allows.")
    ] = None,
    expected: Annotated[
        list[str] | None,
        typer.Option(
            help="User's accuracy expected of a class, NAME=0.8; else 0.7 below a tenth of the map, 0.9 above."
        ),
    ] = None,
    share_of: Annotated[
        str | None, typer.Option(help="Of a map of fractions: the classes whose share is asked for, joined by commas.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same points.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Draw a stratified random sample of a map, to be looked at and filled in.

    Each class is a stratum; of a map of fractions, ranges of the share are. Fill in the column `reference`, in QGIS or
    in a spreadsheet, and give the file to `greentrain area --reference`.

    Example: greentrain sample map.tif --n 500 --out sample.gpkg
    """
    from greentrain.ground.sample import draw_sample

    target = out if out is not None else map.with_name(f"{map.stem}_sample.gpkg")
    found = draw_sample(map, target, n, least=least, expected=_accuracies(expected or []), share_of=share_of, seed=seed)
    if as_json:
        print_json(found)
        return
    what, of = ("share", found["share_of"]) if found["share_of"] else ("overall accuracy", "class")
    rows = [(name, f"{row['share']:.1%}", f"{row['points']}") for name, row in found["strata"].items()]
    typer.echo(text_table((of, "of the map", "points"), [*rows, ("all", "", f"{found['points']}")]))
    typer.echo(
        f"Expected standard error of the {what}: {found['expected_standard_error']:.4f}; half of it would take about "
        f"{found['points_for_half_of_it']:,} points."
    )
    typer.echo("\n".join(found["files"]))
    again = "the same `greentrain change`" if found["of_change"] else f"greentrain area {map}"
    say(f"Fill in the column `reference` of one of the two, then: {again} --reference {target}")


def change(
    before: Annotated[Path, typer.Argument(help="Class map or map of fractions of the earlier date.")],
    after: Annotated[Path, typer.Argument(help="That of the later date; brought to the grid of BEFORE if need be.")],
    out: Annotated[Path, typer.Option(help="Map of change to write.")] = Path("change.tif"),
    zones: Annotated[Path | None, typer.Option(help="Polygons: GeoJSON, GeoPackage or Shapefile.")] = None,
    name: Annotated[str | None, typer.Option(help="Field that names the zones; else name or id.")] = None,
    min_area: Annotated[
        float, typer.Option(min=0, help="Hectares: pixels that touch and make up less are not called change.")
    ] = 0.0,
    reference: Annotated[
        Path | None, typer.Option(help="Filled sample of the map of change (`greentrain sample OUT`): intervals.")
    ] = None,
    errors: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Filled samples of BEFORE and of AFTER, or their runs: intervals of the net change."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page: both maps, the change, tables.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is no map of change of these two.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Gains and losses between two maps of one ground, in hectares, by class and zone; and the map of them.

    Two maps differ where the ground has changed, and where one of them is wrong. What can be said of the ground alone
    takes a sample: draw it from OUT, fill it in, and give the same command again with --reference.

    Example: greentrain change map_2016.tif map_2023.tif --out change.tif --min-area 0.1 --html change.html
    """
    from greentrain.ground.change_page import write_change_page
    from greentrain.ground.change_summary import Change, make_change
    from greentrain.maps.outputs import check_outputs
    from greentrain.maps.raster import open_raster

    if reference is not None and errors is not None:
        raise ConfigError("--errors", "--reference is given, too", "give the sample of the change alone: it says more")
    inputs = [path for path in (before, after, zones, reference, *(errors or ())) if path is not None]
    check_outputs(inputs, [out, *([html] if html is not None else [])])
    asked = Change(out, min_area, zones, name, reference, overwrite)
    with open_raster(before) as first, open_raster(after) as second:
        estimates = None if errors is None else (estimate_of(first, errors[0]), estimate_of(second, errors[1]))
        with progress("change", None) as bar:
            found = make_change(first, second, asked, estimates, bar)
        if html is not None:
            write_change_page(html, first, second, found)
    if as_json:
        print_json(found)
    else:
        typer.echo(_change_text(found))


def _change_text(found: dict[str, Any]) -> str:
    lines = [f"Counted: {found['counted']}."]
    if found["after_brought"]:
        lines.append(f"AFTER was brought {found['after_brought']}.")
    if found["min_area_hectares"]:
        lines.append(
            f"Patches below {found['min_area_hectares']:g} hectares are not called change: "
            f"{found['below_min_area_hectares']:,.2f} hectares of them."
        )
    lines += ["\n" + _change_table(part, found["unit"]) for part in (found, *found["zones"])]
    if (known := found.get("estimate")) is not None:
        lines += ["\n" + known["says"], *(_net_table(part, found["unit"]) for part in (known, *known["zones"]))]
    return "\n".join([*lines, found["map"]])


def _change_table(part: dict[str, Any], unit: str) -> str:
    flows = list(next(iter(part["classes"].values())))
    rows = [(name, *(format(row[flow], _HOW[flow]) for flow in flows)) for name, row in part["classes"].items()]
    return text_table((f"{part['name']}, {unit}", *flows), rows)


def _net_table(part: dict[str, Any], unit: str) -> str:
    flows = [flow for flow in ("gain", "loss", "net") if flow in next(iter(part["classes"].values()))]
    rows = [
        (name, *(text for flow in flows for text in (_number(row[flow], _HOW[flow]), _between(row[flow], _HOW[flow]))))
        for name, row in part["classes"].items()
    ]
    return text_table((f"{part['name']}, {unit}", *(text for flow in flows for text in (flow, "95 %"))), rows)


def _accuracies(words: Sequence[str]) -> dict[str, float]:
    """Of NAME=0.8 each."""
    found = {}
    for word in words:
        name, _, value = word.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise ConfigError("--expected", f"`{word}`", "write it NAME=0.8") from None
    return found


def estimate_of(
    raster: Raster, reference: Path, zones: Sequence[Zone] = (), covers: Sequence[Cover] = ()
) -> dict[str, Any]:
    """What a filled sample, or the validation tiles of a run's folder, say of an open map, and of zones of it.

    covers: what the map says of the zones.
    """
    from greentrain.ground.estimates import estimate, estimate_by_groups

    if not reference.is_dir():
        return estimate(raster, reference, zones, covers)
    from greentrain.study.evaluate import confusion_of_groups

    return estimate_by_groups(raster, *confusion_of_groups(reference), reference)


def estimate_text(found: dict[str, Any]) -> str:
    """What a sample, or validation tiles, say of a map: a table under a line that says what it stands on."""
    lines = [found["says"], _share_table(found) if "share_of" in found else _class_table(found)]
    return "\n".join([*lines, *(_zone_table(zone, found["unit"]) for zone in found.get("zones", ()))])


def _zone_table(zone: dict[str, Any], unit: str) -> str:
    rows = [(name, _number(row[unit], ",.2f"), _between(row[unit], ",.2f")) for name, row in zone["classes"].items()]
    few = "" if rows[0][2] != "-" else ", too few for an estimate"
    return f"\n{zone['name']}: {zone['points']} points{few}\n" + text_table(("", f"estimated {unit}", "95 %"), rows)


def _class_table(found: dict[str, Any]) -> str:
    unit = found["unit"]
    rows = [
        (
            name,
            f"{row[f'mapped_{unit}']:,.2f}",
            _number(row[unit], ",.2f"),
            _between(row[unit], ",.2f"),
            _number(row["users_accuracy"], ".1%"),
            _number(row["producers_accuracy"], ".1%"),
            f"{row['points']}",
        )
        for name, row in found["classes"].items()
    ]
    counted = "points" if found["from"] == "sample" else "labelled pixels"
    head = ("class", f"mapped {unit}", f"estimated {unit}", "95 %", "user's", "producer's", counted)
    overall = found["overall_accuracy"]
    return (
        f"{text_table(head, rows)}\nOverall accuracy {_number(overall, '.1%')} ({_between(overall, '.1%')}). User's "
        "accuracy: of what the map calls a class, the share that is it. Producer's: of what is it, the share mapped so."
    )


def _share_table(found: dict[str, Any]) -> str:
    unit = found["unit"]
    rows = [("map, uncorrected", f"{found['mapped'][unit]:,.2f}", "", f"{found['mapped']['share']:.2%}", "")]
    rows += [
        (
            f"{name} estimator",
            _number(found[name][unit], ",.2f"),
            _between(found[name][unit], ",.2f"),
            _number(found[name]["share"], ".2%"),
            _between(found[name]["share"], ".2%"),
        )
        for name in ("difference", "regression")
    ]
    return text_table((found["share_of"], unit, "95 %", "share", "95 %"), rows)


def _number(row: dict[str, float | None], how: str) -> str:
    return "-" if row["value"] is None else format(row["value"], how)


def _between(row: dict[str, float | None], how: str) -> str:
    """The interval; that of an area is cut off at 0, that of a share at 0 and 1, that of a net change is not."""
    if row["low"] is None or row["high"] is None:
        return "-"
    low = row["low"] if how.startswith("+") else max(row["low"], 0.0)
    high = min(row["high"], 1.0) if how.endswith("%") else row["high"]
    return f"{low:{how}} to {high:{how}}"
