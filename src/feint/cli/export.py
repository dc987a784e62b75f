"""`feint export`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from feint.cli.app import Defenses, app
from feint.cli.common import load_victim
from feint.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from feint.export import Written


@app.command
def export(
    victim: str | None = None,
    /,
    *,
    out: Path,
    defense: Defenses = (),
    server: Annotated[str | None, Parameter(name="--for")] = None,
    rung: int | None = None,
    outputs_only: bool = False,
    classes: int | None = None,
    data: str | None = None,
    network: str | None = None,
    probabilities: bool = False,
) -> None:
    """Write a defended model as one ONNX file, checked in onnxruntime against the service that it is made of.

    Example: `feint export runs/victim --defense runs/apgp --data digits --out digits.onnx`

    Parameters
    ----------
    victim
        The directory of the victim, NAME.onnx, NAME.safetensors with its --network, or package.module:factory.
    out
        The file to write; with --for triton or kserve the directory, named as the model.
    defense
        The directory of a fitted defense, or a recipe. Can be given several times.
    server
        gateway: every rung of a ladder, and what the gateway wants to know; triton: a model repository; kserve: that
        and a manifest. Without it, a file for any server.
    rung
        Of a ladder this one alone, from 0.
    outputs_only
        The output defenses alone, from probabilities of so many --classes; no victim then.
    classes
        The number of classes, with --outputs-only.
    data
        The data set on whose test images the graph is checked; without it, noise.
    network
        The network that weights in a .safetensors file belong to, for the images of --data.
    probabilities
        The victim returns probabilities, not logits.
    """
    from feint import export as library
    from feint.data import load
    from feint.defenses.parsing import parse_defense
    from feint.service import Service
    from feint.victims import fingerprint

    servers = {"gateway": None, "triton": library.triton, "kserve": library.kserve}
    if server is not None and server not in servers:
        raise UnknownName.among("server", server, servers)
    if outputs_only != (victim is None) or outputs_only != (classes is not None):
        raise BadInput(
            "a victim and --outputs-only, or neither" if outputs_only != (victim is None) else "--classes by itself",
            "a VICTIM, or --outputs-only with --classes K", "give one of the two",
        )  # fmt: skip
    how = {"gateway": server == "gateway", "rung": rung}
    if victim is None or classes is not None:
        make = partial(library.outputs, parse_defense(defense), classes=classes or 0, **how)
    else:
        model = load_victim(victim, data, network, probabilities)
        service = Service(model, parse_defense(defense, victim=fingerprint(model)))
        inputs = load(data.partition("/")[0]).test.inputs(slice(0, 74)) if data else None
        make = partial(library.onnx, service, inputs=inputs, **how)
    wrap = servers[server] if server else None
    _say(wrap(out, make) if wrap else make(out))


def _say(written: "Written") -> None:
    checked, (name, shape) = written.checked, written.input
    print(f"{written.path}: {written.size / 1e6:.3g} MB")
    print(f"  input    {name} (N, {', '.join(map(str, shape))}) float32")
    print(f"  outputs  {', '.join(written.outputs)}; {written.classes} classes")
    print(
        f"  checked  {checked.rows} rows in batches of 1, 2, 7 and 64: the service's labels in all of them,"
        f" probabilities {f'within {checked.largest:.1g}' if checked.largest else 'to the last bit'}"
    )
    if checked.apart:
        print(f"  of these {checked.apart} are near a tie or a threshold, where the last bits of the model decide")
    if written.along:
        print(f"  with     {', '.join(map(str, written.along))}")
    if written.beside:
        rules = ", ".join(map(repr, written.beside))
        print(f"  beside   {rules}: kept by Feint's gateway alone; any other server answers without")
