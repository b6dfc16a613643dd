"""Each side imports with the other side's libraries out of reach, and no extra brings what it must not."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement

BLOCK = """
import sys, importlib, pkgutil
sys.modules.update(dict.fromkeys({blocked!r}))  # None: as if it were not installed
for package in {packages!r}:
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, package + "."):
        if module.name not in {allowed!r}:
            importlib.import_module(module.name)
print("imported")
"""
# Triton is installed on machines with a GPU alone; the others draw maps, and `maps` reads rasters.
NEED_MORE = [
    "greentrain.nets.scan.triton_scan",
    "greentrain.maps.outputs",
    "greentrain.maps.raster",
    "greentrain.maps.scene",
    "greentrain.maps.judge",
    "greentrain.ground.zones",
    "greentrain.maps.predict",
    "greentrain.ground.area",
    "greentrain.ground.districts",
    "greentrain.ground.districts_page",
    "greentrain.ground.patches",
    "greentrain.ground.polygons",
    "greentrain.maps.stac",
    "greentrain.maps.opening",
    "greentrain.ground.picture",
    "greentrain.maps.scores",
    "greentrain.maps.warp",
    "greentrain.ground.sample",
    "greentrain.ground.reference",
    "greentrain.ground.estimates",
    "greentrain.ground.estimate_page",
    "greentrain.ground.change",
    "greentrain.ground.change_summary",
    "greentrain.ground.change_page",
]


@pytest.mark.parametrize(
    ("packages", "blocked", "allowed"),
    [
        (["greenschemas"], ["torch", "rasterio", "dask", "xarray", "tensorstore", "greenprep", "greentrain"], []),
        (["greenprep"], ["torch", "lightning_fabric", "tensorstore", "tensorboard", "sklearn", "greentrain"], []),
        (["greentrain"], ["rasterio", "dask", "distributed", "xarray", "greenprep"], NEED_MORE),
    ],
    ids=["greenschemas", "greenprep", "greentrain"],
)
def test_each_side_imports_without_the_libraries_of_the_other(
    packages: list[str], blocked: list[str], allowed: list[str]
) -> None:
    if packages == ["greentrain"]:
        pytest.importorskip("torch")
    code = BLOCK.format(packages=packages, blocked=blocked, allowed=allowed)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "imported", done.stderr


HELP = """
import sys
from {package}.cli import main
sys.argv = [{package!r}, "--help"]
try:
    main()
finally:
    print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)
"""
HEAVY = {
    "numpy",
    "zarr",
    "pydantic",
    "yaml",
    "torch",
    "rasterio",
    "dask",
    "distributed",
    "xarray",
    "tensorstore",
    "numba",
}


@pytest.mark.parametrize("package", ["greenprep", "greentrain"])
def test_help_loads_nothing_that_only_work_needs(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(package=package, heavy=HEAVY)], capture_output=True, text=True, check=False
    )
    assert "Usage" in done.stdout
    assert done.stderr.strip() == "[]"


PLATFORM = """
import importlib, os, pkgutil, signal, sys

def import_all():
    names = [module.name for package in {packages!r} for module in
             pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")
             if module.name not in {allowed!r}]
    for name in names:
        importlib.import_module(name)

import_all()  # Other people's libraries take this system for what it is; ours are loaded again on the other one.
for name in [name for name in sys.modules if name.partition(".")[0] in {packages!r}]:
    del sys.modules[name]
sys.modules.update(dict.fromkeys({blocked!r}))
for module, name in ((os, "fork"), (os, "pread"), (os, "sched_getaffinity"), (os, "sysconf"), (os, "O_NONBLOCK"),
                     (signal, "SIGUSR1"), (signal, "SIGKILL")):
    if name in {missing!r}:
        delattr(module, name)
sys.platform = {platform!r}
import_all()
print("imported")
"""


@pytest.mark.parametrize("packages", [["greenschemas", "greenprep"], ["greenschemas", "greentrain"]], ids="-".join)
@pytest.mark.parametrize(
    ("platform", "missing", "blocked"),
    [
        ("darwin", ["sched_getaffinity"], []),
        (
            "win32",
            ["fork", "pread", "sched_getaffinity", "sysconf", "O_NONBLOCK", "SIGUSR1", "SIGKILL"],
            ["fcntl", "resource", "termios", "pwd", "grp"],
        ),
    ],
    ids=["macos", "windows"],
)
def test_every_module_imports_where_the_system_has_less(
    packages: list[str], platform: str, missing: list[str], blocked: list[str]
) -> None:
    if "greentrain" in packages:
        pytest.importorskip("torch")
    code = PLATFORM.format(
        packages=packages, allowed=NEED_MORE[:1], platform=platform, missing=missing, blocked=blocked
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "imported", done.stderr


def _closure(extra: str) -> set[str]:
    """Names of all distributions that greenspace with one extra asks for, as far as they are installed."""
    found: set[str] = set()
    todo = [("greenspace", frozenset({extra}))]
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        try:
            needs = requires(name) or []
        except PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in ("", *extras)):
                todo.append((re.sub(r"[-_.]+", "-", need.name).lower(), frozenset(need.extras)))
    return found


def test_the_prep_extra_alone_brings_no_torch() -> None:
    closure = _closure("prep")
    assert "rasterio" in closure
    assert not closure & {"torch", "torchvision", "tensorstore", "lightning-fabric"}


def test_the_train_extra_alone_brings_no_gdal() -> None:
    closure = _closure("train")
    assert "torch" in closure
    assert not closure & {"rasterio", "gdal", "fiona", "dask", "distributed", "xarray", "torchvision"}
