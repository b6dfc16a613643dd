"""Who may do what: a token for all that writes, sessions for browsers, headers that keep pages to themselves.

A browser shows the token once, at `/enter`, and gets a cookie that says nothing; forms carry a second secret that only
our pages know. A program sends `Authorization: Bearer TOKEN` with each request. Nothing of these is ever logged.
"""

from __future__ import annotations

import hmac
import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from starlette.requests import Request

__all__ = ["COOKIE", "HEADERS", "Gate", "Session", "Tries", "address_of", "as_name", "is_loopback"]

COOKIE = "greenprep"
_MINUTE, _TRIES, _TRIES_OF_ALL = 60.0, 10, 100
"""Wrong tokens a minute after which no other is looked at: from one address, and from all."""
_SESSIONS = 1000
"""Of which the oldest goes when another begins."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""With every answer. Styles of charts stand in the pages; no script does."""


@dataclass(frozen=True)
class Session:
    """Somebody who has shown the token."""

    who: str
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    """What a form must carry, so that no other site can send it."""

    def sent(self, csrf: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(csrf.encode(), self.csrf.encode())


class Tries:
    """Wrong tokens of the last minute: who guesses gets as many tries as a person needs. It remembers a few at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._wrong: deque[tuple[float, str]] = deque(maxlen=_TRIES_OF_ALL)

    def wrong(self, address: str) -> None:
        """A token was shown that is none."""
        with self._lock:
            self._wrong.append((self._clock(), address))

    def wait(self, address: str) -> int:
        """Seconds, rounded up, until a token from there is looked at again; 0 for now."""
        with self._lock:
            since = self._clock() - _MINUTE
            late = [(at, who) for at, who in self._wrong if at > since]
            own = [at for at, who in late if who == address]
            bounds = (own, _TRIES), ([at for at, _ in late], _TRIES_OF_ALL)
            return max((math.ceil(times[-most] - since) for times, most in bounds if len(times) >= most), default=0)


class Gate:
    """Knows the token, and who has shown it."""

    def __init__(self, token: str) -> None:
        self._token, self._lock = token.encode(), threading.Lock()
        self.tries = Tries()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def knows(self, token: str) -> bool:
        """Whether this is the token, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(token.encode(), self._token)

    def enter(self, who: str) -> str:
        """Begin a session; returns its cookie."""
        cookie = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[cookie] = Session(who)
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)
        return cookie

    def session(self, cookie: str | None) -> Session | None:
        """The session of a cookie."""
        with self._lock:
            return self._sessions.get(cookie or "")

    def bearer(self, header: str | None) -> bool:
        """Whether a request's Authorization header shows the token."""
        kind, _, token = (header or "").partition(" ")
        return kind.lower() == "bearer" and self.knows(token)


def address_of(request: Request) -> str:
    """Where a request comes from; of a proxy, that of the proxy."""
    return request.client.host if request.client else ""


def as_name(text: str) -> str:
    """Who somebody says to be, in one short line."""
    return " ".join(text.split())[:60]


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach that address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # A name, such as 127.example.com.
        return False
