"""The commands of `greentrain` that say what nets are worth: card, compare, errors. Each parses, calls, reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from greenschemas.console import print_json, progress, text_table
from greentrain.cli.maps import AsJson, number, on_device

__all__ = ["card", "compare", "errors"]


def card(
    run: Annotated[Path, typer.Argument(help="Folder that `greentrain fit --out` wrote.")],
    store: Annotated[str | None, typer.Option(help="Its store, if that has moved, or another one.")] = None,
    split: Annotated[str, typer.Option(help="Split that the scores are of: val, train or test.")] = "val",
    licence: Annotated[str | None, typer.Option(help="Of the weights, as SPDX has it, such as CC-BY-4.0.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Write RUN/card.md, what a net was trained on, its scores and limits, and RUN/card.json, the same for catalogues.

    The JSON is a STAC item with the machine-learning model extension. Scores are made anew.

    Example: greentrain card runs/city --split test --licence CC-BY-4.0
    """
    from greentrain.study.card import write_card

    for path in write_card(run, store, split, licence=licence, device=device):
        typer.echo(path)


def compare(
    store: Annotated[Path, typer.Argument(help="Store with a split.")],
    out: Annotated[Path, typer.Option(help="Folder for the page, the JSON and the runs.")],
    models: Annotated[
        str,
        typer.Option(
            help="Of: constant, index, linear, spectral, context (without a net), unet, vmunet, detail, tiny, small, "
            "base."
        ),
    ] = "constant,index,spectral,context,unet,vmunet,detail",
    run: Annotated[
        Path | None, typer.Option(help="A run on this store that stands among them as it is, named by its preset.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each model; 3 are the least that shows chance.")] = 3,
    budget: Annotated[float, typer.Option(help="Minutes that each run may train.")] = 20.0,
    split: Annotated[str, typer.Option(help="Split to score on.")] = "val",
    changes: Annotated[list[str] | None, typer.Option("--set", help="Setting of all nets, key=value.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train models under one budget, score them on the same groups, and say what can be said of it.

    Writes OUT/compare.html and OUT/compare.json; goes on at the first missing run when given again.

    Example: greentrain compare city.zarr --models constant,spectral,unet,detail --seeds 3 --out compared --budget 20

    Your own run beside them: greentrain compare city.zarr --models constant,spectral --run runs/city --out compared
    """
    from greenschemas.store import open_store
    from greentrain.study.compare import ComparePlan, ranking
    from greentrain.study.compare import compare as compare_models
    from greentrain.study.compare_page import write_comparison
    from greentrain.study.contenders import fitting
    from greentrain.training.checkpoint import load_trained

    names = fitting([name.strip() for name in models.split(",") if name.strip()], open_store(store).contract)
    trained = None if run is None else (load_trained(run, "last").config.model.preset, run)
    names += () if trained is None else trained[:1]
    plan = ComparePlan(store, names, seeds, budget, out, split, tuple(changes or ()), trained)
    with progress("compare", len(list(plan.runs()))) as bar:
        report = compare_models(plan, bar)
    write_comparison(plan, report, out / "compare.html")
    if as_json:
        print_json(report)
        return
    typer.echo(_compare_table(report))
    for verdict in report["verdicts"]:
        typer.echo(verdict["text"])
    for warning in report["warnings"]:
        typer.echo(f"WARNING {warning}")
    typer.echo(f"{ranking(report)}\n{out / 'compare.html'}\n{out / 'compare.json'}")


def errors(
    run: Annotated[Path, typer.Argument(help="Folder that `greentrain fit --out` wrote.")],
    store: Annotated[Path | None, typer.Option(help="Another store than the run's own.")] = None,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    out: Annotated[Path | None, typer.Option(help="Folder for page and tables; else RUN/errors.")] = None,
    sure: Annotated[float, typer.Option(help="Probability from which the net counts as sure.")] = 0.9,
    limit: Annotated[float, typer.Option(help="Suspect share from which a tile goes to exclude.csv.")] = 0.2,
    checkpoint: Annotated[str, typer.Option(help="Weights to use: best or last.")] = "best",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Tiles and groups by loss, and labels that a sure net contradicts, as a page and as tables.

    Writes errors.html, tiles.csv, groups.csv and exclude.csv, which `greenprep split --exclude` takes.

    Example: greentrain errors runs/city --split val
    """
    from greentrain.study.evaluate import check_fits
    from greentrain.study.mistakes import find_mistakes, suspects_text, write_mistakes
    from greentrain.training.record import open_store_of

    trained = on_device(run, checkpoint, device)
    opened = open_store_of(run, None if store is None else str(store))
    check_fits(trained, opened.contract, opened.location)
    tiles = find_mistakes(trained, opened, split, sure=sure)
    folder = out if out is not None else run / "errors"
    suspects = write_mistakes(trained, opened, tiles, folder, sure=sure, limit=limit)
    if as_json:
        print_json({"tiles": len(tiles), "suspects": [tile.tile for tile in suspects], "folder": str(folder)})
        return
    typer.echo(suspects_text(tiles, limit))
    typer.echo(f"{folder / 'errors.html'}\n{folder / 'exclude.csv'}")


def _compare_table(report: dict[str, Any]) -> str:
    rows = []
    for name, model in report["models"].items():
        interval = model["interval"]["mean"]["iou"]
        between = "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
        rows.append(
            (
                name,
                number(model["mean"]["iou"]),
                between,
                f"{model['cost']['train_seconds']:.0f}",
                f"{model['cost']['peak_memory_mb']:.0f}",
            )
        )
    return text_table(("model", "mean IoU", "95 %", "seconds", "MB"), rows)
