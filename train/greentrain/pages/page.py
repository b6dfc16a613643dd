"""What the pages share: one style, numbers as people read them. No page needs the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from greenschemas.colours import as_hex, class_colours
from greenschemas.files import write_whole

__all__ = ["legend", "write_page"]


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template of `templates/` and write the page whole. Every text is escaped."""
    loader = PackageLoader("greentrain.pages", "templates")
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters |= {"score": _score, "interval": _interval}
    css = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
    write_whole(path, env.get_template(template).render(css=css, **values))


def legend(classes: Sequence[str]) -> list[tuple[str, str]]:
    """(class, #rrggbb) for the template's legend."""
    return [(name, as_hex(colour)) for name, colour in zip(classes, class_colours(classes), strict=True)]


def _score(value: float | None) -> str:
    return "absent" if value is None else f"{value:.3f}"


def _interval(value: Sequence[float] | None) -> str:
    return "" if value is None else f"{value[0]:.3f} to {value[1]:.3f}"
