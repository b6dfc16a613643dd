"""`greenprep serve`: what it shows and takes, and from whom."""

import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `service` is not installed")
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from greenprep.acts import read_acts
from greenprep.cli import app
from greenprep.cli.serve import serve
from greenprep.serve.access import HEADERS, Gate, Tries, is_loopback
from greenprep.serve.app import Door, make_app
from greenprep.serve.runs import find_runs
from greenprep.serve.uploads import place_of
from greenprep.serve.verdicts import Verdicts
from greenschemas.errors import ConfigError
from greenschemas.manifest import LOG_NAME
from greenschemas.recipe import Pairing
from greenschemas.store import open_store
from support.serving import TOKEN, Served, bad_pairs

BEARER = {"Authorization": f"Bearer {TOKEN}", "X-Who": "Ann"}
REJECTED = "images/T/T_2020_5_1_GeoTIFF.tif"
GOOD = "images/T/T_2020_1_1_GeoTIFF.tif"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return Served(tmp_path_factory.mktemp("served"))


def client(served, *, host="127.0.0.1", upload_max=1 << 20, shared=None, base="http://127.0.0.1:8765"):
    return TestClient(make_app(served.service, Door(TOKEN, host, upload_max, shared)), base_url=base)


@pytest.fixture(scope="module")
def web(served):
    """A program on this machine."""
    return client(served)


@pytest.fixture
def browser(served):
    """A browser that has entered, and the secret of its forms."""
    found = client(served)
    assert found.post("/enter", data={"who": "Ann", "token": TOKEN}, follow_redirects=False).status_code == 303
    return found, re.search(r'data-csrf="([^"]+)"', found.get("/").text)[1]


def test_pairs_come_by_verdict_and_by_what_they_hold_the_newest_first(web):
    names = [pair["name"] for pair in web.get("/pairs").json()]
    assert len(names) == 5 and set(names) >= {GOOD, REJECTED}
    assert [pair["name"] for pair in web.get("/pairs", params={"verdict": "rejected"}).json()] == [REJECTED]
    assert [pair["name"] for pair in web.get("/pairs", params={"text": "CONSTANT-IMAGE"}).json()] == [REJECTED]
    assert [pair["name"] for pair in web.get("/pairs", params={"text": "t_2020_1"}).json()] == [GOOD]
    assert [pair["name"] for pair in web.get("/pairs", params={"skip": 1, "limit": 2}).json()] == names[1:3]
    assert web.get("/pairs", params={"limit": 0}).status_code == 422


def test_store_health_and_metrics_say_what_there_is(served, web):
    store = web.get("/store").json()
    assert store["sources"] == 4 and store["split"]["audit"] == "passed"
    health = web.get("/health").json()
    assert health["watcher"] is False and "start `greenprep watch`" in health["status"]
    lines = web.get("/metrics").text.splitlines()
    assert 'greenprep_pairs{verdict="accepted"} 4' in lines and 'greenprep_pairs{verdict="rejected"} 1' in lines
    assert f"greenprep_store_tiles {store['tiles']}" in lines and "greenprep_watcher_up 0" in lines


