"""Settings of a gateway: its ports and limits, keys, ledger, telemetry and models."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from feint.errors import BadRecipe
from feint.gateway.app import NAME, Limits
from feint.gateway.redaction import address

Place = Annotated[str, "a file or directory, or what names none: a module, an address, a recipe"]
LOOPBACK = "127.0.0.1", "::1", "localhost"
MOST_THREADS = 1024  # of a model
LONGEST = 1e6  # seconds of any time: gRPC counts milliseconds, and those of a request twice, in 31 bits
LARGEST = 1e9  # of a price or a factor
FORMS = "http://HOST:PORT, https://HOST:PORT, grpc://HOST:PORT and grpcs://HOST:PORT"


@dataclass(frozen=True)
class ServerSettings:
    """Address, ports, TLS and limits of the server; port 0 disables a protocol.

    `drain` seconds pass between "not ready" and closed ports, so that a load balancer sees it; requests in flight then
    have `stop` seconds. `arrive`, `answer` and `max_in_flight` are those of `Limits`. Of connections over HTTP, and of
    those over gRPC, a process holds `max_connections` at most.

    An idle connection over HTTP is kept for `keep_alive` seconds, which has to be longer than in the load balancer
    before it. A connection that is older than `connection_age` seconds, 0 for no limit, ends after its requests in
    flight: clients connect anew, and so to new replicas.
    """

    host: str = "127.0.0.1"
    rest_port: int = 8080
    grpc_port: int = 8081
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_body: int = Limits.body
    max_batch: int = Limits.batch
    max_in_flight: int = Limits.in_flight
    max_connections: int = 4096
    arrive: float = Limits.arrive
    answer: float = Limits.answer
    drain: float = 0.0
    stop: float = 30.0
    keep_alive: float = 5.0
    connection_age: float = 1800.0

    def __post_init__(self) -> None:
        if not self.host:
            raise BadRecipe(
                "no host",
                "an address to listen on",
                "write 127.0.0.1 for this machine alone, or 0.0.0.0 for all its addresses",
            )
        if not (0 <= self.rest_port < 2**16 and 0 <= self.grpc_port < 2**16) or self.rest_port == self.grpc_port:
            raise BadRecipe(
                f"the ports {self.rest_port} and {self.grpc_port}",
                "two ports from 1 to 65535, or 0 for no server of that kind",
                "change one",
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise BadRecipe("one of tls_cert and tls_key", "both or none", "give the other one")
        counts = self.max_body, self.max_batch, self.max_in_flight, self.max_connections
        if min(counts) < 1 or min(self.arrive, self.answer) <= 0:
            raise BadRecipe("a limit below 1", "limits above 0", "raise it")
        if self.keep_alive <= 0 or self.connection_age < 0:
            raise BadRecipe("a time below 0", "keep_alive above 0, connection_age of 0 or more", "raise it")
        times = self.arrive, self.answer, self.drain, self.stop, self.keep_alive, self.connection_age
        if not all(0 <= seconds <= LONGEST for seconds in times):
            raise BadRecipe(
                f"the times {', '.join(map(str, times))}", f"finite numbers of seconds, 0 to {LONGEST:g}", "change it"
            )

    @property
    def limits(self) -> Limits:
        """Limits of one request."""
        return Limits(self.max_body, self.max_batch, self.arrive, self.answer, self.max_in_flight)


@dataclass(frozen=True)
class KeySettings:
    """Authentication: a `file` of API keys, as `feint keys` writes it; `anonymous` admits all others as one client."""

    file: Path | None = None
    anonymous: bool = False


@dataclass(frozen=True)
class LedgerSettings:
    """Store of the ledger. When it is lost all are refused, or answered by the strongest output defense.

    With `readiness` a gateway that refuses all, since the ledger is lost, is not ready. The file `mark` keeps the
    number of the ledger's commits: a start notices what was lost, or restored from a backup, while no gateway ran. A
    ledger in SQLite has one beside it, PATH.mark, unless another is named.
    """

    store: str = "sqlite:ledger.db"
    when_lost: Literal["refuse", "strongest"] = "refuse"
    readiness: bool = True
    mark: Path | None = None

    @property
    def mark_file(self) -> Path | None:
        """File of the mark, None where there is none."""
        scheme, _, path = self.store.partition(":")
        return self.mark or (Path(f"{path}.mark") if scheme == "sqlite" and path else None)


@dataclass(frozen=True)
class OperatorSettings:
    """Telemetry, and the dashboard (`ui`). An empty value disables the audit log or the traces.

    The audit log is sealed with the key in the variable `audit_key_env` or the file `audit_key_file`. `trace_share` of
    the requests without the header traceparent are traced; with it the caller decides.
    """

    metrics: bool = True
    ui: bool = True
    audit_log: Path | None = None
    audit_key_env: str = ""
    audit_key_file: Path | None = None
    log: Literal["debug", "info", "warning", "error"] = "info"
    traces: str = ""
    trace_share: float = 0.01

    def __post_init__(self) -> None:
        if self.traces and not re.fullmatch(r"https?://[^/\s]+\S*", self.traces):
            raise BadRecipe("traces", "a URL like http://HOST:4318/v1/traces, or nothing", "change it")
        if not 0 <= self.trace_share <= 1:
            raise BadRecipe(f"trace_share = {self.trace_share:g}", "a share from 0 to 1", "change it")
        if self.audit_key_env and self.audit_key_file:
            raise BadRecipe("audit_key_env and audit_key_file", "one of them", "leave the other out")
        if (self.audit_key_env or self.audit_key_file) and self.audit_log is None:
            raise BadRecipe("a key without an audit log", "both, or neither", "set audit_log")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Settings of every model.

    `access` are rules for everybody, spelled as in Python, before those of its graph. With `shadow` everyone stays on
    the first rung, and what would happen is recorded; a ladder is in shadow unless `shadow = false`. `threshold`
    multiplies the evidence at which each rung of a ladder begins; `feint shadow` computes it from the ledger's clients.
    Only clients of `tenants` may ask, of any where there are none.
    """

    access: tuple[str, ...] = ()
    shadow: bool | None = None
    threshold: float = 1.0
    tenants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= LARGEST:
            raise BadRecipe(f"threshold = {self.threshold:g}", f"a number above 0, at most {LARGEST:g}", "change it")


