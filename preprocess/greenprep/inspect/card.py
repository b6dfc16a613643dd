"""`greenprep card`: what a data set is, for search engines and catalogues (Croissant) and for people (Markdown).

Croissant 1.0 (Akhtar and others: Croissant: a metadata format for ML-ready datasets, 2024) is JSON-LD over schema.org.
It has no way to read Zarr, so that bands, classes and splits stand in the card itself, and the tiles are described.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenprep.inspect.tables import table
from greenprep.store.location import Location
from greenschemas.about import About
from greenschemas.contract import Contract
from greenschemas.errors import ConfigError
from greenschemas.files import write_whole
from greenschemas.store import Store

__all__ = ["card_text", "croissant", "write_card"]

_TERMS = (
    "citeAs column extract field fileObject fileProperty fileSet format includes isLiveDataset jsonPath key md5 "
    "parentField path recordSet references regex repeated replace separator source subField transform"
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    **{name: f"cr:{name}" for name in _TERMS.split()},
}
_SPLITS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_ARRAYS = {
    "image": "Raw values of each tile, (tile, band, row, column).",
    "fraction": "Share of each class in each pixel, (tile, class, row, column), in 200ths; 255: no label.",
    "valid": "Which pixels may be used, (tile, row, column).",
}


def write_card(store: Store, folder: Path | None = None) -> tuple[Path, Path]:
    """Write NAME.croissant.json and NAME.card.md into a folder (None: that of the store); their paths.

    Raises ConfigError for a store on an object store without a folder.
    """
    if folder is None and "://" in store.location:
        raise ConfigError(store.location, "a store that is no folder of this machine", "say where by `--out FOLDER`")
    name = store.location.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr")
    place = Path(store.location).resolve().parent if folder is None else folder
    seal = hashlib.sha256((Location.at(store.location) / "zarr.json").read()).hexdigest()
    data, text = place / f"{name}.croissant.json", place / f"{name}.card.md"
    card = croissant(store.contract, f"{name}.zarr", seal)
    write_whole(data, json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(text, card_text(store.contract, f"{name}.zarr"))
    return data, text


def croissant(contract: Contract, name: str, seal: str) -> dict[str, Any]:
    """The card of a store called `name`; seal: SHA-256 of its zarr.json."""
    about = _about(contract)
    more = {
        "license": _licence_url(about.licence),
        "url": about.url,
        "citeAs": about.citation,
        "datePublished": about.published,
        "creator": [{"@type": "sc:Organization", "name": creator} for creator in about.creators],
        "isBasedOn": about.source,
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": about.title or name.removesuffix(".zarr"),
        "description": f"{about.description or _described(contract)} A Zarr v3 group: xarray.open_zarr opens it.",
        "version": f"1.0.0+{contract.recipe_hash}",
        "keywords": ["remote sensing", "land cover", "semantic segmentation", *contract.classes],
        **{key: value for key, value in more.items() if value},
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "contract",
                "name": "contract",
                "description": "Metadata of the group, with the contract: bands, classes, split, statistics, recipe.",
                "contentUrl": f"{name}/zarr.json",
                "encodingFormat": "application/json",
                "sha256": seal,
            },
            *(
                {
                    "@type": "cr:FileSet",
                    "@id": array,
                    "name": array,
                    "description": said,
                    "encodingFormat": "application/vnd.zarr",
                    "includes": f"{name}/{array}/**",
                }
                for array, said in _ARRAYS.items()
            ),
        ],
        "recordSet": _record_sets(contract),
    }


def card_text(contract: Contract, name: str) -> str:
    """The card as Markdown."""
    about, split = _about(contract), contract.split
    lines = [f"# {about.title or name.removesuffix('.zarr')}", "", about.description or _described(contract), ""]
    for word, found in (
        ("Licence", about.licence),
        ("Source", about.source),
        ("Cite", about.citation),
        ("Made by", ", ".join(about.creators) or None),
        ("Published", about.published),
        ("Address", about.url),
    ):
        lines.append(f"- {word}: {found or 'not stated in the recipe'}")
    lines += [
        "",
        "## Bands",
        "",
        "```",
        _bands_text(contract),
        "```",
        "",
        "## Classes",
        "",
        "```",
        _classes_text(contract),
    ]
    lines += ["```", "", "## Splits", ""]
    if split is None:
        lines.append("Not split yet.")
    else:
        rows = [(part, split.groups.get(part), count) for part, count in split.tiles.items()]
        lines += ["```", table(("split", "groups", "usable tiles"), rows), "```", ""]
        lines.append(f"Groups stay whole. Looked for the same ground in two splits: {split.audit}.")
        lines += [f"- {leak}" for leak in split.leaks]
    lines += ["", "## How it was made", "", f"`greenprep` {contract.versions.get('greenspace', '?')}, recipe"]
    lines += [f"`{contract.recipe_hash}`, which stands whole in the contract (`greenprep inspect {name} --json`)."]
    return "\n".join(lines) + "\n"


def _about(contract: Contract) -> About:
    return About.model_validate(contract.recipe.get("about") or {})


def _described(contract: Contract) -> str:
    return (
        f"{contract.tiles:,} tiles of {contract.tile_size} x {contract.tile_size} pixels from {contract.sources:,} "
        f"images in {contract.groups:,} groups: {len(contract.bands)} bands of {contract.dtype}, and the share of each "
        f"of {len(contract.classes)} classes in each pixel."
    )


def _record_sets(contract: Contract) -> list[dict[str, Any]]:
    known = contract.statistics
    classes = [{"name": name, "share": share} for name, share in _class_shares(contract)]
    bands: list[dict[str, Any]] = [
        {"name": band.name, "role": band.role.value, "common": band.common} for band in contract.bands
    ]
    if known:
        bands = [row | {"mean": one.mean, "std": one.std} for row, one in zip(bands, known.bands, strict=True)]
    found = [_record_set("bands", "sc:Enumeration", bands), _record_set("classes", "sc:Enumeration", classes)]
    if contract.split is not None:
        tiles = contract.split.tiles.items()
        splits = [{"name": part, "url": _SPLITS[part], "tiles": count} for part, count in tiles if part in _SPLITS]
        found.append(_record_set("splits", "cr:Split", splits))
    return found


def _record_set(name: str, kind: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows that stand in the card itself; what no row knows is no field."""
    fields = [key for key in rows[0] if any(row[key] is not None for row in rows)]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "dataType": kind,
        "key": {"@id": f"{name}/name"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{key}",
                "name": key,
                "dataType": _kind(key, [row[key] for row in rows]),
            }
            for key in fields
        ],
        "data": [{f"{name}/{key}": row[key] for key in fields} for row in rows],
    }


