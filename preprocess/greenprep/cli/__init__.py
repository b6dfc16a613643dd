"""The command line `greenprep`: each command parses, calls one function, reports."""

from __future__ import annotations

import typer

from greenprep.cli import clean as cli_clean
from greenprep.cli import init as cli_init
from greenprep.cli import scenes as cli_scenes
from greenprep.cli import serve as cli_serve
from greenprep.cli import store as cli_store
from greenprep.cli import watch as cli_watch
from greenschemas.console import add_version, run

__all__ = ["app", "main"]

app = typer.Typer(
    name="greenprep",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Check satellite images and masks, cut tiles, split them, and write one Zarr store.",
)
add_version(app)
app.add_typer(cli_init.app)
app.add_typer(cli_scenes.app)
app.add_typer(cli_clean.app)
app.add_typer(cli_store.app)
app.add_typer(cli_watch.app)
app.add_typer(cli_serve.app)


def main() -> None:
    """Entry point of the console script."""
    run(app)
