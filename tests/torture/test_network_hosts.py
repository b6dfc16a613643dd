"""The cluster of docker/compose.yaml as hosts of a network: a namespace each for scheduler, workers and `run`."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from support.jobs import finished
from support.raw import Collection, tree

HUB, PORT = "10.77.0.1", 8786
NOT_HERE = "needs root, and `ip` of iproute2, to make network namespaces"


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def hosts(names):
    """A bridge in a network namespace of its own, and a namespace on it for each name, 10.77.0.2 and on."""
    with ExitStack() as undo:
        for name in ("hub", *names):
            ip("netns", "add", f"green-{name}")
            undo.callback(ip, "netns", "del", f"green-{name}")
        hub = ("-n", "green-hub")
        ip(*hub, "link", "add", "br0", "type", "bridge")
        ip(*hub, "addr", "add", f"{HUB}/24", "dev", "br0")
        for at, name in enumerate(names, 2):
            ip(*hub, "link", "add", f"to{at}", "type", "veth", "peer", "name", "eth0", "netns", f"green-{name}")
            ip(*hub, "link", "set", f"to{at}", "master", "br0", "up")
            ip("-n", f"green-{name}", "addr", "add", f"10.77.0.{at}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", f"green-{name}", "link", "set", device, "up")
        for device in ("lo", "br0"):
            ip(*hub, "link", "set", device, "up")
        yield


def on(host, *words):
    """A Python program started on a host."""
    return subprocess.Popen(
        ["ip", "netns", "exec", f"green-{host}", sys.executable, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ
        | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s"},  # a host that is silent so long is dead; of 30
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or not shutil.which("ip") or os.geteuid() != 0, reason=NOT_HERE)
def test_a_worker_s_host_that_dies_costs_nothing_but_time(tmp_path):
    made = Collection(tmp_path)
    for area in range(30):
        made.add(area, 1)
    assert finished("greenprep", "run", made.recipe("alone"), "--workers", "1")[0] == 0
    try:
        ip("netns", "add", "green-hub")
        ip("netns", "del", "green-hub")
    except subprocess.CalledProcessError:
        pytest.skip(NOT_HERE)
    with hosts(["one", "two", "prep"]), ExitStack() as ends:
        address = f"tcp://{HUB}:{PORT}"
        cluster = [on("hub", "-m", "distributed.cli.dask_scheduler", "--host", HUB, "--port", PORT, "--no-dashboard")]
        for host in ("one", "two"):
            cluster.append(on(host, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"))
        for process in cluster:
            ends.callback(process.communicate)
            ends.callback(process.kill)
        main = "from greenprep.cli import main; main()"
        run = on("prep", "-c", main, "run", made.recipe("hosts"), "--scheduler", address)
        while run.poll() is None and not list(tmp_path.rglob("ledger/*.done")):
            time.sleep(0.02)
        assert run.poll() is None, f"it ended before a host could die: {run.communicate()[1]}"
        ip("-n", "green-one", "link", "set", "eth0", "down")
        cluster[1].kill()
        said = run.communicate(timeout=200)[1]
        assert run.returncode == 0, said
    assert tree(tmp_path / "hosts.zarr") == tree(tmp_path / "alone.zarr")
