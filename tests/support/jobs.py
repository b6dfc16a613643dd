"""Each command that writes, with what it needs and what must be the same afterwards, however it was disturbed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyogrio.raw
import rasterio
import yaml

from support.raw import Collection, tree
from support.safe import write_safe
from support.stores import write_tiny_store
from support.two_maps import write_two_maps

__all__ = ["Job", "command", "finished", "jobs", "raw_files", "same"]

TINY = ("preset=tiny", "d_state=1", "dims=[8,16]", "depths=[1,1]", "depths_decoder=[1,1]")
NET = [part for one in TINY for part in ("--set", f"model.{one}")] + ["--set", "batch_size=4", "--epochs", "2"]
DONE = ("there is a store already", "it holds a run already", "is there already")
"""What a command says that had ended before it was killed."""


def command(program: str, *args: object, **options: object) -> subprocess.Popen[str]:
    """`greenprep` or `greentrain` in a process group of its own, with its errors in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from {program}.cli import main; main()", *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


def finished(program: str, *args: object, **options: object) -> tuple[int, str]:
    """(exit code, errors) of a command that runs to its end."""
    process = command(program, *args, **options)
    said = process.communicate()[1]
    return process.returncode, said


def raw_files(folder: Path, areas: int = 5) -> Collection:
    """Pairs of some areas, two times each but of the last, and a recipe for them."""
    made = Collection(folder)
    for area in range(areas):
        for at in (1, 2) if area < areas - 1 else (1,):
            made.add(area, at)
    return made


def same(found: dict[str, bytes], due: dict[str, bytes]) -> bool:
    """Whether two trees hold the same, but for pages and STAC items, which hold times, and locks that a kill leaves."""
    drop = (".html", ".lock", ".stac.json")
    return {k: v for k, v in found.items() if not k.endswith(drop)} == {
        k: v for k, v in due.items() if not k.endswith(drop)
    }


@dataclass(frozen=True)
class Job:
    """A command, what stands where it writes before it starts, and what is to be the same afterwards."""

    words: tuple[object, ...]
    out: Path
    before: Path | None = None
    result: Callable[[Path], dict[str, bytes]] = field(default=tree)
    refusal: str | None = None
    """What it says where half of its result lies there, if it does not go on by itself."""

    def reset(self) -> None:
        """As before the command."""
        if self.out.is_dir():
            shutil.rmtree(self.out)
        if self.before is not None:
            shutil.copytree(self.before, self.out)

    def ends_as(self, due: dict[str, bytes]) -> str:
        """The command given to its end: `exact` where that gives what is due, `named`, or what was wrong."""
        code, said = finished(*self.words)  # type: ignore[arg-type]
        if code == 2 and self.refusal is not None and self.refusal in said:
            return "named"
        if code and not any(word in said for word in DONE):
            return f"WRONG, code {code}: {said[-300:]}"
        found = self.result(self.out)
        unlike = sorted(name for name in {*found, *due} if found.get(name) != due.get(name))
        return "exact" if same(found, due) else f"WRONG, another result in {unlike[:3]}: {said[-200:]}"


