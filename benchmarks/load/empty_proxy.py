"""Empty proxy to compare with: the same stack in front of another server, which hands bodies on as they are."""

import sys
from typing import Any

import uvicorn
import uvloop

from feint.gateway.backends.http import Pool

SECONDS = 60.0


def main(url: str, port: str) -> None:
    """Serve, and send every request on to the server at `url`."""

    async def run() -> None:
        pool = Pool(url, connect=SECONDS, timeout=SECONDS)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)
            reply = await pool("POST", scope["path"], body, {"Content-Type": "application/json"})
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply.body))]
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await send({"type": "http.response.body", "body": reply.body})

        await uvicorn.Server(uvicorn.Config(app, port=int(port), log_level="warning", lifespan="off")).serve()

    uvloop.run(run())


if __name__ == "__main__":
    main(*sys.argv[1:])
