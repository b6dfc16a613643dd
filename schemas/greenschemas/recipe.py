"""The recipe: what the data are and what shall be done with them, one YAML file for `greenprep run`.

Every field has the user's own rules as its default: an empty recipe is the 19-band Sentinel-2 layout with
five-class fractional masks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Self

import yaml
from pydantic import ConfigDict, Field, field_validator, model_validator

from greenschemas.about import About
from greenschemas.bands import SENTINEL2_L1C_19, Band
from greenschemas.choices import Edge, MaskKind
from greenschemas.errors import RecipeError
from greenschemas.files import write_whole
from greenschemas.frozen import Frozen, digest
from greenschemas.limits import Limits
from greenschemas.name_pattern import fixed_letters, has_parts, original_name, parts_of, regex_of
from greenschemas.yaml_file import read_settings

__all__ = [
    "About",
    "MaskRules",
    "Pairing",
    "Recipe",
    "SplitRules",
    "TileRules",
    "load_recipe",
    "recipe_of",
    "write_recipe",
]


_EXPLAINED = ConfigDict(use_attribute_docstrings=True)
"""So that `greenprep recipe` prints the text under each field."""


class Pairing(Frozen):
    """Which files are images, which are masks, and what their names say. All by name, never by position.

    Either `images` and `masks` name parts in braces, or they are globs and `image_name` and `mask_name` are regular
    expressions.
    """

    model_config = _EXPLAINED

    images: str = "images/**/*.[tT][iI][fF]*"
    """Path of an image below the raw folder, parts in braces: `{site}_{date}.tif`, `**/{site}.tif` in any folder; or
    a glob without braces, where `image_name` says the parts."""
    masks: str = "masks/**/*.[tT][iI][fF]*"
    """As `images`, for masks: `{site}_{date}_label.tif`. The parts that it names tell which image it belongs to."""
    image_name: str | None = (
        r"(?P<stem>(?P<city>.+)_(?P<year>\d{4})_(?P<area>[^_]+)_(?P<time>[^_]+)_GeoTIFF)\.(?i:tiff?)"
    )
    """With globs, the regular expression of an image's whole file name; `stem` is what the mask shares with it."""
    mask_name: str | None = r"(?P<stem>.+_GeoTIFF)_(?:fractional_)?mask(?:\.term)?\.(?i:tiff?)"
    """With globs, the regular expression of a mask's whole file name, with the same `stem`."""
    group: str = "{city}_{year}_{area}"
    """The group, from the named parts of the image's name: the same ground at any time."""
    time: str = "{time}"
    """Which acquisition of the group it is; with braces in `images`, whatever parts the group does not use."""

    @model_validator(mode="before")
    @classmethod
    def _braces_say_all(cls, data: object) -> object:
        if not isinstance(data, Mapping) or not has_parts(str(data.get("images", ""))):
            return data
        group = str(data.get("group", ""))
        rest = "_".join(f"{{{part}}}" for part in parts_of(str(data["images"])) if f"{{{part}}}" not in group)
        return {"image_name": None, "mask_name": None, "time": rest, **data}

    @field_validator("images", "masks")
    @classmethod
    def _below_the_raw_folder(cls, pattern: str) -> str:
        path = PurePosixPath(pattern)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise ValueError("a pattern of paths below the raw folder, such as `images/**/*.tif*`")
        if has_parts(pattern):
            regex_of(pattern)
        return pattern

    @field_validator("image_name", "mask_name")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            known = re.compile(pattern).groupindex
        except re.error as problem:
            raise ValueError(f"a regular expression ({problem})") from None
        if "stem" not in known:
            raise ValueError("it has a part (?P<stem>…), which image and mask share")
        return pattern

    @model_validator(mode="after")
    def _one_way_of_naming(self) -> Self:
        braces = has_parts(self.images), has_parts(self.masks)
        regexes = self.image_name is not None, self.mask_name is not None
        if braces == (True, True) and regexes == (False, False):
            if unknown := set(parts_of(self.masks)) - set(parts_of(self.images)):
                raise ValueError(f"`masks` names no part that `images` has not, such as {{{min(unknown)}}}")
            return self
        if braces != (False, False) or regexes != (True, True):
            raise ValueError(
                "parts are named in braces in `images` and `masks`, or in `image_name` and `mask_name`: leave these out"
            )
        return self

    def match_image(self, path: str) -> re.Match[str] | None:
        """The parts of an image's path below the raw folder; None where it is not named like one."""
        return _match(path, self.images, self.image_name)

    def match_mask(self, path: str) -> re.Match[str] | None:
        """As `match_image`, for masks."""
        return _match(path, self.masks, self.mask_name)

    @property
    def images_stand_out(self) -> bool:
        """Whether a file that both patterns fit is an image, because that pattern says more; else it is a mask."""
        return self.image_name is None and fixed_letters(self.images) > fixed_letters(self.masks)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of an image's name."""
        return parts_of(self.images) if self.image_name is None else tuple(re.compile(self.image_name).groupindex)

    @property
    def shared(self) -> tuple[str, ...]:
        """The parts that are alike in an image and its mask."""
        return parts_of(self.masks) if self.mask_name is None else ("stem",)

    @model_validator(mode="after")
    def _templates_use_known_parts(self) -> Self:
        parts = dict.fromkeys(self.parts, "")
        for key in ("group", "time"):
            try:
                getattr(self, key).format(**parts)
            except (KeyError, IndexError, ValueError):
                where = "images" if self.image_name is None else "image_name"
                known = f"{{{'}, {'.join(parts)}}}"
                raise ValueError(f"`{key}` is made of {known}, the parts of {where}") from None
        return self


