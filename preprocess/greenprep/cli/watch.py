"""The command `watch` of `greenprep`."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from greenschemas.console import print_json, say

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_NICE = 10
"""Of 19: the kernel gives such a process a tenth of what an ordinary one gets beside it, and all when it is alone."""
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(option: str, text: str) -> float:
    """`90`, `90s`, `10m`, `2h`, `1d` in seconds; raises ConfigError for what is none of these."""
    from greenschemas.errors import ConfigError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise ConfigError(option, f"`{text}` is no time", "write it like 90s, 10m, 2h or 1d")
    return float(found[1]) * _UNITS[found[2]]


@app.command()
def watch(
    inbox: Annotated[
        str,
        typer.Argument(
            help="Folder, or s3://bucket/folder, that images and masks come into; only answers are written."
        ),
    ],
    clean: Annotated[Path, typer.Option(help="Folder for accepted pairs, manifest and report, as of `clean`.")],
    store: Annotated[Path, typer.Option(help="Store that accepted pairs are brought into.")],
    recipe: Annotated[Path | None, typer.Option(help="Recipe (YAML); default: that of CLEAN.")] = None,
    every: Annotated[
        str, typer.Option(metavar="TIME", help="Longest time that an accepted pair waits for the store.")
    ] = "10m",
    batch: Annotated[int, typer.Option(min=1, help="So many accepted pairs come into the store at once.")] = 50,
    settle: Annotated[str, typer.Option(metavar="TIME", help="A file that stays the same so long is done.")] = "2s",
    patience: Annotated[
        str, typer.Option(metavar="TIME", help="After so long, a file without a partner is told that it waits.")
    ] = "1h",
    once: Annotated[bool, typer.Option("--once", help="Do what is to be done now, and end: for cron.")] = False,
    poll: Annotated[bool, typer.Option("--poll", help="Look every second, and do not ask the system.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one a core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Work on this Dask cluster; it sees the same folders.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for everything that happens.")] = False,
) -> None:
    """Judge what comes into a folder, answer beside each file, and let a store grow by what is accepted.

    Beside NAME stand NAME.verdict.json and NAME.verdict.txt as soon as the file has stopped growing and its partner is
    there. It may be stopped, or killed, at any time: given again, it goes on. Times are written 90s, 10m, 2h or 1d.
    What lies in a bucket is copied to CLEAN.inbox, and stays there as long as it lies in the bucket.

    Example: greenprep watch inbox --clean data/clean --store data/city.zarr --recipe city.yaml --every 10m
    """
    if scheduler == "local":
        from greenschemas.errors import ConfigError

        raise ConfigError("--scheduler", "local", "leave it out: processes of this machine do the work anyway")
    _step_back()
    if scheduler is None:
        from greenprep.clean.task import PRELOAD
        from greenprep.engine.pool import warm_up

        warm_up(PRELOAD)  # First of all: its imports take as long as ours.
    from greenprep.watch.remote import Bucket
    from greenprep.watch.watch import watch as run
    from greenprep.watch.watch import watch_once
    from greenprep.watch.watcher import Pace, Places

    bucket = Bucket(inbox, clean) if "://" in inbox else None
    places = Places(Path(inbox) if bucket is None else bucket.spool, clean, store)
    times = {"--settle": settle, "--every": every, "--patience": patience}
    still, longest, wait = (seconds(option, text) for option, text in times.items())
    pace = Pace(still if bucket is None else 0.0, longest, batch, wait)  # A bucket has no object that still grows.
    tell = _as_line if as_json else _in_words
    if once:
        summary = watch_once(places, recipe, pace=pace, workers=workers, scheduler=scheduler, bucket=bucket, tell=tell)
        if not as_json:
            say(
                f"{summary.found} found = {summary.accepted} accepted + {summary.repaired} repaired + "
                f"{summary.rejected} rejected"
            )
        return
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())  # As the first process of a container: nobody else hears it.
    run(places, recipe, pace=pace, workers=workers, scheduler=scheduler, poll=poll, bucket=bucket, stop=stop, tell=tell)


def _step_back() -> None:
    """Give way to other programs, workers too, which inherit it: whoever looks at a page waits, a verdict does not."""
    if hasattr(os, "nice"):  # Not on Windows.
        os.nice(max(0, _NICE - os.nice(0)))


def _as_line(event: dict[str, Any]) -> None:
    print_json(event, indent=None)


def _in_words(event: dict[str, Any]) -> None:
    name = event.get("image") or event.get("mask")
    match event["event"]:
        case "verdict":
            codes = f" ({', '.join(event['codes'])})" if event["codes"] else ""
            say(f"{name}: {event['verdict']}{codes}{', judged again' if event['again'] else ''}")
        case "waiting":
            say(f"{name}: waits for its {'mask' if event['mask'] is None else 'image'}")
        case "batch":
            audit = "" if event["audit"] is None else f"; audit {event['audit']}"
            say(
                f"{event['added']} pairs came into the store: {event['sources']} sources, {event['tiles']} tiles{audit}"
            )
            for leak in event["leaks"]:
                say(f"WARNING {leak}")
        case "excluded":
            say(f"in no split from now on: {', '.join(event['groups'])}")
        case _:
            say(event["message"])
