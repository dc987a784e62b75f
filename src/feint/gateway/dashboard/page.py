"""Routes of the operator: /metrics for Prometheus, and the read-only dashboard at /ui, without scripts."""

import base64
import binascii
import functools
import importlib.resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from feint.errors import NoKey
from feint.gateway.app import Gateway
from feint.gateway.dashboard.data import dashboard, language, pace
from feint.gateway.telemetry.metrics import CONTENT_TYPE_LATEST
from feint.gateway.telemetry.observers import Telemetry

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
CHALLENGE = {"WWW-Authenticate": 'Basic realm="feint: an admin key is the password", charset="UTF-8"'}
STRICT = {"Strict-Transport-Security": "max-age=31536000"}  # over TLS alone
LANGUAGES = ("en", "English"), ("zh", "中文")


def routes(gateway: Gateway, operator: Telemetry, *, ui: bool = True) -> list[Route]:
    """Return the routes of an operator.

    Args:
        gateway: The gateway whose keys are asked for and whose models are shown.
        operator: The telemetry whose metrics are exported.
        ui: Whether there is a page.

    Returns:
        GET /metrics, unless `operator` keeps none, for the roles metrics and admin; GET /ui for the role admin. No
        metric names a client, the page does.
    """
    metrics = [Route("/metrics", functools.partial(_metrics, gateway, operator), methods=["GET"])]
    page = [Route("/ui", functools.partial(_page, gateway), methods=["GET"])]
    return (metrics if operator.metrics is not None else []) + (page if ui else [])


async def _metrics(gateway: Gateway, operator: Telemetry, request: Request) -> Response:
    scheme, key = _credentials(request)
    gateway.authenticate(key if scheme == "bearer" else "", roles=("metrics", "admin"))
    assert operator.metrics is not None
    return Response(operator.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _page(gateway: Gateway, request: Request) -> Response:
    say = language(request.query_params.get("lang", ""), request.headers.get("accept-language", "").split(","))
    try:
        gateway.authenticate(_key(request), roles=("admin",))
    except NoKey as error:  # a key without the role too: after a 403 a browser would never ask for another one
        gateway.record_rejection("", "", error)
        return _html(request, say, 401, CHALLENGE, board=None)
    every = pace(request.query_params.get("every", ""))
    return _html(request, say, 200, {}, board=await dashboard(gateway, say, every=every))


def _credentials(request: Request) -> tuple[str, str]:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return scheme.lower(), credentials.strip()


def _key(request: Request) -> str:
    """Return the API key: a bearer token, or the password that a browser sends; "" for none."""
    scheme, credentials = _credentials(request)
    if scheme != "basic":
        return credentials if scheme == "bearer" else ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _html(request: Request, say: Any, status: int, headers: dict[str, str], **values: Any) -> Response:
    secure = STRICT if request.url.scheme == "https" else {}
    words = {"say": say, "language": say.name, "languages": LANGUAGES, "style": _file("page.css")}
    return HTMLResponse(_template().render(words | values), status, HEADERS | headers | secure)


@functools.cache
def _template() -> Any:
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_file("page.html"))


@functools.cache
def _file(name: str) -> str:
    return importlib.resources.files(__package__ or "").joinpath(name).read_text("utf-8")
