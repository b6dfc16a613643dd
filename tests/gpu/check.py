"""Whether greentrain is right on this GPU, how fast it is there, and whether it learns; each result as it comes.

    python tests/gpu/check.py --store city.zarr [--minutes 2] [--json check.json]
    python tests/gpu/check.py --store city.zarr --device cpu --quick      # the same steps, small, to rehearse

Needs greentrain and what it imports, no greenprep and no rasterio. Timings are medians of steps that follow each other
on a machine that does nothing else. A part that fails is told with its traceback, and the others go on; the exit code
is then 1.

Letters: B batch, D channels, G groups, N states, L length of a scan.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from greentrain.data.loader import open_loader
from greentrain.nets import scan as scans
from greentrain.nets.presets import build_model
from greentrain.nets.scan.dispatch import selective_scan
from greentrain.nets.scan.mamba import mamba_available
from greentrain.nets.scan.reference import ScanInputs, reference_scan
from greentrain.training.losses import build_loss

PRESETS = ("tiny", "small", "base", "detail")
BANDS, CLASSES, SIZE = 13, 5, 128
PARITY = 2e-5
"""Largest error of a float32 scan against float64, as a share of the largest value: sums of some thousand terms."""


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    store: Path | None
    device: torch.device
    minutes: float
    quick: bool
    parts: tuple[str, ...]
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def kernels(self) -> tuple[str, ...]:
        """Scans that run on the device."""
        if self.device.type == "cpu":
            return ("cpu",)
        triton = ("triton",) if importlib.util.find_spec("triton") else ()
        return triton + (("mamba-ssm",) if mamba_available() else ())


def environment(plan: Plan) -> Iterator[str]:
    """Versions and the card."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if importlib.util.find_spec("triton"):
        import triton

        versions["triton"] = triton.__version__
    card = platform.processor() or platform.machine()
    if plan.device.type == "cuda":
        about = torch.cuda.get_device_properties(plan.device)
        card = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, sm_{about.major}{about.minor}"
        versions["cuda"] = str(torch.version.cuda)
    plan.results["environment"] = versions | {"device": card, "kernels": plan.kernels, "cores": os.cpu_count()}
    yield f"{card}; {', '.join(f'{k} {v}' for k, v in versions.items())}; scans: {', '.join(plan.kernels)}"


# --------------------------------------------------------------------------------------------- right


def parity(plan: Plan) -> Iterator[str]:
    """The scan, forward and backward, against the reference in float64, for the shapes of all presets."""
    worst: dict[str, float] = {}
    shapes = sorted({shape for preset in PRESETS for shape in scan_shapes(preset)} | {(1, 1, 16, 1), (8, 4, 3, 300)})
    if plan.quick:
        shapes = [(8, 4, 3, 40), (1, 1, 16, 1)]
    for shape in shapes:
        case, dy = scan_case(shape, plan.device)
        truth = scan_and_gradients("reference", case, dy, torch.float64)
        for kernel in plan.kernels:
            found = scan_and_gradients(kernel, case, dy, torch.float32)
            again = scan_and_gradients(kernel, case, dy, torch.float32)
            pairs = zip(truth, found, strict=True)
            error = max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in pairs)
            same = all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
            worst[kernel] = max(worst.get(kernel, 0.0), error)
            yield f"{kernel:9} D G N L {shape}: {error:.1e}, twice the same: {'yes' if same else 'NO'}"
            if error > PARITY:
                raise AssertionError(f"{kernel} is off by {error:.1e}, more than {PARITY:.0e}, at {shape}")
            if not same and kernel != "mamba-ssm":  # whose backward pass adds in no fixed order
                raise AssertionError(f"{kernel} gave two results for one input, at {shape}")
    plan.results["parity"] = worst


def scan_shapes(preset: str) -> set[tuple[int, int, int, int]]:
    """(D, G, N, L) of the scans in a net on a tile."""
    seen = set()

    def note(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, *_: Any, **__: Any) -> Tensor:
        seen.add((u.shape[1], B.shape[1], A.shape[1], u.shape[2]))
        return u + delta

    with instead_of_the_scan(note), torch.device("meta"):
        build_model(preset, BANDS, CLASSES)(torch.empty(1, BANDS, SIZE, SIZE))
    return seen


