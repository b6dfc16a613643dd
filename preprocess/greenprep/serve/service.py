"""What the server knows and does, apart from the web: everything that a page or a program may ask or decide."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenprep.acts import Act, add_act, check_overrule, read_acts
from greenprep.clean.report import place_boxes
from greenprep.inspect.report import store_charts
from greenprep.inspect.tile_picture import tile_pictures
from greenprep.serve.paint import Painter
from greenprep.serve.verdicts import Verdicts
from greenprep.watch.watcher import Places
from greenschemas.errors import ConfigError, GreenError, StoreError
from greenschemas.lock import Owner, writer_of
from greenschemas.manifest import Entry, Verdict
from greenschemas.pages.charts import Chart, box_map
from greenschemas.pictures import as_png
from greenschemas.recipe import Recipe
from greenschemas.store import Store, open_store

__all__ = ["Service"]

_REASON = 1000
"""Most letters of a reason."""


class Service:
    """One inbox, its clean folder and its store."""

    def __init__(self, places: Places, recipe: Recipe, runs: Path | None) -> None:
        self.places, self.recipe, self.runs = places, recipe, runs
        self.verdicts = Verdicts(places.clean).refresh()
        self._painter = Painter(places.inbox, places.clean, recipe)
        self._lock = threading.Lock()
        self._opened: tuple[tuple[int, int], Store] | None = None
        self._charts: tuple[object, Any] = None, None

    @property
    def watcher(self) -> Owner | None:
        """Who watches the inbox now, as far as is known here."""
        return writer_of(self.places.clean)

    def entry(self, name: str) -> Entry:
        """The verdict that stands on a pair; raises ConfigError for a name that is not known."""
        found = self.verdicts.refresh().history(name)
        if not found:
            raise ConfigError(name[:200], "no pair of this name", "see GET /pairs for those that there are")
        return found[-1][1]

    def pictures(self, name: str) -> dict[str, bytes]:
        """PNG files of a pair by what they show: `image`, `mask`, `overlay`."""
        return self._painter.pictures(self.entry(name))

    def acts(self, name: str) -> list[Act]:
        """What people decided about a pair, or about a tile of it."""
        return [act for act in read_acts(self.places.clean) if act.image == name]

    def overrule(self, name: str, verdict: str, reason: str, who: str) -> Act:
        """Write down that a pair is accepted, or rejected, by hand; the watcher carries it out.

        Raises ConfigError where it cannot be, or without a reason.
        """
        entry = self.entry(name)
        if verdict not in ("accepted", "rejected"):
            raise ConfigError("verdict", f"`{verdict[:40]}`", "give accepted or rejected")
        check_overrule(entry, verdict)
        return self._decide(
            act="overrule", image=name, mask=entry.mask, stamp=entry.stamp, verdict=verdict, by=who, reason=reason
        )

    def exclude(self, tile: int, reason: str, who: str) -> Act:
        """Write down that the ground of a tile shall be in no split; the watcher carries it out."""
        store = self.store()
        about = self.tile(store, tile)
        return self._decide(
            act="exclude", image=about["source"], tile=tile, group=about["group"], by=who, reason=reason
        )

    def _decide(self, **what: Any) -> Act:
        reason = " ".join(what.pop("reason").split())
        if not 3 <= len(reason) <= _REASON:
            raise ConfigError("reason", f"{len(reason)} letters", f"say in 3 to {_REASON} letters why")
        act = Act(**what, reason=reason, at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        with self._lock:
            add_act(self.places.clean, act)
        return act

    def store(self) -> Store:
        """The store as it is now; raises StoreError where there is none."""
        path = self.places.store / "zarr.json"
        with self._lock:
            try:
                found = path.stat()
            except OSError:
                raise StoreError(
                    self.places.store.name, "no store yet", "it begins with the first batch of accepted pairs"
                ) from None
            state = found.st_ino, found.st_mtime_ns
            if self._opened is None or self._opened[0] != state:
                self._opened = state, open_store(self.places.store)
            return self._opened[1]

    def charts(self) -> tuple[Chart | None, Chart, list[Chart]]:
        """Map, class shares and histograms of the store."""
        store = self.store()
        drawn: tuple[Chart | None, Chart, list[Chart]] = self._once(("store", id(store)), lambda: store_charts(store))
        return drawn

    def footprints(self) -> tuple[Chart | None, str, int]:
        """(map of all pairs by verdict, its coordinate system, pairs in others)."""
        self.verdicts.refresh()
        drawn: tuple[Chart | None, str, int] = self._once(("map", self.verdicts.version), self._draw_footprints)
        return drawn

    def _draw_footprints(self) -> tuple[Chart | None, str, int]:
        rows = [row for row in self.verdicts.all() if row.place is not None]
        boxes, crs, elsewhere = place_boxes(((row.name, *row.place), row.verdict) for row in rows if row.place)
        return box_map("Footprints", boxes, "units of the coordinate system") if boxes else None, crs, elsewhere

    def _once(self, key: object, draw: Callable[[], Any]) -> Any:
        """What was drawn last, where it is the same."""
        with self._lock:
            kept, drawn = self._charts
        if kept != key:
            drawn = draw()
            with self._lock:
                self._charts = key, drawn
        return drawn

    def tile(self, store: Store, tile: int) -> dict[str, Any]:
        """Source and group of a tile; raises ConfigError for one that is not there."""
        if not 0 <= tile < store.contract.tiles:
            raise ConfigError("tile", f"{tile}", f"tiles go from 0 to {store.contract.tiles - 1}")
        source = int(store.read("source_index", tile))
        group = int(store.read("group_index", source))
        return {"source": str(store.texts("path")[source]), "group": str(store.texts("group_name")[group])}

    def tile_picture(self, tile: int, kind: str) -> bytes:
        """PNG of a tile: `image` or `mask`."""
        store = self.store()
        self.tile(store, tile)
        image, classes = tile_pictures(store, tile)
        return as_png(image if kind == "image" else classes)

    def sums(self) -> dict[str, Any]:
        """For `GET /store`."""
        contract = self.store().contract
        return {
            "tiles": contract.tiles,
            "sources": contract.sources,
            "groups": contract.groups,
            "tile_size": contract.tile_size,
            "bands": [band.name for band in contract.bands],
            "classes": list(contract.classes),
            "split": None if contract.split is None else contract.split.model_dump(mode="json"),
            "class_share": None if contract.statistics is None else list(contract.statistics.class_share),
        }

    def health(self) -> dict[str, Any]:
        """For `GET /health`: `ok` where somebody watches and there is room, else why not."""
        watcher, free = self.watcher, shutil.disk_usage(self.places.inbox).free
        try:
            tiles: int | None = self.store().contract.tiles
        except GreenError:
            tiles = None
        problems = [
            *(["nobody watches the inbox: start `greenprep watch`"] if watcher is None else []),
            *(["less than 100 MB are free where the inbox is"] if free < 100 << 20 else []),
        ]
        return {
            "status": "; ".join(problems) or "ok",
            "watcher": watcher is not None,
            "free_bytes": free,
            "tiles": tiles,
        }

    def metrics(self) -> str:
        """For Prometheus."""
        counts, health = self.verdicts.refresh().counts, self.health()
        lines = ["# TYPE greenprep_pairs gauge"]
        lines += [f'greenprep_pairs{{verdict="{verdict.value}"}} {counts[verdict.value]}' for verdict in Verdict]
        gauges = {
            "greenprep_verdicts_total": self.verdicts.version,
            "greenprep_watcher_up": int(health["watcher"]),
            "greenprep_store_tiles": health["tiles"] or 0,
            "greenprep_free_bytes": health["free_bytes"],
        }
        for name, value in gauges.items():
            lines += [f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}", f"{name} {value}"]
        return "\n".join(lines) + "\n"