def test_the_api_describes_itself_and_fetches_nothing_from_elsewhere(web):
    paths = web.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/pairs", "/overrule", "/exclude", "/store", "/health", "/metrics"}
    assert set(paths["/pairs"]["post"]["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert web.get("/docs").status_code == 404


@pytest.mark.parametrize("page", ["/", "/map", "/data", "/data?tile=0", "/runs", "/enter", f"/pair?name={REJECTED}"])
def test_every_page_is_kept_to_itself(web, page):
    answer = web.get(page)
    assert answer.status_code == 200 and {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", answer.text)
    assert not re.search(r"<script(?! src=\"/static/)|\son\w+=", answer.text)


def test_a_pair_shows_each_finding_with_limit_and_remedy_and_its_pictures(served, web):
    page = web.get("/pair", params={"name": REJECTED}).text
    for reason in served.service.entry(REJECTED).reasons:
        for text in (reason.code, reason.limit, reason.remedy):
            assert text.replace("'", "&#39;") in page
    for kind in ("image", "mask", "overlay"):
        assert web.get("/picture", params={"name": GOOD, "kind": kind}).content.startswith(b"\x89PNG")
    assert web.get("/picture", params={"name": GOOD, "kind": "other"}).status_code == 404
    assert web.get("/tile", params={"number": 0, "kind": "image"}).content.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "images", "x" * 5000, "images/T/none.tif"])
def test_names_that_are_no_pairs_lead_nowhere(web, name):
    for path in ("/pair", "/verdict", "/picture"):
        answer = web.get(path, params={"name": name, "kind": "image"})
        assert answer.status_code == 422 and "no pair of this name" in answer.json()["error"]


def test_a_list_that_has_not_changed_is_not_sent_again(web):
    first = web.get("/rows")
    assert web.get("/rows", params={"version": first.headers["X-Version"]}).status_code == 204
    assert web.get("/verdict", params={"name": GOOD, "version": "1-0"}).status_code == 204


def test_what_writes_needs_the_token(served, web):
    before = read_acts(served.places.clean)
    decision = {"name": GOOD, "verdict": "rejected", "reason": "a cloud"}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": "greenprep=x"}):
        assert web.post("/overrule", json=decision, headers=headers).status_code == 401
        assert web.post("/exclude", json={"tile": 0, "reason": "a cloud"}, headers=headers).status_code == 401
        assert web.post("/pairs", files={"files": ("a.tif", b"x")}, headers=headers).status_code == 401
        assert web.post("/pair", data=decision, headers=headers).status_code == 401
    assert web.post("/enter", data={"who": "Ann", "token": "wrong"}).status_code == 401
    assert read_acts(served.places.clean) == before


def test_a_form_of_another_site_is_refused(served, browser):
    web, csrf = browser
    before = read_acts(served.places.clean)
    form = {"name": REJECTED, "verdict": "rejected", "reason": "a cloud"}
    assert web.post("/pair", data=form).status_code == 403
    assert web.post("/pair", data={**form, "csrf": "x"}).status_code == 403
    other = {"Origin": "http://elsewhere.example"}
    assert web.post("/pair", data={**form, "csrf": csrf}, headers=other).status_code == 403
    assert web.post("/pairs", files={"files": ("a.tif", b"x")}).status_code == 403
    assert read_acts(served.places.clean) == before
    cookie = web.post("/enter", data={"who": "Bo", "token": TOKEN}, follow_redirects=False).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie


def test_a_name_that_was_made_to_lead_here_is_not_answered(served):
    for name in ("elsewhere.example", "127.0.0.1.elsewhere.example"):
        assert client(served, base=f"http://{name}").get("/pairs").status_code == 421
    assert client(served, base="http://localhost:1").get("/pairs").status_code == 200


def test_off_loopback_nothing_is_shown_without_the_token(served):
    web = client(served, host="0.0.0.0", base="http://data.example")
    assert (
        web.get("/pairs").status_code == web.get("/picture", params={"name": GOOD, "kind": "image"}).status_code == 401
    )
    assert web.get("/", headers={"Accept": "text/html"}, follow_redirects=False).headers["location"] == "/enter"
    assert web.get("/health").status_code == 200 and web.get("/pairs", headers=BEARER).status_code == 200
    assert web.post("/enter", data={"who": "Ann", "token": TOKEN}).status_code == 200
    assert web.get("/pairs").status_code == 200


def test_uploads_land_where_the_recipe_finds_them_whole_and_over_no_other(served, web, tmp_path):
    inbox, files = served.places.inbox, bad_pairs(tmp_path)[:2]
    image = next(path for path in files if "mask" not in path.name)
    sent = {"files": (f"../../{image.name}", image.read_bytes())}
    answer = web.post("/pairs", files=sent, headers=BEARER)
    assert answer.status_code == 202 and answer.json() == {"files": [f"images/{image.name}"]}
    assert (inbox / "images" / image.name).read_bytes() == image.read_bytes()
    again = web.post("/pairs", files={"files": (image.name, b"other")}, headers=BEARER)
    assert again.status_code == 409 and "in the inbox already" in again.json()["error"]
    assert (inbox / "images" / image.name).read_bytes() == image.read_bytes()
    assert not list(inbox.rglob(".*"))
    (inbox / "images" / image.name).unlink()


def test_uploads_that_are_too_long_or_do_not_say_how_long_are_refused(served):
    web = client(served, upload_max=100_000)
    large = {"files": ("T_2020_99_1_GeoTIFF.tif", b"x" * 200_000)}
    assert web.post("/pairs", files=large, headers=BEARER).status_code == 413
    assert web.post("/pairs", content=iter([b"x"]), headers=BEARER).status_code == 411
    assert web.post("/overrule", content=b"x" * 70_000, headers=BEARER).status_code == 413
    assert web.post("/pairs", data={"other": "x"}, headers=BEARER).status_code in (415, 422)


def test_files_of_the_server_are_brought_in_by_their_path_from_one_folder_alone(served, tmp_path):
    (tmp_path / "shared").mkdir()
    files = bad_pairs(tmp_path / "shared")
    (tmp_path / "T_2020_77_1_GeoTIFF.tif").write_bytes(b"secret")
    (tmp_path / "shared/T_2020_78_1_GeoTIFF.tif").symlink_to(tmp_path / "T_2020_77_1_GeoTIFF.tif")
    web = client(served, shared=tmp_path / "shared")
    name = files[0].relative_to(tmp_path / "shared").as_posix()
    assert web.post("/pairs", json={"files": [name]}, headers=BEARER).status_code == 202
    (served.places.inbox / "images" / files[0].name).unlink()
    for outside in ("../T_2020_77_1_GeoTIFF.tif", str(tmp_path / "T_2020_77_1_GeoTIFF.tif"), "T_2020_78_1_GeoTIFF.tif"):
        answer = web.post("/pairs", json={"files": [outside]}, headers=BEARER)
        assert answer.status_code == 409 and "no file below the folder" in answer.json()["error"]
    assert web.post("/pairs", json={"files": "x"}, headers=BEARER).status_code == 422
    assert client(served).post("/pairs", json={"files": [name]}, headers=BEARER).status_code == 403


NO_NAMES = ["", ".tif", ".hidden.tif", "a/b", "a\x00.tif", "a\nb.tif", "x.exe", "é.tif", "a" * 300 + ".tif", "a.tif/.."]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ConfigError, match="no name for an upload"):
        place_of(name, Pairing())


