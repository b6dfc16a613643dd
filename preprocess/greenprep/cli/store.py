"""Commands that make, split and look at stores: each parses, calls one function, reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from greenschemas.choices import Edge, Times
from greenschemas.console import print_json, say

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_LISTED = 20
"""Sources without a tile that are named; --json names all."""
StoreArg = Annotated[str, typer.Argument(metavar="STORE", help="Path or URL of a store.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes on this machine, 0 for none; default: one a processor.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Work on this Dask cluster; `local`: one of this machine, with a dashboard."),
]
Append = Annotated[bool, typer.Option("--append", help="Add sources to a finished store, whose split stays.")]
Unassigned = Annotated[
    bool, typer.Option("--unassigned", help="With --append: new groups in no split, not dealt by the store's rules.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a store of the same name.")]


@app.command()
def tile(
    clean: Annotated[Path, typer.Argument(metavar="CLEAN", help="Folder that `greenprep clean` wrote.")],
    store: StoreArg,
    size: Annotated[int | None, typer.Option(min=1, help="Rows and columns of a tile.")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Pixels from tile to tile; default: size.")] = None,
    edge: Annotated[Edge | None, typer.Option(help="What to do with tiles that the source does not fill.")] = None,
    min_cover: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least share of a tile that its source fills.")
    ] = None,
    times: Annotated[
        Times,
        typer.Option(help="Each date of a group a source of its own, or all as one source with the bands of each."),
    ] = Times.APART,
    workers: Workers = None,
    scheduler: Scheduler = None,
    append: Append = False,
    unassigned: Unassigned = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Cut the accepted pairs of a clean folder into tiles and write one Zarr store.

    What is not given comes from the recipe that `greenprep clean` used. Where that says nothing, tiles have 128 pixels
    a side and stand edge to edge; one that sticks out of its source is padded, if a quarter of it at least is real.

    Example: greenprep tile data/clean data/city.zarr --size 128

    More pairs, a batch at a time: greenprep tile data/clean data/city.zarr --append
    """
    from greenprep.engine.choose import warm_up

    warm_up(workers, scheduler)
    from greenprep.build.run import tile as build

    outcome = build(
        clean,
        store,
        size=size,
        stride=stride,
        edge=edge,
        min_cover=min_cover,
        times=times,
        workers=workers,
        scheduler=scheduler,
        append=append,
        unassigned=unassigned,
        overwrite=overwrite,
    )
    _report(store, outcome.contract, as_json, without_tiles=list(outcome.without_tiles))
    _remark(outcome)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file that names `raw` and `store`.")],
    workers: Workers = None,
    scheduler: Scheduler = None,
    append: Append = False,
    unassigned: Unassigned = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Clean, tile and split in one reading of the raw files: the same store as by the three commands.

    The recipe of `greenprep init` says where raw files are and where the store goes.

    Example: greenprep run recipe.yaml
    """
    from greenprep.engine.choose import warm_up

    warm_up(workers, scheduler)
    from greenprep.build.run import run as build

    outcome = build(
        recipe, workers=workers, scheduler=scheduler, append=append, unassigned=unassigned, overwrite=overwrite
    )
    summary = outcome.summary
    if not as_json:
        say(
            f"{summary.found} found = {summary.accepted} accepted + {summary.repaired} repaired + "
            f"{summary.rejected} rejected; reasons in {outcome.clean}"
        )
    more = {"summary": summary.model_dump(mode="json"), "without_tiles": list(outcome.without_tiles)}
    _report(outcome.store, outcome.contract, as_json, **more)
    _remark(outcome)


@app.command()
def split(
    store: StoreArg,
    val: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the pixels for validation.")] = None,
    test: Annotated[float | None, typer.Option(min=0, max=1, help="Share for the test split.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed deals the same; another one differently.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="What stays together: group, a named part of the file name (city, year), a regular expression, or "
            "blocks: ground within each scene, with a strip in no split between."
        ),
    ] = None,
    block: Annotated[float | None, typer.Option(min=1e-9, help="Keep squares of this many metres together.")] = None,
    buffer: Annotated[float, typer.Option(min=0, help="Metres between splits; what is nearer is in none.")] = 0,
    folds: Annotated[int | None, typer.Option(min=2, help="Deal out to so many folds.")] = None,
    fold: Annotated[int, typer.Option(min=0, help="The fold that is val, the others being train.")] = 0,
    file: Annotated[Path | None, typer.Option(help="CSV with columns `group` and `split` to go by.")] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="CSV with a column `group`, `path` or `tile` to leave out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Deal groups out to train, val and test, audit the result, and write the statistics of train; exit with 1 if the
    audit finds ground or pictures that stand in two splits: `greentrain fit` refuses such a store.

    What is not given comes from the store's recipe. Where that says nothing, a fifth goes to val and nothing to test,
    in whole groups, with seed 0.

    Example: greenprep split data/city.zarr --val 0.2 --test 0.1 --seed 1

    One scene is enough: greenprep split data/scene.zarr --by blocks
    """
    from greenprep.split.assign import split as deal

    contract, found = deal(
        store,
        val=val,
        test=test,
        seed=seed,
        by=by,
        block=block,
        buffer=buffer,
        folds=folds,
        fold=fold,
        file=file,
        exclude=exclude,
    )
    if as_json:
        print_json({"split": contract.model_dump(mode="json")["split"], "audit": found.as_json()})
    else:
        from greenprep.inspect.tables import audit_text, remarks, split_text

        typer.echo(split_text(contract))
        typer.echo(audit_text(found))
        for remark in remarks(contract, found):
            say(remark)
    if not found.passed:
        raise typer.Exit(1)


