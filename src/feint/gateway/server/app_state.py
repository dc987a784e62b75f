"""A gateway with its models and ledgers, and the watch over them while it serves."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from feint.errors import BadInput, FeintError, StoreLost, one_line
from feint.gateway.app import Gateway
from feint.gateway.backends.base import LoadedModel
from feint.gateway.changes import LedgerMark
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.server.certificates import Certificate
from feint.gateway.server.marks import read_marks, write_marks
from feint.gateway.server.readiness import TRIAL, accept, check_writable, explained, keys_lost, settings_warnings
from feint.gateway.server.replicas import ReplicaWatch, facts
from feint.gateway.settings import Settings
from feint.gateway.stores import open_store
from feint.openinference.model_spec import ModelSpec

EVERY = 2.0  # seconds between two checks of an upstream
LAG = 2  # checks until all that a ledger had committed is on the disk: SQLite's log goes there every second

log = logging.getLogger("feint.gateway")


@dataclass
class Ledgers:
    """A ledger for each model at one `url`: what a client did to one model is no evidence for another."""

    url: str
    _sessions: dict[str, LedgerSession] = field(default_factory=dict)

    def __getitem__(self, model: str) -> LedgerSession:
        """Return the ledger of a model, opened at its first use; raise `StoreLost` or `BadInput`."""
        if model not in self._sessions:
            self._sessions[model] = LedgerSession(open_store(self.url, model))
        return self._sessions[model]

    async def close(self) -> None:
        """Close all of them."""
        for session in self._sessions.values():
            await session.store.close()


@dataclass
class AppState:
    """A gateway with its models and ledgers.

    Attributes:
        settings: The settings that it was built from.
        gateway: The gateway.
        models: The loaded models by name.
        ledgers: Their ledgers.
        certificate: The server's certificate, if it has one.
        warnings: Problems that the operator should fix.
    """

    settings: Settings
    gateway: Gateway
    models: Mapping[str, LoadedModel]
    ledgers: Ledgers
    certificate: Certificate | None = None
    warnings: Sequence[str] = ()
    _watching: list[asyncio.Task[None]] = field(default_factory=list)
    _marks: deque[Mapping[str, LedgerMark]] = field(default_factory=deque)
    _mark_lost: str = ""  # why the file of the marks could not be written last

    def progress(self) -> None:
        """Prepare the models for clients; then keep asking whether ledger, keys and upstreams are ready.

        Models that become ready are served.
        """
        for loaded in self.models.values():
            loaded.opening()
        watches = [self._watch(name, loaded) for name, loaded in self.models.items() if loaded.upstream]
        self._watching = [asyncio.ensure_future(watch) for watch in (*watches, self._watch_ledger())]

    async def _watch_ledger(self) -> None:
        watches = [
            ReplicaWatch(self.gateway.endpoints[name], partial(facts, self.settings, self.gateway, name, loaded))
            for name, loaded in self.models.items()
        ]
        risk = ""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.check_ledger()
                risk = await self._check_settings(risk)
                for watch in watches:
                    await watch.look()
                lost = ""
                self.keep_marks()
            except StoreLost as error:
                lost = f"the ledger is lost: {error.args[0]}"
            except Exception as error:  # of a server that answers otherwise than its protocol: the watch goes on
                lost = f"the ledger is lost: {type(error).__name__}"
            if bool(lost) != self.gateway.ledger_lost:
                log.warning(lost or "the ledger is back")
            self.gateway.ledger_lost = bool(lost)
            if (nobody := keys_lost(self.gateway.authenticator)) != self.gateway.keys_lost:
                log.warning("the file of keys %s", "is lost: nobody is let in" if nobody else "is back")
            self.gateway.keys_lost = nobody

    async def _check_settings(self, before: str) -> str:
        """Log, where it was not so `before`, that the ledger's server may lose data by its settings; return how."""
        try:
            await settings_warnings(self.ledgers[TRIAL].store)
            risk = ""
        except BadInput as error:
            risk = one_line(error)
        if risk != before:
            log.error("the ledger is not safe: %s", risk) if risk else log.warning("the ledger is safe again")
        return risk

    @property
    def marks(self) -> dict[str, LedgerMark]:
        """Marks of the ledgers that were kept in the settings' file; none without one. Raises as `read_marks`."""
        file = self.settings.ledger.mark_file
        return read_marks(file) if file is not None else {}

    def keep_marks(self) -> None:
        """Keep the ledgers' marks of `LAG` calls before, if there is a file for them; a failure is logged.

        What was committed since may not be on the disk: the start after a power cut would take it for lost data.
        """
        sessions = {name: endpoint.session for name, endpoint in self.gateway.endpoints.items()}
        self._marks.append({name: session.mark for name, session in sessions.items() if session.mark is not None})
        if len(self._marks) > LAG:
            self._write_marks(self._marks.popleft())

    def _write_marks(self, marks: Mapping[str, LedgerMark]) -> None:
        file = self.settings.ledger.mark_file
        if file is None or len(marks) < len(self.gateway.endpoints):
            return
        before, self._mark_lost = self._mark_lost, ""
        try:
            write_marks(file, marks)
        except FeintError as error:
            self._mark_lost = one_line(error)
        if self._mark_lost != before:
            log.warning("the ledger's mark: %s", self._mark_lost or "it is written again")

    async def accept_ledgers(self) -> None:
        """Take the ledgers as they are, whatever they have lost; raise errors as `check_ledger`."""
        for endpoint in self.gateway.endpoints.values():
            endpoint.session.accept()
        with explained(self.ledgers.url):
            for name in (*self.gateway.endpoints, TRIAL):
                await accept(self.ledgers[name].store)

    def expect_marks(self) -> None:
        """Take a ledger for whole where it holds its mark, if one was kept.

        `DamagedFile` is raised for a file that holds none, and `NotWritten` where none can be kept.
        """
        marks = self.marks
        if (file := self.settings.ledger.mark_file) is not None:
            write_marks(file, marks)
        for name, endpoint in self.gateway.endpoints.items():
            endpoint.session.accept(marks.get(name))

    async def check_ledger(self) -> None:
        """Read the ledger of each model, and write into one; raise `StoreLost`, with address and cause.

        None is left out where another one is lost: after a failover each has a connection to renew, or the reload that
        takes the ledger as it is would fail by the next one.
        """
        checks = [endpoint.session.check() for endpoint in self.gateway.endpoints.values()]
        checks.append(check_writable(self.ledgers[TRIAL].store))
        with explained(self.ledgers.url):
            for error in await asyncio.gather(*checks, return_exceptions=True):
                if error is not None:
                    raise error

    async def _watch(self, name: str, loaded: LoadedModel) -> None:
        assert loaded.upstream is not None
        assert loaded.connect is not None
        while True:
            await asyncio.sleep(EVERY)
            endpoint = self.gateway.endpoints[name]
            try:
                ready = await loaded.upstream.ready()
                if ready and not endpoint.ready:  # it is new, or it was started again, perhaps with another model
                    ready = await self._connect(name, loaded.connect)
            except Exception as error:  # of answers that nobody foresaw: the watch goes on
                log.warning("the upstream of %s: %s", name, type(error).__name__)
                ready = False
            if ready != endpoint.ready:
                log.warning("the upstream of %s %s", name, "is ready" if ready else "does not answer")
            endpoint.ready = ready

    async def _connect(self, name: str, connect: Callable[[], Awaitable[ModelSpec]]) -> bool:
        try:
            spec = await connect()
        except FeintError as error:
            log.warning("the upstream of %s: %s", name, error.args[0])
            return False
        endpoint = self.gateway.endpoints[name]
        known = endpoint.spec
        if known.domain is not None and (known.domain, known.classes) != (spec.domain, spec.classes):
            log.error("the upstream of %s is another model now: restart or reload", name)
            return False
        endpoint.spec = spec
        return True

    def unwatch(self) -> None:
        """Stop asking upstreams."""
        for task in self._watching:
            task.cancel()

    async def close(self, *, ledgers: bool = True) -> None:
        """Close models and upstreams, and the ledgers unless they are still used elsewhere."""
        self.unwatch()
        for loaded in self.models.values():
            loaded.close()
        if ledgers:
            await self.ledgers.close()
            self.keep_marks()
            self._write_marks(self._marks[-1])  # it is on the disk now
