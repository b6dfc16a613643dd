"""50 clients that poll the list and load pages, 10 that upload pairs, against a server and a watcher of this machine.

python tests/bench/bench_serve.py [--seconds 60]: errors, times by kind of request, and the server's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx2
import yaml

from support.raw import RECIPE, scene, write_pair

PORT, TOKEN = 8799, "a-token-of-the-bench-0123"
BEARER = {"Authorization": f"Bearer {TOKEN}", "X-Who": "bench"}
PAGES = ("/", "/map", "/pairs?verdict=accepted", "/health")


def start(folder: Path, *words: object) -> subprocess.Popen[bytes]:
    """A command of greenprep."""
    places = ("--clean", folder / "clean", "--store", folder / "s.zarr")
    code = "from greenprep.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, words[0], folder / "inbox", *places, *map(str, words[1:])],
        env={**os.environ, "GREENPREP_TOKEN": TOKEN},
        stderr=subprocess.DEVNULL,
    )


def memory(pid: int) -> float:
    """Megabytes in use by a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def processor(pid: int) -> float:
    """Seconds that a process has had of a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


Times = dict[str, list[float]]
"""Seconds that requests took, by what they were for."""


async def timed(client: httpx2.AsyncClient, found: Times, kind: str, due: int, **request: object) -> httpx2.Response:
    """One request; what is not answered as is due counts as an error."""
    began = time.perf_counter()
    try:
        answer = await client.request(**request)  # type: ignore[arg-type]
        kind = kind if answer.status_code in (due, 204) else f"ERROR {answer.status_code} of {kind}"
    except httpx2.HTTPError as problem:
        kind, answer = f"ERROR {type(problem).__name__} of {kind}", httpx2.Response(599)
    found[kind].append(time.perf_counter() - began)
    return answer


async def poll(client: httpx2.AsyncClient, found: Times, number: int, until: float) -> None:
    """As a page does: whether anything is new, each second; now and then another page."""
    await asyncio.sleep(number / 50)
    version, turn = "", number
    while time.monotonic() < until:
        answer = await timed(client, found, "poll", 200, method="GET", url=f"/rows?version={version}")
        version = answer.headers.get("X-Version", version)
        turn += 1
        if turn % 5 == 0:
            await timed(client, found, "page", 200, method="GET", url=PAGES[turn // 5 % len(PAGES)])
        await asyncio.sleep(1)


async def upload(client: httpx2.AsyncClient, found: Times, number: int, until: float, raw: Path) -> None:
    """A pair every three seconds."""
    for time_of in range(1000):
        if time.monotonic() >= until:
            return
        files = sorted(raw.rglob(f"T_2020_{number}_{time_of}_GeoTIFF*"))
        sent = [("files", (path.name, path.read_bytes())) for path in files]
        await timed(client, found, "upload", 202, method="POST", url="/pairs", files=sent, headers=BEARER)
        await asyncio.sleep(3)


async def visit(found: Times, seconds: float, raw: Path) -> None:
    """All clients at once."""
    until = time.monotonic() + seconds
    limits = httpx2.Limits(max_connections=100)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=30, limits=limits) as client:
        clients = [poll(client, found, number, until) for number in range(50)]
        await asyncio.gather(*clients, *(upload(client, found, number, until, raw) for number in range(10)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "inbox").mkdir()
        (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
        for number in range(10):
            for time_of in range(int(seconds / 3) + 2):
                write_pair(folder / "raw", number, time_of, *scene(100 * number + time_of, 64, 64))
        watcher = start(folder, "watch", "--recipe", folder / "recipe.yaml")
        while not (folder / "clean" / "recipe.yaml").exists():
            time.sleep(0.2)
        server = start(folder, "serve", "--port", PORT)
        try:
            measure(folder, server, seconds)
        finally:
            server.terminate()
            watcher.terminate()
            server.wait()
            watcher.wait()


def measure(folder: Path, server: subprocess.Popen[bytes], seconds: float) -> None:
    """Run the clients, and print what came of it."""
    found: Times = defaultdict(list)
    for _ in range(300):
        try:
            httpx2.get(f"http://127.0.0.1:{PORT}/health")
            break
        except httpx2.HTTPError:
            time.sleep(0.2)
    asyncio.run(visit(defaultdict(list), 5, folder / "none"))  # Imports, first templates.
    before, spent = memory(server.pid), processor(server.pid)
    asyncio.run(visit(found, seconds, folder / "raw"))
    after = memory(server.pid)
    for kind, times in sorted(found.items()):
        spread = statistics.quantiles(times, n=20) if len(times) > 1 else times * 19
        middle, late = 1000 * statistics.median(times), 1000 * spread[18]
        print(f"{kind:24} {len(times):6}  median {middle:7.1f} ms  p95 {late:7.1f} ms")
    print(f"processor: {processor(server.pid) - spent:.1f} s of the server in {seconds:g} s")
    print(f"memory of the server: {before:.0f} MB before, {after:.0f} MB after; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
