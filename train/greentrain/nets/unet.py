"""A plain U-Net: the convolutional baseline that every Vision Mamba here has to beat at equal cost.

Ronneberger, Fischer, Brox: U-Net (2015), with the habits that have proved themselves since: padded
convolutions, normalisation after each, bilinear upsampling by transposed 2 x 2 convolutions.
Letters: B batch, C bands, K classes, H rows, W columns.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from greentrain.nets.batch_norm import BatchNorm

__all__ = ["UNet"]


class _DoubleConv(nn.Sequential):
    """Two times convolution 3 x 3, normalisation, ReLU: (B, C, H, W) -> (B, out, H, W)."""

    def __init__(self, channels: int, out: int) -> None:
        layers: list[nn.Module] = []
        for width in (channels, out):
            layers += [nn.Conv2d(width, out, 3, padding=1, bias=False), BatchNorm(out), nn.ReLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """Logits (B, K, H, W) of images (B, C, H, W), whatever H and W.

    `width` is the channel count at full resolution; it doubles at each of the `depth` halvings.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, width: int = 16, depth: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if min(in_channels, num_classes, width, depth) < 1:
            raise ValueError(
                f"in_channels, num_classes, width and depth are at least 1, got "
                f"{in_channels}, {num_classes}, {width}, {depth}"
            )
        widths = [width * 2**level for level in range(depth + 1)]
        pairs = list(pairwise(widths))
        self.stem = _DoubleConv(in_channels, width)
        self.down = nn.ModuleList(_DoubleConv(fine, coarse) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairs[::-1])
        self.merge = nn.ModuleList(_DoubleConv(2 * fine, fine) for fine, _ in pairs[::-1])
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        factor = 2 ** len(self.down)
        # Padding by the edge's own values works for any size; reflection needs more rows than it adds.
        x = functional.pad(image, (0, -width % factor, 0, -height % factor), mode="replicate")
        x = self.stem(x)  # (B, width, H, W), H and W as padded
        skips: list[Tensor] = []
        for block in self.down:
            skips.append(x)
            x = block(functional.max_pool2d(x, 2))  # half the rows and columns, twice the channels
        x = self.dropout(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))  # twice the rows and columns, half the channels
        logits: Tensor = self.head(x)
        return logits[..., :height, :width]
