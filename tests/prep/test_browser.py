"""`greenprep serve` in a real browser: uploads, verdicts that arrive by themselves, keyboard, screens, axe-core.

The pictures of docs/service.md, from tests/: python -c "from prep.test_browser import draw; draw('/new/folder')"
"""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `service` is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the extra `browser`")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: the extra `browser`")
from greenprep.serve.app import Door, make_app  # noqa: E402
from greenprep.serve.service import Service  # noqa: E402
from support.serving import TOKEN, Served, bad_pairs, listening  # noqa: E402

sync_api.expect.set_options(timeout=30_000)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed: Debian's package is `chromium`", allow_module_level=True)

PAGES = ("/", "/pair?name=images/T/T_2020_5_1_GeoTIFF.tif", "/map", "/data?tile=0", "/runs", "/enter")
NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1400, "height": 900}


@contextmanager
def open_browser():
    """Debian's Chromium; as root it has no sandbox."""
    with sync_api.sync_playwright() as play:
        args = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = play.chromium.launch(executable_path=CHROMIUM, args=args)
        yield browser
        browser.close()


@contextmanager
def site(served):
    """The address of a server of an inbox that is watched."""
    service = Service(served.places, served.made.plain, None)
    with served.watched(), listening(make_app(service, Door(TOKEN, "127.0.0.1", 1 << 20))) as address:
        yield address


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    """(browser, address of the server, a folder with files to upload)."""
    folder = tmp_path_factory.mktemp("site")
    served = Served(folder)
    files = bad_pairs(folder / "mine")
    with site(served) as address, open_browser() as browser:
        yield browser, address, files


@contextmanager
def tab(browser, address, size):
    """A page that has entered as Ann; nothing may be complained of in its console."""
    context = browser.new_context(viewport=size)
    page, said = context.new_page(), []
    page.set_default_timeout(30_000)
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda problem: said.append(str(problem)))
    page.goto(f"{address}/enter#{TOKEN}")
    assert TOKEN not in page.url  # The script took it out of the address.
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="Enter").click()
    page.wait_for_url(f"{address}/")
    page.wait_for_load_state("load")  # The page's script hears nothing before.
    yield page
    assert not [text for text in said if not text.startswith("Failed to load resource")]  # 404, 409, 422: they are due.
    context.close()


def card(page, area):
    return page.locator("li.card", has_text=f"T_2020_{area}_1_GeoTIFF.tif")


def test_verdicts_on_uploads_arrive_by_themselves_and_one_is_overruled(visit):
    browser, address, files = visit
    with tab(browser, address, WIDE) as page:
        page.evaluate("document.body.dataset.mine = 'never loaded again'")
        page.get_by_label("drop them here").set_input_files([*map(str, files)])
        page.get_by_role("button", name="Upload").click()
        sync_api.expect(page.get_by_role("status")).to_contain_text("8 files are in the inbox")
        for area, verdict in ((20, "accepted"), (21, "rejected: not-a-tiff"), (22, "rejected"), (23, "rejected")):
            sync_api.expect(card(page, area)).to_contain_text(verdict)
        assert page.evaluate("document.body.dataset.mine") == "never loaded again"
        card(page, 22).get_by_role("link").click()
        sync_api.expect(page.locator(".verdict")).to_contain_text("rejected")
        page.get_by_label("Why").fill("a lake, seen on the ground")
        page.get_by_role("button", name="Accept").click()
        sync_api.expect(page.locator(".verdict")).to_contain_text("accepted")
        sync_api.expect(page.locator("table")).to_contain_text(
            re.compile("accepted by Ann at .*: a lake, seen on the ground")
        )
        page.goto(f"{address}/map")
        titles = page.locator("svg rect title").all_text_contents()
        assert "images/T_2020_22_1_GeoTIFF.tif: accepted" in titles and any("rejected" in title for title in titles)


def test_files_are_dropped_and_a_name_that_is_taken_is_told(visit):
    browser, address, _ = visit
    with tab(browser, address, WIDE) as page:
        drop = """(form) => {
          const data = new DataTransfer();
          data.items.add(new File(["x"], "holiday.tif"));
          form.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }"""
        page.locator("#upload").evaluate(drop)
        sync_api.expect(page.get_by_role("status")).to_contain_text("by its name neither an image")


def test_a_pair_is_decided_by_the_keyboard_alone(visit):
    browser, address, _ = visit
    with tab(browser, address, WIDE) as page:
        page.goto(f"{address}/?text=t_2020_3")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        reach(page, "document.activeElement.closest('li.card') !== null")
        page.keyboard.press("Enter")
        page.wait_for_url("**/pair?**")
        reach(page, "document.activeElement.id === 'reason'")
        page.keyboard.type("its labels are of another year")
        reach(page, "document.activeElement.value === 'rejected'")
        page.keyboard.press("Enter")
        sync_api.expect(page.locator(".verdict")).to_contain_text("rejected")


def reach(page, where):
    """Press Tab until the focus is there, and can be seen there."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(where):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"not reached by Tab: {where}")


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["390", "1400"])
def test_no_page_breaks_rules_of_axe_or_is_wider_than_its_screen(visit, size):
    browser, address, _ = visit
    with tab(browser, address, size) as page:
        for path in PAGES:
            page.goto(address + path)
            found = axe.Axe().run(page).response["violations"]
            grave = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
            assert not grave, path
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path


def draw(into: str) -> None:
    """Write the pictures of the documentation into a folder."""
    folder = Path(into)
    served = Served(folder / "site")
    files = bad_pairs(folder / "mine")
    with site(served) as address, open_browser() as browser:
        for name, size in (("wide", WIDE), ("narrow", NARROW)):
            with tab(browser, address, size) as page:
                if name == "wide":
                    page.get_by_label("drop them here").set_input_files([*map(str, files)])
                    page.get_by_role("button", name="Upload").click()
                    sync_api.expect(card(page, 23)).to_contain_text("rejected")
                    page.wait_for_timeout(4000)  # Until all pictures are drawn.
                    page.screenshot(path=folder / "serve-incoming.png")
                page.goto(f"{address}/pair?name=images/T_2020_22_1_GeoTIFF.tif")
                page.wait_for_timeout(1500)
                page.screenshot(path=folder / f"serve-pair-{name}.png", full_page=name == "wide")
