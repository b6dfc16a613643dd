"""What a step of each preset costs, as ratios to the plain U-Net's in the same round.

    python tests/bench/bench_presets.py [--rounds 7] [--threads 2]

Two tiles of 13 x 128 x 128, five classes, float32. The presets take turns within one process; a preset's ratio is the
median over the rounds of its time over the U-Net's of that round, and the first round is thrown away.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from greentrain.nets import scan
from greentrain.nets.presets import build_model

PRESETS = ("tiny", "small", "base", "detail", "unet")
BANDS, CLASSES, SIZE, BATCH = 13, 5, 128, 2


def step(model: nn.Module, image: Tensor, label: Tensor) -> float:
    """Seconds of forward and backward."""
    model.train()
    start = time.perf_counter()
    F.cross_entropy(model(image), label).backward()
    return time.perf_counter() - start


@torch.inference_mode()
def inference(model: nn.Module, image: Tensor) -> float:
    """Seconds of forward alone."""
    model.eval()
    start = time.perf_counter()
    model(image)
    return time.perf_counter() - start


def main() -> None:
    """A line for each preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    scan.tune_allocator()
    models = {name: build_model(name, BANDS, CLASSES) for name in PRESETS}
    image = torch.randn(BATCH, BANDS, SIZE, SIZE)
    label = torch.randint(0, CLASSES, (BATCH, SIZE, SIZE))
    steps: dict[str, list[float]] = {name: [] for name in PRESETS}
    passes: dict[str, list[float]] = {name: [] for name in PRESETS}
    for turn in range(options.rounds + 1):
        for name, model in models.items():
            once = step(model, image, label), inference(model, image)
            if turn:
                steps[name].append(once[0])
                passes[name].append(once[1])
    print(f"{BATCH} tiles of {BANDS} x {SIZE} x {SIZE}, {options.threads} threads; ratios to the U-Net's")
    for name in PRESETS:
        each = [
            statistics.median(a / b for a, b in zip(times[name], times["unet"], strict=True))
            for times in (steps, passes)
        ]
        print(
            f"{name:8} step {each[0]:5.2f} ({statistics.median(steps[name]):.3f} s)   "
            f"inference {each[1]:5.2f} ({statistics.median(passes[name]):.3f} s)"
        )


if __name__ == "__main__":
    main()
