"""The command of `greentrain` that draws a sample, and what `area` prints of one. Parses, calls, reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from greenschemas.console import print_json, say, text_table
from greenschemas.errors import ConfigError

__all__ = ["estimate_text", "sample"]

_SHOWN = 5


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
    from greentrain.maps.sample import draw_sample

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
    say(f"Fill in the column `reference` of one of the two, then: greentrain area {map} --reference {target}")


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


def estimate_text(found: dict[str, Any]) -> str:
    """What a sample, or validation tiles, say of a map: a table under a line that says what it stands on."""
    return "\n".join([*_origin(found), _share_table(found) if "share_of" in found else _class_table(found)])


def _origin(found: dict[str, Any]) -> list[str]:
    if found["from"] == "groups":
        return [found["warning"]]
    lines = [f"Estimated from {found['filled']} of {found['points']} points of {found['reference']}."]
    if empty := found["empty"]:
        more = f" and {len(empty) - _SHOWN} more" if len(empty) > _SHOWN else ""
        lines.append(
            f"{len(empty)} {'is' if len(empty) == 1 else 'are'} empty ({', '.join(empty[:_SHOWN])}{more}) and left "
            "out, as if the others of the stratum spoke for it."
        )
    return lines


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
    """The interval, cut off at 0: no area is less."""
    if row["low"] is None or row["high"] is None:
        return "-"
    return f"{max(row['low'], 0.0):{how}} to {row['high']:{how}}"
