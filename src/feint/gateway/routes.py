"""The gateway's routes of the Open Inference Protocol v2 over HTTP: an ASGI application."""

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from feint import __version__
from feint.errors import BadInput, Compressed, FeintError, NoKey, TooLarge, UnknownName
from feint.gateway import error_responses, request_context
from feint.gateway.app import Caller, Gateway
from feint.gateway.metadata import PAGES, ProtocolPage
from feint.gateway.request_context import ClientDisconnect
from feint.gateway.turns import in_time
from feint.openinference.json_codec import LENGTH_HEADER
from feint.openinference.openapi import document
from feint.openinference.tensors import PIECE

TITLE = "Feint, a gateway of the Open Inference Protocol v2"
HAS_GONE = "feint.has_gone"  # extension of ASGI: whether the client has gone, for who does not wait for that


def app(gateway: Gateway, *, routes: Sequence[BaseRoute] = ()) -> ASGIApp:
    """Return the application that serves the protocol, and other `routes` beside it."""
    application = Starlette(
        routes=[*(_route(gateway, page) for page in PAGES), _openapi_route(), *routes],
        exception_handlers={
            HTTPException: _on_unrouted,
            NoKey: _recorded(gateway),
            FeintError: _on_error,
            Exception: _on_error,
        },
    )
    application.router.redirect_slashes = False  # /v2/ is not /v2: nobody is sent anywhere
    return InferenceMiddleware(application, gateway=gateway)


Reply = tuple[int, list[error_responses.Header], bytes]
TOO_LARGE, SMALLER = "a body that is too large", "send smaller batches"
ONCE = b"authorization", b"content-length", b"content-encoding", LENGTH_HEADER.encode()


class InferenceMiddleware:
    """Inference in front of the router and its handlers of errors: it is nearly all of the traffic."""

    def __init__(self, app: ASGIApp, *, gateway: Gateway) -> None:
        self._app, self._gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer inference requests, and pass all others on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address, headers = (scope.get("client") or ("",))[0], dict(scope["headers"])
        context = request_context.begin(scope["path"], address, headers, self._gateway.trace_share)
        context.has_gone = scope.get("extensions", {}).get(HAS_GONE, context.has_gone)
        name = model_of(scope["path"])
        try:
            if name is None:
                check_unique(scope["headers"], headers)
                reply = None
            elif scope["method"] != "POST":
                reply = unrouted(405, [(b"allow", b"POST")])
            else:
                reply = await handle(self._gateway, name, scope["headers"], headers, receive)
        except ClientDisconnect:
            return
        except BadInput as error:
            reply = error_response(error)
        if reply is None:
            await self._app(scope, receive, send)
            return
        status, headers, body = reply
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def model_of(path: str) -> tuple[str, str] | None:
    """Return model and version ("" for any) in the path of an inference request; None for another path."""
    match path.split("/"):
        case ["", "v2", "models", model, "infer"]:
            return model, ""
        case ["", "v2", "models", model, "versions", version, "infer"] if version:
            return model, version
    return None


async def handle(
    gateway: Gateway,
    name: tuple[str, str],
    sent: list[error_responses.Header],
    headers: dict[bytes, bytes],
    receive: Receive,
) -> Reply:
    """Return status, headers and body of the response to an inference request.

    Args:
        gateway: Models and keys.
        name: Name and version of the model.
        sent: Headers of the request, as they came.
        headers: The same by name.
        receive: ASGI channel of the request.

    Returns:
        The response.

    Raises:
        ClientDisconnect: Where nobody waits for the response.
    """
    caller, reached = Caller(""), False
    try:
        check_unique(sent, headers)
        caller = gateway.authenticate(bearer_key(headers.get(b"authorization", b"")))
        endpoint = gateway.endpoint(*name, caller=caller)
        with gateway.under_way(caller.client), endpoint.in_use():
            codec = gateway.codec(endpoint)
            body = await read_body(headers, receive, most=codec.body_limit, seconds=gateway.limits.arrive)
            length = headers.get(LENGTH_HEADER.encode(), b"").decode("latin-1")
            # A large body would stop all other requests, which go on between the pieces that a thread decodes.
            large = len(body) > PIECE
            request = await asyncio.to_thread(codec.read, body, length) if large else codec.read(body, length)
            reached = True
            del body
            request_context.name_request(request.id)
            q = await gateway.answer(endpoint, endpoint.query(request, caller.client, caller.group))
            written = await asyncio.to_thread(codec.write, request, q) if q.nbytes > PIECE else codec.write(request, q)
            return 200, *written
    except ClientDisconnect:
        raise
    except Exception as error:
        if not reached:
            gateway.record_rejection(name[0], caller.client, error)
        return error_response(error)