@pytest.mark.parametrize(
    ("name", "pairing", "due"),
    [
        ("A_2020_1_1_GeoTIFF.tif", {}, "images/A_2020_1_1_GeoTIFF.tif"),
        ("A_2020_1_1_GeoTIFF_mask.tif", {}, "masks/A_2020_1_1_GeoTIFF_mask.tif"),
        ("a_1.tif", {"images": "{site}_{date}.tif", "masks": "{site}_{date}_label.tif", "group": "{site}"}, "a_1.tif"),
        ("C:\\x\\a_1.TIF", {"images": "in/*/{site}_{date}.TIF", "masks": "m/{site}_{date}.tif", "group": "{site}"},
         "in/uploaded/a_1.TIF"),
    ],
)  # fmt: skip
def test_an_upload_goes_where_its_pattern_says(name, pairing, due):
    assert place_of(name, Pairing(**pairing)) == due


def test_names_the_recipe_finds_nowhere_are_refused():
    with pytest.raises(ConfigError, match="neither an image"):
        place_of("holiday.tif", Pairing())
    folders = Pairing(images="{site}/{date}.tif", masks="{site}/{date}_m.tif", group="{site}")
    with pytest.raises(ConfigError, match="say what a file is"):
        place_of("a.tif", folders)


def test_decisions_are_written_down_with_who_and_when_and_carried_out(served, browser):
    web, csrf = browser
    good = {"name": REJECTED, "verdict": "accepted", "csrf": csrf}
    assert web.post("/pair", data={**good, "reason": "x"}).status_code == 422
    assert web.post("/pair", data={**good, "reason": "seen\n on the ground", "verdict": "perhaps"}).status_code == 422
    assert web.post("/pair", data={**good, "reason": "seen\n on the ground"}, follow_redirects=False).status_code == 303
    act = read_acts(served.places.clean)[-1]
    assert (act.by, act.verdict, act.reason) == ("Ann", "accepted", "seen on the ground")
    assert "decided that it is accepted" in web.get("/pair", params={"name": REJECTED}).text
    group = {"tile": 0, "reason": "a cloud", "csrf": csrf}
    assert web.post("/data", data=group, follow_redirects=False).status_code == 303
    assert web.post("/exclude", json={"tile": 9999, "reason": "a cloud"}, headers=BEARER).status_code == 422
    served.once()
    page = web.get("/pair", params={"name": REJECTED}).text
    assert "by-hand" in page and "accepted by Ann" in page and page.count("<li><time") >= 3
    store = open_store(served.places.store)
    assert REJECTED in store.texts("path").tolist() and 255 in store.splits().tolist()


def test_verdicts_are_read_on_from_where_they_ended_and_anew_where_the_file_is_another(tmp_path):
    def line(name, verdict, at="2026-11-27T12:00:00Z"):
        row = {"image": name, "mask": None, "reasons": [], "verdict": verdict, "group": None, "crs": None}
        return json.dumps({"at": at, **row, "transform": None, "shape": None}) + "\n"

    log, verdicts = tmp_path / LOG_NAME, Verdicts(tmp_path)
    assert not verdicts.refresh().rows
    log.write_text(line("a", "accepted") + line("b", "rejected")[:-9])
    assert list(verdicts.refresh().rows) == ["a"] and verdicts.version == 1
    log.write_text(line("a", "accepted") + line("b", "rejected") + line("a", "rejected"))
    assert list(verdicts.refresh().rows) == ["b", "a"] and verdicts.counts == {"accepted": 0, "rejected": 2}
    log.unlink()
    (tmp_path / "manifest.jsonl").write_text(line("c", "accepted"))
    assert list(verdicts.refresh().rows) == ["c"]


