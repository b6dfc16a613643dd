"""The contract of a store, version 1: what a trainer must know, in the attributes of the Zarr group.

Written last: a folder without it is not a store. Holds no path, time or host name, so that the same inputs give the
same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from greenschemas.bands import Band, Role, feature_names
from greenschemas.frozen import Frozen, digest
from greenschemas.values import Quality, Values, quality_of

__all__ = ["ATTRIBUTE", "SEAL", "BandStats", "Contract", "Split", "Statistics", "adopt_dead"]

ATTRIBUTE = "greenspace"
"""Attribute of the Zarr group that holds the contract."""
SEAL = "greenspace_sha256"
"""Attribute that holds the digest of the contract as it was written."""


class BandStats(Frozen):
    """Moments of one band."""

    mean: float
    """Over the valid pixels of the train split and of no other, in the units of the store; of a band with a decoding,
    of the decoded values."""
    std: float = Field(ge=0)
    """Population standard deviation over the same pixels; 0 for a dead band."""
    minimum: float
    maximum: float


class Statistics(Frozen):
    """What training needs, computed over the train split alone."""

    pixels: int = Field(ge=0)
    """Valid pixels of the train split."""
    bands: tuple[BandStats, ...]
    """In the order of the contract's bands."""
    global_mean: float
    """Mean of the feature bands taken together, for whole-image normalisation."""
    global_std: float = Field(ge=0)
    class_share: tuple[float, ...]
    """Share of each class in the labelled pixels, by fraction; they sum to 1."""
    class_weights: dict[str, tuple[float, ...]]
    """Weights by scheme, each summing to 1: `inverse`, `sqrt`, `effective`, `median`."""


class Split(Frozen):
    """How the groups were dealt out."""

    recipe: dict[str, Any]
    """Shares, seed and what was kept together."""
    groups: dict[str, int]
    """Groups by split."""
    tiles: dict[str, int]
    """Usable tiles by split."""
    audit: Literal["passed", "failed", "not run"] = "not run"
    """Whether the same ground was looked for in two splits, and what came of it."""
    leaks: tuple[str, ...] = ()
    """What the audit found, in words, the first few."""


class Contract(Frozen):
    """The whole of it."""

    format: Literal["greenspace-store"] = "greenspace-store"
    version: Literal[1] = 1
    bands: tuple[Band, ...] = Field(min_length=1)
    """In the order of the `band` axis; dead bands have the role `dead`."""
    classes: tuple[str, ...] = Field(min_length=2)
    """In the order of the `class` axis."""
    tile_size: int = Field(gt=0)
    """Rows and columns of a tile."""
    stride: int = Field(gt=0)
    """Pixels from one tile to the next."""
    dtype: str
    """NumPy type of `image`."""
    tiles: int = Field(ge=0)
    sources: int = Field(ge=0)
    groups: int = Field(ge=0)
    shard_tiles: int = Field(gt=0)
    """Tiles in a shard of `image`, `fraction` and `valid`."""
    split: Split | None = None
    """None until `greenprep split` has run."""
    statistics: Statistics | None = None
    """Of the train split; None until `greenprep split` has run."""
    values: Values | None = None
    """What the stored numbers mean; None in a store that was made before this was written down."""
    recipe: dict[str, Any]
    """The recipe without its paths."""
    recipe_hash: str
    versions: dict[str, str] = Field(default_factory=dict)
    """Version of greenspace that wrote the store."""
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 (hex, 32 places) of the files of each small array, and of the metadata of the tiled ones; empty in a
    store that was written before there were any."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if len({band.name for band in self.bands}) != len(self.bands):
            raise ValueError("band names differ from each other")
        if self.statistics is not None:
            if len(self.statistics.bands) != len(self.bands):
                raise ValueError(f"statistics of {len(self.statistics.bands)} bands for {len(self.bands)}")
            for scheme, weights in self.statistics.class_weights.items():
                if len(weights) != len(self.classes):
                    raise ValueError(f"{len(weights)} weights `{scheme}` for {len(self.classes)} classes")
        if self.values is not None and len(self.values.bands) != len(self.bands):
            raise ValueError(f"values of {len(self.values.bands)} bands for {len(self.bands)}")
        if digest(self.recipe) != self.recipe_hash:
            raise ValueError("recipe_hash is the digest of recipe")
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the bands that a net sees unless told otherwise."""
        return feature_names(self.bands)

    @property
    def declared_bands(self) -> tuple[Band, ...]:
        """The bands as the recipe has them: those that are dead now have the role that decides what is empty."""
        declared = {str(band["name"]): Band.model_validate(band) for band in self.recipe.get("bands", ())}
        return tuple(declared.get(band.name, band) if band.role is Role.DEAD else band for band in self.bands)

    @property
    def quality(self) -> dict[str, Quality]:
        """How quality bands are read, by name of the band."""
        return quality_of(self.declared_bands) if self.values is None else self.values.quality

    @property
    def whole_numbers(self) -> bool:
        """Whether what moments and histograms are of are whole numbers: those stored, and none decoded."""
        return self.dtype.startswith(("int", "uint")) and not any(band.decode for band in self.bands)

    @property
    def clouds_masked(self) -> bool:
        """Whether pixels that a quality band calls cloud were left out of training."""
        return bool(self.recipe.get("limits", {}).get("cloud") == "mask")

    @property
    def reflectance_scale(self) -> float | None:
        """Number that stands for a reflectance of 1; None: unknown."""
        scale = self.recipe.get("limits", {}).get("reflectance_scale")
        return None if scale is None else float(scale)

    def band_index(self, name: str) -> int:
        """Position of a band on the `band` axis; raises KeyError for an unknown name."""
        for index, band in enumerate(self.bands):
            if band.name == name:
                return index
        raise KeyError(name)

    def identity(self) -> str:
        """Digest of the whole contract: a run refuses to go on with another."""
        # Runs know a store by the digest that it had before there were such fields.
        older = {name for name, held in (("values", self.values), ("digests", self.digests)) if not held}
        return digest(self.model_dump(mode="json", exclude=older))


def adopt_dead(bands: Iterable[Band], constant: Iterable[bool]) -> tuple[Band, ...]:
    """`bands` as declared, with the role `dead` where `constant` says that the band never changes."""
    return tuple(
        band.model_copy(update={"role": Role.DEAD}) if dead else band
        for band, dead in zip(bands, constant, strict=True)
    )
