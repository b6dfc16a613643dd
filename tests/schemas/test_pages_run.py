"""Every command of ours in README and docs/ ends well, on data of a few pixels; what is not run says why.

What a page's own test does in the page's order (`DONE`), is not done again here. All else runs page by page, each in a
copy of one folder that holds what the pages name.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import rasterio
import yaml

from greenschemas.recipe import Recipe
from support.documents import DOCS, PAGES, ROOT, blocks, is_whole, lines, run
from support.https import serve_folder
from support.workplace import QUICK, make_workplace

load_config = pytest.importorskip("greentrain.config").load_config
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # TensorBoard's own
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of torch's exporter
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Dask's, at the end of a cluster
]

DONE = {
    "README.md": "test_the_commands_and_the_python_of_the_readme",
    "docs/areas.md": "test_the_page_of_areas_is_run_and_its_picture_is_its_last_page",
    "docs/districts.md": "test_the_page_of_districts_is_run_and_its_picture_is_its_page",
    "docs/tutorial.md": "test_the_tutorial_ends_with_a_map_in_the_users_own_words",
}
"""Pages whose fences are run, line by line, by that test of test_documents_run.py."""

NOT_RUN = {
    "greentrain export RUN net.onnx": "ten seconds; test_export.py writes both kinds, and gives the command",
    "greentrain fit mydata.zarr --out runs/logged --mlflow": "MLflow is not installed; test_trackers.py has a stand-in",
    "greenprep clean hls clean/hls --recipe pipelines/hls.yaml": "the data are not part of the project",
    "greenprep tile clean/hls hls.zarr": "the data are not part of the project",
    "greenprep split hls.zarr --val 0.25": "the data are not part of the project",
    "greenprep split naip.zarr --folds 8 --fold 3": "the data are not part of the project",
    "greenprep clean slovenia clean/si --recipe pipelines/slovenia.yaml": "the data are not part of the project",
    "greenprep tile clean/si si.zarr --size 64": "the data are not part of the project",
    "greenprep clean raw clean/raw": "the data are not part of the project",
    "greenprep serve inbox --clean data/clean --store data/city.zarr --runs runs": "it has a test of its own, below",
}
CODE_NOT_RUN = {
    "SLURMCluster": "needs dask-jobqueue and Slurm",
    "KubeCluster": "needs dask-kubernetes and a cluster",
    "Security.temporary": "tests/prep/test_cluster.py runs it",
}
WORDS = {
    "STORE": "data/city.zarr",
    "RUN": "runs/city",
    "RUN2": "runs/second",
    "RUN3": "runs/third",
    "MAP": "map_2023.tif",
    "SAMPLE": "sample.csv",
    "BEFORE": "map_2016.tif",
    "AFTER": "map_2023.tif",
    "FOLDER": "mydata",
    "RECIPE": "recipe.yaml",
    "CODE": "band-count",
    "../mydata": "mydata",
}
"""What a reader puts in place of such a word."""
WORDS_OF = {"docs/areas.md": {"map_2023.tif": "map.tif"}}  # "the run that drew the map"
AWAY = {
    "docs/data.md": ["recipe.yaml"],
    "docs/howto.md": ["runs/city"],
    "docs/service.md": ["data/city.zarr"],
    "docs/trouble.md": ["recipe.yaml"],
}
"""What is not there yet when a page begins."""
SMALL = {
    "greentrain fit": QUICK,
    "greentrain doctor": QUICK,
    "greentrain predict": ["--overwrite"],  # the page has several ways to the same file
    "greenprep stack": ["--overwrite"],
    "greenprep watch": ["--once", "--workers", "1", "--settle", "0"],
}
"""Words that go behind those of a page: less time, and no second name for a file."""


def name_of(page: Path) -> str:
    """`docs/areas.md`."""
    return page.relative_to(ROOT).as_posix()


def due(page: Path) -> list[str]:
    """What is run here of a page, each line once."""
    found = lines(page, fenced=name_of(page) not in DONE)
    return [line for line in dict.fromkeys(found) if is_whole(line) and line not in NOT_RUN]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_workplace(folder)
    return folder


@contextmanager
def on_a_server(folder: Path) -> Iterator[dict[str, str]]:
    """`https://example.com`, which serves a scene."""
    scratch, site = folder.parent / "scratch", folder.parent / "www"
    scratch.mkdir()
    site.mkdir()
    shutil.copy(folder / "scene.tif", site)
    with serve_folder(site, scratch) as (url, pem, _), rasterio.Env(GDAL_CURL_CA_BUNDLE=str(pem)):
        yield {"https://example.com": url}


@contextmanager
def in_a_bucket(folder: Path) -> Iterator[dict[str, str]]:
    """`s3://bucket` with a scene, an inbox and, where there is one, a store, behind moto's server."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    of_gdal = {"S3_ENDPOINT": f"{host}:{port}", "HTTPS": "NO", "VIRTUAL_HOSTING": "FALSE"}
    of_all = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (of_all | of_gdal | {"ENDPOINT_URL": f"http://{host}:{port}"}).items():
            patch.setenv(f"AWS_{key}", value)
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        files.makedirs("bucket", exist_ok=True)  # moto has one memory for all its servers
        files.put(str(folder / "scene.tif"), "bucket/scene.tif")
        files.put(str(folder / "inbox"), "bucket/inbox", recursive=True)
        if (folder / "data/city.zarr").is_dir():
            files.put(str(folder / "data/city.zarr"), "bucket/city.zarr", recursive=True)
        yield {}
    server.stop()


