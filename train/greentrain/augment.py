"""Augmentation of whole batches on their device: image, fractions and valid mask always together.

Letters: B batch, C bands, K classes, H rows, W columns. A batch is
    image     (B, C, H, W), float, normalised (z-scores, so that 0 is a band's mean)
    fraction  (B, K, H, W), float, 0..1, NaN where a pixel is unlabelled
    valid     (B, H, W), bool or 0/1, 1 where the image may be used
and comes back with the same shapes and types. All chance is drawn on the CPU from one generator, made from
(seed, epoch, step, rank): the same batch is augmented alike on every device, and after a resume. With
everything off the inputs come back as they are.

Flips, shifts and turns move whole pixels. Scaling and rotation interpolate the image, and labels only where
fractions are the target: else each pixel takes the fractions of the nearest one, so that no label arises
that was not there.
"""

import hashlib
import math
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

__all__ = ["Augment", "Batch", "augment", "generator_for", "move", "resample"]


class Augment(BaseModel):
    """What may happen to a batch. Rotation and turns are off: shadows have a direction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    """Standard deviation of each band's gain about 1, and of its offset about 0 in deviations of the band."""
    haze: float = Field(0.0, ge=0, le=1)
    """Largest share of a smooth white veil, two deviations above the mean in every band."""
    band_drop: float = Field(0.0, ge=0, lt=1)
    """Probability that a band is set to its mean; one band at least stays."""
    mix_times: float = Field(0.0, ge=0, le=1)
    """Probability that a tile is blended with another time of its ground, at most half and half."""


class Batch(NamedTuple):
    """The three that belong together; shapes at the top of the module."""

    image: Tensor
    fraction: Tensor
    valid: Tensor


