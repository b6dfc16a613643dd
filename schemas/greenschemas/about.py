"""What a collection says of itself: licence and provenance, a part of the recipe."""

from __future__ import annotations

from datetime import date

from pydantic import ConfigDict, Field, field_validator

from greenschemas.frozen import Frozen

__all__ = ["About"]


class About(Frozen):
    """Where a collection comes from, for its card; nothing else depends on it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    title: str | None = None
    """Name of the collection."""
    description: str | None = None
    """What it shows, in a sentence or two."""
    licence: str | None = None
    """Of images and masks, as SPDX has it (CC-BY-4.0), or the address of its text."""
    source: str | None = None
    """Where images and masks come from: sensors, archives, who drew the masks and how."""
    citation: str | None = None
    """What to cite: a DOI or a whole reference."""
    creators: tuple[str, ...] = ()
    """People or organisations who made it."""
    published: str | None = Field(None, pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")
    """Year, month or day of publication, such as 2024-05-01."""
    url: str | None = Field(None, pattern=r"^https?://\S+$")
    """Address of the collection."""

    @field_validator("published", mode="before")
    @classmethod
    def _as_yaml_reads_it(cls, published: object) -> object:
        return str(published) if isinstance(published, date | int) else published
