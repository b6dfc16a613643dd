"""The commands `stack` and `join` of `greenprep`: scenes in several files become one. Each parses, calls, reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenschemas.console import progress

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def stack(
    scene: Annotated[Path, typer.Argument(help="SAFE folder, STAC item (JSON), or folder of single-band TIFFs.")],
    out: Annotated[Path, typer.Argument(help="GeoTIFF to write.")],
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe (YAML) whose bands are wanted; without one, 19-band Sentinel-2.")
    ] = None,
    metres: Annotated[
        float | None, typer.Option(min=0.01, help="Side of the pixels; by default the finest band's.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
) -> None:
    """Put the bands of a scene, of 10, 20 and 60 m or any other, into one file in the recipe's order.

    Quality bands keep the nearest value, reflectances are interpolated, or averaged over larger pixels; the file's tags
    say which. Numbers stay as they are: scale, offset and processing baseline go into the tags.

    Example: greenprep stack S2A_MSIL2A_20220315T101021.SAFE scene.tif --recipe city.yaml
    """
    from greenprep.scenes.stack import stack as run
    from greenschemas.errors import ConfigError
    from greenschemas.recipe import recipe_of

    if out.exists() and not overwrite:
        raise ConfigError(out, "is there already", "give another name, or `--overwrite` to replace it")
    bands = recipe_of(recipe).bands
    with progress("stack", None) as bar:
        grid = run(scene, out, bands, metres=metres, tick=bar)
    typer.echo(f"{out}: {len(bands)} bands of {grid.width} x {grid.height} pixels")


@app.command()
def join(
    folder: Annotated[Path, typer.Argument(help="Folder with the parts, named NAME-0000000000-0000010752.tif.")],
    out: Annotated[Path, typer.Argument(help="Folder for the whole files, each under its NAME.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of these names.")] = False,
) -> None:
    """Put the parts together in which Earth Engine exports large images and masks.

    Parts are copied block by block; one that is missing, or is no neighbour of the others, is named.

    Example: greenprep join downloads/images data/raw/images
    """
    from greenprep.scenes.join import join as run

    with progress("join", None) as bar:
        written = run(folder, out, overwrite=overwrite, tick=bar)
    typer.echo("\n".join(map(str, written)))