def _trained(run: Path) -> dict[str, bytes]:
    """Losses and scores of a run, without what a clock says."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [[row.get(key) for key in ("step", "train_loss", "val_loss", "val_iou")] for row in rows]
    return {"metrics": json.dumps(kept).encode()}


def _compared(folder: Path) -> dict[str, bytes]:
    """The scores of a comparison."""
    models = json.loads((folder / "compare.json").read_text())["models"]
    return {"scores": json.dumps({name: model["mean"] for name, model in models.items()}).encode()}


def _told(run: Path) -> dict[str, bytes]:
    """What `greenprep watch` leaves, without what a clock says: when a file was judged."""
    found = tree(run)
    for name in [name for name in found if name.endswith((".verdict.json", ".verdict.txt", "watch.jsonl"))]:
        found[name] = re.sub(rb"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)?", b"", found[name])
    return found


def _zones(folder: Path) -> dict[str, bytes]:
    """What a folder holds, of GeoPackages their rows: the file itself says when it was made."""
    found = tree(folder)
    for name in [name for name in found if name.endswith(".gpkg")]:
        _, _, shapes, columns = pyogrio.raw.read(folder / name)
        found[name] = repr([shapes.tolist(), [list(column) for column in columns]]).encode()
    return found


def _named(folder: Path) -> dict[str, bytes]:
    """The names of files, whose bytes are not the same twice."""
    return dict.fromkeys(tree(folder), b"")


def jobs(folder: Path) -> dict[str, Job]:
    """All commands that write, with what they need."""
    some = {"greenprep": prep_jobs(folder) | scene_jobs(folder), "greentrain": train_jobs(folder) | map_jobs(folder)}
    return {
        name: replace(job, words=(program, *job.words)) for program, each in some.items() for name, job in each.items()
    }


def prep_jobs(folder: Path) -> dict[str, Job]:
    """From raw files to a store, and what is written about it."""
    made = raw_files(folder)
    recipe = made.recipe("s")
    for name in ("few", "from"):  # The clean folder before and after more came.
        finished("greenprep", "clean", made.raw, folder / name, "--recipe", recipe, "--workers", 1)
        made.add(8, 1)
        made.add(9, 1)
    shutil.copytree(made.raw, folder / "came/inbox")
    finished("greenprep", "tile", folder / "few", folder / "few.zarr", "--workers", 0)
    shutil.copytree(folder / "few.zarr", folder / "dealt.zarr")
    finished("greenprep", "split", folder / "dealt.zarr", "--val", 0.3)
    none, nothing = ("--workers", 0), folder / "nothing"
    nothing.mkdir()
    w, about = folder / "w", folder / "about"
    watched = ("--clean", w / "c", "--store", w / "s.zarr", "--recipe", recipe, "--settle", "0.1s", "--workers", 1)
    return {
        "clean": Job(("clean", made.raw, folder / "c", "--recipe", recipe, "--workers", 2), folder / "c"),
        "tile": Job(("tile", folder / "from", folder / "t.zarr", *none), folder / "t.zarr"),
        "tile --append": Job(
            ("tile", folder / "from", folder / "a.zarr", "--append", *none), folder / "a.zarr", folder / "dealt.zarr"
        ),
        "split": Job(("split", folder / "p.zarr", "--val", 0.3), folder / "p.zarr", folder / "few.zarr"),
        "run": Job(("run", recipe, *none), folder / "s.zarr"),
        "watch": Job(("watch", w / "inbox", *watched, "--once"), w, folder / "came", _told),
        "card of a store": Job(("card", folder / "dealt.zarr", "--out", about), about, nothing),
        "show": Job(("show", folder / "dealt.zarr", 1, "--png", about / "tile.png"), about, nothing),
        "synth": Job(
            ("synth", folder / "y", "--areas", 3, "--times", 1, "--size", 64, "--no-defects"),
            folder / "y",
            refusal="is not empty. Choose an empty or new folder",
        ),
    }


def scene_jobs(folder: Path) -> dict[str, Job]:
    """Scenes in several files become one."""
    safe, parts, nothing = write_safe(folder, "2A", -1000), folder / "parts", folder / "nothing"
    for at in (0, 400):
        for name in "ab":
            write_scene(parts / f"{name}-0000000000-{at:010}.tif", 300, 400, 4e5 + 10 * at)
    out, recipe = folder / "j", folder / "visible.yaml"
    recipe.write_text(yaml.safe_dump({"bands": [{"name": name} for name in ("B2", "B3", "B4", "B8", "B11")]}))
    return {
        "stack": Job(("stack", safe, out / "s.tif", "--recipe", recipe, "--overwrite"), out, nothing),
        "join": Job(("join", parts, out, "--overwrite"), out, nothing),
    }


def write_scene(path: Path, height: int, width: int, west: float = 4e5) -> None:
    """Three bands of values that a net of the tiny store takes."""
    values = np.random.default_rng(0).normal(1000, 100, (3, height, width)).astype(np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    where = {"crs": "EPSG:32618", "transform": rasterio.Affine(10, 0, west, 0, -10, 4e6)}
    with rasterio.open(path, "w", driver="GTiff", count=3, dtype="uint16", height=height, width=width, **where) as file:
        file.write(values)


def train_jobs(folder: Path) -> dict[str, Job]:
    """From a store to a net and what it is worth."""
    store, net = folder / "tiny.zarr", folder / "net"
    write_tiny_store(store)
    finished("greentrain", "fit", store, "--out", net, *NET)
    few = ("--models", "constant,linear", "--seeds", 1)
    return {
        "fit": Job(("fit", store, "--out", folder / "r", "--resume", *NET), folder / "r", None, _trained),
        "compare": Job(("compare", store, "--out", folder / "k", *few), folder / "k", None, _compared),
        "export": Job(("export", net, folder / "x/net.pt2"), folder / "x", folder / "nothing", _named),
        "card of a net": Job(("card", folder / "n"), folder / "n", net),
        "errors": Job(("errors", folder / "n"), folder / "n", net),
    }


def map_jobs(folder: Path) -> dict[str, Job]:
    """From a net and scenes to maps, and what these say."""
    scene, maps, out, nothing = folder / "scene.tif", folder / "maps", folder / "z", folder / "nothing"
    write_scene(scene, 400, 500)
    maps.mkdir()
    write_two_maps(maps)
    before, after, zones = maps / "map_2016.tif", maps / "map_2023.tif", ("--zones", maps / "districts.geojson")
    said = ("--csv", out / "a.csv", "--gpkg", out / "a.gpkg", "--html", out / "a.html")
    page = ("--html", out / "change.html")
    return {
        "predict": Job(("predict", folder / "net", scene, "--out", folder / "m", "--overlap", 0.75), folder / "m"),
        "area": Job(("area", before, *zones, *said), out, nothing, _zones),
        "sample": Job(("sample", before, "--n", 100, "--out", out / "s.gpkg"), out, nothing, _zones),
        "change": Job(("change", before, after, *zones, "--out", out / "change.tif", *page), out, nothing),
    }
