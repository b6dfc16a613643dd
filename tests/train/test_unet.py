"""The plain U-Net: any size, every parameter in use, and it learns a task that a constant cannot."""

import pytest
import torch
from torch.nn import functional

from greentrain.nets.unet import UNet


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (16, 16), (33, 20), (64, 17)])
def test_logits_have_the_size_of_the_image(height: int, width: int) -> None:
    net = UNet(4, 3, width=4, depth=3).eval()
    assert net(torch.zeros(2, 4, height, width)).shape == (2, 3, height, width)


def test_a_tile_too_small_for_batch_statistics_trains() -> None:
    torch.manual_seed(0)
    net, image = UNet(4, 3, width=4, depth=2), torch.randn(1, 4, 4, 4)  # one pixel at the bottom
    net(image).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    bottom = net.down[-1][1]
    assert torch.equal(bottom.running_mean, torch.zeros_like(bottom.running_mean))  # nothing was gathered from it
    assert (net.stem[1].running_mean != 0).any()


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    net = UNet(4, 3, width=4, depth=2)
    net(torch.randn(2, 4, 16, 16)).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_two_runs_with_one_seed_are_one_run() -> None:
    logits = []
    for _ in range(2):
        torch.manual_seed(3)
        logits.append(UNet(2, 2, width=4, depth=2).eval()(torch.ones(1, 2, 9, 9)))
    assert torch.equal(*logits)


def test_it_learns_what_stands_beside_a_pixel() -> None:
    """The class is the sign of the left neighbour: no constant and no single pixel tells it."""
    torch.manual_seed(0)
    net = UNet(1, 2, width=8, depth=1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    image = torch.randn(8, 1, 24, 24)
    label = (image.roll(1, dims=-1)[:, 0] > 0).long()
    for _ in range(40):
        loss = functional.cross_entropy(net(image), label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = (net.eval()(image).argmax(dim=1) == label).float().mean().item()
    assert right > 0.85, f"{right:.2f} of the pixels are right; a constant has half of them"


@pytest.mark.parametrize("bad", [{"width": 0}, {"depth": 0}])
def test_a_net_without_width_or_depth_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        UNet(4, 3, **bad)
