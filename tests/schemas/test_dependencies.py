"""What the packages import is declared, and what is declared is imported or says here what it is for."""

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRA = {"greenschemas": None, "greenprep": "prep", "greentrain": "train"}
# Of another extra than the package's own; where it is missing, our own error asks for it.
BORROWED = {
    "greenschemas": {"xarray": "prep"},
    "greenprep": dict.fromkeys(("anyio", "fastapi", "starlette", "uvicorn", "watchfiles"), "service"),
    "greentrain": {"rasterio": "prep", "onnxruntime": "onnx", "onnxscript": "onnx"},
}
# Comes with a CUDA build of torch, and is done without elsewhere.
OPTIONAL = {"triton"}
NOT_IMPORTED = {
    "bokeh": "distributed shows its dashboard with it",
    "cryptography": "distributed makes the certificates of a local cluster with it",
    "python-multipart": "starlette reads forms and uploads with it",
    "rioxarray": "gives arrays of xarray their `.rio`",
    "tensorboard": "torch.utils.tensorboard writes with it",
}


def _imports(package: str) -> set[str]:
    """Top-level names of everything that a package imports, at its top or inside a function."""
    return {name for path in _sources(package) for name in _imports_of(path)} - sys.stdlib_module_names - EXTRA.keys()


def _sources(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None
    return (path for folder in spec.submodule_search_locations for path in Path(folder).rglob("*.py"))


def _imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _distributions(package: str) -> set[str]:
    """Names on the package index of what a package imports, as far as they are installed."""
    provided = packages_distributions()
    return {_plain(name) for found in _imports(package) for name in provided.get(found, [])}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared(extra: str | None) -> set[str]:
    listed = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    return {_plain(Requirement(text).name) for text in listed}


@pytest.mark.parametrize("package", EXTRA)
def test_what_is_imported_is_declared(package: str) -> None:
    provided = packages_distributions()
    for name in _imports(package) - OPTIONAL:
        extra = BORROWED.get(package, {}).get(name, EXTRA[package])
        brought_by = {_plain(found) for found in provided.get(name, [])}
        if not brought_by and extra not in (None, "prep"):
            continue  # where only greenprep is installed
        assert brought_by & (_declared(None) | _declared(extra)), (
            f"{package} imports `{name}`: add {sorted(brought_by)} to "
            f"{f'the extra {extra}' if extra else 'dependencies'} of pyproject.toml"
        )


@pytest.mark.parametrize("extra", [None, "prep", "service", "train"])
def test_what_is_declared_is_imported(extra: str | None) -> None:
    if extra == "train":
        pytest.importorskip("torch")
    used = {name for package in EXTRA for name in _distributions(package)}
    assert _declared(extra) - used - NOT_IMPORTED.keys() == set(), "drop it, or say in NOT_IMPORTED what it is for"


def test_the_architecture_says_what_each_root_imports() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for package in EXTRA:
        row = next(line for line in text.splitlines() if line.startswith("| `") and f"| `{package}` |" in line)
        cell = row.rstrip(" |").rpartition(" | ")[2]
        named = set(re.findall(r"`(\w+)`", cell)) - EXTRA.keys()
        assert named == _imports(package), f"ARCHITECTURE.md, row of {package}, column of imports: {cell}"