def check_unique(sent: list[error_responses.Header], headers: dict[bytes, bytes]) -> None:
    """Check that no header that counts is sent twice: others on the way may read the other.

    Args:
        sent: Headers as they came.
        headers: The same by name.

    Raises:
        BadInput: One is.
    """
    if len(headers) < len(sent):
        names = [name for name, _ in sent]
        for name in ONCE:
            if names.count(name) > 1:
                raise BadInput(f"more than one header {name.decode()}", "one", "send the right one")


async def read_body(headers: dict[bytes, bytes], receive: Receive, *, most: int, seconds: float) -> bytes | bytearray:
    """Read a request's body.

    `ClientDisconnect` is raised where the client goes away, and `TooSlow` where the body does not arrive in time.

    Args:
        headers: Headers of the request by name.
        receive: ASGI channel of the request.
        most: Largest size in bytes.
        seconds: Time limit.

    Returns:
        The body.

    Raises:
        TooLarge: Before the body is read where the headers give its size, otherwise at the first byte beyond `most`.
        Compressed: For a compressed body, whose size is unknown.
        BadInput: For a length that is none.
    """
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise Compressed("a compressed body", "a plain one", "send it without Content-Encoding")
    length = headers.get(b"content-length", b"0").strip(b" \t")
    if not length.isdigit():
        raise BadInput("a length that is no number", "the body's bytes", "mend Content-Length")
    if len(length) > 15 or int(length) > most:
        raise TooLarge(TOO_LARGE, f"at most {most} bytes", SMALLER)
    try:
        body = await in_time(asyncio.get_running_loop().time() + seconds, _body(receive, most))
    except TimeoutError as error:
        late = error_responses.too_slow(seconds)
        raise late from error
    if len(body) > most:
        raise TooLarge(TOO_LARGE, f"at most {most} bytes", SMALLER)
    return body


async def _body(receive: Receive, most: int) -> bytes | bytearray:
    """Return the body, or its beginning where it has more than `most` bytes."""
    first = await _chunk(receive)
    if not first.get("more_body", False):
        return first.get("body", b"")
    body, more = bytearray(first.get("body", b"")), True
    while more and len(body) <= most:
        chunk = await _chunk(receive)
        body += chunk.get("body", b"")
        more = chunk.get("more_body", False)
    return body


async def _chunk(receive: Receive) -> Any:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


def bearer_key(authorization: bytes) -> str:
    """Return the API key in a header `Bearer KEY`; "" where there is none."""
    scheme, _, key = authorization.partition(b" ")
    return key.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def error_response(error: Exception) -> Reply:
    """Return the response that reports an error, after logging it."""
    error_responses.logged(error)
    return error_responses.reply(error)


def _route(gateway: Gateway, page: ProtocolPage) -> Route:
    async def answer(request: Request) -> Response:
        caller = None
        if page.keyed:
            caller = gateway.authenticate(bearer_key(request.headers.get("authorization", "").encode("latin-1")))
        status, body = page.answer(gateway, caller, **request.path_params)
        return Response(body, status, media_type="application/json")

    return Route(page.path, answer, methods=[page.method], name=page.summary)


def _openapi_route() -> Route:
    body = json.encode(document(PAGES, title=TITLE, version=__version__))

    async def answer(request: Request) -> Response:
        return Response(body, media_type="application/json")

    return Route("/openapi.json", answer, methods=["GET"])


async def _on_error(request: Request, error: Exception) -> Response:
    return _raw(*error_response(error))


def _recorded(gateway: Gateway) -> Any:
    """Return the handler of requests without a good key, on any page: it records them."""

    async def on_no_key(request: Request, error: Exception) -> Response:
        gateway.record_rejection("", "", error)
        return _raw(*error_response(error))

    return on_no_key


async def _on_unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    allowed = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return _raw(*unrouted(error.status_code, allowed))


def unrouted(status: int, allowed: list[error_responses.Header]) -> Reply:
    """Return the response for a path, or a method, that is not there."""
    missing = UnknownName("this path, or this method on it", "one of the protocol's", "see /openapi.json")
    _, headers, body = error_responses.reply(missing)
    return status, headers + allowed, body


def _raw(status: int, headers: list[error_responses.Header], body: bytes) -> Response:
    response = Response(body, status)
    response.raw_headers = headers
    return response
