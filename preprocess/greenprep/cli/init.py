"""The command `init` of `greenprep`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from greenschemas.console import say

__all__ = ["app"]

TRIED = 20
"""Pairs that are judged to say what `clean` would do."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def init(
    raw: Annotated[Path, typer.Argument(help="Folder of images and masks that nobody described; never written to.")],
    out: Annotated[Path, typer.Option(help="Recipe to write; must not be there yet.")] = Path("recipe.yaml"),
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take the likeliest.")] = False,
) -> None:
    """Look at a folder, write a commented recipe for it, and try that on 20 pairs; exit with 1 if none is good.

    On a terminal it asks what the files do not tell. Example: greenprep init ../mydata --yes
    """
    from greenprep.clean.clean import clean
    from greenprep.cli.clean import in_words
    from greenprep.init.write import init as look

    asks = not yes and sys.stdin.isatty()
    _, guessed = look(raw, out, ask=_ask if asks else None)
    recipe = guessed.recipe
    say(f"{out}: {len(recipe.bands)} bands, {recipe.mask.kind.value} masks of {', '.join(recipe.mask.names)}")
    for key in guessed.unsure:
        say(f"  look at {key}: {guessed.notes[key].splitlines()[-1]}")
    beside = raw.absolute().parent / f"{raw.absolute().name}.clean"  # a dry run writes nothing there
    entries, summary = clean(raw, beside, recipe, workers=1, dry_run=True, limit=TRIED)
    typer.echo(f"Tried on the first {min(TRIED, len(entries))}: {in_words(entries, summary, None)}")
    if summary.found == summary.rejected:
        raise typer.Exit(1)
    typer.echo(f"Next: greenprep run {shlex.quote(str(out))}")
    step = shlex.join(["greenprep", "clean", str(raw), f"{raw.absolute().name}.clean", "--recipe", str(out)])
    typer.echo(f"Or step by step, with copies of what is accepted: {step}")


def _ask(question: str, answer: str) -> str:
    return str(typer.prompt(question, default=answer))
