"""The check for machines with a GPU, rehearsed on the CPU: its first minute on a card is not lost to a slip."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.stores import write_tiny_store

GPU = Path(__file__).parents[1] / "gpu"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, str(GPU / script), *arguments], env=environment, capture_output=True, text=True, check=False
    )


def parts(tmp_path: Path, names: str) -> dict[str, Any]:
    """What these parts find on a tiny store; they must pass."""
    store, found = tmp_path / "tiny.zarr", tmp_path / "check.json"
    write_tiny_store(store)
    done = run(
        "check.py", "--device", "cpu", "--quick", "--minutes", "0.02", "--parts", names,
        "--store", str(store), "--json", str(found),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results: dict[str, Any] = json.loads(found.read_text())
    assert set(results) == set(names.split(","))
    return results


def test_what_is_right_and_fast_is_measured(tmp_path: Path) -> None:
    results = parts(tmp_path, "environment,parity,times,loader")
    assert results["parity"]["cpu"] < 2e-5
    assert {row["net"] for row in results["times"]} == {"tiny", "detail"}
    assert all(speed > 0 for speed in results["loader"].values())


@pytest.mark.slow
def test_a_killed_run_is_resumed(tmp_path: Path) -> None:
    results = parts(tmp_path, "resume")
    assert results["resume"]["largest_difference"] == 0


@pytest.mark.slow
def test_nets_are_scored_beside_the_constant(tmp_path: Path) -> None:
    assert {"constant", "tiny"} == set(parts(tmp_path, "learning")["learning"])


@pytest.mark.slow
def test_a_compiled_step_is_timed(tmp_path: Path) -> None:
    assert [row["net"] for row in parts(tmp_path, "compiled")["compiled"]] == ["tiny"]


def test_a_part_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    done = run("check.py", "--device", "cpu", "--quick", "--parts", "loader,environment", "--store", str(tmp_path))
    assert done.returncode == 1
    assert "FAILED: loader" in done.stdout
    assert "torch" in done.stdout.split("== environment")[1]


def test_without_a_store_nothing_is_trained() -> None:
    done = run("check.py", "--device", "cpu", "--quick", "--parts", "resume,environment")
    assert done.returncode == 0, done.stderr
    assert "resume: no --store given" in done.stdout


def test_the_kit_refuses_what_is_no_store(tmp_path: Path) -> None:
    done = run("pack.py", str(tmp_path), "--out", str(tmp_path / "kit"))
    assert done.returncode == 2
    assert "is no store" in done.stderr


def test_the_kit_names_what_the_trainer_needs_and_not_what_is_there() -> None:
    spec = importlib.util.spec_from_file_location("pack", GPU / "pack.py")
    assert spec is not None and spec.loader is not None
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    names = pack.needed("greenspace", "train", pack.THERE | {"scipy"}, "3.12")
    assert {"zarr", "pydantic", "pydantic-core", "lightning-fabric", "tensorstore", "typer"} <= names
    assert not names & {"torch", "triton", "numpy", "scipy", "rasterio", "dask"}


COMPILE = """
import re, subprocess, sys, warnings
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource
import triton
from greentrain.nets.scan import triton_scan as scan

folder, card, states, length = sys.argv[1], *map(int, sys.argv[2:])
warnings.simplefilter("ignore")
chunk = scan._chunk(length, states)
for kernel, more in ((scan._forward_kernel, {}), (scan._backward_kernel, {"BLOCK": scan.BLOCK})):
    fixed = {"SOFTPLUS": True, "NP": triton.next_power_of_2(states), "T": chunk} | more
    numbers = {"channels", "groups", "blocks", "width", "length", "states"}
    types = {n: "constexpr" if n in fixed else "i32" if n in numbers else "*fp32" for n in kernel.arg_names}
    built = triton.compile(
        ASTSource(kernel, types, fixed), target=GPUTarget("cuda", card, 32),
        options={"num_warps": scan._warps(chunk, states)},
    )
    open(folder + "/kernel.ptx", "w").write(built.asm["ptx"])
    target = re.search(r"[.]target (sm_\\w+)", built.asm["ptx"]).group(1)
    command = [get_ptxas(card).path, "-v", "--gpu-name=" + target, folder + "/kernel.ptx", "-o", folder + "/kernel"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    print(re.search(r"(\\d+) bytes spill stores", said).group(1), re.search(r"Used (\\d+) registers", said).group(1))
"""

SPILL = 256
"""Most bytes that a program may keep in memory for want of registers."""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize(
    "card", [pytest.param(80, marks=pytest.mark.slow), 90, pytest.param(100, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("states", "length"), [(16, 1024), (4, 1024), (1, 64)])
def test_kernels_compile_for_cards_that_are_not_here(card: int, states: int, length: int, tmp_path: Path) -> None:
    """States as in `base`, `tiny` and `detail`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-c", COMPILE, str(tmp_path), str(card), str(states), str(length)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spills = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert len(spills) == 2
    assert max(spills) <= SPILL, done.stdout
