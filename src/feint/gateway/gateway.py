"""What a gateway serves, to whom, and within which limits: what the REST and the gRPC side share."""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from feint.errors import BadInput, NoRole, Refused, TimedOut, UnknownName, Unreachable
from feint.gateway import refusals
from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.decision import Decision
from feint.gateway.endpoint import ModelEndpoint


@dataclass(frozen=True)
class Caller:
    """Who asks, as its API key says: the `client` of the ledger, its tenant, and its roles (infer, metrics, admin)."""

    client: str
    tenant: str = ""
    roles: frozenset[str] = frozenset({"infer"})


class Doorkeeper(Protocol):
    """It knows API keys."""

    def caller(self, key: str) -> Caller:
        """Who has this key. Raises `NoKey`."""
        ...


@dataclass(frozen=True)
class Limits:
    """What one request may be: bytes of its body, inputs in it, seconds it may take to arrive and to be answered."""

    body: int = 64 * 2**20
    batch: int = 1024
    arrive: float = 30.0
    answer: float = 60.0


@dataclass
class Gateway:
    """The models by name, and the door. `ready` says whether all of them can answer."""

    desks: Mapping[str, ModelEndpoint]
    door: Doorkeeper
    limits: Limits = Limits()
    ready: bool = True

    def caller(self, key: str, *, roles: Collection[str] = ("infer",)) -> Caller:
        """Who has this key ("" for none). Raises `NoKey`, or `NoRole` where it has none of the `roles`."""
        caller = self.door.caller(key)
        if caller.roles.isdisjoint(roles):
            raise NoRole(f"a key without the role {' or '.join(roles)}", "one that has it", "ask the operator")
        return caller

    def desk(self, name: str, version: str = "") -> ModelEndpoint:
        """The desk of a model, of this version where one is named. Raises `UnknownName`, or `Unreachable` where its
        upstream was not seen yet, and nobody knows what it takes."""
        desk = self.desks.get(name)
        if desk is None or version not in ("", desk.about.version):
            raise UnknownName("a model or version that is not served", "one that is", "ask /v2/models")
        if not desk.about.classes:
            raise Unreachable("a model that is not there yet", "one that is", "try again later")
        return desk

    async def answer(self, desk: ModelEndpoint, asked: ArrayQuery) -> Array:
        """The desk's answer. Raises what it does, and `TimedOut`."""
        seconds = self.limits.answer
        try:
            async with asyncio.timeout(seconds):
                return await desk.answer(asked)
        except TimeoutError as error:
            raise TimedOut(f"no answer in {seconds:g} seconds", "one", "try again later") from error

    def turned_away(self, model: str, client: str, error: Exception) -> None:
        """Record a request that never came to a desk, where there is a desk of that name, or "" where none was named:
        names that strangers make up are not kept."""
        desk = self.desks.get(model) or (None if model else next(iter(self.desks.values()), None))
        if desk is not None:
            outcome = "refused" if isinstance(error, Refused | BadInput) else "failed"
            desk.record(Decision(model, client, 0, time.time(), outcome, refusals.reason(error)))
