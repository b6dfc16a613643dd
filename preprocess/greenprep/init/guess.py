"""All guesses put together: a recipe, and for each of its keys how it was told. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from greenprep.init.bands import guess_bands, guess_scale
from greenprep.init.facts import FileFacts, tell_apart
from greenprep.init.labels import guess_labels
from greenprep.init.names import guess_group, guess_patterns
from greenprep.raw.pairs import pair_names
from greenschemas.choices import NanPolicy
from greenschemas.errors import SourceError
from greenschemas.limits import Limits
from greenschemas.recipe import Pairing, Recipe, SplitRules, TileRules

__all__ = ["Guess", "guess"]

UNSURE = "COULD NOT TELL"
_LOOKED = 20
"""Images that further masks are looked for."""
MOST = 0.9
"""Share of the files that a pattern must pair to be believed."""


class Guess(NamedTuple):
    """A recipe for files that nobody described."""

    recipe: Recipe
    notes: dict[str, str]
    """By dotted key, how its value was told; `COULD NOT TELL` stands where it is the likeliest of several."""

    @property
    def unsure(self) -> list[str]:
        """Keys whose values a person should look at."""
        return [key for key, note in self.notes.items() if UNSURE in note]


def guess(raw: str, names: Sequence[str], facts: Sequence[FileFacts]) -> Guess:
    """The likeliest recipe of the files `names` below `raw`, of which those of `facts` were looked at.

    Raises SourceError where nothing looks like an image, or nothing like a mask.
    """
    images, masks = tell_apart(facts)
    if not images or not masks:
        kinds = sorted({f"{one.bands} bands of {one.dtype}" for one in facts})
        raise SourceError(
            raw,
            f"{len(names)} TIFFs, of which {len(images)} of {len(facts)} looked at are images and {len(masks)} masks "
            f"({'; '.join(kinds[:6]) or 'none can be read'})",
            "give the folder above images and masks, or start from `greenprep recipe > recipe.yaml`",
        )
    pairing, notes = _pairing(raw, names, images, masks)
    bands, notes["bands"] = guess_bands(images)
    rules, said = guess_labels(masks)
    notes |= {f"mask.{key}": note for key, note in said.items()}
    scale, notes["limits.reflectance_scale"] = guess_scale(images, bands)
    nan = max(one.nan for one in images)
    if nan:
        notes["limits.nan"] = f"NaN in up to {nan:.1%} of an image's pixels; `reject` leaves such pairs out"
    side = min(min(one.height, one.width) for one in images)
    size = 128 if side >= 128 else max(32, side // 32 * 32)
    notes["tile.size"] = f"rows and columns of a tile; the smallest image looked at has {side}"
    notes["split.val"] = "share of the labelled pixels for validation, in whole groups"
    recipe = Recipe(
        pairing=pairing,
        bands=bands,
        mask=rules,
        limits=Limits(reflectance_scale=scale, nan=NanPolicy.MASK if nan else NanPolicy.REJECT),
        tile=TileRules(size=size),
        split=SplitRules(),
    )
    return Guess(recipe, notes)


def _pairing(
    raw: str, names: Sequence[str], images: Sequence[FileFacts], masks: Sequence[FileFacts]
) -> tuple[Pairing, dict[str, str]]:
    usual = _paired(names, Pairing())
    if usual * 2 >= MOST * len(names):
        return Pairing(), {
            "pairing.images": f"{usual} pairs of {len(names)} TIFFs, all by the names of the default layout",
            "pairing.group": "the same ground at any time, which never stands in two splits",
            "pairing.time": "which acquisition of the group",
        }
    patterns = guess_patterns([one.path for one in images], [one.path for one in masks])
    if patterns is None:
        raise SourceError(
            raw,
            f"names that do not tell which mask belongs to which image, such as {images[0].path} and {masks[0].path}",
            "write `pairing` by hand: `greenprep recipe > recipe.yaml` has every key",
        )
    of_images, of_masks = patterns
    draft = Pairing.model_validate({"images": of_images, "masks": of_masks, "group": ""})
    parts = {name: match.groupdict() for name in names if (match := draft.match_image(name))}
    group, why = guess_group(draft.parts, parts, images)
    pairing = Pairing.model_validate(
        {"images": of_images, "masks": of_masks, "group": "_".join(f"{{{part}}}" for part in group)}
    )
    paired = _paired(names, pairing)
    like = next((one.path for one in masks if pairing.match_mask(one.path)), masks[0].path)
    unsure = "" if paired * 2 >= MOST * len(names) else f"{UNSURE}: "
    return pairing, {
        "pairing.images": f"{unsure}{paired} pairs of {len(names)} TIFFs; parts of the path stand in braces",
        "pairing.masks": f"what looks like labels, such as {like}{_others(names, draft, parts)}",
        "pairing.group": f"The same ground at any time, which never stands in two splits. {why}",
        "pairing.time": "which acquisition of the group",
    }


def _others(names: Sequence[str], pairing: Pairing, parts: Mapping[str, Mapping[str, str]]) -> str:
    """What to say of TIFFs that fit neither pattern, and have what tells an image from others in their names."""
    left = [name for name in names if not pairing.match_image(name) and not pairing.match_mask(name)]
    some = list(parts.values())[:_LOOKED]
    of_each = [[name for name in left if all(value in name for value in one.values())] for one in some]
    if not some or sum(map(bool, of_each)) * 2 < len(some):
        return ""
    such = " and ".join(next(filter(None, of_each))[:2])
    return (
        f". {UNSURE}: these images have more than one, such as {such}. A mask is one file an image: where each class "
        "has a file of its own, put them together first, as docs/data.md shows"
    )


def _paired(names: Sequence[str], pairing: Pairing) -> int:
    return sum(one.problem is None for one in pair_names(names, names, [], pairing))