def generator_for(seed: int, epoch: int, step: int, rank: int = 0) -> Generator:
    """A generator (CPU) whose stream is a pure function of the four numbers, unlike for any two of them."""
    digest = hashlib.blake2b(f"{seed} {epoch} {step} {rank}".encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def augment(
    batch: Batch, settings: Augment, generator: Generator, *, blend_labels: bool, ground: Tensor | None = None
) -> Batch:
    """The batch, changed by chance as `settings` say.

    blend_labels: True where fractions are the target, so that scaling may interpolate them.
    ground: (B,), equal numbers for tiles of the same ground at several times; needed for `mix_times`.
    """
    if settings.mix_times > 0:
        if ground is None:
            raise ValueError("mix_times needs `ground`, the number of each tile's ground")
        batch = _mix_times(batch, ground, settings.mix_times, generator)
    height, width = batch.valid.shape[1:]
    if height != width and (settings.turn or settings.rotate > 0):
        raise ValueError(f"turns and rotation need square tiles, these are {height} x {width}")
    if settings.flip > 0 or settings.shift > 0:
        batch = _flip_and_shift(batch, settings, generator)
    if settings.turn:
        batch = _turn(batch, generator)
    if settings.scale > 0 or settings.rotate > 0:
        matrix = _matrices(len(batch.image), settings, generator)
        batch = resample(batch, matrix, settings.fill, blend_labels=blend_labels)
    return batch._replace(image=_colour(batch.image, settings, generator))


def move(batch: Batch, rows: Tensor, columns: Tensor, fill: Literal["reflect", "invalid"]) -> Batch:
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

    moved = Batch(take(batch.image), take(batch.fraction), take(batch.valid[:, None])[:, 0])
    return moved if fill == "reflect" else _cut_out(moved, inside)


def resample(
    batch: Batch, matrix: Tensor, fill: Literal["reflect", "invalid"], *, blend_labels: bool
) -> Batch:
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
    fraction = (fraction / share.clamp_min(0.5) if blend_labels else fraction).masked_fill(
        share < 0.5, math.nan
    )
    return Batch(image.masked_fill(~valid[:, None], 0.0), fraction, valid.to(batch.valid.dtype))


def _flip_and_shift(batch: Batch, settings: Augment, generator: Generator) -> Batch:
    places = []
    for side in batch.valid.shape[1:]:
        flipped = torch.rand((len(batch.valid), 1), generator=generator) < settings.flip
        most = int(settings.shift * side)
        offset = torch.randint(-most, most + 1, (len(batch.valid), 1), generator=generator)
        place = torch.arange(side)
        places.append((torch.where(flipped, side - 1 - place, place) + offset).to(batch.image.device))
    return move(batch, places[0], places[1], settings.fill)


def _turn(batch: Batch, generator: Generator) -> Batch:
    quarters = torch.randint(4, (len(batch.valid),), generator=generator).tolist()

    def turned(values: Tensor) -> Tensor:
        return torch.stack([one.rot90(q, (-2, -1)) for one, q in zip(values, quarters, strict=True)])

    return Batch(*(turned(values) for values in batch))


def _matrices(count: int, settings: Augment, generator: Generator) -> Tensor:
    """(B, 2, 3), rotations and scalings about the centre of square tiles."""
    spread = 2 * torch.rand((2, count), generator=generator) - 1
    zoom = (spread[0] * math.log1p(settings.scale)).exp()
    angle = spread[1] * math.radians(settings.rotate)
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    zero = torch.zeros(count)
    return torch.stack([cosine, -sine, zero, sine, cosine, zero], 1).view(count, 2, 3)


def _colour(image: Tensor, settings: Augment, generator: Generator) -> Tensor:
    """Band jitter, haze and band drop-out, in the order in which light, air and sensor come."""
    count, bands = image.shape[:2]
    if settings.haze > 0:
        coarse = torch.rand((count, 1, 4, 4), generator=generator) * torch.rand(
            (count, 1, 1, 1), generator=generator
        )
        veil = interpolate(coarse.to(image), image.shape[2:], mode="bilinear", align_corners=True)
        image = torch.lerp(image, torch.full_like(image, 2.0), settings.haze * veil)
    if settings.band_jitter > 0:
        gain, offset = (torch.randn((2, count, bands, 1, 1), generator=generator) * settings.band_jitter).to(
            image
        )
        image = image * (1 + gain) + offset
    if settings.band_drop > 0:
        draw = torch.rand((count, bands), generator=generator)
        dropped = (draw < settings.band_drop) & (draw < draw.amax(1, keepdim=True))
        image = image.masked_fill(dropped[:, :, None, None].to(image.device), 0.0)
    return image


def _mix_times(batch: Batch, ground: Tensor, probability: float, generator: Generator) -> Batch:
    """Each tile blended, by chance, with one other tile of its ground; labels stay its own."""
    count = len(ground)
    same = (ground[:, None] == ground[None, :]).cpu() & ~torch.eye(count, dtype=torch.bool)
    partner = torch.rand((count, count), generator=generator).masked_fill(~same, -1.0).argmax(1)
    mixed = (torch.rand(count, generator=generator) < probability) & same.any(1)
    share = torch.where(mixed, 0.5 * torch.rand(count, generator=generator), 0.0)
    partner, mixed = partner.to(batch.image.device), mixed.to(batch.image.device)
    blended = torch.lerp(batch.image, batch.image[partner], share.to(batch.image).view(-1, 1, 1, 1))
    # not where either is unusable: a cloud in the other time would shine through
    both = batch.valid.bool() & batch.valid[partner].bool() & mixed.view(-1, 1, 1)
    return batch._replace(image=torch.where(both[:, None], blended, batch.image))


def _mirrored(place: Tensor, side: int) -> Tensor:
    """Places reflected about the first and last pixel into 0..side-1."""
    place = place.abs()
    return torch.where(place >= side, 2 * (side - 1) - place, place)


def _cut_out(batch: Batch, inside: Tensor) -> Batch:
    outside = ~inside
    return Batch(
        batch.image.masked_fill(outside[:, None], 0.0),
        batch.fraction.masked_fill(outside[:, None], math.nan),
        batch.valid.masked_fill(outside, 0),
    )
