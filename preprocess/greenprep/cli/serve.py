"""The command `serve` of `greenprep`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from greenschemas.console import say

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TOKEN = "GREENPREP_TOKEN"  # noqa: S105 - the name of a variable
_LEAST = 16


@app.command()
def serve(
    inbox: Annotated[Path, typer.Argument(help="Folder that `greenprep watch` watches; uploads come into it.")],
    clean: Annotated[Path, typer.Option(help="Clean folder of that watcher.")],
    store: Annotated[Path, typer.Option(help="Store of that watcher.")],
    runs: Annotated[Path | None, typer.Option(help="Folder with runs and comparisons of greentrain.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8765,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token; or set GREENPREP_TOKEN. Off loopback one is due.")
    ] = None,
    upload_max: Annotated[str, typer.Option(metavar="SIZE", help="Most that one upload may hold: 500M, 2G.")] = "2G",
    share: Annotated[
        Path | None, typer.Option(help="Folder of this machine whose files may be brought in by their path.")
    ] = None,
) -> None:
    r"""Show what the watcher of an inbox knows as pages and as JSON; take uploads and decisions from who has the token.

    Needs `pip install "greenspace\[service]"`. The API: /openapi.json.

    Example: greenprep serve inbox --clean data/clean --store data/city.zarr --runs runs
    """
    from greenschemas.errors import ConfigError

    try:
        import uvicorn

        from greenprep.serve.app import Door, make_app
    except ImportError as problem:
        raise ConfigError(
            "greenprep serve", f"`{problem.name}` is not installed", 'install it by `pip install "greenspace[service]"`'
        ) from None
    from greenprep.serve.service import Service
    from greenprep.watch.watcher import Places
    from greenschemas.manifest import RECIPE_NAME
    from greenschemas.recipe import load_recipe

    if not (clean / RECIPE_NAME).is_file():
        raise ConfigError(clean, f"no {RECIPE_NAME} in it", "start `greenprep watch` first: it writes one")
    recipe = load_recipe(clean / RECIPE_NAME)
    token = _token(token_file, host)
    door = Door(token[0], host, _size(upload_max), share)
    say(f"http://{f'[{host}]' if ':' in host else host}:{port}/enter{f'#{token[0]}' if token[1] else ''}")
    application = make_app(Service(Places(inbox, clean, store), recipe, runs), door)
    uvicorn.run(
        application,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=65,
    )


def _token(file: Path | None, host: str) -> tuple[str, bool]:
    """The token, and whether it was made for this run; raises ConfigError where one is due and there is none."""
    import secrets

    from greenprep.serve.access import is_loopback
    from greenschemas.errors import ConfigError

    given = file.read_text(encoding="utf-8") if file is not None else os.environ.get(_TOKEN, "")
    token = given.strip()
    if token and (len(token) < _LEAST or not re.fullmatch(r"[\x21-\x7e]+", token)):
        where = str(file or _TOKEN)
        raise ConfigError(where, "no safe token", f"{_LEAST} letters, digits or signs at least, without spaces")
    if not token and not is_loopback(host):
        raise ConfigError(
            "--host",
            f"{host} is reached from other machines, and there is no token",
            f"set {_TOKEN}, or give --token-file; `openssl rand -hex 32` makes one",
        )
    return (token, False) if token else (secrets.token_urlsafe(24), True)


def _size(text: str) -> int:
    from greenschemas.errors import ConfigError

    found = re.fullmatch(r"(\d+)([KMG]?)", text.strip().upper())
    if found is None:
        raise ConfigError("--upload-max", f"`{text}` is no size", "write it like 500M or 2G")
    return int(found[1]) * _UNITS[found[2]]
