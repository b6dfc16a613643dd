"""What `import greenprep`, `greentrain` and `greenschemas` give: each public name, whatever was imported first."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import greenprep
import greenschemas
import greentrain

FACES = [greenschemas, greenprep, greentrain]


def _for_editors(package):
    """Names that the package imports under TYPE_CHECKING, with their modules."""
    [block] = [node for node in ast.parse(inspect.getsource(package)).body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {name.name: node.module for node in imports for name in node.names}


@pytest.mark.parametrize("package", FACES, ids=lambda package: package.__name__)
def test_a_face_gives_what_editors_see_and_lists_it(package):
    if package.__name__ == "greentrain":
        pytest.importorskip("torch")
    seen = _for_editors(package)
    assert {*seen, "__version__"} == set(package.__all__)
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    for name, module in seen.items():
        given = getattr(package, name)
        assert given is getattr(importlib.import_module(module), name)
        assert inspect.getdoc(given), f"{package.__name__}.{name} has no docstring"


@pytest.mark.parametrize("package", FACES, ids=lambda package: package.__name__)
def test_a_name_that_is_not_there_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018
    assert package.__version__.count(".") == 2


IMPORTS = """
import sys
{first}
import greenprep as gp
from greenprep import clean, split
from greenprep.clean.clean import clean as same
from greenprep.split.assign import split as dealt
from greenprep.clean import clean as module
import importlib, types
assert gp.clean is clean is same and gp.split is split is dealt, (gp.clean, gp.split)
assert module is sys.modules["greenprep.clean.clean"] is importlib.import_module("greenprep.clean.clean")
assert isinstance(sys.modules["greenprep.clean"], types.ModuleType)
assert gp.tile is importlib.import_module("greenprep.build.run").tile
print("same")
"""


@pytest.mark.parametrize(
    "first",
    [
        "",
        "import greenprep.clean",
        "import greenprep.clean.clean",
        "from greenprep.clean.task import PRELOAD",
        "import greenprep; greenprep.clean; greenprep.split",
        "import greenprep; greenprep.split; import greenprep.split.assign",
        "from greenprep import *; import greenprep.clean.report",
        "import importlib; importlib.import_module('greenprep.split.audit')",
        "import greenprep, importlib; import greenprep.clean; importlib.reload(greenprep)",
        "import greenprep.build.run",
    ],
)
def test_clean_and_split_are_functions_in_every_order_of_imports(first):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(first=first)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "same", done.stderr


def test_importing_the_packages_imports_nothing_heavy():
    code = "import sys, greenprep, greenschemas, greentrain; print(sorted({n.partition('.')[0] for n in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert not loaded & {"numpy", "zarr", "torch", "rasterio", "dask", "xarray", "typer", "pydantic", "yaml"}


@pytest.mark.parametrize("package", FACES, ids=lambda package: package.__name__)
def test_no_module_exports_what_is_private_or_not_its_own(package):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        source = Path(found.module_finder.path, found.name.rpartition(".")[2])  # type: ignore[union-attr]
        file = source / "__init__.py" if found.ispkg else source.with_suffix(".py")
        tree = ast.parse(file.read_text(encoding="utf-8"))
        exported = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]
        ]
        if not tree.body[1:] or found.name.endswith("__main__"):
            continue  # a room's one sentence, or a script
        assert len(exported) == 1, f"{found.name} has no __all__"
        assert not [name for name in exported[0] if name.startswith("_")], found.name


@pytest.mark.parametrize("program", ["greenprep", "greentrain"])
def test_version_is_that_of_the_package(program):
    app = importlib.import_module(f"{program}.cli").app
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"{program} {greenschemas.__version__}\n")
    assert "--version" in CliRunner().invoke(app, []).output
