"""Builds kernel.cpp at first use, with the C++ compiler of the machine, and calls it.

No compiler is needed to install the package. The library is built once a user, source, compiler and processor, in the
folder that `cache` finds. Building takes some seconds.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from greentrain.nets.scan.cache import cache_folder, is_trusted, seal
from greentrain.nets.scan.reference import ScanInputs

__all__ = ["DTYPES", "BuildError", "backward", "forward", "library"]

DTYPES = (torch.float32, torch.float64)
SOURCE = Path(__file__).with_name("kernel.cpp")
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-Wno-psabi")
TUNING = (("-march=native",), ("-mcpu=native",), ())
"""What makes code for this very processor, tried in this order: not every compiler knows the first two."""

BLOCK = 64
"""Channels of a task. A constant, so that sums are taken in the same order on any number of threads."""


class BuildError(Exception):
    """There is no compiler, or it failed; the message says which."""


class _Args(ctypes.Structure):
    """The same fields as `struct Args` in kernel.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("u", "delta", "A", "B", "C", "D", "bias", "y", "state", "dy")),
        *((name, ctypes.c_void_p) for name in ("du", "ddelta", "dA", "dB", "dC", "dD", "dbias")),
        *((name, ctypes.c_int64) for name in ("batch", "groups", "width", "states", "length", "block")),
        *((name, ctypes.c_int64) for name in ("softplus", "threads")),
        ("parallel", ctypes.c_void_p),
    )


def forward(inputs: ScanInputs, state: Tensor | None) -> Tensor:
    """y; the states at the start of each chunk, which `backward` wants, go to `state`. All inputs contiguous."""
    args = _arguments(inputs)
    y = torch.empty_like(inputs.u)
    args.y, args.state = y.data_ptr(), None if state is None else state.data_ptr()
    _call(y.dtype, args, backward=False)
    return y


def backward(dy: Tensor, state: Tensor, inputs: ScanInputs) -> tuple[Tensor, ...]:
    """Gradients of u, delta, A, B, C, D and bias (of the last two also where they are None); all inputs contiguous."""
    args, u = _arguments(inputs), inputs.u
    batch, channels = u.shape[:2]
    groups, states, length = inputs.B.shape[1:]
    blocks = -(-args.width // BLOCK)
    du, ddelta = torch.empty_like(u), torch.empty_like(u)
    dA = u.new_empty(batch, channels, states)
    dB, dC = (u.new_empty(batch, groups, blocks, states, length) for _ in range(2))
    dD, dbias = (u.new_empty(batch, channels) for _ in range(2))
    args.dy, args.state = dy.data_ptr(), state.data_ptr()
    args.du, args.ddelta, args.dA = du.data_ptr(), ddelta.data_ptr(), dA.data_ptr()
    args.dB, args.dC, args.dD, args.dbias = dB.data_ptr(), dC.data_ptr(), dD.data_ptr(), dbias.data_ptr()
    _call(u.dtype, args, backward=True)
    return du, ddelta, dA.sum(0), dB.sum(2), dC.sum(2), dD.sum(0), dbias.sum(0)


def _arguments(inputs: ScanInputs) -> _Args:
    args, u, B = _Args(), inputs.u, inputs.B
    for name, tensor in zip(("u", "delta", "A", "B", "C", "D", "bias"), inputs, strict=False):
        setattr(args, name, None if tensor is None else tensor.data_ptr())  # type: ignore[union-attr]
    args.batch, args.groups, args.states, args.length = u.shape[0], *B.shape[1:]
    args.width = u.shape[1] // B.shape[1]
    args.block, args.softplus, args.threads = BLOCK, inputs.delta_softplus, torch.get_num_threads()
    args.parallel = _torch_threads()
    return args


def _call(dtype: torch.dtype, args: _Args, backward: bool) -> None:
    entry = library().greentrain_scan_f64 if dtype == torch.float64 else library().greentrain_scan_f32
    entry(ctypes.byref(args), backward)


@functools.cache
def _torch_threads() -> int | None:
    """Address of the OpenMP pool's entry that torch itself uses, so that two pools do not fight for the cores."""
    if sys.platform != "linux":
        return None
    entry = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    return None if entry is None else ctypes.cast(entry, ctypes.c_void_p).value


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled kernel, built if this user has not got it yet. Raises BuildError."""
    compiler = _compiler()
    path = cache_folder() / f"scan-{_fingerprint(compiler)}.so"
    if not is_trusted(path):
        _build(compiler, path)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"{path} does not load: {error}") from error
    for entry in (loaded.greentrain_scan_f32, loaded.greentrain_scan_f64):
        entry.argtypes, entry.restype = (ctypes.POINTER(_Args), ctypes.c_int), None
    return loaded


def _compiler() -> list[str]:
    named = shlex.split(os.environ.get("CXX", ""))
    for command in ([named] if named else []) + [["c++"], ["g++"], ["clang++"]]:
        if shutil.which(command[0]):
            return command
    raise BuildError("no C++ compiler (CXX, c++, g++ or clang++)")


def _fingerprint(compiler: list[str]) -> str:
    """Changes with source, flags, compiler and processor."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False).stdout
    parts = [SOURCE.read_text(), repr(FLAGS), repr(compiler), version, platform.machine(), _processor()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """The features of this processor: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _build(compiler: list[str], path: Path) -> None:
    """Compile beside `path` and rename: processes that build at the same time do not disturb each other."""
    said = ""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as folder:
        built = Path(folder) / path.name
        for tuning in TUNING:
            command = [*compiler, *FLAGS, *tuning, str(SOURCE), "-o", str(built)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                seal(built)
                os.replace(built, path)
                return
            said = done.stderr.strip()
    raise BuildError(f"{shlex.join(compiler)} failed: {said.splitlines()[0] if said else 'it said nothing'}")
