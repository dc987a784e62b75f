"""Command `feint serve`."""

import contextlib
import math
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from feint._optional import available
from feint.cli.app import PROTECT, app
from feint.cli.tried_samples import TriedSamples, try_inputs
from feint.errors import BadInput, FeintError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feint.gateway.server.app_state import AppState, Ledgers
    from feint.gateway.server.run import Factory, RunningServer
    from feint.gateway.settings import ModelSettings

MANY = 100  # values of an input beyond which the printed command sends zeros


@app.command(group=PROTECT)
def serve(
    what: str,
    /,
    *,
    check: bool = False,
    data: str | None = None,
    label: str | None = None,
    name: str = "",
    defense: tuple[str, ...] = (),
    access: tuple[str, ...] = (),
    logits: bool = False,
    host: str = "127.0.0.1",
    port: int = 8080,
    grpc_port: int = 8081,
    anonymous: bool = False,
    enforce: bool = False,
    workers: int = 1,
    max_calls_per_day: int | None = None,
) -> None:
    """Serve a defended model by the Open Inference Protocol v2, over REST and gRPC.

    With a model, the server listens on this machine only, prints a new API key once, and keeps the ledger in memory.
    With a settings file, the file decides all of this. SIGHUP reads the file again, and SIGTERM stops gracefully.

    Example: `feint serve digits.onnx`

    Args:
        what: ONNX file of `feint export` or of another program; a model.toml, a directory or file of another kind, or
            package.module:name, which torch runs; or a settings file, NAME.toml, which replaces the options below.
        check: Open and try everything, print what would be served, and stop, with exit code 2 after an error.
        data: With --check, labelled samples that are sent to the model: a data set, file or directory.
        label: Column of the label in that file (default: label, target, class or y).
        name: Name of the model (default: that of the file).
        defense: Defense of a model that torch runs: a fitted defense's directory, a TOML file, or a recipe like
            'Budget(10000)'.
        access: Access rules for an ONNX file, like 'Budget(10000)'.
        logits: The ONNX file is of another program and returns logits.
        host: Address to listen on.
        port: Port of REST, 0 for none.
        grpc_port: Port of gRPC, 0 for none.
        anonymous: Answer without a key; all requests are of one client.
        enforce: Enforce a ladder. Without it everybody stays on its first rung, and evidence is recorded.
        workers: Number of processes that serve a settings file on the same ports, from one ledger.
        max_calls_per_day: Ceiling on the calls to a paid model, by all gateways of this machine, in a day (UTC).

    Raises:
        BadInput: For a settings file with options of a model.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # or a broken handshake with an upstream is a line that is not JSON
    for package in ("msgspec", "uvicorn", "uvloop", "starlette", "grpclib", "grpc", "onnxruntime"):
        available(package, "serve")
    if (data or label) is not None and not check:
        raise BadInput("--data or --label without --check", "both", "add --check, or leave them out")
    samples = TriedSamples(data or "", label) if check else None
    if not _is_settings(what):
        if workers != 1:
            got = f"--workers {workers} with {what}, whose ledger is in memory"
            raise BadInput(got, "a settings file", 'write one with [ledger] store = "sqlite:ledger.db"')
        model = _model(what, defense, access, logits, max_calls_per_day)
        model = replace(model, shadow=False if enforce else None)
        called = name or _name(what)
        _serve_model(model, called, (host, port, grpc_port), samples=samples, anonymous=anonymous)
        return
    defaults = [name == "", not defense, not access, not logits, host == "127.0.0.1", port == 8080, grpc_port == 8081]
    with contextlib.nullcontext() if check else _as_server():
        if not all(defaults) or anonymous or enforce or max_calls_per_day is not None:
            remedy = f"set them in {what}, and give --check at most"
            raise BadInput(f"{what} and options of a model", "one of them", remedy)
        _serve_settings(Path(what), samples, workers)


@contextlib.contextmanager
def _as_server() -> "Iterator[None]":
    """Write JSON lines alone from now on; an error is one of them, and ends the process as it ends every command."""
    from feint.gateway.telemetry import logs

    logs.take_over()
    # A reload that is asked for before there is anything to reload would end the process.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    except FeintError as error:
        logs.announce([one_line(error)], "error")
        sys.exit(2)
    except KeyboardInterrupt:
        logs.announce(["interrupted before it served"], "warning")
        sys.exit(130)
    finally:
        signal.signal(signal.SIGHUP, before)


def _is_settings(what: str) -> bool:
    """Return whether `what` is a settings file, and no model.toml."""
    import tomllib

    if not what.endswith(".toml"):
        return False
    try:
        return not {"model", "url"} & tomllib.loads(Path(what).read_text()).keys()
    except (OSError, ValueError):
        return True  # the reader of settings says what is wrong


def _name(what: str) -> str:
    """Return the name of a model: that of its file or function; that of the directory of a model.toml."""
    path = Path(what)
    return (
        path.absolute().parent.name if path.name == "model.toml" else re.sub(r"[^\w.-]+", "-", path.stem).strip("-._")
    )


def _model(
    what: str, defense: tuple[str, ...], access: tuple[str, ...], logits: bool, max_calls_per_day: int | None
) -> "ModelSettings":
    """Return the settings of the model.

    Raises:
        BadInput: For an option that the model does not take.
    """
    from feint.gateway.settings import OnnxSettings, TorchSettings

    graph = what.endswith(".onnx") and not defense
    if not graph and logits:
        raise BadInput(f"--logits with {what}", "an ONNX file without --defense", "leave it out")
    if graph and max_calls_per_day is not None:
        raise BadInput(f"--max-calls-per-day with {what}", "a model that is called elsewhere", "leave it out")
    return (
        OnnxSettings(path=Path(what), access=access, logits=logits)
        if graph
        else TorchSettings(torch=what, defense=defense, access=access, max_calls_per_day=max_calls_per_day)
    )


def _serve_settings(file: Path, samples: TriedSamples | None, count: int) -> None:
    from feint.gateway.redaction import redacted
    from feint.gateway.server import run, workers
    from feint.gateway.server.bootstrap import describe, load
    from feint.gateway.settings_file import read

    async def make(ledgers: "Ledgers | None") -> "AppState":
        return await load(read(file), ledgers=ledgers)

    def started(running: "RunningServer") -> None:
        _log(describe(running.opened), running.opened.warnings, f"serving {running.addresses}")

    try:
        if samples is not None:
            _check(make, samples)
        elif count == 1:
            run.run(make, started=started)
        else:
            workers.serve(file, count, started=lambda served: _log(*served, f"{count} workers"))
    except FeintError as error:  # it goes where the logs go
        error.args = tuple(map(redacted, error.args))
        raise


def _serve_model(
    model: "ModelSettings", name: str, address: tuple[str, int, int], *, samples: TriedSamples | None, anonymous: bool
) -> None:
    from feint.gateway.auth import keys
    from feint.gateway.auth.single import SingleKeyAuth
    from feint.gateway.server import run
    from feint.gateway.server.bootstrap import load
    from feint.gateway.settings import KeySettings, LedgerSettings, OperatorSettings, ServerSettings, Settings

    authenticator = keys.AnonymousAuth() if anonymous else SingleKeyAuth()
    settings = Settings(
        {name: model},
        ServerSettings(*address),
        KeySettings(anonymous=anonymous),
        LedgerSettings("memory:"),
        OperatorSettings(log="warning"),
    )

    async def make(ledgers: "Ledgers | None") -> "AppState":
        return await load(settings, authenticator=authenticator, ledgers=ledgers)

    if samples is not None:
        _check(make, samples)
        return

    def started(running: "RunningServer") -> None:
        _started(running)
        if isinstance(authenticator, SingleKeyAuth):
            print(f"\nAPI key, made now and never shown again:\n  {authenticator.key}")
        header = f"-H 'Authorization: Bearer {authenticator.key}' " if isinstance(authenticator, SingleKeyAuth) else ""
        print(f"\nTry it with a made-up input:\n  {_curl(running, name, header)}", flush=True)

    run.run(make, started=started)


def _curl(running: "RunningServer", name: str, header: str) -> str:
    """Return a curl command that sends an input."""
    import json
    import shlex

    from feint.openinference.tensors import DATATYPES, to_json

    spec = running.gateway.endpoints[name].spec
    if spec.domain is None:
        return f"curl -s {header}{running.url}/v2/models/{name}"
    x, kinds = spec.domain.sample(1, 0), {tensor.name: tensor.datatype for tensor in spec.inputs}
    values = {tensor: (array, to_json(array, DATATYPES[kinds[tensor]])) for tensor, array in spec.encode(x).items()}
    count = math.prod(spec.domain.shape)
    if len(values) == 1 and count > MANY and not isinstance(x.flat[0], str) and "BYTES" not in kinds.values():
        ((tensor, _),) = values.items()
        zeros = f"$(printf '0,%.0s' $(seq {count - 1}))0"
        shape = ",".join(map(str, (1, *spec.domain.shape)))
        about = f'"name":"{tensor}","datatype":"{kinds[tensor]}","shape":[{shape}]'
        body = f'{{"inputs":[{{{about},"data":[\'"{zeros}"\']}}]}}'
        return f"curl -s {header}{running.url}/v2/models/{name}/infer -d '{body}'"
    inputs = [
        {"name": tensor, "datatype": kinds[tensor], "shape": list(array.shape), "data": data}
        for tensor, (array, data) in values.items()
    ]
    body = json.dumps({"inputs": inputs}, ensure_ascii=False)
    return f"curl -s {header}{running.url}/v2/models/{name}/infer -d {shlex.quote(body)}"


def _check(make: "Factory", samples: TriedSamples) -> None:
    """Open everything, send inputs to each model, and print what would be served."""
    import asyncio

    from feint.gateway.server import ports
    from feint.gateway.server.bootstrap import describe

    async def open_and_close() -> None:
        opened = await make(None)
        try:
            server = opened.settings.server
            ports.check_free(server)
            _print(describe(opened), opened.warnings)
            for name, loaded in opened.models.items():
                if loaded.spec is not None:
                    print(f"tried {name}: {await try_inputs(loaded, samples)}")
            listening = ("REST", server.rest_port), ("gRPC", server.grpc_port)
            addresses = [f"{protocol} on {ports.address(server.host, port)}" for protocol, port in listening if port]
            print(f"would listen: {', '.join(addresses)}, {'with' if server.tls_cert else 'without'} TLS")
        finally:
            await opened.close()

    asyncio.run(open_and_close())


def _started(running: "RunningServer") -> None:
    from feint.gateway.server.bootstrap import describe

    _print(describe(running.opened), running.opened.warnings, f"serving {running.addresses}")


def _log(lines: "Sequence[str]", warnings: "Sequence[str]", ending: str) -> None:
    from feint.gateway.telemetry import logs

    logs.announce(lines)
    logs.announce(warnings, "warning")
    logs.announce([ending])


def _print(lines: "Sequence[str]", warnings: "Sequence[str]", *ending: str) -> None:
    from feint.gateway.redaction import redacted

    print("\n".join(lines))
    for line in warnings:
        print(f"feint: mind: {redacted(line)}", file=sys.stderr)
    for line in ending:
        print(line, flush=True)