@app.command()
def audit(store: StoreArg, as_json: Json = False) -> None:
    """Look for ground or pictures that stand in two splits; exit with 1 if there are any.

    Example: greenprep audit data/city.zarr
    """
    from greenprep.inspect.tables import audit_text
    from greenprep.split.audit import audit_store
    from greenschemas.store import open_store

    opened = open_store(store)
    found = audit_store(opened, opened.splits())
    print_json(found.as_json()) if as_json else typer.echo(audit_text(found))
    if not found.passed:
        raise typer.Exit(1)


@app.command()
def stats(
    store: StoreArg,
    split: Annotated[
        str | None, typer.Option(help="train, val, test or all; default: train, or all if the store has no split.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="`group`: a line a group, the outliers first.")] = None,
    as_json: Json = False,
) -> None:
    """Means, deviations, percentiles, class shares and weights, from the groups' records: no pixel is read.

    Example: greenprep stats data/city.zarr --split val --json
    """
    from greenprep.inspect.tables import group_text, stats_text
    from greenprep.store.statistics import group_table, stats_table
    from greenschemas.errors import ConfigError
    from greenschemas.store import open_store

    opened = open_store(store)
    if by is not None:
        if by != "group":
            raise ConfigError("--by", f"`{by}`", "only `group` is known")
        rows = group_table(opened)
        print_json(rows) if as_json else typer.echo(group_text(rows))
        return
    wanted = split or ("train" if opened.contract.split else "all")
    table = stats_table(opened, None if wanted == "all" else wanted)
    print_json(table) if as_json else typer.echo(stats_text(table))


@app.command()
def card(
    store: StoreArg,
    out: Annotated[Path | None, typer.Option(help="Folder for the cards; default: that of the store.")] = None,
) -> None:
    """Write NAME.croissant.json, a description of a data set for catalogues, and NAME.card.md, for people.

    Licence, source and citation come from `about` in the recipe that made the store.

    Example: greenprep card data/city.zarr
    """
    from greenprep.inspect.card import write_card
    from greenschemas.store import open_store

    for path in write_card(open_store(store), out):
        typer.echo(path)


@app.command()
def inspect(store: StoreArg, as_json: Json = False) -> None:
    """What a store holds: bands, classes, tiles, split and statistics.

    Example: greenprep inspect data/city.zarr
    """
    from greenprep.inspect.tables import contract_text
    from greenschemas.store import open_store

    opened = open_store(store)
    if as_json:
        print_json({"store": opened.location, **opened.contract.model_dump(mode="json")})
        return
    typer.echo(contract_text(opened))


@app.command()
def check(
    store: StoreArg,
    deep: Annotated[bool, typer.Option("--deep", help="Read every pixel: shards, checksums, moments.")] = False,
    as_json: Json = False,
) -> None:
    """Verify a store against its contract; exit with 1 if something is wrong. It also says what a store
    of an older version lacks.

    Example: greenprep check data/city.zarr --deep
    """
    from greenprep.inspect.verify import lacking, verify

    problems = verify(store, deep=deep)
    lacks = [] if problems else lacking(store)
    if as_json:
        print_json({"store": store, "deep": deep, "problems": problems, "lacks": lacks})
    else:
        for problem in problems:
            typer.echo(problem)
        for what in lacks:
            typer.echo(f"an older store, without {what}")
        typer.echo("nothing wrong" if not problems else f"{len(problems)} problems")
    if problems:
        raise typer.Exit(1)


@app.command()
def report(
    store: StoreArg,
    out: Annotated[Path | None, typer.Option(help="HTML file; default: beside the store.")] = None,
    clean: Annotated[
        Path | None,
        typer.Option(help="Folder whose manifest says what was left out; default: the one beside the store."),
    ] = None,
) -> None:
    """One page: map of the split, histograms of train against val, class shares, sample tiles, what was left out.

    Example: greenprep report data/city.zarr --out city.html
    """
    from greenprep.inspect.report import write_store_report

    typer.echo(str(write_store_report(store, out, clean)))


@app.command()
def show(
    store: StoreArg,
    tile: Annotated[int, typer.Argument(min=0, help="Id of the tile.")],
    png: Annotated[Path, typer.Option(help="Picture to write.")] = Path("tile.png"),
) -> None:
    """A picture of one tile: the image beside the greatest class of each pixel; what is invalid is white.

    Example: greenprep show data/city.zarr 17 --png tile17.png
    """
    from greenprep.inspect.tile_picture import write_tile

    red, green, blue = write_tile(store, tile, png)
    typer.echo(f"{png}: {red}, {green}, {blue} as red, green, blue, beside the classes")


def _remark(outcome: Any) -> None:
    """What a build's split makes worth saying, if it has one."""
    if outcome.audit is not None:
        from greenprep.inspect.tables import remarks

        for remark in remarks(outcome.contract, outcome.audit):
            say(remark)


def _report(store: str, contract: Any, as_json: bool, **more: Any) -> None:
    if as_json:
        print_json(
            {
                "store": store,
                "tiles": contract.tiles,
                "sources": contract.sources,
                "groups": contract.groups,
                **({"split": contract.split.model_dump(mode="json")} if contract.split else {}),
                **more,
            }
        )
        return
    typer.echo(f"{store}: {contract.tiles} tiles of {contract.sources} sources in {contract.groups} groups")
    if lost := more.get("without_tiles"):
        typer.echo(
            f"{len(lost)} accepted sources gave no tile, being too small for one of {contract.tile_size} pixels "
            f"(see size and min_cover under `tile`): {', '.join(lost[:_LISTED])}{', …' if len(lost) > _LISTED else ''}"
        )