def _match(path: str, pattern: str, name: str | None) -> re.Match[str] | None:
    """As it is called, or else as it was called before it was copied: `x (1).tif`."""
    return _match_exactly(path, pattern, name) or _match_exactly(original_name(path), pattern, name)


def _match_exactly(path: str, pattern: str, name: str | None) -> re.Match[str] | None:
    if name is None:
        return re.fullmatch(regex_of(pattern), path)
    return re.fullmatch(name, path.rpartition("/")[2])


class MaskRules(Frozen):
    """How masks are written."""

    model_config = _EXPLAINED

    kind: MaskKind = MaskKind.FRACTION
    """One band a class: fraction (0 to 1), percent (0 to 100) or one_hot (0 or 1, or 255); or index: one band of codes,
    with a palette or without."""
    unlabelled: float | None = None
    """Value that means no label, beside NaN and the file's own nodata."""
    classes: tuple[str, ...] | dict[int, str] = ("impervious", "low_vegetation", "trees", "water", "clutter")
    """Class names in the order of the mask's bands, or of its codes from 0; or the name that each code of an index
    mask stands for, {10: trees, 20: low_vegetation, 30: low_vegetation}, in the order of the codes."""

    rest: str | None = None
    """The class that has no band: what the fractions of the others leave of 1 (four of five classes, tree cover)."""
    whole: int | None = Field(None, ge=1, le=65_535)
    """What a whole pixel is written as in a mask of one band a class: 255 for bytes. None: 1, 100 for percent, or what
    the sums over the bands say; with `rest` these say nothing."""
    aggregate: int = Field(1, ge=1, le=1000)
    """Rows and columns of the mask that make one pixel of the image: 10 for masks of 1 m over images of 10 m. Their
    labels are counted, and the image's pixel gets the fractions."""
    labelled_min: float = Field(0.5, ge=0, le=1)
    """With `aggregate`: least share of a pixel's finer ones that have a label; with less it has none. Fractions are
    those of the labelled ones."""

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order of the store's `class` axis."""
        return tuple(dict.fromkeys(self.classes.values())) if isinstance(self.classes, dict) else self.classes

    @property
    def codes(self) -> dict[int, int]:
        """Position in `names` of each code that an index mask may hold."""
        if isinstance(self.classes, dict):
            return {code: self.names.index(name) for code, name in self.classes.items()}
        return {code: code for code in range(len(self.classes))}

    @property
    def bands(self) -> int:
        """Bands of a mask file."""
        return 1 if self.kind is MaskKind.INDEX else len(self.names) - (self.rest is not None)

    @model_validator(mode="before")
    @classmethod
    def _codes_are_indices(cls, data: object) -> object:
        coded = isinstance(data, Mapping) and isinstance(data.get("classes"), Mapping)
        return {"kind": MaskKind.INDEX, **data} if coded and isinstance(data, Mapping) else data

    @field_validator("classes")
    @classmethod
    def _two_or_more(cls, classes: tuple[str, ...] | dict[int, str]) -> tuple[str, ...] | dict[int, str]:
        names = tuple(classes.values()) if isinstance(classes, dict) else classes
        if len(set(names)) != len(names) and not isinstance(classes, dict):
            raise ValueError("class names differ from each other")
        if len(set(names)) < 2:
            raise ValueError("there are two classes or more")
        # JSON forgets the order of keys: a store must not depend on it.
        return dict(sorted(classes.items())) if isinstance(classes, dict) else classes

    @model_validator(mode="after")
    def _rest_is_a_class(self) -> Self:
        if self.rest is not None and (self.kind is MaskKind.INDEX or self.rest not in self.names):
            raise ValueError("`rest` is one of `classes`, of a mask of fractions")
        if self.whole is not None and self.kind is MaskKind.INDEX:
            raise ValueError("`whole` goes with masks of one band a class")
        return self

    @model_validator(mode="after")
    def _codes_fit(self) -> Self:
        if isinstance(self.classes, dict):
            if self.kind is not MaskKind.INDEX:
                raise ValueError(f"classes by code go with `kind: index`, and a list with `kind: {self.kind.value}`")
            if self.unlabelled in self.classes:
                raise ValueError(f"{self.unlabelled:g} is `unlabelled` or the code of a class, not both")
        return self


