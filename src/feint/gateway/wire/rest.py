"""Open Inference Protocol v2 over HTTP: an ASGI application."""

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from feint.errors import BadInput, FeintError, TooLarge, TooSlow, UnknownName
from feint.gateway import refusals
from feint.gateway.gateway import Gateway
from feint.gateway.wire.codec import LENGTH, wire
from feint.gateway.wire.metadata import PAGES, Page
from feint.gateway.wire.openapi import document


def app(gateway: Gateway, *, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """What is served over HTTP: the protocol, and other `routes` beside it."""
    served = Starlette(
        routes=[*(_route(gateway, page) for page in PAGES), _described(), *routes],
        middleware=[Middleware(Infer, gateway=gateway)],
        exception_handlers={HTTPException: _unrouted, FeintError: _told, Exception: _told},
    )
    served.router.redirect_slashes = False  # /v2/ is not /v2: nobody is sent anywhere
    return served


Reply = tuple[int, list[refusals.Header], bytes]
ONCE = b"authorization", b"content-length", b"content-encoding", LENGTH.encode()


class Infer:
    """The infer request, in front of the router: it is nearly all that is asked, and the router is not free."""

    def __init__(self, app: ASGIApp, *, gateway: Gateway) -> None:
        self._app, self._gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = model_of(scope["path"]) if scope["type"] == "http" else None
        if name is None:
            await self._app(scope, receive, send)
            return
        try:
            if scope["method"] != "POST":
                status, headers, body = unrouted(405, [(b"allow", b"POST")])
            else:
                status, headers, body = await answered(self._gateway, name, scope["headers"], receive)
        except HungUp:
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class HungUp(Exception):
    """The client went away before its request was whole."""


def model_of(path: str) -> tuple[str, str] | None:
    """Model and version ("" for any) in the path of an infer request; None for another path."""
    match path.split("/"):
        case ["", "v2", "models", model, "infer"]:
            return model, ""
        case ["", "v2", "models", model, "versions", version, "infer"] if version:
            return model, version
    return None


async def answered(gateway: Gateway, name: tuple[str, str], sent: list[refusals.Header], receive: Receive) -> Reply:
    """Status, headers and body of the response to an infer request. Raises `HungUp`."""
    client, asked = "", False
    try:
        headers = single(sent)
        client = gateway.caller(key_in(headers.get(b"authorization", b""))).client
        desk = gateway.desk(*name)
        codec = wire(desk.about, gateway.limits)
        body = await arrived(headers, receive, most=codec.most, seconds=gateway.limits.arrive)
        request = codec.read(body, headers.get(LENGTH.encode(), b"").decode("latin-1"), client)
        asked = True
        q = await gateway.answer(desk, request.asked)
        return 200, *codec.write(request, q)
    except HungUp:
        raise
    except Exception as error:
        if not asked:
            gateway.turned_away(name[0], client, error)
        return told(error)


def single(sent: list[refusals.Header]) -> dict[bytes, bytes]:
    """Headers by name. Raises `BadInput` where one that counts is sent twice: others on the way may read the other."""
    headers = dict(sent)
    if len(headers) < len(sent):
        names = [name for name, _ in sent]
        for name in ONCE:
            if names.count(name) > 1:
                raise BadInput(f"more than one header {name.decode()}", "one", "send the right one")
    return headers


async def arrived(headers: dict[bytes, bytes], receive: Receive, *, most: int, seconds: float) -> bytes | bytearray:
    """The body of a request of at most so many bytes, which has so many seconds to arrive.

    Raises `TooLarge` before it is read, where the headers say so, or at the first byte that is too much; `TooSlow`;
    `BadInput` for a compressed one, which says nothing of its size; `HungUp`.
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise BadInput("a compressed body", "a plain one", "send it without Content-Encoding")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise BadInput("a length that is no number", "the body's bytes", "mend Content-Length")
    if len(length) > 15 or int(length) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(seconds):
            first = await _chunk(receive)
            if not first.get("more_body", False):
                body = first.get("body", b"")
            else:
                body, more = bytearray(first.get("body", b"")), True
                while more and len(body) <= most:
                    chunk = await _chunk(receive)
                    body += chunk.get("body", b"")
                    more = chunk.get("more_body", False)
    except TimeoutError as error:
        raise TooSlow(f"a request that takes longer than {seconds:g} seconds", "all of it", "send faster") from error
    if len(body) > most:
        raise _too_large(most)
    return body


async def _chunk(receive: Receive) -> Any:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise HungUp
    return message


def _too_large(most: int) -> TooLarge:
    return TooLarge("a body that is too large", f"at most {most} bytes", "send smaller batches")


def key_in(authorization: bytes) -> str:
    """The API key in a header `Bearer KEY`; "" where there is none."""
    scheme, _, key = authorization.partition(b" ")
    return key.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def told(error: Exception) -> Reply:
    """The response that tells an error."""
    refusals.logged(error)
    return refusals.reply(error)


def _route(gateway: Gateway, page: Page) -> Route:
    async def answer(request: Request) -> Response:
        if page.keyed:
            gateway.caller(key_in(request.headers.get("authorization", "").encode("latin-1")))
        status, body = page.answer(gateway, **request.path_params)
        return Response(body, status, media_type="application/json")

    return Route(page.path, answer, methods=[page.method], name=page.summary)


def _described() -> Route:
    body = json.encode(document())

    async def answer(request: Request) -> Response:
        return Response(body, media_type="application/json")

    return Route("/openapi.json", answer, methods=["GET"])


async def _told(request: Request, error: Exception) -> Response:
    return _raw(*told(error))


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    allowed = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return _raw(*unrouted(error.status_code, allowed))


def unrouted(status: int, allowed: list[refusals.Header]) -> Reply:
    """The response for a path, or a method, that is not there."""
    missing = UnknownName("this path, or this method on it", "one of the protocol's", "see /openapi.json")
    _, headers, body = refusals.reply(missing)
    return status, headers + allowed, body


def _raw(status: int, headers: list[refusals.Header], body: bytes) -> Response:
    response = Response(body, status)
    response.raw_headers = headers
    return response
