"""The fused CPU kernels, C++ and numba, against the float64 reference: outputs and all gradients."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from greentrain.nets.scan import cpu, fallback, native, selective_scan
from greentrain.nets.scan.cache import is_trusted

Case = dict[str, Tensor | None]
COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
KERNELS = [
    pytest.param(native, marks=pytest.mark.skipif(not COMPILER, reason="no C++ compiler on this machine")),
    fallback,
]


@pytest.fixture(params=KERNELS, ids=lambda module: module.__name__.rsplit(".", 1)[-1])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Both kernels in turn stand behind `backend="cpu"`."""
    monkeypatch.setattr(cpu, "kernel", lambda: request.param)
    return request.param  # type: ignore[no-any-return]


def case(
    batch: int,
    groups: int,
    width: int,
    states: int,
    length: int,
    *,
    softplus: bool,
    decay: float = 1.0,
    vectors: bool = True,
) -> Case:
    """Inputs in float64; `width` channels a group."""
    g = torch.Generator().manual_seed(batch + 10 * groups + 100 * width + states + length)

    def r(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    D = groups * width
    return {
        "u": r(batch, D, length),
        "delta": r(batch, D, length) - 1 if softplus else 0.1 * r(batch, D, length).abs(),
        "A": -decay * torch.exp(0.5 * r(D, states) + 0.5),
        "B": r(batch, groups, states, length),
        "C": r(batch, groups, states, length),
        "D": r(D) if vectors else None,
        "delta_bias": 0.5 * r(D) if vectors and softplus else None,
    }


def scan(inputs: Case, backend: str, dtype: torch.dtype, softplus: bool) -> dict[str, Tensor]:
    """The output and every gradient."""
    leaves = {name: None if t is None else t.detach().clone().to(dtype).requires_grad_() for name, t in inputs.items()}
    y = selective_scan(**leaves, delta_softplus=softplus, backend=backend)  # type: ignore[arg-type]
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y).cos().to(dtype)
    y.backward(weights)  # type: ignore[no-untyped-call]
    grads = {name: t.grad for name, t in leaves.items() if t is not None and t.grad is not None}
    assert len(grads) == sum(t is not None for t in inputs.values())
    return {"y": y.detach()} | grads


def assert_close(found: dict[str, Tensor], truth: dict[str, Tensor], relative: float) -> None:
    for name, value in truth.items():
        scale = value.abs().max().clamp(min=1e-30)
        assert ((found[name] - value).abs().max() / scale).item() < relative, name


SHAPES = [
    (2, 4, 24, 16, 64),
    (1, 1, 5, 16, 1),
    (2, 1, 7, 3, 37),
    (1, 2, 33, 1, 300),
    (1, 4, 65, 16, 70),
    (1, 1, 3, 40, 65),
    (2, 1, 130, 2, 10),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 5e-6), (torch.float64, 1e-10)])
def test_cpu_gives_what_the_reference_gives_in_double(
    kernel: ModuleType, shape: tuple[int, int, int, int, int], dtype: torch.dtype, relative: float
) -> None:
    inputs = case(*shape, softplus=True)
    assert_close(scan(inputs, "cpu", dtype, True), scan(inputs, "reference", torch.float64, True), relative)


@pytest.mark.parametrize("softplus", [True, False])
def test_vectors_may_be_missing(kernel: ModuleType, softplus: bool) -> None:
    inputs = case(2, 2, 9, 4, 37, softplus=softplus, vectors=False)
    assert_close(scan(inputs, "cpu", torch.float32, softplus), scan(inputs, "reference", torch.float64, softplus), 5e-6)


@pytest.mark.parametrize("decay", [0.0, 100.0, 1e6])
def test_no_decay_and_strong_decay(kernel: ModuleType, decay: float) -> None:
    inputs = case(1, 2, 9, 16, 100, softplus=True, decay=decay)
    assert_close(scan(inputs, "cpu", torch.float32, True), scan(inputs, "reference", torch.float64, True), 2e-5)


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(1, 4),
    width=st.integers(1, 20),
    states=st.integers(1, 33),
    length=st.integers(1, 140),
    softplus=st.booleans(),
)
def test_any_shape_agrees_with_the_reference(groups: int, width: int, states: int, length: int, softplus: bool) -> None:
    inputs = case(1, groups, width, states, length, softplus=softplus)
    assert_close(
        scan(inputs, "cpu", torch.float64, softplus), scan(inputs, "reference", torch.float64, softplus), 1e-10
    )


