"""README and help texts are true: each command has an example, the catalogue is the table that explain prints."""

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _apps() -> dict[str, typer.Typer]:
    from greenprep.cli import app as prep
    from greentrain.cli import app as train

    return {"greenprep": prep, "greentrain": train}


def _commands() -> list[tuple[str, str]]:
    return [(name, command) for name, app in _apps().items() for command in get_command(app).commands]


@pytest.mark.parametrize(("program", "command"), _commands())
def test_every_command_has_an_example_that_parses(program: str, command: str) -> None:
    entry = get_command(_apps()[program]).commands[command]
    examples = re.findall(r"Example: (.+?)(?:\n\n|$)", entry.help or "", re.DOTALL)
    assert examples, f"{program} {command} --help shows no example"
    for example in examples:
        words = example.split()
        assert words[:2] == [program, command]
        known = {name for parameter in entry.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize(("program", "command"), _commands())
def test_the_readme_names_every_command(program: str, command: str) -> None:
    assert f"{program} {command}" in README


def test_the_readme_names_no_command_that_is_not() -> None:
    named = set(re.findall(r"^(?:\$ )?(greenprep|greentrain) ([a-z]+)", README, re.MULTILINE))
    named |= set(re.findall(r"`(greenprep|greentrain) ([a-z]+)", README))
    assert named <= set(_commands())


def test_the_catalogue_in_the_readme_is_the_table_that_explain_prints() -> None:
    from greenprep.findings import as_markdown

    assert as_markdown().strip() in README


def test_the_architecture_fits_into_150_lines_and_names_modules_that_are_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    if (ROOT / "schemas").is_dir():  # beside an installed wheel there are no sources to look at
        roots = {"greenschemas": "schemas", "greenprep": "preprocess", "greentrain": "train"}
        for package, module in re.findall(r"`(green\w+)/([\w*/]+\.py)`", text):
            assert list((ROOT / roots[package] / package).glob(module)), f"{package}/{module}"
