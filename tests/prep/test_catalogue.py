"""The catalogue covers every code, and explains it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from greenprep.cli.clean import app
from greenprep.findings import CATALOGUE, as_markdown, explain, finding
from greenschemas.codes import REPAIRS, Code
from greenschemas.errors import ConfigError, RecipeError
from greenschemas.limits import Limits
from greenschemas.manifest import Level
from greenschemas.recipe import Recipe


def test_every_code_has_an_entry_and_every_limit_is_a_field() -> None:
    assert CATALOGUE.keys() == set(Code)
    assert {check.code for check in CATALOGUE.values() if check.level is Level.REPAIR} == REPAIRS
    assert all(check.limit is None or check.limit in Limits.model_fields for check in CATALOGUE.values())


def test_explain_prints_level_measure_limit_and_remedy() -> None:
    text = explain(Code.CLOUD)
    assert "cloud (warn)" in text and "cloud_max = 0.5" in text and "Remedy:" in text
    table = as_markdown().split("\n")
    assert len(table) == len(Code) + 2 and all(row.startswith("| ") or row == "|---|---|---|---|" for row in table)


def test_the_command_explains_one_code_or_lists_all() -> None:
    assert "modulo 256" in CliRunner().invoke(app, ["explain", "wrapped-8-bit"]).output
    assert CliRunner().invoke(app, ["explain"]).output.count("\n") == len(Code)
    problem = CliRunner().invoke(app, ["explain", "clowd"]).exception
    assert isinstance(problem, ConfigError) and "Did you mean `cloud`" in str(problem)


def test_an_unknown_check_in_a_recipe_is_refused_with_the_nearest_named() -> None:
    with pytest.raises(RecipeError, match="did you mean `cloud`"):
        Recipe.parse("r.yaml", {"limits": {"levels": {"clowd": "reject"}}}, RecipeError)
    with pytest.raises(RecipeError, match="mended or rejected"):
        Recipe.parse("r.yaml", {"limits": {"levels": {"paged-bands": "warn"}}}, RecipeError)


def test_a_finding_takes_the_recipes_level_before_the_callers() -> None:
    limits = Limits.model_validate({"levels": {"noise": "warn"}})
    assert finding(Code.NOISE, "image", "x", limits=limits, level=Level.REJECT).level is Level.WARN
    assert finding(Code.NOISE, "image", "x", level=Level.WARN).level is Level.WARN
    assert finding(Code.NOISE, "image", "x").level is Level.REJECT
