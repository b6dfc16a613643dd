"""Augmentation of whole batches on their device: image, fractions and valid mask always together.

Letters: B batch, C bands, K classes, H rows, W columns. A batch is
    image     (B, C, H, W), float, normalised (z-scores, so that 0 is a band's mean)
    fraction  (B, K, H, W), float, 0..1, NaN where a pixel is unlabelled
    valid     (B, H, W), bool or 0/1, 1 where the image may be used
and comes back with the same types, and with the same shapes unless it is cropped. All chance is drawn on the
CPU from one generator, made from (seed, epoch, step, rank): the same batch is augmented alike on every device,
and after a resume. With everything off the inputs come back as they are.

Crops, flips, shifts and turns move whole pixels. Scaling and rotation interpolate the image, and labels only
where fractions are the target: else each pixel takes the fractions of the nearest one, so that no label arises
that was not there.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from greenschemas.frozen import Frozen

__all__ = ["Augment", "Samples", "augment", "generator_for", "move", "resample", "seed_of"]


class Augment(Frozen):
    """What may happen to a batch. Rotation and turns are off: shadows have a direction."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    crop: int | None = Field(64, ge=1)
    """Pixels a side of a random window of each tile; null, or a tile no larger, for all of it. Steps cost less."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a left-right flip, and on its own of an up-down flip."""
    shift: float = Field(0.125, ge=0, lt=1)
    """Largest shift along each axis, as a share of the tile's side; whole pixels."""
    scale: float = Field(0.0, ge=0, le=1)
    """Largest change of scale about the centre: 0.25 draws factors from 0.8 to 1.25, evenly by logarithm."""
    turn: bool = False
    """Turns by 0, 90, 180 or 270 degrees; tiles must be square."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Largest rotation either way, degrees."""
    fill: Literal["reflect", "invalid"] = "reflect"
    """What comes in from outside the tile: its mirror image, or pixels that do not count."""
    band_jitter: float = Field(0.0, ge=0, le=1)
    """Standard deviation of each reflectance's gain about 1, and of its offset about 0 in deviations of the band."""
    haze: float = Field(0.0, ge=0, le=1)
    """Largest share of a smooth white veil, two deviations above the mean in every reflectance."""
    band_drop: float = Field(0.0, ge=0, lt=1)
    """Probability that a band is set to its mean; one band at least stays."""
    mix_times: float = Field(0.0, ge=0, le=1)
    """Probability that a tile is blended with another time of its ground, at most half and half."""
    mix_tiles: float = Field(0.0, ge=0, le=1)
    """Probability that a tile and its fractions are blended with another of the batch, at most half and half."""


class Samples(NamedTuple):
    """The three that belong together; shapes at the top of the module."""

    image: Tensor
    fraction: Tensor
    valid: Tensor


def generator_for(seed: int, epoch: int, step: int, rank: int = 0) -> Generator:
    """A generator (CPU) whose stream is a pure function of the four numbers, different for any two sets of them."""
    return Generator().manual_seed(seed_of(seed, epoch, step, rank))


def seed_of(*about: object) -> int:
    """A seed of 63 bits that follows from these values alone, different for any others."""
    text = " ".join(map(str, about))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def augment(
    batch: Samples,
    settings: Augment,
    generator: Generator,
    *,
    blend_labels: bool,
    ground: Tensor | None = None,
    lit: Sequence[bool] | None = None,
) -> Samples:
    """The batch, changed by chance as `settings` say.

    blend_labels: True where fractions are the target, so that scaling may interpolate them.
    ground: (B,), equal numbers for tiles of the same ground at several times; needed for `mix_times`.
    lit: (C,) which bands are reflectances, that haze and light change; None: all. Decibels, embeddings and metres are
    left as they are.
    """
    _check(batch, settings, blend_labels, ground)
    if ground is not None and settings.mix_times > 0:
        batch = _mix_times(batch, ground, settings.mix_times, generator)
    if settings.crop is not None:
        batch = _crop(batch, settings.crop, generator)
    if settings.mix_tiles > 0:
        batch = _mix_tiles(batch, settings.mix_tiles, generator)
    if settings.flip > 0 or settings.shift > 0:
        batch = _flip_and_shift(batch, settings, generator)
    if settings.turn:
        batch = _turn(batch, generator)
    if settings.scale > 0 or settings.rotate > 0:
        matrix = _matrices(len(batch.image), settings, generator)
        batch = resample(batch, matrix, settings.fill, blend_labels=blend_labels)
    return batch._replace(image=_colour(batch.image, settings, generator, lit))