@dataclass(frozen=True, kw_only=True)
class OnnxSettings(ModelSettings):
    """A model in this process: an ONNX file of `feint export`, or of another tool.

    `outputs` is an exported output defense behind it. A file with another fingerprint than `fingerprint` is refused.
    The key of marked answers is in the variable `mark_key_env` or the file `mark_key_file`.
    """

    path: Path
    outputs: Path | None = None
    output: str | None = None
    logits: bool = False
    fingerprint: str = ""
    mark_key_env: str = ""
    mark_key_file: Path | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.threads <= MOST_THREADS:
            raise BadRecipe(f"threads = {self.threads}", f"1 to {MOST_THREADS}", "change it")


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings(ModelSettings):
    """A model behind another v2 server at `http://`, `https://`, `grpc://` or `grpcs://HOST:PORT`.

    All its outputs but `output` are dropped. `domain`, `input`, `shape` and `classes` are for servers whose metadata
    lack them: `domain` is a table like {kind = "Columns", columns = [{kind = "Column", name = "age"}]}, and `shape` is
    short for that of images. With `flat` each input is sent as one row of numbers. Times are in seconds.

    Credentials are a bearer's token in the variable `bearer_env` or the file `bearer_file`, or user:password in
    `basic_env` or `basic_file`. `ca` replaces the system's authorities; `client_cert` and `client_key` are sent.
    The key of marked answers is in the variable `mark_key_env` or the file `mark_key_file`.

    A server whose 1,000 inputs cost `price_per_1000` in `currency` needs `max_calls_per_day`, the ceiling of all
    gateways of a machine, or of all whose ledger is one Redis. With either, the last 10,000 answers are remembered.
    """

    upstream: str
    upstream_model: str = ""
    outputs: Path | None = None
    output: str | None = None
    logits: bool = False
    fingerprint: str = ""
    mark_key_env: str = ""
    mark_key_file: Path | None = None
    input: str | None = None
    datatype: Literal["FP16", "FP32", "FP64", "UINT8", "INT32", "INT64", "BYTES", ""] = ""
    domain: dict[str, Any] | None = None
    shape: tuple[int, ...] | None = None
    flat: bool = False
    classes: int = 0
    price_per_1000: float = 0.0
    currency: str = ""
    max_calls_per_day: int | None = None
    connect: float = 2.0
    timeout: float = 30.0
    connections: int = 64
    bearer_env: str = ""
    bearer_file: Path | None = None
    basic_env: str = ""
    basic_file: Path | None = None
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            parts = urlsplit(self.upstream)
            fine = parts.scheme in ("http", "https", "grpc", "grpcs") and bool(parts.hostname) and not parts.query
            fine = fine and (parts.port or 80) > 0 and self.upstream.startswith(f"{parts.scheme}://")
            (parts.hostname or "").encode("idna")
        except ValueError:  # of an address, a name or a port
            parts, fine = urlsplit(""), False
        if not fine:
            raise BadRecipe(f"upstream = {address(self.upstream)!r}", f"one of {FORMS}", "change it")
        if not all(0 < seconds <= LONGEST for seconds in (self.connect, self.timeout)):
            got = f"connect = {self.connect:g} and timeout = {self.timeout:g}"
            raise BadRecipe(got, f"finite numbers of seconds above 0, at most {LONGEST:g}", "change it")
        _check_calls(self.max_calls_per_day)
        if not 0 <= self.price_per_1000 <= LARGEST:
            raise BadRecipe(
                f"price_per_1000 = {self.price_per_1000}", f"a finite number, 0 to {LARGEST:g}", "change it"
            )
        _check_sizes(self.classes, self.shape)
        if self.connections < 1:
            raise BadRecipe(f"connections = {self.connections}", "1 or more", "raise it")
        secrets = [self.bearer_env, self.bearer_file, self.basic_env, self.basic_file, parts.username or parts.password]
        if len([secret for secret in secrets if secret]) > 1:
            raise BadRecipe("credentials of several kinds for an upstream", "one kind", "leave the others out")
        if (self.client_cert is None) != (self.client_key is None):
            raise BadRecipe("one of client_cert and client_key", "both or none", "give the other one")
        if (self.ca or self.client_cert) and parts.scheme not in ("https", "grpcs"):
            raise BadRecipe(f"certificates for {parts.scheme}://", "https:// or grpcs://", "change one of them")