def test_runs_of_greentrain_are_read_from_their_files(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"status": "finished", "starts": [1.8e9], "trees_iou": 0.6}))
    rows = [
        {"step": 1, "train_loss": 2.0},
        {"step": 2, "train_loss": 1.0, "val_iou": 0.5, "val_loss": 1.1, "constant_iou": 0.1},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3')
    (tmp_path / "c").mkdir()
    (tmp_path / "c/compare.json").write_text(json.dumps({"models": {"constant": {"mean": {"iou": 0.1}}, "odd": {}}}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.json").write_text("{")
    ((found,), (comparison,)) = find_runs(tmp_path)
    assert found.scores == {"net": 0.5, "constant": 0.1, "trees": 0.6} and len(found.charts) == 2
    assert comparison.name == "c" and find_runs(tmp_path / "none") == ([], [])


def test_who_guesses_the_token_gets_ten_tries_a_minute_and_who_has_entered_goes_on(served):
    web = client(served)
    assert web.post("/enter", data={"who": "Ann", "token": TOKEN}).status_code == 200
    guesses = [web.post("/enter", data={"who": "Eve", "token": f"{i}"}).status_code for i in range(5)]
    guesses += [web.get("/pairs", headers={"Authorization": f"Bearer {i}"}).status_code for i in range(5)]
    assert guesses == [401] * 5 + [200] * 5  # On loopback looking is free.
    for late in (web.post("/enter", data={"who": "Ann", "token": TOKEN}), web.get("/pairs", headers=BEARER)):
        assert late.status_code == 429 and 0 < int(late.headers["Retry-After"]) <= 60
    assert "Ann" in web.get("/").text and web.get("/enter").status_code == 200


def test_tries_are_counted_by_address_and_all_together_and_forgotten_after_a_minute():
    now = [0.0]
    tries = Tries(lambda: now[0])
    for _ in range(10):
        assert tries.wait("a") == 0
        tries.wrong("a")
        now[0] += 1
    assert (tries.wait("a"), tries.wait("b")) == (50, 0)
    for number in range(90):
        tries.wrong(f"c{number}")
    assert tries.wait("b") == 50
    now[0] = 59.5
    assert tries.wait("a") == 1
    now[0] = 60.0
    assert tries.wait("a") == tries.wait("b") == 0
    for _ in range(1000):
        tries.wrong("d")
    assert len(tries._wrong) == 100


def test_the_gate_forgets_the_oldest_session_and_knows_this_machine():
    gate = Gate(TOKEN)
    first = gate.enter("Ann")
    for _ in range(1000):
        gate.enter("Bo")
    assert gate.session(first) is None and TOKEN not in repr(gate.session(gate.enter("Cy")))
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "data.example", "127.data.example", ""))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "0.0.0.0"}, "0.0.0.0 is reached from other machines, and there is no token"),
        ({"token": "short"}, "GREENPREP_TOKEN: no safe token"),
        ({"clean": Path("none")}, "none: no recipe.yaml in it. Start `greenprep watch` first"),
        ({"upload_max": "much"}, "--upload-max: `much` is no size"),
        ({"blocked": True}, '`uvicorn` is not installed. Install it by `pip install "greenspace[service]"`'),
    ],
)
def test_what_is_lacking_is_said_in_a_sentence(served, monkeypatch, options, said):
    monkeypatch.setenv("GREENPREP_TOKEN", options.pop("token", ""))
    if options.pop("blocked", False):
        monkeypatch.setitem(sys.modules, "uvicorn", None)
    words = {"clean": served.places.clean, "store": served.places.store} | options
    with pytest.raises(ConfigError, match=re.escape(said)):
        serve(served.places.inbox, **words)


def test_help_names_the_extra_in_brackets_that_rich_leaves_alone():
    said = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    assert 'pip install "greenspace[service]"' in said


def test_the_token_is_shown_once_and_only_where_it_was_made_for_this_run(served, monkeypatch, capsys):
    monkeypatch.setattr(
        "uvicorn.run", lambda app, **options: options["access_log"] and pytest.fail("a log of requests")
    )
    words = {"clean": served.places.clean, "store": served.places.store}
    monkeypatch.setenv("GREENPREP_TOKEN", "")
    serve(served.places.inbox, **words)
    assert re.search(r"http://127\.0\.0\.1:8765/enter#\S{32}", capsys.readouterr().err)
    monkeypatch.setenv("GREENPREP_TOKEN", TOKEN)
    serve(served.places.inbox, **words)
    assert TOKEN not in capsys.readouterr().err