def _check(batch: Samples, settings: Augment, blend_labels: bool, ground: Tensor | None) -> None:
    height, width = batch.valid.shape[1:]
    if settings.mix_times > 0 and ground is None:
        raise ValueError("mix_times needs `ground`, the number of each tile's ground")
    if settings.mix_tiles > 0 and not blend_labels:
        raise ValueError("mix_tiles blends labels, which only fractions as the target allow")
    if height != width and (settings.turn or settings.rotate > 0):
        raise ValueError(f"turns and rotation need square tiles, these are {height} x {width}")


def move(batch: Samples, rows: Tensor, columns: Tensor, fill: Literal["reflect", "invalid"]) -> Samples:
    """Whole pixels to new places: output (y, x) is input (rows[b, y], columns[b, x]).

    rows (B, H), columns (B, W): integers from -H+1 to 2H-2 (W likewise); beyond the tile lies its mirror.
    """
    height, width = batch.valid.shape[1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = _mirrored(rows, height), _mirrored(columns, width)

    def take(values: Tensor) -> Tensor:
        down = rows[:, None, :, None].expand(-1, values.shape[1], -1, width)
        across = columns[:, None, None, :].expand(-1, values.shape[1], height, -1)
        return values.gather(2, down).gather(3, across)

    moved = Samples(take(batch.image), take(batch.fraction), take(batch.valid[:, None])[:, 0])
    return moved if fill == "reflect" else _cut_out(moved, inside)


def resample(batch: Samples, matrix: Tensor, fill: Literal["reflect", "invalid"], *, blend_labels: bool) -> Samples:
    """The batch seen through an affine map, matrix (B, 2, 3) from output to input places, both in -1..1.

    The image is interpolated bilinearly; a pixel is valid only if all that it was made of is. Fractions are
    interpolated over labelled pixels alone (where these make up half), or taken from the nearest pixel.
    """
    grid = affine_grid(matrix.to(batch.image), list(batch.image.shape), align_corners=False)
    padding = "reflection" if fill == "reflect" else "zeros"

    def look(values: Tensor, mode: str) -> Tensor:
        return grid_sample(values, grid.to(values), mode, padding, align_corners=False)

    usable = batch.valid.bool()[:, None].to(batch.image)
    image = look(batch.image.masked_fill(usable == 0, 0.0), "bilinear")
    valid = look(usable, "bilinear")[:, 0] > 1 - 1e-3  # rounding of the four weights' sum
    labelled = (~batch.fraction.isnan().any(1, keepdim=True)).to(batch.fraction)
    mode = "bilinear" if blend_labels else "nearest"
    share = look(labelled, mode)
    fraction = look(batch.fraction.masked_fill(labelled == 0, 0.0), mode)
    fraction = (fraction / share.clamp_min(0.5) if blend_labels else fraction).masked_fill(share < 0.5, math.nan)
    return Samples(image.masked_fill(~valid[:, None], 0.0), fraction, valid.to(batch.valid.dtype))


def _flip_and_shift(batch: Samples, settings: Augment, generator: Generator) -> Samples:
    places = []
    for side in batch.valid.shape[1:]:
        flipped = torch.rand((len(batch.valid), 1), generator=generator) < settings.flip
        most = int(settings.shift * side)
        offset = torch.randint(-most, most + 1, (len(batch.valid), 1), generator=generator)
        place = torch.arange(side)
        places.append((torch.where(flipped, side - 1 - place, place) + offset).to(batch.image.device))
    return move(batch, places[0], places[1], settings.fill)


def _turn(batch: Samples, generator: Generator) -> Samples:
    quarters = torch.randint(4, (len(batch.valid),), generator=generator).tolist()

    def turned(values: Tensor) -> Tensor:
        return torch.stack([one.rot90(q, (-2, -1)) for one, q in zip(values, quarters, strict=True)])

    return Samples(*(turned(values) for values in batch))


def _matrices(count: int, settings: Augment, generator: Generator) -> Tensor:
    """(B, 2, 3), rotations and scalings about the centre of square tiles."""
    spread = 2 * torch.rand((2, count), generator=generator) - 1
    zoom = (spread[0] * math.log1p(settings.scale)).exp()
    angle = spread[1] * math.radians(settings.rotate)
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    zero = torch.zeros(count)
    return torch.stack([cosine, -sine, zero, sine, cosine, zero], 1).view(count, 2, 3)


def _colour(image: Tensor, settings: Augment, generator: Generator, lit: Sequence[bool] | None) -> Tensor:
    """Haze and band jitter of what is lit, and band drop-out, in the order in which air, light and sensor come."""
    count, bands = image.shape[:2]
    before = image
    if settings.haze > 0:
        coarse = torch.rand((count, 1, 4, 4), generator=generator) * torch.rand((count, 1, 1, 1), generator=generator)
        veil = interpolate(coarse.to(image), image.shape[2:], mode="bilinear", align_corners=True)
        image = torch.lerp(image, torch.full_like(image, 2.0), settings.haze * veil)
    if settings.band_jitter > 0:
        gain, offset = (torch.randn((2, count, bands, 1, 1), generator=generator) * settings.band_jitter).to(image)
        image = image * (1 + gain) + offset
    if lit is not None and image is not before:
        image = torch.where(torch.tensor(lit, device=image.device).view(1, -1, 1, 1), image, before)
    if settings.band_drop > 0:
        draw = torch.rand((count, bands), generator=generator)
        dropped = (draw < settings.band_drop) & (draw < draw.amax(1, keepdim=True))
        image = image.masked_fill(dropped[:, :, None, None].to(image.device), 0.0)
    return image


def _crop(batch: Samples, side: int, generator: Generator) -> Samples:
    """A window of each tile, its place drawn evenly; axes that are no longer than `side` are kept whole."""
    count, height, width = batch.valid.shape
    room = torch.tensor([max(height - side, 0), max(width - side, 0)])
    if not room.any():
        return batch
    corner = (torch.rand((count, 2), generator=generator) * (room + 1)).long()
    high, wide = min(side, height), min(side, width)
    windows = [(..., slice(top, top + high), slice(left, left + wide)) for top, left in corner.tolist()]
    return Samples(*(torch.stack([tile[window] for tile, window in zip(part, windows, strict=True)]) for part in batch))


def _mix_times(batch: Samples, ground: Tensor, probability: float, generator: Generator) -> Samples:
    """Each tile blended, by chance, with one other tile of its ground; labels stay its own."""
    same = (ground[:, None] == ground[None, :]).cpu() & ~torch.eye(len(ground), dtype=torch.bool)
    blended, both, _ = _mixed(batch, same, probability, generator)
    # not where either is unusable: a cloud in the other time would shine through
    return batch._replace(image=torch.where(both[:, None], blended.image, batch.image))


def _mix_tiles(batch: Samples, probability: float, generator: Generator) -> Samples:
    """Each tile and its fractions blended, by chance, with another tile (Zhang et al.: mixup, 2018)."""
    others = ~torch.eye(len(batch.image), dtype=torch.bool)
    blended, both, mixed = _mixed(batch, others, probability, generator)
    at = mixed.view(-1, 1, 1, 1)
    return Samples(
        torch.where(at, blended.image, batch.image),
        torch.where(at, blended.fraction, batch.fraction),
        torch.where(mixed.view(-1, 1, 1), both, batch.valid.bool()).to(batch.valid.dtype),
    )


def _mixed(
    batch: Samples, partners: Tensor, probability: float, generator: Generator
) -> tuple[Samples, Tensor, Tensor]:
    """(the batch blended with a partner of each tile, where both are valid (B, H, W), which tiles were (B,)).

    partners: (B, B), on the CPU, True where the tile of the column may be blended into that of the row.
    """
    count, device = len(partners), batch.image.device
    partner = torch.rand((count, count), generator=generator).masked_fill(~partners, -1.0).argmax(1)
    mixed = (torch.rand(count, generator=generator) < probability) & partners.any(1)
    share = torch.where(mixed, 0.5 * torch.rand(count, generator=generator), 0.0).view(-1, 1, 1, 1)
    partner, mixed = partner.to(device), mixed.to(device)
    image, fraction = (torch.lerp(part, part[partner], share.to(part)) for part in (batch.image, batch.fraction))
    both = batch.valid.bool() & batch.valid[partner].bool() & mixed.view(-1, 1, 1)
    return Samples(image, fraction, both), both, mixed


def _mirrored(place: Tensor, side: int) -> Tensor:
    """Places reflected about the first and last pixel into 0..side-1."""
    place = place.abs()
    return torch.where(place >= side, 2 * (side - 1) - place, place)


def _cut_out(batch: Samples, inside: Tensor) -> Samples:
    outside = ~inside
    return Samples(
        batch.image.masked_fill(outside[:, None], 0.0),
        batch.fraction.masked_fill(outside[:, None], math.nan),
        batch.valid.masked_fill(outside, 0),
    )
