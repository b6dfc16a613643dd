"""Who may do what: a token for all that writes, sessions for browsers, headers that keep pages to themselves.

A browser shows the token once, at `/enter`, and gets a cookie that says nothing; forms carry a second secret that only
our pages know. A program sends `Authorization: Bearer TOKEN` with each request. Nothing of these is ever logged.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import ip_address

__all__ = ["COOKIE", "HEADERS", "Gate", "Session", "as_name", "is_loopback"]

COOKIE = "greenprep"
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


class Gate:
    """Knows the token, and who has shown it."""

    def __init__(self, token: str) -> None:
        self._token, self._lock = token.encode(), threading.Lock()
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


def as_name(text: str) -> str:
    """Who somebody says to be, in one short line."""
    return " ".join(text.split())[:60]


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach that address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # A name, such as 127.example.com.
        return False