@dataclass(frozen=True, kw_only=True)
class TorchSettings(ModelSettings):
    """A model that torch runs, for defenses that no graph can hold.

    `torch` is a model.toml, a victim's directory or file, or package.module:name; `defense` lists the steps of its
    defense. A model whose calls cost something needs `max_calls_per_day`, the ceiling of all gateways of a machine, or
    of all whose ledger is one Redis.
    """

    torch: Place
    defense: tuple[Place, ...] = ()
    shape: tuple[int, ...] | None = None
    max_calls_per_day: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_calls(self.max_calls_per_day)
        _check_sizes(0, self.shape)


def _check_sizes(classes: int, shape: tuple[int, ...] | None) -> None:
    if classes < 0 or min(shape or (1,)) < 1:
        raise BadRecipe(f"classes = {classes}, shape = {shape}", "sizes above 0", "change them")


def _check_calls(most: int | None) -> None:
    if most is not None and most < 1:
        raise BadRecipe(f"max_calls_per_day = {most}", "1 or more", "raise it")


BACKENDS: dict[str, type[ModelSettings]] = {
    "path": OnnxSettings,
    "upstream": UpstreamSettings,
    "torch": TorchSettings,
}  # by the key that every model has one of
TABLES: dict[str, type] = {
    "server": ServerSettings,
    "keys": KeySettings,
    "ledger": LedgerSettings,
    "operator": OperatorSettings,
}


@dataclass(frozen=True)
class Settings:
    """All settings of a gateway."""

    models: Mapping[str, ModelSettings]
    server: ServerSettings = ServerSettings()
    keys: KeySettings = KeySettings()
    ledger: LedgerSettings = LedgerSettings()
    operator: OperatorSettings = OperatorSettings()

    def __post_init__(self) -> None:
        if not self.models:
            raise BadRecipe("no model", "a table [models.NAME]", "name what is served")
        for name in self.models:
            if not NAME.fullmatch(name):
                raise BadRecipe(
                    f"a model called {name!r}", "letters, digits and . _ @ : + -, 128 at most, beginning with one of "
                    "the first two", "choose another name",
                )  # fmt: skip
