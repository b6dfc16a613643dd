"""The card of a store: by the rules of Croissant 1.0, with the words of the recipe, and nothing where it says none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from greenprep.cli import app
from greenprep.inspect.card import card_text, croissant
from greenschemas.about import About
from greenschemas.errors import RecipeError
from greenschemas.frozen import digest
from greenschemas.recipe import Recipe
from greenschemas.store import open_store
from support.stores import write_tiny_store

ABOUT = About(
    title="Seven cities",
    licence="CC-BY-4.0",
    source="Sentinel-2 L1C; masks drawn by hand",
    citation="10.1000/xyz",
    creators=("A. Müller", "City of Ulm"),
    published="2024-05-01",
    url="https://example.org/cities",
)
CROISSANT = {"cr:FileObject", "cr:FileSet", "cr:RecordSet", "cr:Field"}


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of the card that has a type of Croissant's."""
    if isinstance(value, dict):
        if value.get("@type") in CROISSANT:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from objects(one)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_tiny_store(tmp_path / "city.zarr")
    return tmp_path / "city.zarr"


def card_of(store: Path, about: About) -> tuple[dict[str, Any], str]:
    contract = open_store(store).contract
    recipe = contract.recipe | {"about": about.model_dump(mode="json")}
    contract = contract.model_copy(update={"recipe": recipe, "recipe_hash": digest(recipe)})
    return croissant(contract, "city.zarr", "ab" * 32), card_text(contract, "city.zarr")


def test_a_card_keeps_the_rules_of_croissant(store: Path) -> None:
    card, _ = card_of(store, ABOUT)
    assert card["@type"] == "sc:Dataset" and card["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    found = list(objects(card))
    ids = [one["@id"] for one in found]
    assert len(set(ids)) == len(ids) and {one["@type"] for one in found} == CROISSANT
    for one in found:
        needed = {
            "cr:FileObject": {"name", "contentUrl", "encodingFormat", "sha256"},
            "cr:FileSet": {"name", "includes", "encodingFormat"},
            "cr:RecordSet": {"name", "field"},
            "cr:Field": {"name", "dataType"},
        }[one["@type"]]
        assert needed <= one.keys()
    for rows in (one for one in found if one["@type"] == "cr:RecordSet"):
        fields = {field["@id"] for field in rows["field"]}
        assert rows["key"]["@id"] in fields and all(set(row) == fields for row in rows["data"])
    known = card["@context"]
    used = {key for one in found for key in one if not key.startswith("@")} & {"field", "data", "key", "includes"}
    assert used <= known.keys(), "what the context does not map would be schema.org's"


def test_licence_and_provenance_are_the_recipes(store: Path) -> None:
    card, text = card_of(store, ABOUT)
    assert card["license"] == "https://spdx.org/licenses/CC-BY-4.0.html" and card["citeAs"] == "10.1000/xyz"
    assert [one["name"] for one in card["creator"]] == ["A. Müller", "City of Ulm"] and card["name"] == "Seven cities"
    assert (card["datePublished"], card["isBasedOn"]) == ("2024-05-01", "Sentinel-2 L1C; masks drawn by hand")
    assert "# Seven cities" in text and "- Licence: CC-BY-4.0" in text and "A. Müller, City of Ulm" in text
    card, text = card_of(store, About(licence="https://example.org/terms"))
    assert card["license"] == "https://example.org/terms" and "creator" not in card
    assert "- Source: not stated in the recipe" in text


def test_the_command_writes_both_beside_the_store(store: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["card", str(store)], catch_exceptions=False)
    assert done.exit_code == 0
    card = json.loads((tmp_path / "city.croissant.json").read_text(encoding="utf-8"))
    assert card["distribution"][0]["sha256"] == hashlib.sha256((store / "zarr.json").read_bytes()).hexdigest()
    (splits,) = (one for one in card["recordSet"] if one["name"] == "splits")
    assert splits["dataType"] == "cr:Split" and splits["data"][0]["splits/url"] == "cr:TrainingSplit"
    assert "## Splits" in (tmp_path / "city.card.md").read_text(encoding="utf-8")


def test_a_recipe_that_says_nothing_of_itself_is_the_recipe_of_before() -> None:
    silent, telling = Recipe(), Recipe(about=ABOUT)
    assert "about" not in silent.about_data() and telling.about_data()["about"] == ABOUT.model_dump(mode="json")
    assert Recipe.parse("again", telling.about_data()).about == ABOUT
    for written, read in (("2024-05-01", "2024-05-01"), ("2024", "2024"), ("2024-05", "2024-05")):
        assert Recipe.parse("r.yaml", yaml.safe_load(f"about: {{published: {written}}}")).about.published == read
    with pytest.raises(RecipeError, match="published"):
        Recipe.parse("r.yaml", {"about": {"published": "May 2024"}}, RecipeError)


def test_a_store_that_is_no_folder_wants_a_folder_for_its_cards() -> None:
    from greenprep.inspect.card import write_card
    from greenschemas.errors import ConfigError

    class Remote:
        location = "s3://bucket/city.zarr"

    with pytest.raises(ConfigError, match="--out FOLDER"):
        write_card(Remote())  # type: ignore[arg-type]
