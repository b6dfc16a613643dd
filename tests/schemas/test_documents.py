"""README, docs/ and help texts are true: each command has an example, links lead somewhere, the catalogue is whole."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}


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
def test_every_word_that_a_command_takes_is_explained(program: str, command: str) -> None:
    entry = get_command(_apps()[program]).commands[command]
    assert not [one.name for one in entry.params if one.name != "help" and not getattr(one, "help", None)]


@pytest.mark.parametrize(("program", "command"), _commands())
def test_the_table_of_commands_has_every_command(program: str, command: str) -> None:
    assert f"\n| `{program} {command}` |" in PAGES[ROOT / "docs" / "commands.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_command_that_is_not(page: Path) -> None:
    named = set(re.findall(r"^(?:\$ )?(greenprep|greentrain) ([a-z]+)", PAGES[page], re.MULTILINE))
    named |= set(re.findall(r"`(greenprep|greentrain) ([a-z]+)", PAGES[page]))
    assert named <= set(_commands())


def test_the_page_of_checks_has_the_table_that_explain_prints() -> None:
    from greenprep.findings import as_markdown

    assert as_markdown().strip() in PAGES[ROOT / "docs" / "checks.md"]


def test_what_stands_between_backquotes_like_a_code_in_the_page_of_trouble_is_one() -> None:
    from greenprep.findings import CATALOGUE

    named = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", PAGES[ROOT / "docs" / "trouble.md"]))
    assert named
    assert named <= {code.value for code in CATALOGUE}


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    readme = PAGES[ROOT / "README.md"]
    assert len(readme.splitlines()) <= 130
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")}
    assert pages <= set(re.findall(r"\]\(([^)#]+)", readme))


def test_the_first_page_of_the_site_leads_to_every_other() -> None:
    pages = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")} - {"index.md"}
    assert pages <= set(re.findall(r"\]\(([^)#]+)", PAGES[ROOT / "docs" / "index.md"]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve()
        assert path.is_file(), target
        text = path.read_text(encoding="utf-8") if heading else ""
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}  # as GitHub and the site do
        assert not heading or heading in slugs, target


def _rooms() -> dict[str, set[str]]:
    """Every folder with modules below the three roots, and the names of its modules."""
    rooms: dict[str, set[str]] = {}
    for package in ("greenschemas", "greenprep", "greentrain"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.submodule_search_locations
        root = Path(spec.submodule_search_locations[0])
        for path in root.rglob("*.py"):
            room = rooms.setdefault((package / path.parent.relative_to(root)).as_posix(), set())
            room |= {path.stem} - {"__init__"}
    return rooms


def test_the_architecture_maps_every_room_and_module_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    rows = re.findall(r"^\| `(green[\w/]+)` \| (.+) \| (.*) \|$", text, re.MULTILINE)
    mapped = {room: set(re.findall(r"`(\w+)`", modules)) for room, _, modules in rows}
    rooms = _rooms()
    wrong = [f"add a row: | `{room}` | what happens in it | modules |" for room in rooms.keys() - mapped.keys()]
    wrong += [f"drop the row of `{room}`" for room in mapped.keys() - rooms.keys()]
    for room in sorted(rooms.keys() & mapped.keys()):
        wrong += [f"add `{name}` to the row of `{room}`" for name in sorted(rooms[room] - mapped[room])]
        wrong += [f"drop `{name}` from the row of `{room}`" for name in sorted(mapped[room] - rooms[room])]
    assert not wrong, "ARCHITECTURE.md, the map:\n" + "\n".join(wrong)
