"""Codes of index masks against the recipe's classes: what is unknown or one off, and the line that mends it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from greenprep.findings import finding
from greenschemas.choices import MaskKind
from greenschemas.codes import Code
from greenschemas.labels import LabelCounts
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Reason
from greenschemas.recipe import MaskRules

__all__ = ["allowed_codes", "code_shares", "listed", "one_off", "with_codes"]

SHOWN = 12
"""Codes that are named one by one."""
KEPT = 64
"""Codes of a mask that its line of the manifest counts, the commonest first."""
OFTEN = 0.1
"""Share of the masks that hold one code too many above which the recipe is wrong, and not these masks."""


def listed(labels: LabelCounts, rules: MaskRules) -> str:
    """Every unknown code with its share of the pixels, the commonest first."""
    unknown = _unknown(labels, rules)
    words = [f"{code} in {count / labels.pixels:.2%}" for code, count in unknown[:SHOWN]]
    named = sum(count for _, count in unknown[:SHOWN])
    if labels.unknown > named:
        words.append(f"others in {(labels.unknown - named) / labels.pixels:.2%}")
    return f"{', '.join(words)} of the pixels"


def allowed_codes(rules: MaskRules) -> str:
    """The codes that the recipe knows, in words."""
    codes = list(rules.codes)
    whole = codes == list(range(codes[0], codes[0] + len(codes)))
    return f"{codes[0]} to {codes[-1]}" if whole else ", ".join(map(str, codes))


def with_codes(labels: LabelCounts, rules: MaskRules) -> str | None:
    """The line that makes the unknown codes known; None where there are too many for class codes."""
    unknown = [code for code, _ in _unknown(labels, rules)]
    if not 0 < len(unknown) <= SHOWN:
        return None
    classes = {code: rules.names[k] for code, k in rules.codes.items()} | dict.fromkeys(unknown, "NAME")
    return f"write `classes: {_line(classes)}` under `mask`, or `unlabelled: {unknown[0]}` if that means no label"


def code_shares(labels: LabelCounts) -> dict[str, float]:
    """Measures of the manifest: `code.3`, the share of the pixels that hold code 3."""
    commonest = sorted(labels.values, key=lambda item: (-item[1], item[0]))[:KEPT]
    return {f"code.{code}": count / labels.pixels for code, count in sorted(commonest)}


def one_off(entries: Sequence[Entry], rules: MaskRules, limits: Limits) -> Iterator[tuple[int, Reason]]:
    """(index of the entry, finding) for every index mask, where the list of classes counts from 0 and the masks do not.

    K classes are counted from 1 where the code K stands in many masks; a code 0 beside it is then no label.
    """
    if rules.kind is not MaskKind.INDEX or isinstance(rules.classes, dict):
        return
    codes = {i: _codes(entry) for i, entry in enumerate(entries) if _codes(entry)}
    last = len(rules.classes)
    beyond = sum(last in found for found in codes.values())
    if not beyond or beyond < OFTEN * len(codes) or any(max(found) > last for found in codes.values()):
        return
    zero = any(0 in found for found in codes.values())
    line = f"classes: {_line(dict(enumerate(rules.classes, 1)))}"
    remedy = (
        f"if 0 means no label, write `{line}` and `unlabelled: 0` under `mask`; if not, name {last + 1} classes"
        if zero
        else f"write `{line}` under `mask`"
    )
    for i in codes:
        found = f"codes {0 if zero else 1} to {last} in the collection"
        limit = f"a list of {last} classes means 0 to {last - 1}"
        yield i, finding(Code.CLASS_CODES, "mask", found, limit=limit, limits=limits, remedy=remedy)


def _codes(entry: Entry) -> set[int]:
    return {int(key.removeprefix("code.")) for key in entry.measures if key.startswith("code.")}


def _unknown(labels: LabelCounts, rules: MaskRules) -> list[tuple[int, int]]:
    known = rules.codes
    return sorted((item for item in labels.values if item[0] not in known), key=lambda item: (-item[1], item[0]))


def _line(classes: dict[int, str]) -> str:
    return "{" + ", ".join(f"{code}: {name}" for code, name in sorted(classes.items())) + "}"
