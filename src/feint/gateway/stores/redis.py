"""Store in Redis or Valkey, which replicas share: one atomic script a request."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, NoScriptError, RedisError

from feint.errors import BadInput, BadRecipe, StoreLost
from feint.gateway.changes import REPLICAS, SHARED, AccountName, ChangeSet, Kind, LedgerMark, Outcome, Snapshot
from feint.gateway.clock import StoreClock
from feint.gateway.stores.base import answered, rolled_back
from feint.gateway.stores.redis_codec import added, pack, part, rows, unpack, whole
from feint.gateway.stores.waiting import Answer, tell

Changes = Mapping[AccountName, ChangeSet]
FORMAT = b"2"
SCRIPT, ERASE, ACCEPT = (
    Path(__file__).with_name(f"{name}.lua").read_text() for name in ("redis", "redis_erase", "redis_accept")
)
LOST = "LOST "  # with which the script's error begins where a key of the ledger is gone
TOGETHER = 500  # accounts that are looked at in one write


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

    @classmethod
    def open_reader(cls, url: str, model: str) -> Self:
        """As `HasReader.open_reader`: no script is loaded, so that a replica that takes no writes will do."""
        return cls.open(url, model)

    def __init__(self, url: str, model: str = "", *, timeout: float = 2.0) -> None:
        self._tag = f"{{feint:{quote(model, safe='')}}}:"
        self._common, self._sha, self._timeout = (self._tag + "evidence", self._tag + "ledger"), "", timeout
        self._id = secrets.token_hex(8)  # of this store, and of a new ledger
        self._commits, self._lost = 0, ""  # number of its commits, and what the ledger was seen to have lost
        self._clock = StoreClock()
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0), protocol=2
        )
        self._waiting: list[tuple[Changes, tuple[Any, ...], asyncio.Future[Outcome]]] = []
        self._sending: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Return the time, as `Store.now`: the server's, which is asked for with every write."""
        return self._clock.now()

    async def commit(self, changes: Changes) -> Outcome:
        """Commit, as `Store.commit`."""
        return await self._enter(changes)

    async def commit_each(self, many: Sequence[Changes]) -> list[Outcome | Exception]:
        """Commit, as `CommitsEach.commit_each`."""
        return [await answered(result) for result in [self._enter(changes) for changes in many]]

    def _enter(self, changes: Changes) -> asyncio.Future[Outcome]:
        """Return the result to come of a commit that is sent with the next write."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Outcome] = loop.create_future()
        try:
            keys = [key for name in changes for key in self._keys(name)]
            parts = [part(name, change) for name, change in changes.items()]
            further = [argument for change in changes.values() for argument in (pack(change.totals), *rows(change))]
            arguments = 2 + len(keys), *self._common, *keys, pack(parts), self._id, *further
        except Exception as error:  # of one that cannot be packed
            result.set_exception(error)
            return result
        if self._lost:
            result.set_exception(rolled_back(self._lost))
            return result
        self._waiting.append((changes, arguments, result))
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return result

    async def check(self) -> Sequence[str]:
        """Return what the server's settings may lose; they are read by INFO, as managed servers often forbid CONFIG.

        Raises:
            BadInput: It evicts keys where its memory is full: evidence and budgets would begin anew.
            StoreLost: It does not answer.
        """
        try:
            with _lost():
                async with asyncio.timeout(self._timeout):
                    known = await self._redis.info("memory", "persistence")
        except StoreLost as error:
            if not isinstance(error.__cause__, NoPermissionError):
                raise
            return ["the ledger's server does not tell whether it evicts keys, or has an appendonly file (INFO)"]
        policy = known.get("maxmemory_policy", "noeviction")
        if policy.startswith("allkeys"):
            raise BadInput(
                f"a ledger's server that evicts keys (maxmemory-policy {policy})", "noeviction",
                "set maxmemory-policy noeviction, or take a server of its own for the ledger",
            )  # fmt: skip
        if known.get("aof_enabled", 1):
            return []
        return ["the ledger's server has no appendonly file: its restart or failover gives budgets back"]

    async def accept(self) -> None:
        """Take the ledger as it is now: what of it is gone is forgotten, and what it lost of this store's commits."""
        self._commits, self._lost = 0, ""
        with _lost():
            ledger = self._common[1]
            if await self._redis.hexists(ledger, "lost"):  # nobody commits meanwhile
                await self._accepted([SHARED, REPLICAS])
                for kind in "client", "group":
                    names: Any = await self._redis.zrange(self._ranking(kind), 0, -1)
                    await self._accepted([AccountName(kind, name.decode()) for name in names])
                    await self._redis.hset(ledger, kind, str(await self._redis.zcard(self._ranking(kind))))
                await self._redis.hdel(ledger, "lost")

    async def _accepted(self, names: Sequence[AccountName]) -> None:
        for first in range(0, len(names), TOGETHER):
            pipe = self._redis.pipeline(transaction=False)
            for name in names[first : first + TOGETHER]:
                keys = self._ranking(name.kind), self._common[1], *self._keys(name)
                pipe.eval(ACCEPT, len(keys), *keys, name.name, name.kind)
            await pipe.execute()

    async def account(self, name: AccountName) -> Snapshot:
        """Return an account, as `LedgerReader.account`."""
        with _lost():
            async with asyncio.timeout(self._timeout):
                return await self._account(name)

    async def _account(self, name: AccountName) -> Snapshot:
        self._check_format(await self._redis.get(self._tag + "format"))
        key, _, listed = self._keys(name)
        pipe = self._redis.pipeline()  # of one moment
        pipe.hmget(key, "version", "totals", "writer")
        pipe.smembers(listed)
        fields, names = await pipe.execute()
        for row in names:
            pipe.lrange(f"{listed}:{row.decode()}", 0, -1)
        rows = await pipe.execute() if names else []
        return whole((fields, [part for pair in zip(names, rows, strict=True) for part in pair], ()))

    def _check_format(self, form: bytes | str | None) -> None:
        if form not in (None, FORMAT):
            raise StoreLost(f"a ledger of format {form!r}", f"format {FORMAT!r}", "use another database number")

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
                deleted: Any = await self._redis.eval(ERASE, len(keys), *keys, name.name, name.kind)  # pyright: ignore
                return bool(deleted)

    async def _clients(self, most: int, kind: Kind) -> list[tuple[str, dict[str, float]]]:
        members: Any = await self._redis.zrevrange(self._ranking(kind), 0, most - 1)
        names = [name.decode() for name in members]
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.hget(self._keys(AccountName(kind, name))[0], "totals")
        packed = await pipe.execute()
        return [(name, unpack(totals)) for name, totals in zip(names, packed, strict=True) if totals is not None]

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
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._redis.hdel(self._common[1], self._id)  # no one will ask for its number
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
                answers = [self._answer(entry[0], reply) for entry, reply in zip(waiting, replies, strict=True)]
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
        self._check_format(await self._redis.get(self._tag + "format"))
        self._sha = await self._redis.script_load(SCRIPT)
        return self._sha

    def _answer(self, changes: Changes, reply: Any) -> Answer:
        """Return the outcome that a reply of the script tells, or its error."""
        if isinstance(reply, Exception):
            if not str(reply).startswith(LOST):
                return _why(reply)
            self._lost = str(reply).removeprefix(LOST)
            return rolled_back(self._lost)
        simple = isinstance(reply, bytes)  # most often: a nested reply takes longer to read
        committed, accounts, text = (1, (), reply) if simple else reply
        ledger, commits, erased, count = text.decode().split()
        if int(count) - committed < self._commits:  # others may have raised the number of all commits since
            self._lost = f"{self._commits - int(count) + committed} of this process's commits"
            return rolled_back(self._lost)
        self._commits = int(count)
        known, named = (added if committed else whole), zip(changes, accounts, strict=not simple)
        return Outcome(
            bool(committed),
            {name: known(account) for name, account in named if account},
            LedgerMark(ledger, int(commits), int(erased)),
        )


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
