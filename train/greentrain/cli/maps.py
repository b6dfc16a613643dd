"""The commands of `greentrain` that draw maps and measure them: predict, area. Each parses, calls, reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenschemas.console import print_json, progress, say, text_table
from greenschemas.errors import ConfigError, SourceError
from greentrain.cli.areas import estimate_of, estimate_text

if TYPE_CHECKING:
    from greentrain.ground.districts import Table
    from greentrain.ground.zones import Zone
    from greentrain.maps.predict import Options
    from greentrain.maps.raster import Raster
    from greentrain.training.checkpoint import Trained

__all__ = ["AsJson", "area", "number", "on_device", "predict"]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def predict(
    run: Annotated[Path, typer.Argument(help="Folder that `greentrain fit --out` wrote.")],
    files: Annotated[
        list[Path],
        typer.Argument(help="SCENE OUT.tif, or a scene for each date and OUT.tif; with --out: scenes, or folders."),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the maps of many scenes: SCENE_map.tif each.")] = None,
    png: Annotated[Path | None, typer.Option(help="Also draw a picture with a legend; with --out, a folder.")] = None,
    polygons: Annotated[
        Path | None, typer.Option(help="Also write the map's patches as GeoPackage; with --out, a folder.")
    ] = None,
    min_area: Annotated[
        float, typer.Option(help="Hectares of the least patch of --polygons; smaller ones join what is around them.")
    ] = 0.05,
    fractions: Annotated[bool, typer.Option(help="Also write OUT_fractions.tif: shares of a pixel.")] = False,
    confidence: Annotated[bool, typer.Option(help="Also write OUT_confidence.tif: probability and entropy.")] = False,
    ensemble: Annotated[
        list[Path] | None, typer.Option(help="Another run, whose fractions are averaged with RUN's; may be repeated.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Mask of the scene: print the map's scores.")] = None,
    tta: Annotated[bool, typer.Option(help="Mean over four mirror images: better, four times the time.")] = False,
    window: Annotated[int | None, typer.Option(help="Pixels that the net sees at once; else its tiles' size.")] = None,
    overlap: Annotated[float, typer.Option(help="Share of a window that the next one sees again.")] = 0.5,
    batch_size: Annotated[int, typer.Option(help="Windows at once.")] = 8,
    scale: Annotated[float, typer.Option(help="Multiply the scene's reflectances by this.")] = 1.0,
    harmonise: Annotated[
        bool, typer.Option(help="Bring the scene to training's scale and offset tags, and Sentinel-2's +1000.")
    ] = False,
    resample: Annotated[float | None, typer.Option(help="Bring the scene to pixels of so many metres.")] = None,
    keep_clouds: Annotated[bool, typer.Option(help="Classify clouds, too, instead of leaving them out.")] = False,
    force: Annotated[bool, typer.Option(help="Map a scene although its values are unlike those of training.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace files that are no maps of this run and scene.")] = False,
    checkpoint: Annotated[str, typer.Option(help="Weights to use: best or last.")] = "best",
    remote: Annotated[bool, typer.Option("--remote", help="Read scenes and assets from https:// and s3://.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Draw the class map of a scene of any size, on the scene's own grid.

    A scene is a GeoTIFF, a STAC item (JSON), a SAFE folder, or a folder of single-band TIFFs. With --remote it, or an
    item's assets, may lie on a server: windows are read from there, and nothing is kept.

    A scene is judged first, as `greenprep clean` judges images: in other units, with other pixels or another
    radiometric offset than those of training it is refused, with the likely cause and the switch that mends it.
    A map that was stopped goes on where it stopped when the same command is given again.

    Example: greentrain predict runs/city scene.tif map.tif --png map.png --fractions

    A run on two dates: greentrain predict runs/seasons summer.tif winter.tif map.tif

    From a server: greentrain predict runs/city https://example.com/scene.tif map.tif --remote
    """
    from greentrain.maps.outputs import check_outputs, map_paths, pair_up
    from greentrain.maps.predict import Options

    pairs = pair_up(files, out)
    if labels is not None and len(pairs) > 1:
        raise ConfigError("--labels", f"one mask for {len(pairs)} scenes", "predict that scene by itself")
    options = Options(
        window=window,
        overlap=overlap,
        batch_size=batch_size,
        flips=tta,
        fractions=fractions,
        confidence=confidence,
        scale=scale,
        harmonise=harmonise,
        resample=resample,
        keep_clouds=keep_clouds,
        force=force,
        overwrite=overwrite,
        remote=remote,
        later=tuple(files[1:-1]) if out is None else (),
    )
    pictures, patches = (
        {t: to if to is None or out is None else (to / t.relative_to(out)).with_suffix(kind) for _, t in pairs}
        for to, kind in ((png, ".png"), (polygons, ".gpkg"))
    )
    outputs = [path for _, target in pairs for path in map_paths(target, fractions=fractions, confidence=confidence)]
    outputs += [path for path in (*pictures.values(), *patches.values()) if path is not None]
    check_outputs([*(scene for scene, _ in pairs), *options.later, *([labels] if labels else [])], outputs)
    nets = [on_device(each, checkpoint, device) for each in (run, *(ensemble or []))]
    results, failures = [], []
    for scene, target in pairs:
        try:
            results.append(_draw(nets, scene, target, options, pictures[target], labels))
            if (to := patches[target]) is not None:
                results[-1]["polygons"] = _trace(target, to, min_area)
        except SourceError as problem:
            if len(pairs) == 1:
                raise
            say(f"WARNING {problem}")
            failures.append(problem)
            results.append({"scene": str(scene), "maps": [], "error": str(problem)})
    if as_json:
        print_json(results if out is not None else results[0])
    else:
        _print_results(results)
    if failures:
        raise SourceError("predict", f"{len(failures)} of {len(pairs)} scenes have no map", "see the messages above")


