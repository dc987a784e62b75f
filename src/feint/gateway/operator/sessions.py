"""Who looks at the page: an admin's key, in a header or behind a session cookie.

The key is typed once and goes in the body of a POST. The cookie is 256 random bits that mean something to this process
alone; SameSite=Strict, and forms carry a second token, so that no other site can press a button. At each request the
key behind the cookie is asked for again: revoked, it opens nothing any more.
"""

import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from feint.errors import NoKey
from feint.gateway.gateway import Caller, Gateway

COOKIE = "feint_operator"
HOURS = 8
MOST = 100  # sessions; the oldest ends where there are more


@dataclass(frozen=True)
class Visit:
    """An admin who looks: `form` is the token that forms of this session carry, "" where a header gave the key."""

    caller: Caller
    form: str


@dataclass(frozen=True)
class Session:
    """What a cookie stands for, in this process's memory."""

    key: str
    form: str
    ends: float


class Sessions:
    """The sessions of this process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, key: str, *, path: str, secure: bool) -> Response:
        """Set the cookie of a new session on a response. Raises `NoKey` or `NoRole`."""
        self._gateway.caller(key, roles=("admin",))
        token = secrets.token_urlsafe(32)
        self._sessions[token] = Session(key, secrets.token_urlsafe(32), time.monotonic() + HOURS * 3600)
        if len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        response = Response(status_code=303)
        response.set_cookie(
            COOKIE, token, max_age=HOURS * 3600, path=path, httponly=True, secure=secure, samesite="strict"
        )
        return response

    def end(self, request: Request) -> None:
        """Forget the session of a request."""
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)

    def visit(self, request: Request) -> Visit:
        """Whose request this is. Raises `NoKey` or `NoRole`."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return Visit(self._gateway.caller(key.strip(), roles=("admin",)), "")
        session = self._sessions.get(request.cookies.get(COOKIE, ""))
        if session is None or session.ends < time.monotonic():
            raise NoKey("no session", "an admin's key", "sign in at /ui")
        return Visit(self._gateway.caller(session.key, roles=("admin",)), session.form)


def fitting(visit: Visit, told: str) -> bool:
    """Whether a form's token is that of the visit; a header needs none, since no browser sends it by itself."""
    return not visit.form or hmac.compare_digest(visit.form.encode(), told.encode())
