"""Gateway of several models: authentication, limits and lookup, for REST and gRPC alike."""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from feint.errors import NoKey, NoRole, RateLimited, UnknownName, Unreachable
from feint.gateway import error_responses, request_context
from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.record import RequestRecord
from feint.gateway.redaction import KEY_ID
from feint.openinference.json_codec import RequestCodec, request_codec

NAME = re.compile(r"[^\W_][\w.@:+-]{0,127}")  # clients, tenants, groups and models: what lines, metrics and paths hold
SOON = 1.0  # seconds until a client with too many requests under way may try again


def key_id(key: str) -> str:
    """Return the id in the text of an API key, "" where it has none."""
    match = re.match(KEY_ID, key)
    return match[1] if match else ""


@dataclass(frozen=True)
class Caller:
    """Owner of an API key.

    Attributes:
        client: The name in the ledger.
        tenant: To whom the client belongs.
        roles: Some of infer, metrics and admin.
        group: Group of linked clients to which the client belongs, "" for none.
        models: Names of the models that the key is good for, none for all.
        key: Id of the key, "" where keys have none.
    """

    client: str
    tenant: str = ""
    roles: frozenset[str] = frozenset({"infer"})
    group: str = ""
    models: frozenset[str] = frozenset()
    key: str = field(default="", compare=False)