def _print_results(results: Sequence[dict[str, Any]]) -> None:
    for result in results:
        if result["maps"]:
            typer.echo("\n".join([*result["maps"], *(result[key] for key in ("picture", "polygons") if key in result)]))
        if "scores" in result:
            typer.echo(_score_lines(result["scores"]))


def _draw(
    nets: Sequence[Trained], scene: Path, target: Path, options: Options, picture: Path | None, labels: Path | None
) -> dict[str, Any]:
    """Map, picture and scores of one scene; what was written, for the report."""
    from greenschemas.recipe import Recipe
    from greentrain.ground.picture import write_picture
    from greentrain.maps.predict import classifier_of, predict_scene
    from greentrain.maps.scores import score_map

    trained, classifier = nets[0], classifier_of(*nets)
    with progress("predict", None) as bar:
        written = predict_scene(classifier, scene, target, options, bar)
    result: dict[str, Any] = {"scene": str(scene), "maps": [str(path) for path in written]}
    if picture is not None:
        write_picture(
            picture,
            target,
            scene,
            trained.contract,
            classifier.classes,
            overwrite=options.overwrite,
            later=options.later,
            remote=options.remote,
        )
        result["picture"] = str(picture)
    if labels is not None:
        recipe = Recipe.parse(str(labels), trained.contract.recipe)
        result["scores"] = score_map(target, labels, trained.rule, recipe.mask, recipe.limits)
    return result


def _trace(map: Path, out: Path, least: float) -> str:
    from greentrain.ground.polygons import write_polygons

    with progress("polygons", None) as bar:
        count = write_polygons(map, out, least, bar)
    say(f"{out}: {count:,} patches of at least {least:g} ha.")
    return str(out)


