"""The command line `greenprep`: each command parses, calls one function, reports."""

from __future__ import annotations

import typer

from greenprep.cli_clean import app as clean_app
from greenschemas.console import run

__all__ = ["app", "main"]

app = typer.Typer(name="greenprep", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Check satellite images and masks, cut tiles, split them, and write one Zarr store.")

app.add_typer(clean_app)


def main() -> None:
    """Entry point of the console script."""
    run(app)