def _kind(key: str, values: Sequence[Any]) -> str:
    known = next(value for value in values if value is not None)
    if key == "url":
        return "sc:URL"
    return {int: "sc:Integer", float: "sc:Float"}.get(type(known), "sc:Text")


def _licence_url(licence: str | None) -> str | None:
    """The address of a licence that SPDX knows by this identifier; an address or a sentence as it is."""
    if licence is None or "/" in licence or " " in licence:
        return licence
    return f"https://spdx.org/licenses/{licence}.html"


def _bands_text(contract: Contract) -> str:
    known = contract.statistics
    if known is None:
        return table(("band", "role", "common"), [(band.name, band.role.value, band.common) for band in contract.bands])
    rows = [
        (band.name, band.role.value, band.common, one.mean, one.std)
        for band, one in zip(contract.bands, known.bands, strict=True)
    ]
    return table(("band", "role", "common", "mean of train", "deviation"), rows)


def _classes_text(contract: Contract) -> str:
    return table(("class", "share of train"), _class_shares(contract))


def _class_shares(contract: Contract) -> list[tuple[str, float | None]]:
    """Classes and the share of train that each has; None where there are no statistics."""
    known = contract.statistics
    return list(zip(contract.classes, known.class_share if known else (None,) * len(contract.classes), strict=True))