def area(
    map: Annotated[Path, typer.Argument(help="Class map or map of fractions, as `greentrain predict` writes.")],
    zones: Annotated[Path | None, typer.Option(help="Polygons: GeoJSON, GeoPackage or Shapefile.")] = None,
    name: Annotated[str | None, typer.Option(help="Field that names the zones; else name or id.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the zones' numbers as a table.")] = None,
    gpkg: Annotated[Path | None, typer.Option(help="Write the zones with their numbers as a GeoPackage.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page: the zones by share of green, the estimate.")] = None,
    green: Annotated[
        list[str] | None, typer.Option(help="Class that counts as green, if its name does not say so; may be repeated.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Filled sample of the map: areas with intervals. Or its run: a first look by val tiles."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hectares and share of each class, for the whole map and for each zone.

    From a map of fractions half a pixel of lawn counts as half; from a class map only whole pixels count. A pixel at
    the edge of a zone counts by the share of it that the zone covers. Counting repeats the map's errors: with a sample
    that was filled in (`greentrain sample`) areas are put right by it.

    Example: greentrain area map_fractions.tif --zones districts.gpkg --name district --html districts.html

    With intervals of 95 percent: greentrain area map.tif --reference sample.gpkg
    """
    from greentrain.ground.area import class_names, measure, summary
    from greentrain.ground.districts import green_classes, tabulate, write_csv, write_districts
    from greentrain.ground.zones import read_zones
    from greentrain.maps.outputs import check_outputs
    from greentrain.maps.raster import open_raster

    outputs = [path for path in (csv, gpkg, html) if path is not None]
    of_zones = (csv, gpkg, name, green or None, html if reference is None else None)
    if zones is None and any(each is not None for each in of_zones):
        raise ConfigError("area", "no zones to write or name", "give --zones FILE")
    check_outputs([path for path in (map, zones, reference) if path is not None], outputs)
    with open_raster(map) as raster:
        shares = len(raster.names) > 1
        classes = class_names(raster.tags, raster.names, shares)
        counted = green_classes(classes, green or (), needed=html is not None and zones is not None)
        wanted = read_zones(zones, raster.grid, name) if zones is not None else ()
        covers = measure(raster, classes, wanted)
        found = summary(covers, classes, raster.crs_kind, fractions=shares)
        if reference is not None:
            found["estimate"] = estimate_of(raster, reference, wanted, covers[1:])
        table = tabulate(covers[1:], classes, counted)
        if csv is not None:
            write_csv(csv, table)
        if gpkg is not None:
            write_districts(gpkg, wanted, table)
        if html is not None:
            _write_page(html, raster, wanted, table, found.get("estimate"))
    if as_json:
        print_json(found)
    else:
        _print_area(found)


def _write_page(
    html: Path, raster: Raster, zones: Sequence[Zone], table: Table, estimate: dict[str, Any] | None
) -> None:
    """Of the zones where there are some, else of the estimate."""
    from greentrain.ground.districts_page import write_zones_page
    from greentrain.ground.estimate_page import write_estimate_page

    if zones:
        write_zones_page(html, raster.path, zones, table, raster.grid, estimate)
    elif estimate is not None:
        write_estimate_page(html, raster, estimate)


def _print_area(found: dict[str, Any]) -> None:
    typer.echo(f"Counted: {found['counted']}. CRS: {found['crs']}.")
    for part in (found, *found["zones"]):
        typer.echo("\n" + _area_table(part))
    if "estimate" in found:
        typer.echo("\n" + estimate_text(found["estimate"]))


def on_device(run: Path, checkpoint: str, device: str) -> Trained:
    """The net of a run, on the device of that name."""
    from greentrain.devices import find_device
    from greentrain.training.checkpoint import load_trained

    where = find_device(device, "--device")
    trained = load_trained(run, checkpoint)
    trained.net.to(where)
    return trained


def _score_lines(scores: dict[str, Any]) -> str:
    names = list(scores["classes"])
    rows = [(name, scores["classes"][name]["iou"], scores["classes"][name]["f1"]) for name in names]
    rows.append(("mean", scores["mean"]["iou"], scores["mean"]["f1"]))
    rows.append(
        (f"always {scores['constant']['class']}", scores["constant"]["mean"]["iou"], scores["constant"]["mean"]["f1"])
    )
    return text_table(("", "IoU", "F1"), [(name, number(iou), number(f1)) for name, iou, f1 in rows])


def _area_table(part: dict[str, Any]) -> str:
    rows = [
        (
            name,
            number(row["hectares"], 2),
            f"{row['pixels']:.1f}",
            "" if row["share"] is None else f"{row['share']:.1%}",
        )
        for name, row in part["classes"].items()
    ]
    rows.append(("all", number(part["hectares"], 2), f"{part['pixels']:.1f}", ""))
    missing = {"no data": part["pixels_without_data"], "outside the map": part["pixels_outside"]}
    rest = "".join(f"\n{what}: {round(pixels, 1):.10g} pixels" for what, pixels in missing.items() if pixels)
    return text_table((part["name"], "hectares", "pixels", "share"), rows) + rest


def number(value: float | None, places: int = 3) -> str:
    """A number for a table; a dash for none."""
    return "-" if value is None else f"{value:.{places}f}"
