"""What README and docs/ tell a reader to do is done here: their commands, their Python, their notebook, their site.

Only what costs time is made smaller: worker processes, and the default net's 120 epochs.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from support.documents import DOCS, PAGES, ROOT, blocks, command_of, lines, run
from support.strangers import beside_each_other
from support.two_maps import CLASSES, answer, write_quarters, write_two_maps

pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_page_has_options_that_exist(page: Path) -> None:
    for line in lines(page):
        app, words = command_of(line)
        known = {
            name
            for parameter in get_command(app).commands[words[0]].params
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}, line


def test_the_commands_and_the_python_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("greenprep synth data/raw --areas 4 --times 1 --size 133 --no-defects")
    beside_each_other(tmp_path.parent / f"{tmp_path.name}mydata")
    walk, own = (block for block in blocks(ROOT / "README.md", "") if "greenprep" in block and "pip" not in block)
    for line in re.findall(r"^green.*", walk, re.MULTILINE):
        line = line.partition("#")[0].replace("scene.tif", "data/raw/images/SYNTH/SYNTH_2020_0_1_GeoTIFF.tif")
        run(f"{line} --set model.preset=tiny" if " fit " in line or " doctor " in line else line)
    for line in re.findall(r"^green.*", own, re.MULTILINE):
        run(line.partition("#")[0].replace("../mydata", f"../{tmp_path.name}mydata").replace("data/clean", "data/own"))
    (code,) = blocks(ROOT / "README.md", "python")
    exec(code.replace("runs/city", "runs/again").replace("epochs=5", "epochs=1, model='tiny', accelerator='cpu'"), {})


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who did the tutorial; what it prints is what the page shows."""
    folder = tmp_path_factory.mktemp("tour")
    beside_each_other(folder / "mydata")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        parts = re.findall(r"^```(sh|text)\n(.*?)^```", (DOCS / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL)
        printed = ""
        for kind, text in parts:
            if kind == "text":
                assert set(text.splitlines()) <= set(printed.splitlines())
            elif text.startswith("sed"):
                subprocess.run(text, shell=True, check=True)
            else:
                printed = "".join(map(run, text.splitlines()))
    return folder


def test_the_tutorial_ends_with_a_map_in_the_users_own_words(toured: Path) -> None:
    assert 'label="low_vegetation"' in (toured / "map.qml").read_text()
    assert (toured / "mydata.html").exists() and (toured / "runs/first/report.html").exists()


@pytest.mark.parametrize("page", ["tutorial.md", "howto.md"])
def test_the_python_of_a_page_runs(page: str, toured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toured)
    for code in blocks(DOCS / page, "python"):
        exec(re.sub(r"epochs=\d+", "epochs=1, accelerator='cpu'", code), {})


def test_the_pictures_are_those_that_the_commands_make(toured: Path) -> None:
    with Image.open(toured / "map.png") as made, Image.open(DOCS / "pictures" / "tutorial_map.png") as committed:
        assert committed.size == made.size
    for picture in (DOCS / "pictures").iterdir():
        assert picture.stat().st_size < 150_000
        shown = [page.name for page in PAGES if f"pictures/{picture.name})" in page.read_text(encoding="utf-8")]
        assert shown, f"{picture.name} is in no page"


def test_the_picture_of_the_report_is_its_page_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chromium's own rendering of what `greenprep clean` says of a folder with planted defects."""
    monkeypatch.chdir(tmp_path)
    run("greenprep synth raw --areas 4 --times 2 --size 133 --seed 1")
    run("greenprep clean raw clean")
    assert_same_page((tmp_path / "clean/report.html").as_uri(), "report.png", "1100,560", tmp_path)


def test_the_page_of_districts_is_run_and_its_picture_is_its_page(
    toured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quarters of a city and the maps of it; the run and the store of the tutorial for what is said of these."""
    write_two_maps(toured)
    write_quarters(toured / "quarters.gpkg")
    monkeypatch.chdir(toured)
    for block in blocks(DOCS / "districts.md", "sh"):
        for line in block.splitlines():
            run(line)
    made = ("green.csv", "green.gpkg", "green.qml", "city.gpkg", "city.qml", "map.stac.json", "runs/first/card.json")
    assert all((toured / name).exists() for name in (*made, "mydata.croissant.json", "mydata.card.md"))
    assert_same_page((toured / "green.html").as_uri(), "districts.png", "1100,1000", toured)


def test_pages_are_no_wider_than_a_phone_and_can_be_read_by_all(toured: Path) -> None:
    """In Chromium, by axe's rules, at 390 and 1,400 pixels; tables and maps that are wider scroll by themselves."""
    sync, axe = pytest.importorskip("playwright.sync_api"), pytest.importorskip("axe_playwright_python.sync_playwright")
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    write_two_maps(toured)
    write_quarters(toured / "quarters.gpkg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(toured)
        run("greentrain area map_2023.tif --zones quarters.gpkg --name quarter --html green.html")
        run("greentrain change map_2016.tif map_2023.tif --out change.tif --html change.html")
        run("greentrain errors runs/first --split val --device cpu")
    pages = ("green.html", "change.html", "mydata.html", "runs/first/report.html", "runs/first/errors/errors.html")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width in (390, 1400):
            # The page's own policy lets no script in, axe's neither.
            context = browser.new_context(viewport={"width": width, "height": 900}, bypass_csp=True)
            page = context.new_page()
            for name in pages:
                page.goto((toured / name).as_uri())
                found = axe.Axe().run(page).response["violations"]
                grave = [(o["id"], o["nodes"][0]["html"]) for o in found if o["impact"] in ("serious", "critical")]
                assert not grave, (name, width)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        browser.close()


def assert_same_page(page: str, picture: str, size: str, folder: Path) -> None:
    """A page in a browser of that window is what the picture of docs/ shows."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    made = folder / picture
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"]
    subprocess.run([chromium, *words, f"--screenshot={made}", page], check=True, capture_output=True, timeout=120)
    with Image.open(made) as now, Image.open(DOCS / "pictures" / picture) as committed:
        assert committed.size == now.size
        thumbnails = [np.asarray(one.convert("L").resize((110, 56)), np.float32) for one in (now, committed)]
    # Fonts differ from machine to machine; tables, bars and numbers stand where they stood.
    assert np.abs(thumbnails[0] - thumbnails[1]).mean() < 8, f"the page has changed: put {made} in its place"


def test_the_notebook_runs(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "commit it without outputs: they are made here"
    nbclient.NotebookClient(book, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any("image/png" in out.get("data", {}) for cell in book.cells for out in cell.get("outputs", ()))


@pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="pip install 'greenspace[docs]'")
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"[a-z]+\.md", settings)) >= {page.name for page in DOCS.glob("*.md")}
    shutil.copytree(DOCS, tmp_path / "docs")
    for name in ("preprocess", "schemas", "train"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "mkdocs.yml").write_text(settings, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "build/site/python/index.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in page for name in ("greenprep.build.run.tile", "greentrain.runs.fit"))


def test_the_page_of_areas_is_run_and_its_picture_is_its_last_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who knows the ground fills in each sample; what is printed is what the page shows."""
    from greentrain.ground.change import change_names

    before, after = write_two_maps(tmp_path)
    monkeypatch.chdir(tmp_path)
    text, printed = (DOCS / "areas.md").read_text(encoding="utf-8"), ""
    for kind, block in re.findall(r"^```(sh|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if kind == "text":
            assert set(block.splitlines()) <= set(printed.splitlines())
            continue
        printed = ""
        for line in block.splitlines():
            printed += run(line)
            if "greentrain sample map_2023.tif" in line:
                answer(tmp_path / "sample.csv", CLASSES, after)
            elif "greentrain sample change.tif" in line:
                answer(tmp_path / "change_sample.csv", change_names(CLASSES), before, after)
    assert_same_page((tmp_path / "change.html").as_uri(), "change.png", "1100,830", tmp_path)
