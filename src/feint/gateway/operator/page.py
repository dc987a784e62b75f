"""The operator's routes: /metrics for Prometheus, and the page at /ui, which runs no script and asks nobody else."""

import functools
import importlib.resources
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from jinja2 import Environment, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from feint.errors import BadInput, NoKey, NoRole, NotWritten, Refused, TooLarge
from feint.gateway.gateway import Gateway
from feint.gateway.operator.board import board, language, pace
from feint.gateway.operator.metrics import CONTENT_TYPE_LATEST
from feint.gateway.operator.recording import Operator
from feint.gateway.operator.sessions import Sessions, Visit, fitting

FORM = 4096  # bytes of a form
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
LANGUAGES = ("en", "English"), ("zh", "中文")


def routes(gateway: Gateway, operator: Operator, *, ui: bool = True) -> list[Route]:
    """GET /metrics, unless there are no metrics, and the page under /ui. Both take a key with the role admin; for the
    metrics, which name no client, the role metrics is enough."""
    found = [_metrics(gateway, operator)] if operator.metrics is not None else []
    return found + (Page(gateway, operator).routes if ui else [])


def _metrics(gateway: Gateway, operator: Operator) -> Route:
    async def metrics(request: Request) -> Response:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        gateway.caller(key.strip() if scheme.lower() == "bearer" else "", roles=("metrics", "admin"))
        assert operator.metrics is not None
        return Response(operator.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", metrics, methods=["GET"])


class Page:
    """The page, and the two things that can be done on it: to sign in, and to switch a model's mode."""

    def __init__(self, gateway: Gateway, operator: Operator) -> None:
        self._gateway, self._operator, self._sessions = gateway, operator, Sessions(gateway)
        self.routes = [
            Route("/ui", self._show, methods=["GET"]),
            Route("/ui/session", self._sign_in, methods=["POST"]),
            Route("/ui/session/end", self._posted(self._sign_out), methods=["POST"]),
            Route("/ui/models/{model}", self._posted(self._switch), methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        say = _language(request)
        try:
            visit = self._sessions.visit(request)
        except NoKey:
            return self._html(request, 401, board=None, wrong="authorization" in request.headers)
        seen, audit = self._operator.seen, self._operator.audit
        every = pace(request.query_params.get("every", ""))
        shown = await board(self._gateway, seen, audit, say, every=every)
        return self._html(request, 200, board=shown, form=visit.form)

    async def _sign_in(self, request: Request) -> Response:
        form = await _form(request)
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
        try:
            path = request.scope.get("root_path", "") + "/ui"
            response = self._sessions.begin(form.get("key", ""), path=path, secure=secure)
        except Refused as error:
            return self._html(request, 403 if isinstance(error, NoRole) else 401, board=None, wrong=True)
        return _to(response, request, "../ui")

    def _posted(
        self, act: Callable[[Request, Visit, dict[str, str]], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A form that only an admin's own page, or an admin's own key in a header, can have sent."""

        async def checked(request: Request) -> Response:
            visit, form = self._sessions.visit(request), await _form(request)
            if not fitting(visit, form.get("form", "")):
                raise NoRole("a form that is not of this session", "one of the page", "load the page again")
            return await act(request, visit, form)

        return checked

    async def _sign_out(self, request: Request, visit: Visit, form: dict[str, str]) -> Response:
        self._sessions.end(request)
        return _to(Response(status_code=303), request, "../../ui")

    async def _switch(self, request: Request, visit: Visit, form: dict[str, str]) -> Response:
        """Switch a model between shadow and enforce: entered first, so that nothing is done that is not entered."""
        desk = self._gateway.desk(request.path_params["model"])
        modes = {"enforce": False, "shadow": True}
        if form.get("mode") not in modes or form.get("sure") != "yes":
            raise BadInput("no mode", "mode=enforce or mode=shadow, and sure=yes", "fill in the form")
        try:
            self._operator.enter(f"mode {form['mode']}", model=desk.about.name, by=visit.caller.client)
        except NotWritten as error:
            raise NotWritten(
                "an audit log that takes no line", "room for one", "make room: nothing was done"
            ) from error
        desk.shadow = modes[form["mode"]]
        return _to(Response(status_code=303), request, "../../ui")

    def _html(self, request: Request, status: int, **given: Any) -> Response:
        say = _language(request)
        words = {"say": say, "language": say.name, "languages": LANGUAGES, "style": _file("page.css"), "wrong": False}
        return HTMLResponse(_template().render(words | given), status, HEADERS)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises `TooLarge` or `BadInput`."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM:
            raise TooLarge("a form that is too large", f"at most {FORM} bytes", "send the page's own form")
    try:
        return dict(urllib.parse.parse_qsl(body.decode("ascii"), max_num_fields=10, strict_parsing=bool(body)))
    except ValueError as error:
        raise BadInput(
            "a form that cannot be read", "application/x-www-form-urlencoded", "send the page's own"
        ) from error


def _to(response: Response, request: Request, where: str) -> Response:
    response.headers["Location"] = f"{where}?lang={_language(request).name}"
    return response


def _language(request: Request) -> Any:
    return language(request.query_params.get("lang", ""), request.headers.get("accept-language", "").split(","))


@functools.cache
def _template() -> Any:
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_file("page.html"))


@functools.cache
def _file(name: str) -> str:
    return importlib.resources.files(__package__ or "").joinpath(name).read_text("utf-8")