@contextmanager
def on_a_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A scheduler of Dask's and one worker."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        yield {"ADDRESS": cluster.scheduler_address, "tcp://HOST:8786": cluster.scheduler_address}


AROUND = {
    "docs/clusters.md": (on_a_cluster,),
    "docs/howto.md": (on_a_cluster, in_a_bucket),
    "docs/inputs.md": (on_a_server, in_a_bucket),
    "docs/service.md": (in_a_bucket,),
}
"""What of the world outside a page's commands need."""


@pytest.mark.parametrize("page", [page for page in PAGES if due(page)], ids=name_of)
def test_the_commands_of_a_page(page: Path, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    shutil.copytree(workplace, folder)
    for name in AWAY.get(name_of(page), ()):
        (shutil.rmtree if (folder / name).is_dir() else os.unlink)(folder / name)
    monkeypatch.chdir(folder)
    with ExitStack() as stack:
        words = WORDS | WORDS_OF.get(name_of(page), {})
        for around in AROUND.get(name_of(page), ()):
            words |= stack.enter_context(around(folder))
        for line in due(page):
            run_as_read(line, words)


def run_as_read(line: str, words: dict[str, str]) -> None:
    """A command with what a reader puts in place of the page's words."""
    for word in (word for word in words if "://" in word):
        line = line.replace(word, words[word])
    small = SMALL.get(" ".join(line.split()[:2]), [])
    run(shlex.join(words.get(word, word) for word in shlex.split(line)), small)


def test_the_server_of_a_page_takes_what_the_page_sends_it(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`greenprep serve` and the page's own `curl`; and the table of its API names what is there."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copytree(workplace, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("GREENPREP_TOKEN", "a-token-of-the-tests-0123")
    shutil.copytree("clean", "data/clean")  # as the watcher leaves it
    page = DOCS / "service.md"
    (line,) = [line for line in lines(page) if line.startswith("greenprep serve ")]
    (send,) = [block for block in blocks(page, "sh") if block.startswith("curl")]
    sent = sorted(path for path in Path("inbox").rglob("T_2020_1_1_*.tif"))
    for path in sent:
        path.rename(path.name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = "from greenprep.cli import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", code, *shlex.split(line)[1:], "--port", port], stderr=subprocess.PIPE
    )
    try:
        said = server.stderr.readline().decode()  # type: ignore[union-attr]
        assert said.startswith(f"http://127.0.0.1:{port}/enter")
        retry = "--retry 60 --retry-delay 1 --retry-connrefused --silent --show-error --fail-with-body"
        done = subprocess.run(
            send.replace("curl ", f"curl {retry} ", 1).replace("8765", port), shell=True, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [path.name for path in sorted(Path("inbox").rglob("T_2020_1_1_*.tif"))] == [path.name for path in sent]
        described = subprocess.run(
            ["curl", "--silent", "--fail", f"http://127.0.0.1:{port}/openapi.json"], capture_output=True, check=True
        )
        known = {(way.upper(), path) for path, ways in json.loads(described.stdout)["paths"].items() for way in ways}
        named = set(re.findall(r"`(GET|POST) (/[\w.]+)", page.read_text(encoding="utf-8")))
        assert named - {("GET", "/openapi.json")} <= known
    finally:
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=60)
    assert "Traceback" not in errors.decode()


def test_nothing_on_the_lists_is_stale() -> None:
    every = {line for page in PAGES for line in lines(page) if is_whole(line)}
    assert NOT_RUN.keys() <= every
    words = {word for line in every for word in shlex.split(line)}
    assert all(word in words for word in WORDS)
    tests = (Path(__file__).parent / "test_documents_run.py").read_text(encoding="utf-8")
    assert all(f"def {name}(" in tests for name in DONE.values())
    assert {*DONE, *WORDS_OF, *AWAY, *AROUND} <= {name_of(page) for page in PAGES}
    assert SMALL.keys() <= {" ".join(line.split()[:2]) for line in every}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_is_run_or_says_why_it_is_not(page: Path) -> None:
    """Those of README, tutorial and how-tos are run by test_documents_run.py, that of data.md by test_first_hour.py."""
    for code in blocks(page, "python"):
        compile(code, str(page), "exec")
        left = [word for word in CODE_NOT_RUN if word in code]
        assert bool(left) != (page.name in ("README.md", "data.md", "tutorial.md", "howto.md")), code
    if page.name == "clusters.md":
        assert all(any(word in code for code in blocks(page, "python")) for word in CODE_NOT_RUN)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=name_of)
def test_a_recipe_that_a_page_shows_is_one(page: Path) -> None:
    for text in blocks(page, "yaml"):
        assert Recipe.parse(page.name, yaml.safe_load(text)).model_fields_set


@pytest.mark.skipif(not (ROOT / "Makefile").is_file(), reason="an installed wheel is tested without its sources")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_targets_extras_and_files_that_a_page_names_are_there(page: Path) -> None:
    text = " ".join(page.read_text(encoding="utf-8").split())
    load_config(None, [one for one in re.findall(r"--set ([\w.]+=[^\s`]+)", text) if one != "key=value"])
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^ ?)make ([a-z-]+)", text)) <= targets
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = re.findall(r"(?:greenspace|\.)\[([a-z,]+)\]", text)
    assert {extra for one in named for extra in one.split(",")} <= extras.keys()
    files = re.findall(r"\b(?:docker|pipelines|tests|train|schemas)/[\w./-]+\.\w+", text)
    assert all((ROOT / name).is_file() for name in files), files
    short = re.findall(r"\((?:`)(bench_\w+\.py)", text)
    assert all((ROOT / "tests/bench" / name).is_file() for name in short), short
