"""Store in Redis or Valkey, which replicas share: one atomic script a request."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

import msgspec
import numpy as np
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from feint.errors import BadInput, BadRecipe, StoreLost
from feint.gateway.changes import AccountName, ChangeSet, Kind, LedgerMark, Outcome, Snapshot
from feint.gateway.clock import StoreClock
from feint.gateway.stores.waiting import Answer, tell

Changes = Mapping[AccountName, ChangeSet]
FORMAT = b"2"
SCRIPT, ERASE = (Path(__file__).with_name(f"{name}.lua").read_text() for name in ("redis", "redis_erase"))
_pack, _unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(dict[str, float]).decode


class RedisStore:
    """Ledger of a model in Redis or Valkey.

    All commits of one turn of the loop, and all that come while others are under way, are one write: redis-py takes
    0.1 ms of processor time to send a command and to read its answer, whether it is one script or sixteen.
    No command is sent twice: where the connection breaks nobody knows whether it was done, and `StoreLost` is raised.
    Totals are doubles in msgpack, which come back to the bit. All keys of a `model` are in one hash slot, as an atomic
    step over several accounts needs them. Names are quoted, so that no two accounts share a key.

    Args:
        url: The server as redis-py takes it, "redis://…" or "rediss://…".
        model: The model's name.
        timeout: The seconds that a command may take.
    """

    shared: ClassVar[bool] = True

    @classmethod
    def open(cls, url: str, model: str) -> Self:
        """As `Store.open`, for redis:// and rediss://."""
        try:
            if not url.partition(":")[2].startswith("//"):
                raise ValueError("no address")
            store = cls(url, model)
            store._redis.connection_pool.make_connection()  # not connected yet: it checks the options in the URL
            return store
        except (ValueError, TypeError) as error:  # of redis-py, whose text may hold the password
            raise BadRecipe(
                f"a ledger's URL that cannot be read ({type(error).__name__})", "redis://:PASSWORD@HOST:PORT/NUMBER",
                "write characters of a password such as / ? # @ as %2F, %3F, %23, %40",
            ) from None  # fmt: skip

    def __init__(self, url: str, model: str = "", *, timeout: float = 2.0) -> None:
        self._tag = f"{{feint:{quote(model, safe='')}}}:"
        self._common, self._sha, self._timeout = (self._tag + "evidence", self._tag + "ledger"), "", timeout
        self._fresh = secrets.token_hex(8)  # id of a new ledger
        self._clock = StoreClock()
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0), protocol=2
        )
        self._waiting: list[tuple[Changes, tuple[Any, ...], asyncio.Future[Outcome]]] = []
        self._sending: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Return the time, as `Store.now`: the server's, which is asked for with every write."""
        return self._clock.now()

    async def commit(self, changes: Mapping[AccountName, ChangeSet]) -> Outcome:
        """Commit, as `Store.commit`."""
        keys = [key for name in changes for key in self._keys(name)]
        parts = [_part(name, change) for name, change in changes.items()]
        further = [argument for change in changes.values() for argument in (_pack(change.totals), *_rows(change))]
        arguments = 2 + len(keys), *self._common, *keys, _pack(parts), self._fresh, *further
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((changes, arguments, result))
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return await result

    async def check(self) -> Sequence[str]:
        """Return what the server's settings may lose.

        They are read by INFO, as managed servers often forbid CONFIG. A server that does not answer raises `StoreLost`.

        Raises:
            BadInput: It evicts keys where its memory is full: evidence and budgets would begin anew.
        """
        with _lost():
            async with asyncio.timeout(self._timeout):
                known = await self._redis.info("memory", "persistence")
        policy = known.get("maxmemory_policy", "noeviction")
        if policy.startswith("allkeys"):
            raise BadInput(
                f"a ledger's server that evicts keys (maxmemory-policy {policy})", "noeviction",
                "set maxmemory-policy noeviction, or take a server of its own for the ledger",
            )  # fmt: skip
        if known.get("aof_enabled", 1):
            return []
        return ["the ledger's server has no appendonly file: its restart or failover gives budgets back"]

    async def clients(self, most: int = 100, *, kind: Kind = "client") -> list[tuple[str, dict[str, float]]]:
        """Return clients or groups, as `Store.clients`."""
        with _lost():
            async with asyncio.timeout(self._timeout):
                return await self._clients(most, kind)

    async def erase(self, name: AccountName) -> bool:
        """Erase an account, as `Store.erase`."""
        with _lost():
            async with asyncio.timeout(self._timeout):
                keys = self._ranking(name.kind), self._common[1], *self._keys(name)
                deleted: Any = await self._redis.eval(ERASE, len(keys), *keys, name.name)  # pyright: ignore
                return bool(deleted)

    async def _clients(self, most: int, kind: Kind) -> list[tuple[str, dict[str, float]]]:
        members: Any = await self._redis.zrevrange(self._ranking(kind), 0, most - 1)
        names = [name.decode() for name in members]
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.hget(self._keys(AccountName(kind, name))[0], "totals")
        packed = await pipe.execute()
        return [(name, _unpack(totals)) for name, totals in zip(names, packed, strict=True)]

    def _ranking(self, kind: Kind) -> str:
        """Return the key of the clients by evidence, or of the groups."""
        return self._common[0] if kind == "client" else f"{self._common[0]}:{kind}"

    def _keys(self, name: AccountName) -> tuple[str, str, str]:
        """Return the keys of an account's version and totals, of its tokens and of the names of its rows."""
        key = f"{self._tag}{name.kind}:{quote(name.name, safe='')}"
        return key, f"{key}:tokens", f"{key}:rows"

    async def close(self) -> None:
        """Close, as `Store.close`."""
        if self._sending is not None:
            await self._sending
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _send(self) -> None:
        """Send all that wait in one write, then all that came meanwhile, until nobody waits."""
        while waiting := [entry for entry in self._waiting if not entry[-1].done()]:
            self._waiting = []
            answers: Sequence[Answer]
            try:
                async with asyncio.timeout(self._timeout):
                    replies = await self._run([arguments for _, arguments, _ in waiting])
                answers = [_answer(entry[0], reply) for entry, reply in zip(waiting, replies, strict=True)]
            except Exception as error:
                answers = [_why(error) for _ in waiting]
            tell((entry[-1] for entry in waiting), answers)
        self._waiting, self._sending = [], None

    async def _run(self, many: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the script's reply to each of these arguments, or the error that it made of them."""
        replies = await self._piped(many, self._sha or await self._load())
        if any(
            isinstance(reply, NoScriptError) for reply in replies
        ):  # the server began anew: it has done none of these
            await self._load()
            again = [isinstance(reply, NoScriptError) for reply in replies]
            fresh = iter(
                await self._piped([arguments for arguments, void in zip(many, again, strict=True) if void], self._sha)
            )
            replies = [next(fresh) if void else reply for reply, void in zip(replies, again, strict=True)]
        return replies

    async def _piped(self, many: Sequence[tuple[Any, ...]], sha: str) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for arguments in many:
            pipe.execute_command("EVALSHA", sha, *arguments)
        pipe.time()
        sent = time.monotonic()
        *replies, shown = await pipe.execute(raise_on_error=False)
        if isinstance(shown, tuple):
            seconds, microseconds = shown
            self._clock.follow(seconds + 1e-6 * microseconds, sent, time.monotonic())
        return replies

    async def _load(self) -> str:
        await self._redis.set(self._tag + "format", FORMAT, nx=True)
        if (form := await self._redis.get(self._tag + "format")) != FORMAT:
            raise StoreLost(f"a ledger of format {form!r}", f"format {FORMAT!r}", "use another database number")
        self._sha = await self._redis.script_load(SCRIPT)
        return self._sha


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """Turn a failure of the server into `StoreLost`."""
    try:
        yield
    except Exception as error:
        raise _why(error) from error


def _why(error: Exception) -> Exception:
    """Return the error for clients, which names neither URL nor password."""
    if not isinstance(error, (RedisError, OSError, TimeoutError)):
        return error
    lost = StoreLost(
        f"a ledger's server that fails ({type(error).__name__})", "Redis or Valkey that answers", "try again later"
    )
    lost.__cause__ = error
    return lost


def _answer(changes: Changes, reply: Any) -> Answer:
    if isinstance(reply, Exception):
        return _why(reply)
    if isinstance(reply, bytes):  # most often: a nested reply takes longer to read
        return Outcome(True, {}, _mark(reply))
    committed, accounts, mark = reply
    known = _added if committed else _whole
    return Outcome(
        bool(committed),
        {name: known(account) for name, account in zip(changes, accounts, strict=True) if account},
        _mark(mark),
    )


def _mark(text: bytes) -> LedgerMark:
    ledger, commits, erased = text.decode().split()
    return LedgerMark(ledger, int(commits), int(erased))


def _part(name: AccountName, changes: ChangeSet) -> dict[str, Any]:
    """Return changes as the script takes them; totals and rows themselves are further arguments."""
    return {
        "version": changes.version,
        "kind": name.kind,
        "name": name.name,
        "evidence": repr(changes.totals.get("evidence", 0.0)),
        "now": changes.now,
        "tokens": list(changes.tokens),
        "expires": list(changes.tokens.values()),
        "rows": [(name, dropped, len(new)) for name, (dropped, new) in changes.rows.items()],
        "added": changes.added,
        "after": changes.after,
        "writer": changes.writer,
    }


def _rows(changes: ChangeSet) -> Iterable[bytes]:
    return (row.tobytes() for _, new in changes.rows.values() for row in np.asarray(new, "<f4"))


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _added(reply: Sequence[Any]) -> Snapshot:
    version, totals, writer = reply
    return Snapshot(int(version or 0), _unpack(totals) if totals else {}, writer=(writer or b"").decode())


def _whole(reply: Sequence[Any]) -> Snapshot:
    account, rows, used = _added(reply[0]), _pairs(reply[1]), _pairs(reply[2])
    arrays = {name: np.stack([np.frombuffer(row, "<f4") for row in many]) for name, many in rows.items()}
    return replace(account, rows=arrays, used={token: float(until) for token, until in used.items()})