class Authenticator(Protocol):
    """Authenticates clients by API keys."""

    def authenticate(self, key: str) -> Caller:
        """Return the owner of a key; raise `NoKey`."""
        ...


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of those of one client.

    Attributes:
        body: The bytes of its body.
        batch: Its inputs.
        arrive: The seconds that it may take to arrive.
        answer: The seconds that its answer may take.
        in_flight: Requests of one client that may be under way in this process, whether it waits for them or not.
    """

    body: int = 64 * 2**20
    batch: int = 1024
    arrive: float = 30.0
    answer: float = 60.0
    in_flight: int = 256


@dataclass
class Gateway:
    """Models behind keys.

    Attributes:
        endpoints: The models by name.
        authenticator: Authenticates clients.
        limits: The limits of a request.
        stopping: Whether it will close its ports soon.
        ledger_lost: Whether the ledger's store is lost.
        ledger_needed: Whether no model is ready without the ledger.
        keys_lost: Whether the file of keys cannot be read, so that nobody is let in.
        upstreams: Names of the models that other servers run.
        trace_share: Share of the requests whose traces are recorded; None where none is.
        certificate_expires: When the server's certificate expires, in seconds since the epoch; None without one.
    """

    endpoints: Mapping[str, ModelEndpoint]
    authenticator: Authenticator
    limits: Limits = Limits()
    stopping: bool = False
    ledger_lost: bool = False
    ledger_needed: bool = True
    keys_lost: bool = False
    upstreams: frozenset[str] = frozenset()
    trace_share: float | None = None
    certificate_expires: float | None = None
    _in_flight: Counter[str] = field(default_factory=Counter)

    @property
    def ready(self) -> bool:
        """Whether all models can answer."""
        return all(self.model_ready(name) for name in self.endpoints) and not self.stopping

    @property
    def body_limit(self) -> int:
        """The bytes of the largest request that any model takes."""
        return max(self.codec(endpoint).body_limit for endpoint in self.endpoints.values())

    def replace(self, other: "Gateway") -> None:
        """Serve the models of another gateway, for its keys and within its limits."""
        self.endpoints, self.authenticator, self.limits = other.endpoints, other.authenticator, other.limits
        self.ledger_lost, self.ledger_needed, self.upstreams = other.ledger_lost, other.ledger_needed, other.upstreams
        self.keys_lost, self.certificate_expires = other.keys_lost, other.certificate_expires

    def model_ready(self, name: str) -> bool:
        """Return whether a model can answer."""
        lost = self.keys_lost or (self.ledger_lost and self.ledger_needed)
        return self.endpoints[name].ready and not self.stopping and not lost

    def codec(self, endpoint: ModelEndpoint) -> RequestCodec:
        """Return the codec of a model's requests."""
        return request_codec(endpoint.spec, self.limits.batch, self.limits.body)

    def authenticate(self, key: str, *, roles: Collection[str] = ("infer",)) -> Caller:
        """Return the owner of a key ("" for none); raise `NoKey`, or `NoRole` where it has none of the `roles`."""
        context = request_context.current()
        try:
            caller = self.authenticator.authenticate(key)
        except NoKey:
            context.key = key_id(key)
            raise
        context.key = caller.key
        if caller.roles.isdisjoint(roles):
            raise NoRole(f"a key without the role {' or '.join(roles)}", "one that has it", "ask the operator")
        return caller

    def enter(self, client: str) -> None:
        """Count a request of a client as under way until `leave`.

        Nothing else limits how many there are: a client may hang up and send the next one, while a slow model still
        computes the last ones.

        Raises:
            RateLimited: As many as may be are under way.
        """
        if self._in_flight[client] >= (most := self.limits.in_flight):
            raise RateLimited(f"{most + 1} requests of one client at once", f"at most {most}", "wait for answers", SOON)
        self._in_flight[client] += 1

    def leave(self, client: str) -> None:
        """Count a request that has entered as done."""
        self._in_flight[client] -= 1
        if not self._in_flight[client]:
            del self._in_flight[client]

    @contextlib.contextmanager
    def under_way(self, client: str) -> Iterator[None]:
        """Count a request of a client as under way until the block ends; raise as `enter`."""
        self.enter(client)
        try:
            yield
        finally:
            self.leave(client)

    def allowed(self, caller: Caller) -> list[str]:
        """Return the names of the models that a caller may ask about."""
        return [name for name, endpoint in self.endpoints.items() if _may_ask(caller, name, endpoint)]

    def endpoint(self, name: str, version: str = "", *, caller: Caller | None = None) -> ModelEndpoint:
        """Return a model.

        Args:
            name: Its name.
            version: Its version, "" for any.
            caller: Who asks about it; None where that does not matter.

        Raises:
            NoRole: If the key, or its tenant, may not ask about it.
            UnknownName: If it is not served.
            Unreachable: If its upstream never answered, so that its inputs are not known yet.
        """
        endpoint = self.endpoints.get(name)
        if endpoint is None or version not in ("", endpoint.spec.version):
            raise UnknownName("a model or version that is not served", "one that is", "ask /v2/models")
        if caller is not None and not _may_ask(caller, name, endpoint):
            raise NoRole("a key that is not for this model", "one that is", "ask the operator")
        if not endpoint.spec.classes:
            raise Unreachable("a model that is not there yet", "one that is", "try again later")
        return endpoint

    async def answer(self, endpoint: ModelEndpoint, query: ArrayQuery) -> Array:
        """Return the model's answer; raise what the model raises, or `TimedOut`."""
        return await endpoint.answer(query, seconds=self.limits.answer)

    def record_rejection(self, model: str, client: str, error: Exception) -> None:
        """Record a request that never came to a model.

        Args:
            model: The model's name, "" where the request names none. One that is not served may be made up, and is
                recorded as "".
            client: The client's name, "" where there is no good key.
            error: What the client got.
        """
        model = model if model in self.endpoints else ""
        endpoint = self.endpoints.get(model) or next(iter(self.endpoints.values()), None)
        if endpoint is not None:
            outcome, reason = error_responses.outcome(error), error_responses.reason(error)
            endpoint.observer(RequestRecord(model, client, 0, time.time(), outcome, reason))


def _may_ask(caller: Caller, name: str, endpoint: ModelEndpoint) -> bool:
    """Return whether a caller's key is good for a model, and the model is for the caller's tenant."""
    is_good = not caller.models or name in caller.models
    return is_good and (not endpoint.tenants or caller.tenant in endpoint.tenants)
