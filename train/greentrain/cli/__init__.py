"""The command line `greentrain`: each command parses, calls one function, reports.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from greenschemas.console import add_version, print_json, run, say, text_table
from greentrain.cli.areas import change, sample
from greentrain.cli.maps import area, predict
from greentrain.cli.study import card, compare, errors

__all__ = ["app", "main"]

app = typer.Typer(
    name="greentrain",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train a net on a store, score it beside doing nothing, and draw maps.",
)

add_version(app)


class SplitName(StrEnum):
    """Tiles to score."""

    VAL = "val"
    TRAIN = "train"
    TEST = "test"
    ALL = "all"


class Which(StrEnum):
    """Checkpoint of a run."""

    BEST = "best"
    LAST = "last"


StorePath = Annotated[str, typer.Argument(help="Store that greenprep wrote: a folder or URL.")]
RunPath = Annotated[Path, typer.Argument(help="Folder of a run.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings as YAML; see `greentrain config`.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value; may be repeated.")]


@app.command()
def fit(
    store: StorePath,
    out: Annotated[Path, typer.Option("--out", help="Folder for the run.")],
    config: ConfigFile = None,
    changes: Changes = None,
    epochs: Annotated[int | None, typer.Option(help="Short for --set epochs=N.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out, or start if there is none.")
    ] = False,
    devices: Annotated[int | None, typer.Option(help="Short for --set devices=N.")] = None,
    bands: Annotated[str | None, typer.Option(help="Short for --set bands=…: names, a role, or pca:3.")] = None,
    cache: Annotated[str | None, typer.Option(help="Short for --set cache=…: auto, none, or GB.")] = None,
    pretrained: Annotated[Path | None, typer.Option(help="Short for --set pretrained=FILE.")] = None,
    stem: Annotated[str | None, typer.Option(help="Short for --set stem=…: mean, repeat, copy-rgb or random.")] = None,
    scan: Annotated[
        str | None, typer.Option(help="Short for --set model.scan=…: auto, reference, cpu, triton or mamba-ssm.")
    ] = None,
    activation: Annotated[str | None, typer.Option(help="Short for --set model.activation=…: silu or gelu.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Short for --set target=…: fractions, hard, or a class against all others.")
    ] = None,
    min_purity: Annotated[float | None, typer.Option(help="Short for --set min_purity=…")] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Short for --set compile=true.")] = False,
    stop_on_collapse: Annotated[
        bool, typer.Option("--stop-on-collapse", help="End the run when a watchdog finds that it learns nothing.")
    ] = False,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Train although the same ground stands in two splits.")
    ] = False,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Also log to MLflow.")] = False,
    wandb: Annotated[bool, typer.Option("--wandb", help="Also log to Weights & Biases.")] = False,
) -> None:
    """Train a net on a store.

    Example: greentrain fit data/city.zarr --out runs/city --set model.preset=tiny --epochs 5
    """
    short = {
        "epochs": epochs,
        "devices": devices,
        "bands": bands,
        "cache": cache,
        "pretrained": pretrained,
        "stem": stem,
        "model.scan": scan,
        "model.activation": activation,
        "target": target,
        "min_purity": min_purity,
        "compile": compile_ or None,
        "stop_on_collapse": stop_on_collapse or None,
    }
    wanted = [*(changes or []), *(f"{key}={value}" for key, value in short.items() if value is not None)]
    from greentrain.runs import fit as train

    outcome = train(
        store,
        out,
        config=config,
        changes=wanted,
        resume=resume,
        allow_leak=allow_leak,
        mlflow=mlflow,
        wandb=wandb,
        command=("greentrain", *sys.argv[1:]),
    )
    if not outcome.leader:
        return
    if outcome.signal is not None:
        again = ["greentrain", "fit", store, "--out", str(out), "--resume"]
        flags = {"--allow-leak": allow_leak, "--mlflow": mlflow, "--wandb": wandb}
        again += [flag for flag, given in flags.items() if given]  # which are no settings, and not in the checkpoint
        say(f"Stopped by {outcome.signal.name} after a checkpoint. Go on with: {shlex.join(again)}")
        raise typer.Exit(128 + outcome.signal)
    say(f"{outcome.status} after {outcome.epochs} epochs: {out / 'report.html'}")
    if outcome.best is not None:
        if "epoch" in outcome.best:  # which a run that an older version began does not know
            typer.echo(f"Epoch {outcome.best['epoch']}, the best on the val split, whose net is kept:")
        typer.echo(_table(outcome.best))
        if outcome.beside is not None:
            typer.echo(outcome.beside)


@app.command()
def evaluate(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    store: Annotated[str | None, typer.Option(help="Another store of the same bands and classes.")] = None,
    split: Annotated[SplitName, typer.Option(help="Tiles to score.")] = SplitName.VAL,
    checkpoint: Annotated[Which, typer.Option(help="Weights to use: best or last.")] = Which.BEST,
    batch_size: Annotated[int, typer.Option(min=1, help="Tiles at once.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    tta: Annotated[
        bool, typer.Option("--tta", help="Mean over four mirror images: better, four times the time.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All scores as JSON on stdout.")] = False,
) -> None:
    """Score a trained net, with its trees where it has them, beside the best constant.

    Example: greentrain evaluate runs/city --split test --json
    """
    from greentrain.study.evaluate import evaluate as score

    found = score(run_path, store, split.value, which=checkpoint.value, batch_size=batch_size, device=device, flips=tta)
    if as_json:
        print_json(found)
        return
    typer.echo(_table(found))
    typer.echo(
        f"Calibration error {found['calibration_error']:.4f} with the run's temperature of {found['temperature']:.3f}, "
        f"{found['calibration_error_before']:.4f} without."
    )


@app.command()
def export(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[Path, typer.Argument(help="File to write: .pt2 for torch.export, .onnx for ONNX.")],
    checkpoint: Annotated[Which, typer.Option(help="Weights to use: best or last.")] = Which.BEST,
) -> None:
    """Write a trained net, with its normaliser, as a program that runs without greentrain.

    The program takes raw values (batch, bands, rows, columns) of the run's tile size, NaN where a pixel has none, and
    gives logits (batch, classes, rows, columns). At the end it is run, and compared with the net.

    Example: greentrain export runs/city city.onnx
    """
    from greentrain.training.export import export_run

    found = export_run(run_path, out, checkpoint.value)
    typer.echo(f"{out}: logits within {found.difference:.1e} of the run's; rounding explains {found.allowed:.1e}")


@app.command()
def doctor(
    store: StorePath,
    config: ConfigFile = None,
    changes: Changes = None,
    as_json: Annotated[bool, typer.Option("--json", help="The checks as JSON on stdout.")] = False,
) -> None:
    """Look at a store and settings before training: data, memory, speed, one batch learnt by heart.

    The last line says what trees reach on train groups that are held out; the val split is not looked at.

    Exits with 1 if a check failed. Example: greentrain doctor data/city.zarr --set model.preset=tiny
    """
    from dataclasses import asdict

    from greenschemas.store import open_store
    from greentrain.config import load_config
    from greentrain.study.floor import find_floor
    from greentrain.training.doctor import Diagnosis, Severity, all_checks

    opened, settings = open_store(store), load_config(config, changes or [])
    checks: list[Diagnosis] = []

    def tell(check: Diagnosis) -> None:
        checks.append(check)
        if not as_json:
            typer.echo(f"{check.level:5} {check.name}: {check.found}" + (f". {check.remedy}" if check.remedy else ""))

    for check in all_checks(opened, settings):
        tell(check)
    if not any(check.level is Severity.FAIL for check in checks):
        tell(find_floor(opened, settings))
    if as_json:
        print_json([asdict(check) for check in checks])
    if any(check.level is Severity.FAIL for check in checks):
        raise typer.Exit(1)


@app.command()
def report(run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]) -> None:
    """Write RUN/report.html again, as `fit` does at its end.

    Example: greentrain report runs/city
    """
    from greentrain.study.run_report import write_run_report

    typer.echo(write_run_report(run_path))


@app.command()
def config(
    file: Annotated[Path | None, typer.Argument(help="YAML file to fill up with the defaults.")] = None,
    changes: Changes = None,
) -> None:
    """Print all settings as YAML, with comments.

    Example: greentrain config > mine.yaml
    """
    from greenschemas.yaml_file import commented_yaml
    from greentrain.config import load_config

    typer.echo(commented_yaml(load_config(file, changes or [])), nl=False)


def _table(scores: dict[str, Any]) -> str:
    """Scores a class and their mean, with the constant's beside them; and of boundaries where they were scored."""
    metrics: tuple[str, ...] = ("iou", "f1", "accuracy", "specificity", "sensitivity")
    rows = {**scores["classes"], "mean": scores["mean"], "mean of constant": scores["constant"]["mean"]}
    if boundary := scores.get("boundary"):
        metrics = (*metrics, "boundary iou")
        rows = {
            name: row | ({"boundary iou": boundary[name]} if name in boundary else {}) for name, row in rows.items()
        }
    return text_table(("", *metrics), ((name, *(_score(row, m) for m in metrics)) for name, row in rows.items()))


def _score(row: dict[str, Any], metric: str) -> str:
    if metric not in row:
        return ""
    return "absent" if row[metric] is None else f"{row[metric]:.4f}"


for command in (predict, area, sample, change, card, compare, errors):
    app.command()(command)


def main() -> None:
    """Entry point of the console script."""
    # Threads that wait by spinning take the processor from those they wait for when others share the machine: a step
    # was seen to take ten times as long. Read once, when torch loads OpenMP.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    run(app)
