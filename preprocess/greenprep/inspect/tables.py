"""Tables that a person reads, of contracts, statistics, splits and audits. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from greenprep.split.audit import REACH, Audit
from greenprep.store.histogram import RELATIVE_ERROR
from greenschemas.console import text_table
from greenschemas.contract import Contract
from greenschemas.layout import SPLITS
from greenschemas.store import Store

__all__ = ["audit_text", "contract_text", "distance_text", "group_text", "remarks", "split_text", "stats_text", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """As `text_table`, of any values: None is a dash, numbers have six digits."""
    return text_table(head, ([_cell(value) for value in row] for row in rows))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def contract_text(store: Store) -> str:
    """The whole store on one screen."""
    contract = store.contract
    usable = len(store.usable_tiles())
    lines = [
        f"{store.location}",
        f"{contract.tiles} tiles of {contract.tile_size} x {contract.tile_size} pixels, {len(contract.bands)} bands, "
        f"{contract.dtype}; stride {contract.stride}; {usable} with a usable pixel",
        f"{contract.sources} sources in {contract.groups} groups; shards of {contract.shard_tiles} tiles",
        f"recipe {contract.recipe_hash}, written by greenspace {contract.versions.get('greenspace', '?')}",
        "",
    ]
    whole = contract.statistics
    if whole is None:
        lines.append(
            table(("band", "role", "common"), ((band.name, band.role.value, band.common) for band in contract.bands))
        )
        lines += ["", f"classes: {', '.join(contract.classes)}", "", "no split yet: run `greenprep split`"]
        return "\n".join(lines)
    lines.append(
        table(
            ("band", "role", "common", "mean", "std", "minimum", "maximum"),
            (
                (band.name, band.role.value, band.common, one.mean, one.std, one.minimum, one.maximum)
                for band, one in zip(contract.bands, whole.bands, strict=True)
            ),
        )
    )
    schemes = list(whole.class_weights)
    lines += [
        "",
        table(
            ("class", "share", *(f"weight:{name}" for name in schemes)),
            (
                (name, whole.class_share[k], *(whole.class_weights[scheme][k] for scheme in schemes))
                for k, name in enumerate(contract.classes)
            ),
        ),
        "",
        split_text(contract),
    ]
    return "\n".join(lines)


def split_text(contract: Contract) -> str:
    """Groups and tiles by split, and what the audit said."""
    split = contract.split
    if split is None:
        return "no split yet: run `greenprep split`"
    rows = [(name, split.groups.get(name, 0), split.tiles.get(name, 0)) for name in SPLITS]
    asked = ", ".join(f"{key} {value}" for key, value in split.recipe.items())
    return "\n".join([table(("split", "groups", "usable tiles"), rows), f"asked for: {asked}", f"audit: {split.audit}"])


def remarks(contract: Contract, audit: Audit) -> list[str]:
    """What a small collection does to a split: shares that whole groups cannot give, classes that a split lacks."""
    split = contract.split
    if split is None:
        return []
    dealt = sum(split.tiles.values())
    said = []
    for name in ("val", "test"):
        asked, has = float(split.recipe.get(name) or 0), split.tiles.get(name, 0) / max(dealt, 1)
        if not {"given", "folds"} & split.recipe.keys() and asked and not asked / 2 <= has <= 2 * asked:
            said.append(
                f"{name} has {has:.0%} of the tiles where {asked:.0%} was asked for, in {split.groups[name]} of "
                f"{sum(split.groups.values())} groups that stay whole: add areas, or deal blocks (--by blocks)"
            )
    for name in contract.classes:
        lacking = [each for each, shares in audit.class_share.items() if shares[name] == 0]
        if lacking and len(lacking) < len(audit.class_share):
            said.append(
                f"{' and '.join(lacking)} has no pixel of {name}, which other splits have: no score tells of it"
            )
    return said


def audit_text(audit: Audit) -> str:
    """Leaks, distances and class shares."""
    lines = [str(leak) for leak in audit.leaks]
    lines += [distance_text(pair, metres) for pair, metres in audit.distance.items()]
    if audit.class_share:
        names = list(next(iter(audit.class_share.values())))
        lines.append(
            table(
                ("class", *audit.class_share),
                ((name, *(f"{100 * shares[name]:.2f} %" for shares in audit.class_share.values())) for name in names),
            )
        )
    if audit.unplaced:
        lines.append(f"sources without a coordinate system, whose ground was not looked at: {audit.unplaced}")
    lines.append("no leak found" if audit.passed else f"{len(audit.leaks)} leaks")
    return "\n".join(lines)


def distance_text(pair: str, metres: float | None) -> str:
    """How far apart two splits lie, such as `train-val`."""
    if metres is None:
        return f"{pair}: no two sources within {REACH / 1000:g} km of each other"
    return f"{pair}: {metres:.0f} m apart at the nearest"


def stats_text(stats: Mapping[str, Any]) -> str:
    """What `stats_table` made."""
    percents = list(next(iter(stats["bands"].values()))["percentiles"])
    bands = table(
        ("band", "mean", "std", "minimum", "maximum", *(f"p{p}" for p in percents)),
        (
            (name, one["mean"], one["std"], one["minimum"], one["maximum"], *one["percentiles"].values())
            for name, one in stats["bands"].items()
        ),
    )
    schemes = list(stats["class_weights"])
    classes = table(
        ("class", "share", "by argmax", *(f"weight:{name}" for name in schemes)),
        (
            (name, one["share"], one["share_by_argmax"], *(one["weights"][scheme] for scheme in schemes))
            for name, one in stats["classes"].items()
        ),
    )
    return "\n".join(
        [
            f"{stats['split']}: {stats['groups']} groups, {stats['pixels']} valid pixels, "
            f"{stats['labelled_pixels']:.0f} of them labelled",
            "",
            bands,
            "",
            f"percentiles are within {RELATIVE_ERROR:.1%} of the true value; over all features: mean "
            f"{stats['global_mean']:.6g}, deviation {stats['global_std']:.6g}",
            "",
            classes,
        ]
    )


def group_text(rows: Sequence[Mapping[str, Any]], most: int = 40) -> str:
    """What `group_table` made, the outliers first."""
    ordered = sorted(rows, key=lambda row: -row["robust_z"])
    classes = list(rows[0]["classes"]) if rows else []
    text = table(
        ("group", "pixels", "robust z", "band", *classes),
        (
            (
                row["group"],
                row["pixels"],
                round(row["robust_z"], 2),
                row["band_of_z"],
                *(f"{100 * row['classes'][name]:.1f} %" for name in classes),
            )
            for row in ordered[:most]
        ),
    )
    return text if len(ordered) <= most else f"{text}\n… and {len(ordered) - most} more; --json has all"
