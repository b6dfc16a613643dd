"""A watcher and a server of one small inbox, in this process, for tests of pages and of the API."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenprep.serve.service import Service
from greenprep.watch.watch import watch, watch_once
from greenprep.watch.watcher import Pace, Places
from support.raw import Collection, scene, write_pair

__all__ = ["TOKEN", "Served", "bad_pairs", "listening"]

TOKEN = "a-token-of-the-tests-0123"
PACE = Pace(settle=0.2, every=0.5, batch=1)


class Served:
    """Pairs that were judged, one of them rejected although it has pixels, and a store of the others."""

    def __init__(self, folder: Path) -> None:
        self.made = Collection(folder)
        for area in range(4):
            self.made.add(area, 1)
        spoil(self.made.raw, 5)
        self.places = Places(self.made.raw, folder / "clean", folder / "s.zarr")
        self.once()
        self.service = Service(self.places, self.made.plain, None)

    def once(self) -> None:
        """Judge what is there."""
        watch_once(self.places, self.made.plain, pace=Pace(0, 0, 1), workers=1, tell=lambda event: None)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A watcher at work, by looking every second."""
        stop, told = threading.Event(), []
        options = {"pace": PACE, "workers": 1, "poll": True, "stop": stop, "tell": told.append}
        thread = threading.Thread(target=watch, args=(self.places, self.made.plain), kwargs=options)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def spoil(raw: Path, area: int) -> None:
    """A pair whose image is the same everywhere."""
    image, fraction = scene(area, 40, 45)
    image[:4] = 700
    write_pair(raw, area, 1, image, fraction)


def bad_pairs(folder: Path) -> list[Path]:
    """A good pair (area 20) and three bad ones: no picture, one value everywhere, a mask of another size."""
    for area in (20, 21, 22, 23):
        image, fraction = scene(area, 40, 45)
        if area == 22:
            image[:4] = 700
        write_pair(folder, area, 1, image, fraction[:, :20] if area == 23 else fraction)
    next(folder.rglob("T_2020_21_1_GeoTIFF.tif")).write_bytes(b"no picture")
    return sorted(folder.rglob("*.tif"))


@contextmanager
def listening(app: object) -> Iterator[str]:
    """The application on a free port of this machine; its address."""
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
