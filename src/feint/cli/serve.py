"""Command `feint serve`."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from feint._optional import available
from feint.cli.app import Defenses, app
from feint.errors import BadInput

if TYPE_CHECKING:
    from feint.gateway.server.bootstrap import AppState, Ledgers
    from feint.gateway.server.run import Factory, RunningServer
    from feint.gateway.settings import ModelSettings


@app.command
def serve(
    what: str,
    /,
    *,
    check: bool = False,
    name: str = "",
    defense: Defenses = (),
    access: tuple[str, ...] = (),
    logits: bool = False,
    host: str = "127.0.0.1",
    port: int = 8080,
    grpc_port: int = 8081,
    anonymous: bool = False,
) -> None:
    """Serve a defended model by the Open Inference Protocol v2, over REST and gRPC.

    With a model, the server listens on this machine only, prints a new API key once, and keeps the ledger in memory.
    With a settings file, the file decides all of this. SIGHUP reads the file again, and SIGTERM stops gracefully.

    Example: `feint serve digits.onnx`

    Args:
        what: ONNX file of `feint export` or of another program; a victim's directory, which torch runs; or a settings
            file, NAME.toml, which replaces the options below.
        check: Open and try everything, print what would be served, and stop, with exit code 2 after an error.
        name: Name of the model (default: that of the file).
        defense: Defense of a victim's directory: a fitted defense's directory, a TOML file, or a recipe like
            'Budget(10000)'.
        access: Access rules for an ONNX file, like 'Budget(10000)'.
        logits: The ONNX file is of another program and returns logits.
        host: Address to listen on.
        port: Port of REST, 0 for none.
        grpc_port: Port of gRPC, 0 for none.
        anonymous: Answer without a key; all requests are of one client.

    Raises:
        BadInput: For a settings file with options of a model.
    """
    for package in ("msgspec", "uvicorn", "uvloop", "starlette", "grpc", "onnxruntime"):
        available(package, "serve")
    if not what.endswith(".toml"):
        model = _model(what, defense, access, logits)
        _serve_model(model, name or Path(what).stem, (host, port, grpc_port), check=check, anonymous=anonymous)
        return
    defaults = [name == "", not defense, not access, not logits, host == "127.0.0.1", port == 8080, grpc_port == 8081]
    if not all(defaults) or anonymous:
        raise BadInput(f"{what} and options of a model", "one of them", f"set them in {what}, and give --check at most")
    _serve_settings(Path(what), check=check)


def _model(what: str, defense: tuple[str, ...], access: tuple[str, ...], logits: bool) -> "ModelSettings":
    """Return the settings of the model.

    Raises:
        BadInput: For an option that the model does not take.
    """
    from feint.gateway.settings import OnnxSettings, TorchSettings

    graph = what.endswith(".onnx")
    if graph and defense:
        raise BadInput(f"--defense with {what}", "--access, or a defense in the file", "feint export --defense …")
    if not graph and logits:
        raise BadInput(f"--logits with {what}", "an ONNX file", "leave it out")
    return (
        OnnxSettings(path=Path(what), access=access, logits=logits)
        if graph
        else TorchSettings(torch=what, defense=defense, access=access)
    )


def _serve_settings(file: Path, *, check: bool) -> None:
    from feint.gateway.server import run
    from feint.gateway.server.bootstrap import load
    from feint.gateway.settings_file import read

    async def make(ledgers: "Ledgers | None") -> "AppState":
        return await load(read(file), ledgers=ledgers)

    if check:
        _check(make)
    else:
        run.run(make, started=_started)


def _serve_model(
    model: "ModelSettings", name: str, address: tuple[str, int, int], *, check: bool, anonymous: bool
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

    if check:
        _check(make)
        return

    def started(running: "RunningServer") -> None:
        _started(running)
        if isinstance(authenticator, SingleKeyAuth):
            print(f"\nAPI key, made now and never shown again:\n  {authenticator.key}")
        header = f"-H 'Authorization: Bearer {authenticator.key}' " if isinstance(authenticator, SingleKeyAuth) else ""
        print(f"\nTry it with a black input:\n  {_curl(running, name, header)}", flush=True)

    run.run(make, started=started)


def _curl(running: "RunningServer", name: str, header: str) -> str:
    """Return a curl command that sends a black input."""
    spec = running.gateway.endpoints[name].spec
    shape = ",".join(map(str, (1, *spec.shape)))
    zeros = f"$(printf '0,%.0s' $(seq {math.prod(spec.shape) - 1}))0"
    body = f'{{"inputs":[{{"name":"{spec.input}","datatype":"FP32","shape":[{shape}],"data":[\'"{zeros}"\']}}]}}'
    return f"curl -s {header}{running.url}/v2/models/{name}/infer -d '{body}'"


def _check(make: "Factory") -> None:
    import asyncio

    from feint.gateway.server import ports

    async def open_and_close() -> None:
        opened = await make(None)
        try:
            server = opened.settings.server
            ports.check_free(server)
            _print(opened)
            listening = ("REST", server.rest_port), ("gRPC", server.grpc_port)
            addresses = [f"{protocol} on {server.host}:{port}" for protocol, port in listening if port]
            print(f"would listen: {', '.join(addresses)}, {'with' if server.tls_cert else 'without'} TLS")
        finally:
            await opened.close()

    asyncio.run(open_and_close())


def _started(running: "RunningServer") -> None:
    _print(running.opened)
    grpc = f", gRPC on {running.opened.settings.server.host}:{running.grpc_port}" if running.grpc_port else ""
    print(f"serving {running.url}{grpc}", flush=True)


def _print(opened: "AppState") -> None:
    from feint.gateway.server import bootstrap

    print("\n".join(bootstrap.describe(opened)))
    for line in opened.warnings:
        print(f"feint: mind: {line}", file=sys.stderr)
