"""JSON APIs as strangers serve them: a `/predict` of starlette on a free port of this machine."""

import base64
import io
import math
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

CLASSES = ("good", "bad")
ROWS = {"age": [20.0, 35.0, 52.0, 66.0, None], "housing": ["own", "rent", "own", "rent", "own"]}


def probability(row: dict[str, Any]) -> float:
    """Probability that a row is bad."""
    age = 40 if row["age"] is None else row["age"]
    return 1 / (1 + math.exp(-(0.08 * (40 - age) + (0.9 if row["housing"] == "rent" else -0.5))))


def label_and_score(body: Any) -> Any:
    bad = probability(body["features"])
    return {"label": CLASSES[int(bad > 0.5)], "score": max(bad, 1 - bad)}


def hugging_face(body: Any) -> Any:
    """Scores by how many vowels a text has, as the Inference API writes them."""
    rows = []
    for text in body["inputs"]:
        share = sum(letter in "aeiou" for letter in text) / max(len(text), 1)
        rows.append([{"label": "vowels", "score": share}, {"label": "others", "score": 1 - share}])
    return rows


def brightness(body: Any) -> Any:
    """Class of an image, by its brightest channel."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(body["image"]))))
    return {"class_id": int(pixels.reshape(-1, pixels.shape[-1]).mean(0).argmax())}


class Api:
    """Handler of `/predict`.

    Attributes:
        answer: Function of a body to the answer.
        bodies: Bodies that were received.
        failures: Responses that are sent first, one each.
        route: Handler of requests, which a test may replace.
    """

    def __init__(self, answer: Callable[[Any], Any], failures: tuple[Response, ...] = ()) -> None:
        self.answer, self.failures = answer, list(failures)
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.route: Callable[[Request], Awaitable[Response]] = self.respond

    async def handle(self, request: Request) -> Response:
        return await self.route(request)

    async def respond(self, request: Request) -> Response:
        body = dict(request.query_params) if request.method == "GET" else await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        return self.failures.pop(0) if self.failures else JSONResponse(self.answer(body))


def status(code: int, content: Any = None, **headers: str) -> Response:
    return JSONResponse(content or {"detail": f"failed with {code}"}, code, headers)


def page() -> Response:
    return HTMLResponse("<html><head><title>Sign in</title></head></html>")


def cut_off() -> Response:
    return Response('{"label": "good", "sco', media_type="application/json")


@contextmanager
def serving(api: Api) -> Iterator[str]:
    """The URL of an API that runs in a thread of its own."""
    app = Starlette(routes=[Route("/predict", api.handle, methods=["GET", "POST"])])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", lifespan="off"))
        free.listen(64)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [free]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{free.getsockname()[1]}/predict"
        finally:
            server.should_exit = True
            thread.join()
