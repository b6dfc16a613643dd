"""What both command lines share: one message for an error, a progress bar that is quiet when nobody looks, JSON."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from greenschemas.errors import ConfigError, GreenError, as_text

__all__ = ["Ticker", "add_version", "print_json", "progress", "run", "say", "text_table"]

_stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def run(app: typer.Typer) -> None:
    """Run a command line; our own errors end it with one message and exit code 2, Ctrl-C with one and 130.

    So do those of the file system, wherever they come from: a full disk or a folder that may not be written is nothing
    that a traceback explains.
    """
    try:
        _must_be_text(sys.argv[1:], os.getcwd())
        app()
    except GreenError as problem:
        typer.echo(f"Error: {problem}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read our output has had enough; point stdout elsewhere so that Python's own flush stays silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as problem:
        what = f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem)
        typer.echo(f"Error: {as_text(what)}. Make room, mend its permissions, or give another path.", err=True)
        sys.exit(2)
    except SystemExit as end:
        if not _was_interrupted(end):  # Typer answers Ctrl-C itself: by a code and no word, or by "Aborted."
            raise
        typer.echo("Stopped. To go on, give the same command again.", err=True)
        sys.exit(130)


def _must_be_text(words: Sequence[str], folder: str) -> None:
    """Raise ConfigError for paths that are no text: libraries for rasters and JSON open and write none other."""
    for word in (*words, folder):
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise ConfigError(word, "a name that is not UTF-8", "rename it")


def _was_interrupted(end: BaseException | None) -> bool:
    """Whether Ctrl-C led to this end."""
    while end is not None and not isinstance(end, KeyboardInterrupt):
        end = end.__context__
    return end is not None


def add_version(app: typer.Typer) -> None:
    """Give a command line the option --version."""
    app.callback(no_args_is_help=True)(_options)


def _show_version(context: typer.Context, asked: bool) -> None:
    if asked:
        import greenschemas

        typer.echo(f"{context.command.name} {greenschemas.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def say(text: str) -> None:
    """One line for the person at the terminal, on stderr, so that stdout stays for results."""
    _stderr.print(as_text(text), markup=False)


def print_json(value: object, *, indent: int | None = 1) -> None:
    """A result for machines, on stdout; indent: None for one line of many."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    typer.echo(text.encode("utf-8", "backslashreplace").decode())  # \udcff: JSON's own way to write it.


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need, the first to the left and the others to the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for number, name in enumerate(head):
        table.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    out = io.StringIO()
    Console(file=out, width=10_000, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


class _Rate(ProgressColumn):
    """Things a second."""

    def render(self, task: Task) -> Text:
        """Empty until a first thing is done."""
        return Text(f"{task.speed:.3g}/s" if task.speed else "")


class Ticker:
    """Counts finished things on a progress bar."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def total(self, total: float) -> None:
        """Say how many things there are, where that is known only now."""
        self._bar.update(self._task, total=total)

    def advance(self, by: float = 1, note: str | None = None) -> None:
        """Count `by` more things as done; `note` stands behind the bar."""
        self._bar.update(self._task, advance=by)
        if note is not None:
            self._bar.update(self._task, note=note)


@contextmanager
def progress(what: str, total: float | None) -> Iterator[Ticker]:
    """A bar with rate and time left on stderr; writes nothing when stderr is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_stderr, disable=not _stderr.is_terminal, transient=True) as bar:
        yield Ticker(bar, bar.add_task(what, total=total, note=""))
