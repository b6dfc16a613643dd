"""Two training steps in each precision and in channels-last."""

from __future__ import annotations

import pytest
import torch

from greentrain.nets.presets import build_model
from greentrain.nets.vmunet import VMUNet


def two_steps(precision: str) -> tuple[list[float], VMUNet]:
    torch.manual_seed(0)
    model = build_model("tiny", 3, 2).train()
    assert isinstance(model, VMUNet)
    x = torch.randn(2, 3, 40, 32)
    if precision == "float64":
        model, x = model.double(), x.double()
    if precision == "channels-last":
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if precision == "pure bfloat16":
        model, x = model.bfloat16(), x.bfloat16()
    autocast = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        optimiser.zero_grad()
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            loss = (model(x).float() - 1).square().mean()
        loss.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    return losses, model


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16", "pure bfloat16", "channels-last"])
def test_two_steps_lower_the_loss(precision: str) -> None:
    losses, _ = two_steps(precision)
    exact, _ = two_steps("float32")
    assert losses[1] < losses[0]
    assert losses == pytest.approx(exact, rel=0.05 if "16" in precision else 1e-4)


def test_the_scan_s_parameters_and_state_stay_single_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    from greentrain.nets import scan

    types = set()
    real = scan.selective_scan

    def spy(*tensors: torch.Tensor, **options: object) -> torch.Tensor:
        types.update(t.dtype for t in tensors)
        return real(*tensors, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(scan, "selective_scan", spy)
    two_steps("bfloat16")
    assert types == {torch.float32}


def test_the_same_seed_gives_the_same_bits() -> None:
    (first, one), (second, two) = two_steps("float32"), two_steps("float32")
    assert first == second
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