def test_the_result_does_not_depend_on_the_number_of_threads(kernel: ModuleType) -> None:
    inputs = case(2, 4, 70, 16, 130, softplus=True)
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(scan(inputs, "cpu", torch.float32, True))
    finally:
        torch.set_num_threads(before)
    for name, value in runs[0].items():
        assert all(torch.equal(run[name], value) for run in runs[1:]), name


def test_strided_inputs_and_gradients_are_taken(kernel: ModuleType) -> None:
    inputs = case(2, 2, 9, 4, 37, softplus=True)
    strided = {k: v if v is None else v.transpose(0, -1).contiguous().transpose(0, -1) for k, v in inputs.items()}
    assert_close(scan(strided, "cpu", torch.float64, True), scan(inputs, "reference", torch.float64, True), 1e-10)


def test_a_nan_is_not_lost(kernel: ModuleType) -> None:
    inputs = case(1, 1, 4, 4, 40, softplus=True)
    assert inputs["delta"] is not None
    inputs["delta"][0, 2, 20] = float("nan")
    y = scan(inputs, "cpu", torch.float32, True)["y"]
    assert torch.isnan(y[0, 2, 20:]).all()
    assert torch.isfinite(y[0, 2, :20]).all()
    assert torch.isfinite(y[0, [0, 1, 3]]).all()


def test_half_precision_is_computed_in_single(kernel: ModuleType) -> None:
    inputs = case(1, 1, 4, 4, 40, softplus=True)
    half = {name: None if t is None else t.bfloat16() for name, t in inputs.items()}
    y = selective_scan(**half, backend="cpu")  # type: ignore[arg-type]
    assert y.dtype == torch.bfloat16
    single = {name: None if t is None else t.float() for name, t in half.items()}
    assert torch.equal(y, selective_scan(**single, backend="cpu").bfloat16())  # type: ignore[arg-type]


# From 2.14 on, what torch runs inside opcheck asks its own copies for a gradient that they do not have.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_the_operators_are_sound_for_the_compiler() -> None:
    # A shape whose kept states leave no gaps: what is in the gaps differs from call to call.
    inputs = [t if t is None else t.float() for t in case(1, 2, 16, 16, 20, softplus=True).values()]
    leaves = [t if t is None else t.requires_grad_() for t in inputs]
    torch.library.opcheck(torch.ops.greentrain.scan_forward.default, (*leaves, True, True))


@pytest.mark.skipif(not COMPILER, reason="no C++ compiler on this machine")
def test_processes_that_build_at_once_all_get_a_library(tmp_path: Path) -> None:
    flags = "native.FLAGS = ('-std=c++17', '-O0', '-fPIC', '-shared')"
    code = f"from greentrain.nets.scan import native; {flags}; native.library()"
    environment = os.environ | {"GREENTRAIN_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]
    assert [(run.communicate()[0], run.returncode) for run in runs] == [(b"", 0)] * 2
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".so"]
    [library] = (tmp_path / "cache").iterdir()
    assert is_trusted(library)


@pytest.fixture
def fresh() -> object:
    """The caches of one process, emptied before and after."""
    caches = (cpu.kernel, native.library)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_without_a_compiler_numba_runs_and_says_so_once(
    fresh: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.WARNING, "greentrain.nets.scan"):
        assert cpu.kernel() is fallback
        assert cpu.kernel() is fallback
    assert [record.getMessage() for record in caplog.records] == [
        "selective scan: numba's kernel, the slower one: no C++ compiler (CXX, c++, g++ or clang++)"
    ]


def test_a_compiler_that_fails_is_named(fresh: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'no such standard' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("GREENTRAIN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(native.BuildError, match="failed: no such standard"):
        native.library()
