"""Pages that need neither network nor script: one base, one style, one way to fill them. Every text is escaped.

A page's own template stands beside the module that fills it; it extends `base.html.j2` and draws with `parts.html.j2`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from greenschemas.colours import MARK, as_hex, class_colours
from greenschemas.files import write_whole

__all__ = ["templates_of", "write_page"]


def write_page(path: Path, package: str, template: str, **values: Any) -> None:
    """Fill the template that stands in `package` and write the page whole."""
    write_whole(path, templates_of(package).get_template(template).render(values))


def templates_of(package: str) -> Environment:
    """The templates that stand in `package`, and those that all pages share."""
    loader = ChoiceLoader([PackageLoader(package, ""), PackageLoader("greenschemas.pages", "templates")])
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters |= {"words": _words, "path": _path, "score": _score, "interval": _interval, "legend": _legend}
    env.globals["mark"] = as_hex(MARK)
    return env


def _words(name: str) -> str:
    return name.replace("_", " ")


def _path(name: str) -> Markup:
    """A file name that may be broken after a slash or an underscore, and, if it still does not fit, anywhere."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[/_])", name))


def _score(value: float | None) -> str:
    return "absent" if value is None else f"{value:.3f}"


def _interval(value: Sequence[float] | None) -> str:
    return "" if value is None else f"{value[0]:.3f} to {value[1]:.3f}"


def _legend(classes: Sequence[str]) -> list[tuple[str, str]]:
    """(class, #rrggbb)."""
    return [(name, as_hex(colour)) for name, colour in zip(classes, class_colours(classes), strict=True)]
