"""The commands `clean`, `recipe`, `explain` and `synth` of `greenprep`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greenschemas.console import print_json, say

if TYPE_CHECKING:
    from greenschemas.manifest import Entry, Summary

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def clean(
    raw: Annotated[Path, typer.Argument(help="Folder of raw images and masks; never written to.")],
    out: Annotated[Path, typer.Argument(help="Folder for accepted pairs, manifest, summary and report.")],
    recipe: Annotated[
        Path | None,
        typer.Option(help="Recipe (YAML); without one, 19-band Sentinel-2 and five-class fractional masks."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Mend what can be mended for certain, or reject it.")
    ] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if anything was rejected, not only if everything was.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at the first so many pairs only.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read files again that have not changed since the last run.")
    ] = False,
) -> None:
    """Check every image and mask, and say of each what is wrong, how we know, and what to do.

    A second run looks only at what is new or changed. Example: greenprep clean raw cleaned --recipe city.yaml
    """
    from greenprep.clean.task import PRELOAD
    from greenprep.engine.pool import warm_up

    warm_up(PRELOAD)  # First of all: its imports take as long as ours.
    from greenprep.clean.clean import clean as run

    entries, summary = run(
        raw, out, recipe, workers=workers, repair=repair, verify=verify, dry_run=dry_run, limit=limit
    )
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        typer.echo(in_words(entries, summary, None if dry_run else out))
    if summary.rejected == summary.found or (strict and summary.rejected):
        raise typer.Exit(1)


@app.command()
def recipe(
    file: Annotated[Path | None, typer.Argument(help="Recipe (YAML) to fill up with the defaults.")] = None,
) -> None:
    """Print every key of a recipe with a comment and its default, as YAML.

    Example: greenprep recipe > city.yaml
    """
    from greenschemas.errors import RecipeError
    from greenschemas.recipe import Recipe
    from greenschemas.yaml_file import commented_yaml, read_settings

    settings = read_settings(file, RecipeError, "`greenprep recipe`") if file is not None else {}
    typer.echo(commented_yaml(Recipe.parse(file, settings, RecipeError)), nl=False)


@app.command()
def explain(
    code: Annotated[str | None, typer.Argument(help="A code from the manifest; without one, all are listed.")] = None,
) -> None:
    """Say what a check measures, its limit, and what to do about it.

    Example: greenprep explain wrapped-8-bit
    """
    from greenprep.findings import CATALOGUE
    from greenprep.findings import explain as entry
    from greenschemas.codes import Code
    from greenschemas.errors import ConfigError, nearest

    if code is None:
        for check in CATALOGUE.values():
            typer.echo(f"{check.code.value:20} {check.level.value:7} {check.what}")
        return
    if code not in list(Code):
        raise ConfigError("explain", f"no check `{code}`", nearest(code, Code))
    typer.echo(entry(Code(code)))


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="New folder for the raw files.")],
    areas: Annotated[int, typer.Option(min=1, help="Places, each a group.")] = 8,
    times: Annotated[int, typer.Option(min=1, help="Acquisitions of each place.")] = 3,
    size: Annotated[int, typer.Option(min=32, help="Pixels a side; every other place has one less.")] = 133,
    seed: Annotated[int, typer.Option(min=0, help="Another one draws another city.")] = 0,
    defects: Annotated[
        bool,
        typer.Option("--defects/--no-defects", help="Add one pair for each planted defect and each unusual encoding."),
    ] = True,
) -> None:
    """Write a small synthetic city as raw GeoTIFFs, to try everything without data.

    Example: greenprep synth city --areas 8
    """
    from greenprep.synth.city import write_city

    truth = write_city(out, areas=areas, times=times, size=size, seed=seed, defects=defects)
    spoilt = sum(one["defect"] is not None for one in truth.values())
    say(f"{len(truth)} images in {out}, {spoilt} of them with a planted defect; truth.json says which.")


def in_words(entries: Iterable[Entry], summary: Summary, out: Path | None) -> str:
    """The sums as a person reads them: what led to a rejection, what was repaired, what is only worth a look."""
    lines = [
        f"{summary.found} found = {summary.accepted} accepted + {summary.repaired} repaired + "
        f"{summary.rejected} rejected"
    ]
    counts = Counter(
        (reason.level.value, reason.code)
        for entry in entries
        for reason in {(one.level, one.code): one for one in entry.reasons}.values()
    )
    for level in ("reject", "repair", "warn"):
        rows = sorted((-count, code) for (of, code), count in counts.items() if of == level)
        lines += [f"{level}:", *(f"  {-count:6}  {code}" for count, code in rows)] if rows else []
    lines += [f"{name}: {said}" for name, said in summary.notes.items()]
    if out is not None:
        lines.append(
            f"Each file and why: {out / 'report.html'} and {out / 'manifest.jsonl'}; "
            "a code in full: greenprep explain CODE"
        )
    return "\n".join(lines)
