"""A ledger in Redis or Valkey: replicas that share it decide as one, by one script a request."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from feint.errors import StoreLost
from feint.gateway.drafts import Known, Other, Part

FORMAT = b"1"
SCRIPT = Path(__file__).with_suffix(".lua").read_text()
_pack, _unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(dict[str, float]).decode


class RedisStore:
    """`url` as redis-py takes it, "redis://…" or "rediss://…". A command may take `timeout` seconds.

    No command is sent twice: where the connection breaks nobody knows whether it was done, and `StoreLost` is raised.
    A client's totals are doubles in msgpack, the shared ones decimal text of 17 digits: both come back to the bit. All
    keys of a `model` are in one hash slot, as an atomic step over a client's account and the shared one needs them.
    """

    def __init__(self, url: str, model: str = "", *, timeout: float = 2.0, connections: int = 32) -> None:
        self._tag = f"{{feint:{quote(model, safe='')}}}:"
        self._shared = [self._tag + "shared", self._tag + "shared:tokens", self._tag + "shared:rows"]
        self._evidence = self._tag + "evidence"
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._redis = redis.asyncio.Redis(connection_pool=pool)
        self._sha = ""

    async def commit(self, client: str, own: Part, shared: Part | None) -> Other | None:
        """As `Store.commit`."""
        own_part, common = _part(own), shared and _part(shared)
        if common is not None and shared is not None and shared.version is not None:
            common["totals"] = dict(shared.totals)
        keys = (
            *(f"{self._tag}{kind}:{client}" for kind in ("client", "tokens", "rows")),
            *self._shared,
            self._evidence,
        )
        told = await self._run(
            *keys,
            _pack((own_part, common)),
            _pack(own.totals),
            client,
            repr(own.totals.get("evidence", 0.0)),
            *_rows(own),
            *(() if shared is None else _rows(shared)),
        )
        return None if told is None else Other(_own(told[0]), _common(told[1]))

    async def clients(self, most: int = 100) -> list[tuple[str, dict[str, float]]]:
        """As `Store.clients`."""
        with _lost():
            told: Any = await self._redis.zrevrange(self._evidence, 0, most - 1)
            names = [name.decode() for name in told]
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hget(f"{self._tag}client:{name}", "totals")
                found = await pipe.execute()
        return [(name, _unpack(totals)) for name, totals in zip(names, found, strict=True)]

    async def close(self) -> None:
        """As `Store.close`."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _run(self, *arguments: Any) -> Any:
        with _lost():
            try:
                return await self._redis.execute_command("EVALSHA", self._sha or await self._load(), 7, *arguments)
            except NoScriptError:  # the server began anew: it has done nothing
                return await self._redis.execute_command("EVALSHA", await self._load(), 7, *arguments)

    async def _load(self) -> str:
        await self._redis.set(self._tag + "format", FORMAT, nx=True)
        if (form := await self._redis.get(self._tag + "format")) != FORMAT:
            raise StoreLost(f"a ledger of format {form!r}", f"format {FORMAT!r}", "use another database number")
        self._sha = await self._redis.script_load(SCRIPT)
        return self._sha


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """What goes wrong with the server is `StoreLost`; it names neither URL nor password."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreLost(
            f"a ledger's server that fails ({type(error).__name__})", "Redis or Valkey that answers", "try again later"
        ) from error


def _part(part: Part) -> dict[str, Any]:
    """A part as the script takes it; the rows themselves are arguments of their own."""
    return {
        "version": part.version,
        "now": part.now,
        "tokens": list(part.tokens),
        "expires": list(part.tokens.values()),
        "rows": [(name, dropped, len(new)) for name, (dropped, new) in part.rows.items()],
        "added": [(it.name, it.amount, it.floor, it.limit, it.done) for it in part.added],
        "totals": {},
    }


def _rows(part: Part) -> Iterable[bytes]:
    return (row.tobytes() for _, new in part.rows.values() for row in np.asarray(new, "<f4"))


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _known(version: bytes | None, totals: dict[str, float], rows: Sequence[Any], used: Sequence[Any]) -> Known:
    arrays = {name: np.stack([np.frombuffer(row, "<f4") for row in many]) for name, many in _pairs(rows).items()}
    return Known(int(version or 0), totals, arrays, {it: float(until) for it, until in _pairs(used).items()})


def _own(told: Sequence[Any]) -> Known:
    fields = _pairs(told[0])
    return _known(fields.get("version"), _unpack(fields["totals"]) if fields else {}, *told[1:])


def _common(told: Sequence[Any]) -> Known:
    fields = _pairs(told[0])
    totals = {name[1:]: float(value) for name, value in fields.items() if name.startswith("=")}
    return _known(fields.get("version"), totals, *told[1:])
