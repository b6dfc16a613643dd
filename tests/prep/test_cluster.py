"""`greenprep watch` and `run` on a Dask cluster that asks for certificates: what comes of it is as on one machine."""

import re
import subprocess
import sys
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest
from typer.testing import CliRunner

from greenprep.build.run import run
from greenprep.clean.clean import judge_pairs
from greenprep.cli.watch import app
from greenprep.engine.choose import SerialEngine, engine
from greenprep.engine.dask_engine import _outcome
from greenprep.engine.job import KilledJob
from greenprep.raw.pairs import find_pairs
from greenprep.watch.watch import watch_once
from greenprep.watch.watcher import Pace, Places
from greenschemas.errors import ConfigError, SourceError
from support.raw import tree

pytestmark = pytest.mark.filterwarnings("ignore")
PACE = Pace(settle=0.0, every=0.0, batch=1)


def settings_of(security, folder):
    """distributed's settings for certificates that lie as files in a folder."""
    folder.mkdir()
    for name in ("ca_file", "client_cert", "client_key"):
        (folder / name).write_text(getattr(security, f"tls_{name}"))
    names = {"ca-file": "ca_file", "client.cert": "client_cert", "client.key": "client_key"}
    return {f"distributed.comm.tls.{key}": str(folder / name) for key, name in names.items()}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """(address, settings) of a scheduler with one worker, which show and ask for certificates made here."""
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("cryptography")
    security = distributed.Security.temporary()
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=1, protocol="tls://", security=security, **options) as opened:
        yield opened.scheduler_address, settings_of(security, tmp_path_factory.mktemp("tls") / "files")


def test_watch_on_a_cluster_with_certificates_does_what_it_does_on_one_machine(cluster, empty_collection):
    address, certificates = cluster
    made = empty_collection
    for area in range(3):
        made.add(area, 1)
    image = made.raw / "images/T/T_2020_2_1_GeoTIFF.tif"
    image.write_bytes(image.read_bytes()[:300])
    there, here = (Places(made.raw, made.folder / f"{name}.clean", made.folder / f"{name}.zarr") for name in "ab")
    with dask.config.set(certificates):
        told = []
        summary = watch_once(there, made.plain, pace=PACE, scheduler=address, tell=told.append)
    assert (summary.accepted, summary.rejected) == (2, 1) and {event["event"] for event in told} == {"verdict", "batch"}
    watch_once(here, made.plain, pace=PACE, workers=1, tell=told.append)
    assert tree(there.store) == tree(here.store)
    pairs = [{n: d for n, d in tree(places.clean).items() if n.endswith(".tif")} for places in (there, here)]
    assert pairs[0] == pairs[1] and len(pairs[0]) == 4


def test_the_page_s_way_to_a_cluster_whose_certificates_are_texts_builds_the_store(empty_collection):
    page = (Path(__file__).resolve().parents[2] / "docs/clusters.md").read_text(encoding="utf-8")
    (code,) = [code for code in re.findall(r"```python\n(.+?)```", page, re.DOTALL) if "Security.temporary" in code]
    for area in range(2):
        empty_collection.add(area, 1)
    folder = empty_collection.folder
    (folder / "page.py").write_text(code.replace("n_workers=2", "n_workers=1"))
    empty_collection.recipe("recipe")
    done = subprocess.run([sys.executable, "page.py"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    run(empty_collection.recipe("here"), workers=0)
    assert tree(folder / "recipe.zarr") == tree(folder / "here.zarr")


def test_a_cluster_is_not_talked_to_without_its_certificates(cluster, tmp_path):
    from distributed import Security

    address, certificates = cluster
    with (
        pytest.raises(ConfigError, match=r"asks for a certificate, and none is set. Set DASK_DIST"),
        engine(1, address),
    ):
        pass
    lost = certificates | {"distributed.comm.tls.client.key": str(tmp_path / "no.pem")}
    with dask.config.set(lost), pytest.raises(ConfigError, match="cannot be read"), engine(1, address):
        pass
    foreign = settings_of(Security.temporary(), tmp_path / "foreign") | {"distributed.comm.timeouts.connect": "1s"}
    with dask.config.set(foreign), pytest.raises(ConfigError, match="no Dask scheduler answers"), engine(1, address):
        pass


def test_a_batch_that_takes_its_worker_down_is_judged_pair_by_pair(empty_collection, monkeypatch):
    made = empty_collection
    for area in range(40):
        made.add(area, 1, height=8, width=8)
    todo = find_pairs(made.raw, made.plain.pairing)
    tried = []

    class Fragile(SerialEngine):
        def run(self, function, jobs):
            for job in jobs:
                tried.append(len(job))
                deadly = any("_2020_7_1_" in one.image for one in job)
                yield job, KilledJob(job) if deadly else function(job)

    @contextmanager
    def opened(workers, scheduler):
        yield Fragile()

    monkeypatch.setattr(import_module("greenprep.clean.clean"), "engine", opened)
    answers = judge_pairs(made.raw, None, made.plain, todo, 1, "tcp://somewhere:1")
    entries = {entry.image: entry for some in answers for entry in some}
    assert sorted(tried) == [1, 1] + [2] * 20 and len(entries) == 40
    killed = entries.pop("images/T/T_2020_7_1_GeoTIFF.tif")
    assert [reason.code for reason in killed.reasons] == ["decoder-crash"]
    due = [entry for some in judge_pairs(made.raw, None, made.plain, todo, 1) for entry in some]
    assert entries == {entry.image: entry for entry in due if entry.image in entries}


def test_a_scheduler_that_goes_away_is_said_so_and_may_be_waited_for():
    def gone():
        raise CancelledError

    with pytest.raises(SourceError, match="its scheduler is gone"):
        _outcome(SimpleNamespace(result=gone), 1)


def test_a_watcher_starts_no_cluster_of_its_own(tmp_path):
    words = [str(tmp_path), "--clean", "c", "--store", "s.zarr", "--scheduler", "local"]
    problem = CliRunner().invoke(app, words).exception
    assert isinstance(problem, ConfigError) and "processes of this machine do the work anyway" in str(problem)