class TileRules(Frozen):
    """How sources are cut."""

    model_config = _EXPLAINED

    size: int = Field(128, gt=0, le=8192)
    """Rows and columns of a tile."""
    stride: int | None = Field(None, gt=0)
    """Pixels from one tile to the next; None: the size, so that tiles do not overlap."""
    edge: Edge = Edge.PAD
    """What happens to a tile that the source does not fill: pad, drop, or shift (moved back until it lies inside)."""
    min_cover: float = Field(0.25, ge=0, le=1)
    """Least share of a tile that lies inside the source; tiles with less are left out."""


class SplitRules(Frozen):
    """How groups are dealt out to train, val and test."""

    model_config = _EXPLAINED

    val: float = Field(0.2, ge=0, lt=1)
    """Share of the labelled pixels for validation, as near as whole groups allow."""
    test: float = Field(0.0, ge=0, lt=1)
    """Share for the test split."""
    seed: int = Field(0, ge=0)
    """Another seed deals the groups out otherwise."""
    by: str = "group"
    """What stays together: `group`, a named part of the file name (`city`, `year`), a regular expression, or `blocks`
    of ground within each scene, with a strip of tiles in no split between them: for one scene, or a few."""

    @model_validator(mode="after")
    def _leaves_some_for_training(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError("val + test is less than 1")
        return self


class Recipe(Frozen):
    """All that `greenprep` needs to know of a collection."""

    model_config = _EXPLAINED

    raw: Path | None = None
    """Folder of raw files, for `greenprep run`; relative to the recipe's own folder."""
    clean: Path | None = None
    """Folder for the manifest and report of `greenprep run`."""
    store: Path | str | None = None
    """Store that `greenprep run` writes: a path, or a URL that fsspec knows (`s3://…`)."""
    pairing: Pairing = Pairing()
    """Which files are images, which are masks, and what their names say: either with parts in braces, or by globs and
    regular expressions."""
    bands: tuple[Band, ...] = Field(SENTINEL2_L1C_19, min_length=1)
    """The bands of an image in their order: role is reflectance (unless said otherwise), derived, radar, embedding,
    elevation or mask, common is STAC's name of the part of the spectrum."""
    mask: MaskRules = MaskRules()
    """How masks are written."""
    limits: Limits = Limits()
    """Limits of the checks; `greenprep explain CODE` says what each check measures."""
    tile: TileRules = TileRules()
    """How sources are cut."""
    split: SplitRules = SplitRules()
    """How groups are dealt out to train, val and test."""
    about: About = About()
    """Where the collection comes from, for `greenprep card`."""

    @field_validator("store", mode="before")
    @classmethod
    def _path_or_url(cls, store: object) -> object:
        # As a path, a URL would lose one of its slashes.
        return Path(store) if isinstance(store, str) and "://" not in store else store

    @field_validator("bands")
    @classmethod
    def _bands_differ(cls, bands: tuple[Band, ...]) -> tuple[Band, ...]:
        if len({band.name for band in bands}) != len(bands):
            raise ValueError("band names differ from each other")
        return bands

    def about_data(self) -> dict[str, object]:
        """The recipe without its paths, as JSON: what makes a store what it is, on whatever machine."""
        silent = {"about"} if self.about == About() else set()  # recipes of before are known by their digest
        return self.model_dump(mode="json", exclude={"raw", "clean", "store"} | silent)

    def hash(self) -> str:
        """Digest of `about_data`."""
        return digest(self.about_data())


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write the recipe without its paths as YAML, which `load_recipe` reads."""
    write_whole(path, yaml.safe_dump(recipe.about_data(), sort_keys=False, allow_unicode=True))


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a YAML file, its paths made relative to the file's folder.

    Raises RecipeError where the file cannot be read, is not YAML, or holds an unknown key or an impossible value.
    """
    path = Path(path)
    recipe = Recipe.parse(path, read_settings(path, RecipeError, "`greenprep recipe`"), RecipeError)
    here = path.parent
    return recipe.model_copy(
        update={
            key: here / value for key in ("raw", "clean", "store") if isinstance(value := getattr(recipe, key), Path)
        }
    )


def recipe_of(given: Recipe | str | Path | None) -> Recipe:
    """A recipe as it is, that of a file, or (None) the default."""
    if given is None:
        return Recipe()
    return given if isinstance(given, Recipe) else load_recipe(given)
