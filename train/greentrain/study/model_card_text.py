"""The card of a trained net as text for people (Mitchell and others: Model cards for model reporting, 2019). Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from greentrain.study.model_card import Subject

__all__ = ["card_text"]


def card_text(of: Subject, found: Mapping[str, Any]) -> str:
    """Markdown. found: as `greentrain evaluate` gives it, of the split that the scores are of."""
    parts = (_about(of), _data(of), _scores(of, found), _limits(of, found), _use(of))
    return "\n".join(line for part in parts for line in part) + "\n"


def _about(of: Subject) -> Iterator[str]:
    net = of.record.own.get("model") or of.config.model.preset
    yield f"# {of.name}"
    yield ""
    yield f"A net (`{net}`, {of.parameters:,} parameters) that tells {_listed(of.classes)} apart, pixel by pixel,"
    yield f"in images of the bands {_listed(of.normaliser.bands)}."
    versions, device = of.record.versions, of.record.machine.get("device", "an unknown device")
    yield f"Trained with greenspace {versions.get('greenspace', '?')} and torch {versions['torch']}, for"
    yield f"{of.record.seconds / 60:.1f} minutes on {device}: {of.record.status}."
    start = of.config.pretrained
    yield f"It started from {f'the weights `{start.name}`' if start else 'random weights'}."


def _data(of: Subject) -> Iterator[str]:
    about, split = of.contract.recipe.get("about") or {}, of.contract.split
    yield "\n## Trained on\n"
    yield _table(
        ("", *(split.tiles if split else ())),
        [
            ("groups", *(str(count) for count in (split.groups.values() if split else ()))),
            ("tiles", *(f"{count:,}" for count in (split.tiles.values() if split else ()))),
        ],
    )
    metres = of.contract.values.pixel_metres if of.contract.values else None
    yield ""
    yield f"{of.contract.sources} images, tiles of {of.contract.tile_size} pixels" + (
        f" of {metres:g} m." if metres else "."
    )
    if of.contract.statistics is not None:
        shares = zip(of.contract.classes, of.contract.statistics.class_share, strict=True)
        yield f"Shares of the train split: {', '.join(f'{name} {share:.1%}' for name, share in shares)}."
    for key, word in (("source", "Source"), ("licence", "Licence of the data"), ("citation", "To be cited as")):
        yield f"{word}: {about.get(key) or 'not stated in the recipe'}."


def _scores(of: Subject, found: Mapping[str, Any]) -> Iterator[str]:
    level = f"{found['intervals']['level']:.0%}"
    yield f"\n## Scores on the split `{found['split']}`\n"
    constant, intervals = found["constant"], found["intervals"]
    rows = [
        (f"`{name}`", *_both(row, intervals["classes"][name]), _number(constant["classes"][name]["iou"]))
        for name, row in found["classes"].items()
    ]
    rows.append(("mean", *_both(found["mean"], intervals["mean"]), _number(constant["mean"]["iou"])))
    yield _table(("class", "IoU", level, "F1", f"IoU of always `{constant['class']}`"), rows)
    yield ""
    yield f"Intervals: {level} over {intervals['groups']} groups drawn anew, not over pixels."
    trees = of.record.trees_iou
    beside = "was not measured" if trees is None else f"{trees:.3f}"
    yield f"Mean IoU of gradient boosting, on the split `val`: {beside}."
    yield f"Error of the shares (mean absolute): {_number(found['fractions']['mean']['mae'])}."


def _limits(of: Subject, found: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Limits\n"
    low = (found["intervals"]["mean"]["iou"] or (None,))[0]
    constant = found["constant"]["mean"]["iou"]
    if low is None or (constant is not None and low <= constant):
        yield "- It is not surely better than a constant answer."
    trees = of.record.trees_iou
    if trees is not None and found["split"] == "val" and (found["mean"]["iou"] or 0.0) <= trees:
        yield "- It is not better than gradient boosting, which is fitted in a minute or two."
    groups = found["intervals"]["groups"]
    if groups < 5:
        found_in = f"{groups} group{'s' * (groups != 1)}"
        yield f"- {found_in} of the split cannot stand for other places: the intervals are too narrow."
    if found["split"] == "val":
        yield "- The weights were chosen by the val split: on other ground scores are lower, if anything."
    if absent := [name for name, row in found["classes"].items() if row["iou"] is None]:
        yield f"- Never seen in this split: {_listed(absent)}."
    if of.contract.split is not None and of.contract.split.audit != "passed":
        yield f"- Whether the same ground stands in two splits: audit {of.contract.split.audit}."
    yield "- Areas counted on its maps are biased by its errors: `greentrain area --reference` says by how much."
    yield "- Other sensors, seasons, climates and cities than those of the data were not tried. `greentrain predict`"
    yield "  refuses scenes whose values or pixels are unlike those of training."
    yield "\n## How sure it is\n"
    if of.trees:
        yield "Its shares are averaged with those of gradient boosting on pixels, fitted to the same ground.\n"
    yield f"Logits are divided by {of.temperature:.3f}, found on the val split. Calibration error (ECE):"
    yield f"{_number(found['calibration_error'])}, without that {_number(found['calibration_error_before'])}."


def _use(of: Subject) -> Iterator[str]:
    yield "\n## Use\n"
    yield f"Licence of the weights: {of.licence or 'not stated'}.\n"
    yield "```"
    yield f"greentrain predict {shlex.quote(of.name)} scene.tif map.tif"
    yield "```"


def _both(row: Mapping[str, Any], interval: Mapping[str, Any]) -> tuple[str, str, str]:
    found = interval["iou"]
    return _number(row["iou"]), "" if found is None else f"{found[0]:.3f} to {found[1]:.3f}", _number(row["f1"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _number(value: float | None) -> str:
    return "absent" if value is None else f"{value:.3f}"
