"""What a gateway serves, to whom, and within which limits: what the REST and the gRPC side share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from feint.errors import UnknownName
from feint.gateway.desk import Desk


@dataclass(frozen=True)
class Caller:
    """Who asks, as its API key says: the `client` of the ledger, its tenant, and its roles ("infer", "admin")."""

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

    desks: Mapping[str, Desk]
    door: Doorkeeper
    limits: Limits = Limits()
    ready: bool = True

    def desk(self, name: str) -> Desk:
        """The desk of a model. Raises `UnknownName`."""
        if name not in self.desks:
            raise UnknownName("the model " + repr(name)[:80], "one that is served here", "ask /v2/models")
        return self.desks[name]
