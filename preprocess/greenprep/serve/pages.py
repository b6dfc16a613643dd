"""The pages that people see: rendered here, no script but ours, alive by asking each second whether anything is new."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Form, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup

from greenprep.findings import CATALOGUE
from greenprep.serve.access import COOKIE, Gate, address_of, as_name
from greenprep.serve.programs import Writer
from greenprep.serve.runs import find_runs
from greenprep.serve.service import Service
from greenschemas.errors import StoreError
from greenschemas.manifest import Verdict
from greenschemas.pages.page import templates_of
from greenschemas.pictures import visible_bands

__all__ = ["Pages"]

_LISTED = 50
_STATIC = {
    "page.css": ("greenschemas.pages", "templates/page.css", "text/css"),
    "serve.css": ("greenprep.serve", "serve.css", "text/css"),
    "serve.js": ("greenprep.serve", "serve.js", "text/javascript"),
}
Text = Annotated[str, Form()]
Skip = Annotated[int, Query(ge=0)]


class Pages:
    """One method a page, or a part of one, or a form that is sent."""

    def __init__(self, service: Service, gate: Gate, writer: Writer) -> None:
        self._service, self._gate, self._writer = service, gate, writer
        self._templates = templates_of("greenprep.serve")
        self._drawing = CapacityLimiter(8)
        self._list = lru_cache(maxsize=64)(self._draw_list)

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""
        shown: dict[str, Callable[..., Any]] = {
            "/": self.incoming,
            "/rows": self.rows,
            "/pair": self.pair,
            "/verdict": self.verdict,
            "/picture": self.picture,
            "/map": self.footprints,
            "/data": self.data,
            "/tile": self.tile,
            "/runs": self.runs,
            "/enter": self.door,
            "/static/{name}": self.static,
        }
        sent: dict[str, Callable[..., Any]] = {"/pair": self.overrule, "/data": self.exclude, "/enter": self.enter}
        for path, page in shown.items():
            app.get(path, include_in_schema=False, response_class=HTMLResponse)(page)
        for path, form in sent.items():
            app.post(path, include_in_schema=False)(form)

    def _show(self, request: Request, template: str, values: dict[str, Any], status: int = 200) -> HTMLResponse:
        """A page, or a part of one."""
        session = self._gate.session(request.cookies.get(COOKIE))
        text = self._templates.get_template(template).render(
            who=session.who if session else None,
            csrf=session.csrf if session else "",
            here=request.url.path,
            watcher=self._service.watcher,
            link=_link,
            **values,
        )
        return HTMLResponse(text, status)

    def incoming(self, request: Request, verdict: str = "", text: str = "", skip: Skip = 0) -> Response:
        """What came in."""
        version = self._version_of_rows()
        asked = {"verdict": verdict, "text": text, "skip": skip}
        values = {"version": version, "list": self._list(verdict, text, skip, version), "verdicts": list(Verdict)}
        return self._show(request, "incoming.html.j2", asked | values)

    def rows(self, verdict: str = "", text: str = "", skip: Skip = 0, version: str = "") -> Response:
        """The list of `incoming`, where it is another than that version."""
        if (now := self._version_of_rows()) == version:
            return Response(status_code=204)
        return HTMLResponse(self._list(verdict, text, skip, now), headers={"X-Version": now})

    def _draw_list(self, verdict: str, text: str, skip: int, version: str) -> Markup:
        """Pairs that are asked for; the same for all who ask as long as there is no other version."""
        verdicts = self._service.verdicts
        found = verdicts.select(verdict, text, skip=skip, limit=_LISTED + 1)
        values = {
            "rows": found[:_LISTED],
            "more": len(found) > _LISTED,
            "counts": {one.value: verdicts.counts[one.value] for one in Verdict},
            "watcher": self._service.watcher,
            "listed": _LISTED,
        }
        template = self._templates.get_template("rows.html.j2")
        return Markup(template.render(verdict=verdict, text=text, skip=skip, link=_link, **values))  # noqa: S704 - escaped

    def _version_of_rows(self) -> str:
        return f"{self._service.verdicts.refresh().version}-{self._service.watcher is not None}"

    def pair(self, request: Request, name: str) -> Response:
        """A pair in detail."""
        recipe = self._service.recipe
        more = {"version": self._version_of_pair(name), "classes": recipe.mask.names}
        return self._show(request, "pair.html.j2", self._about(name) | more | {"bands": visible_bands(recipe.bands)})

    def verdict(self, request: Request, name: str, version: str = "") -> Response:
        """The verdict on a pair and its history, where they are others than those of that version."""
        if (now := self._version_of_pair(name)) == version:
            return Response(status_code=204)
        response = self._show(request, "verdict.html.j2", self._about(name))
        response.headers["X-Version"] = now
        return response

    def _about(self, name: str) -> dict[str, Any]:
        entry = self._service.entry(name)
        return {
            "name": name,
            "entry": entry,
            "history": self._service.verdicts.history(name)[::-1],
            "acts": self._service.acts(name)[::-1],
            "what": {code.value: check.what for code, check in CATALOGUE.items()},
            "usable": entry.mask is not None and entry.checksum is not None,
        }

    def _version_of_pair(self, name: str) -> str:
        return f"{len(self._service.verdicts.refresh().history(name))}-{len(self._service.acts(name))}"

    async def picture(self, name: str, kind: str) -> Response:
        """One picture of a pair; whoever waits for one keeps no other page waiting."""
        pictures = await to_thread.run_sync(self._service.pictures, name, limiter=self._drawing)
        found = pictures.get(kind)
        if found is None:
            raise HTTPException(404, "no such picture: the file cannot be read, or is large")
        return Response(found, media_type="image/png", headers={"Cache-Control": "private, max-age=60"})

    def overrule(self, request: Request, name: Text, verdict: Text, reason: Text, csrf: Text = "") -> Response:
        """A verdict by hand."""
        self._service.overrule(name, verdict, reason, self._writer(request, csrf))
        return RedirectResponse(_link("/pair", name=name), 303)

    def footprints(self, request: Request) -> Response:
        """Where the pairs lie."""
        chart, crs, elsewhere = self._service.footprints()
        return self._show(request, "map.html.j2", {"map": chart, "crs": crs, "elsewhere": elsewhere})

    def data(self, request: Request, tile: int | None = None) -> Response:
        """The store, and one tile of it."""
        try:
            store = self._service.store()
        except StoreError as problem:
            return self._show(request, "data.html.j2", {"problem": str(problem), "contract": None})
        chart, classes, histograms = self._service.charts()
        looked = None if tile is None else self._service.tile(store, tile)
        values = {
            "problem": "",
            "contract": store.contract,
            "map": chart,
            "classes": classes,
            "histograms": histograms,
            "tile": tile,
            "looked": looked,
            "acts": [] if looked is None else self._service.acts(looked["source"]),
        }
        return self._show(request, "data.html.j2", values)

    def tile(self, number: int, kind: str) -> Response:
        """One picture of a tile."""
        return Response(self._service.tile_picture(number, kind), media_type="image/png")

    def exclude(self, request: Request, tile: Annotated[int, Form()], reason: Text, csrf: Text = "") -> Response:
        """The ground of a tile shall be in no split."""
        self._service.exclude(tile, reason, self._writer(request, csrf))
        return RedirectResponse(_link("/data", tile=tile), 303)

    def runs(self, request: Request) -> Response:
        """What was trained."""
        folder = self._service.runs
        runs, comparisons = ([], []) if folder is None else find_runs(folder)
        return self._show(request, "runs.html.j2", {"runs": runs, "comparisons": comparisons, "folder": folder})

    def door(self, request: Request) -> Response:
        """Where the token is shown."""
        return self._show(request, "enter.html.j2", {"wrong": False})

    def enter(self, request: Request, who: Text, token: Text) -> Response:
        """The token is shown, and a session begins."""
        if not self._gate.knows(token) or not as_name(who):
            self._gate.tries.wrong(address_of(request))
            return self._show(request, "enter.html.j2", {"wrong": True}, 401)
        response = RedirectResponse("/", 303)
        cookie, secure = self._gate.enter(as_name(who)), request.url.scheme == "https"
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure)
        return response

    def static(self, name: str) -> Response:
        """Styles and the script."""
        if name not in _STATIC:
            raise HTTPException(404)
        package, file, kind = _STATIC[name]
        return Response((files(package) / file).read_bytes(), media_type=kind)


def _link(path: str, **query: object) -> str:
    return f"{path}?" + "&".join(f"{key}={quote(str(value), safe='')}" for key, value in query.items())
