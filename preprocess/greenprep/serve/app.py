"""The web server: who may ask is seen to at the door; each route then asks `Service` one thing, and shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from greenprep.serve.access import COOKIE, HEADERS, Gate, Session, address_of, as_name, is_loopback
from greenprep.serve.pages import Pages
from greenprep.serve.programs import Api
from greenprep.serve.service import Service
from greenschemas.errors import ConfigError, GreenError, SourceError, StoreError
from greenschemas.machine import installed_version

__all__ = ["Door", "make_app"]

_FORM = 64 << 10
"""Most bytes of a request that is no upload."""
_OPEN = ("/enter", "/health", "/static/")
"""What is answered without the token where all else asks for it."""
_STATUS: dict[type[GreenError], int] = {ConfigError: 422, SourceError: 409, StoreError: 503}


@dataclass(frozen=True)
class Door:
    """Who may come in, and with what."""

    token: str
    host: str
    """Address that is listened on."""
    upload_max: int
    """Most bytes of an upload."""
    shared: Path | None = None
    """Folder of this machine whose files may be brought in by their path."""


def make_app(service: Service, door: Door) -> FastAPI:
    """The server's application."""
    app = FastAPI(
        title="greenprep serve",
        version=installed_version("greenspace"),
        description="Verdicts on pairs of an inbox, as they fall. What writes needs `Authorization: Bearer TOKEN`.",
        docs_url=None,  # It would fetch its scripts from elsewhere.
        redoc_url=None,
    )
    gate, local = Gate(door.token), is_loopback(door.host)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = _refusal(request, gate, door, local)
        response = await call_next(request) if refused is None else refused
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(GreenError)
    async def explain(request: Request, problem: Exception) -> Response:
        status = next((code for kind, code in _STATUS.items() if isinstance(problem, kind)), 500)
        return JSONResponse({"error": str(problem)}, status)

    def writer(request: Request, csrf: str = "") -> str:
        return _writer(request, gate, csrf)

    Api(service, writer, door.shared).add_to(app)
    Pages(service, gate, writer).add_to(app)
    return app


def _refusal(request: Request, gate: Gate, door: Door, local: bool) -> Response | None:
    """Why a request is not answered at all; None where it is."""
    name = (request.url.hostname or "").lower()
    if local and not is_loopback(name):
        # A page of another site whose name was made to lead here; a proxy sends the token as anybody else.
        return JSONResponse({"error": f"this server is called {door.host}, not {name[:100]}"}, 421)
    path = request.url.path
    if wait := _must_wait(request, gate):
        problem = {"error": f"too many wrong tokens; none is looked at for {wait} s"}
        return JSONResponse(problem, 429, {"Retry-After": str(wait)})
    known = gate.session(request.cookies.get(COOKIE)) or gate.bearer(request.headers.get("authorization"))
    if not (local or known or path.startswith(_OPEN)):
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/enter", 303)
        return JSONResponse({"error": "show the token: `Authorization: Bearer TOKEN`"}, 401)
    if request.method not in ("GET", "HEAD"):
        length = request.headers.get("content-length", "")
        most = door.upload_max if path == "/pairs" and known else _FORM
        if not length.isdecimal():
            return JSONResponse({"error": "say how long it is: `Content-Length`"}, 411)
        if int(length) > most:
            return JSONResponse({"error": f"{int(length):,} bytes; {most:,} at most are taken"}, 413)
    return None


def _must_wait(request: Request, gate: Gate) -> int:
    """Seconds until a token that a request shows is looked at, 0 for now or without one; counts one that is wrong."""
    header = request.headers.get("authorization", "")
    bears = header.lower().startswith("bearer ")
    if not bears and (request.url.path, request.method) != ("/enter", "POST"):
        return 0
    address = address_of(request)
    wait = gate.tries.wait(address)
    if bears and not wait and not gate.bearer(header):
        gate.tries.wrong(address)
    return wait


def _writer(request: Request, gate: Gate, csrf: str) -> str:
    """Who wants to write; raises HTTPException where nobody has shown the token, or another site sent the form."""
    if gate.bearer(request.headers.get("authorization")):
        return as_name(request.headers.get("x-who", "")) or "a program"
    session: Session | None = gate.session(request.cookies.get(COOKIE))
    if session is None:
        raise HTTPException(401, "show the token first: at /enter, or by `Authorization: Bearer TOKEN`")
    if not session.sent(request.headers.get("x-csrf", csrf)) or not _own(request):
        raise HTTPException(403, "the form is not of this session: load the page again")
    return session.who


def _own(request: Request) -> bool:
    """Whether a browser says that the request comes from a page of ours; those that say nothing carry the secret."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")