def scan_case(shape: tuple[int, int, int, int], device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Inputs of a scan of two samples as in training, in float64, and a gradient of its output."""
    channels, groups, states, length = shape
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    u, delta = draw(2, channels, length), draw(2, channels, length) - 1
    A = -torch.exp(0.5 * draw(channels, states))
    B, C = draw(2, groups, states, length), draw(2, groups, states, length)
    case = [u, delta, A, B, C, draw(channels), 0.5 * draw(channels)]
    return [part.to(device) for part in case], draw(2, channels, length).to(device)


def scan_and_gradients(kernel: str, case: list[Tensor], dy: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """The output and the gradient of each input."""
    leaves = [part.detach().to(dtype, copy=True).requires_grad_() for part in case]
    scan: Callable[..., Tensor] = selective_scan
    y = reference_scan(ScanInputs(*leaves, True)) if kernel == "reference" else scan(*leaves, True, backend=kernel)
    y.backward(dy.to(dtype))
    return [y.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@contextmanager
def instead_of_the_scan(other: Callable[..., Tensor]) -> Iterator[None]:
    """Nets call `other` in place of the scan."""
    real = scans.selective_scan
    scans.selective_scan = other
    try:
        yield
    finally:
        scans.selective_scan = real


# --------------------------------------------------------------------------------------------- fast


def times(plan: Plan) -> Iterator[str]:
    """Step and inference, milliseconds and memory, with each scan and without one."""
    batches = (2,) if plan.quick else (16, 64)
    presets = ("tiny", "detail") if plan.quick else (*PRESETS, "unet")
    size = 32 if plan.quick else SIZE
    rows = plan.results["times"] = []
    yield f"{'net':8} {'B':>3} {'precision':10} {'scan':10} {'step ms':>8} {'pass ms':>8} {'tiles/s':>8} {'GiB':>6}"
    for preset in presets:
        for batch in batches:
            for precision in (torch.float32, torch.bfloat16):
                for kernel in ("auto",) if preset == "unet" else (*plan.kernels, "none"):
                    row = {"net": preset, "batch": batch, "precision": str(precision)[6:], "scan": kernel}
                    row |= measured(plan, preset, batch, size, precision, kernel)
                    rows.append(row)
                    yield (
                        f"{preset:8} {batch:3} {row['precision']:10} {kernel:10} {row['step_ms']:8.2f} "
                        f"{row['pass_ms']:8.2f} {row['tiles_a_second']:8.0f} {row['memory_gib']:6.2f}"
                    )


def measured(plan: Plan, preset: str, batch: int, size: int, precision: torch.dtype, kernel: str) -> dict[str, float]:
    """Medians of a training step and of a forward pass, and the peak of memory."""
    torch.manual_seed(0)
    scan = {"scan": kernel} if kernel not in ("none", "auto") else {}
    net = build_model(preset, BANDS, CLASSES, **scan).to(plan.device)
    image = torch.randn(batch, BANDS, size, size, device=plan.device)
    target = torch.rand(batch, CLASSES, size, size, device=plan.device).softmax(1)
    with instead_of_the_scan(lambda u, delta, *_, **__: u + delta) if kernel == "none" else nullcontext():
        step = training_step(plan, net, image, target, precision)
        if plan.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(plan.device)
        seconds = median_time(plan, step)
        memory = torch.cuda.max_memory_allocated(plan.device) if plan.device.type == "cuda" else 0
        net.eval()

        @torch.inference_mode()
        def forward() -> None:
            with torch.autocast(plan.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
                net(image)

        once = median_time(plan, forward)
    return {
        "step_ms": 1e3 * seconds,
        "pass_ms": 1e3 * once,
        "tiles_a_second": batch / seconds,
        "memory_gib": memory / 2**30,
    }


def training_step(
    plan: Plan, net: nn.Module, image: Tensor, target: Tensor, precision: torch.dtype
) -> Callable[[], None]:
    """Forward, loss, backward and AdamW, as `fit` does it."""
    loss = build_loss("ce+dice", None)
    valid = torch.ones(target.shape[0], *target.shape[2:], dtype=torch.bool, device=plan.device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    net.train()

    def step() -> None:
        with torch.autocast(plan.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = net(image)
        loss(logits.float(), target, valid).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def median_time(plan: Plan, do: Callable[[], None]) -> float:
    """Seconds of one call: the median of calls, each waited for, after three that do not count."""
    calls = 2 if plan.quick else 10
    for _ in range(1 if plan.quick else 3):
        do()
    taken = []
    for _ in range(calls):
        wait_for(plan.device)
        began = time.perf_counter()
        do()
        wait_for(plan.device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compiled(plan: Plan) -> Iterator[str]:
    """What torch.compile gains in a training step, and what it costs at the start."""
    rows = plan.results["compiled"] = []
    backend = "eager" if plan.quick else "inductor"  # the former needs no compiler
    for preset in ("tiny",) if plan.quick else ("detail", "base"):
        batch, size = (2, 32) if plan.quick else (16, SIZE)
        torch.manual_seed(0)
        net = build_model(preset, BANDS, CLASSES).to(plan.device)
        image = torch.randn(batch, BANDS, size, size, device=plan.device)
        target = torch.rand(batch, CLASSES, size, size, device=plan.device).softmax(1)
        plain = median_time(plan, training_step(plan, net, image, target, torch.bfloat16))
        began = time.perf_counter()
        step = training_step(plan, torch.compile(net, backend=backend), image, target, torch.bfloat16)  # type: ignore[arg-type]
        step()
        wait_for(plan.device)
        start = time.perf_counter() - began
        fast = median_time(plan, step)
        rows.append({"net": preset, "plain_ms": 1e3 * plain, "compiled_ms": 1e3 * fast, "start_s": start})
        yield f"{preset}: step {1e3 * plain:.2f} ms, compiled {1e3 * fast:.2f} ms, after {start:.0f} s of compiling"


def loader(plan: Plan) -> Iterator[str]:
    """Tiles a second from the store to the device, first streamed and then from memory."""
    rows = plan.results["loader"] = {}
    for cache in ("none", "auto"):
        batches = open_loader(plan.store, "train", 16, cache=cache, device=plan.device)
        tiles, began = 0, time.perf_counter()
        for epoch in range(2 if plan.quick else 6):
            if epoch == 1:  # the first fills memory
                tiles, began = 0, time.perf_counter()
            for batch in batches:
                tiles += len(batch["tile"])
        wait_for(plan.device)
        rows[cache] = tiles / (time.perf_counter() - began)
        yield f"{'streamed' if cache == 'none' else 'from memory'}: {rows[cache]:.0f} tiles a second"


# --------------------------------------------------------------------------------------------- whole runs


def resume(plan: Plan) -> Iterator[str]:
    """`fit` killed and resumed, beside one that was let alone."""
    epochs = 2 if plan.quick else 4
    settings = ["--set", f"epochs={epochs}", "--set", "model.preset=tiny", "--set", f"accelerator={plan.device.type}"]
    with tempfile.TemporaryDirectory() as folder:
        alone, cut = Path(folder, "alone"), Path(folder, "cut")
        greentrain("fit", str(plan.store), "--out", str(alone), *settings)
        process = greentrain_started("fit", str(plan.store), "--out", str(cut), *settings)
        while process.poll() is None and len(steps(cut)) < (1 if plan.quick else 12):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = len(steps(cut))
        greentrain("fit", str(plan.store), "--out", str(cut), *settings, "--resume")
        a, b = steps(alone), steps(cut)
        off = max(abs(x - y) for x, y in zip(a, b, strict=True))
    plan.results["resume"] = {"killed_after": done, "steps": len(a), "largest_difference": off}
    yield f"killed after step {done} of {len(a)}, resumed: losses differ by {off:.1e} at most"
    # On a GPU convolutions add in no fixed order, and steps multiply what is left out of that.
    if off > (0.05 if plan.device.type == "cuda" else 0.0):
        raise AssertionError("a resumed run does not go on as the one that was let alone")


def steps(run: Path) -> list[float]:
    """Training losses by step."""
    file = run / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [row["train_loss"] for row in rows if "train_loss" in row]


def learning(plan: Plan) -> Iterator[str]:
    """Some minutes of `base`, `detail` and `unet`, side by side, with their scores beside the constant's."""
    models = ("tiny",) if plan.quick else ("unet", "detail", "base")
    rows = plan.results["learning"] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for model in models:
            command = ["compare", str(plan.store), "--models", f"constant,{model}", "--seeds", "1"]
            command += ["--budget", str(plan.minutes), "--out", str(Path(folder, model))]
            command += [] if plan.device.type == "cpu" else ["--set", "precision=bf16-mixed"]
            runs[model] = greentrain_started(*command)
        for model, process in runs.items():
            out, _ = process.communicate()
            if process.returncode:
                raise AssertionError(f"compare of {model} ended with {process.returncode}:\n{out}")
            report = json.loads(Path(folder, model, "compare.json").read_text())["models"]
            for name in ("constant", model):
                rows[name] = report[name]
                yield f"{name:8} {summary(report[name])}"


def summary(row: dict[str, Any]) -> str:
    classes = " ".join("-" if score["iou"] is None else f"{score['iou']:.3f}" for score in row["classes"].values())
    return f"mean IoU {row['mean']['iou']:.3f} ({classes}), trained {row['cost']['train_seconds']:.0f} s"


def greentrain(*arguments: str) -> None:
    process = greentrain_started(*arguments)
    out, _ = process.communicate()
    if process.returncode:
        raise AssertionError(f"greentrain {' '.join(arguments)} ended with {process.returncode}:\n{out}")


def greentrain_started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "greentrain", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


PARTS: dict[str, Callable[[Plan], Iterator[str]]] = {
    "environment": environment,
    "parity": parity,
    "times": times,
    "loader": loader,
    "resume": resume,
    "learning": learning,
    "compiled": compiled,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a store with a split; without one, nothing is trained")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, the nets side by side")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes, to rehearse")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    plan = Plan(given.store, torch.device(given.device), given.minutes, given.quick, tuple(given.parts.split(",")))
    failed = []
    for name in plan.parts:
        if plan.store is None and name in ("loader", "resume", "learning"):
            print(f"== {name}: no --store given", flush=True)
            continue
        began = time.perf_counter()
        print(f"== {name}", flush=True)
        try:
            for line in PARTS[name](plan):
                print(f"   {line}", flush=True)
        except Exception:  # the other parts are worth their time on the card all the same
            failed.append(name)
            traceback.print_exc()
        print(f"   {time.perf_counter() - began:.1f} s", flush=True)
        if given.json:
            given.json.write_text(json.dumps(plan.results, indent=1, default=str))
    print(f"FAILED: {', '.join(failed)}" if failed else "all parts passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
