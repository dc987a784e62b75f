"""Command `feint export`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from feint.cli.app import PROTECT, app
from feint.cli.common import check_victim, load_model, owner_samples
from feint.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from feint.export import Written


@app.command(group=PROTECT)
def export(
    victim: str | None = None,
    /,
    *,
    out: Path,
    defense: tuple[str, ...] = (),
    server: Annotated[str | None, Parameter(name="--for")] = None,
    rung: int | None = None,
    outputs_only: bool = False,
    classes: int | None = None,
    data: str | None = None,
    network: str | None = None,
    label: str | None = None,
    expect_accuracy: float | None = None,
) -> None:
    """Export a defended model as one ONNX file, checked in onnxruntime against its service.

    Example: `feint export runs/victim --defense runs/apgp --data digits --out digits.onnx`

    Args:
        victim: Directory of a trained victim, model.toml, model file, or package.module:name.
        out: File to write; with --for triton or kserve a directory, named as the model.
        defense: Directory of a fitted defense, or a recipe. Repeat the option for several.
        server: gateway: every rung of a ladder, with detector scores; triton: a model repository; kserve: a model
            repository and a manifest (default: one file for any server).
        rung: Number of the only rung of a ladder to export, from 0.
        outputs_only: Export the output defenses alone, which take probabilities of --classes classes; no victim then.
        classes: Number of classes, with --outputs-only.
        data: Data set on whose test inputs the graph and the victim's accuracy are checked, or a file or directory of
            labelled samples (default: noise, and no accuracy).
        network: Network of the weights in a .safetensors file, for the inputs of --data.
        label: Column of the label in a file (default: label, target, class or y).
        expect_accuracy: Accuracy that the victim has on the data, like 0.93. A lower one is an error; without this
            option, one that is no better than chance, or that another adapter would raise.

    Raises:
        BadInput: For a victim with --outputs-only, or for --classes alone.
    """
    from feint import export as library
    from feint.defenses.parsing import parse_defense
    from feint.service import Service
    from feint.victims import fingerprint

    write = _writer(server)
    if outputs_only != (victim is None) or outputs_only != (classes is not None):
        raise BadInput(
            "a victim and --outputs-only, or neither" if outputs_only != (victim is None) else "--classes by itself",
            "a VICTIM, or --outputs-only with --classes K", "give one of the two",
        )  # fmt: skip
    options = {"gateway": server == "gateway", "rung": rung}
    if victim is not None and Path(victim).exists() and out.exists() and out.samefile(victim):
        raise BadInput(f"--out {out}, the model itself", "another file", f"--out {out.stem}-defended.onnx")
    if victim is None or classes is not None:
        make = partial(library.outputs, parse_defense(defense), classes=classes or 0, **options)
    else:
        model = load_model(victim, data, network, label)
        library.require_exportable(model)
        service = Service(model, parse_defense(defense, victim=fingerprint(model)))
        inputs = None
        if data is not None:
            samples = owner_samples(data, model, label)
            check_victim(model, samples.split, victim, data, expect_accuracy, samples.classes, label)
            inputs = samples.split.inputs(slice(0, 74))
        make = partial(library.onnx, service, inputs=inputs, **options)
    _print(write(out, make))


def _writer(server: str | None) -> "Callable[[Path, Callable[[Path], Written]], Written]":
    """Return what writes the files of a server, or raise `UnknownName`."""
    from feint import export as library
    from feint.recipes.store import check_writable

    def write_file(file: Path, make: "Callable[[Path], Written]") -> "Written":
        check_writable(file)
        return make(file)

    writers = {"gateway": write_file, "triton": library.triton, "kserve": library.kserve}
    if server is not None and server not in writers:
        raise UnknownName.among("server", server, writers)
    return writers[server] if server else write_file


def _print(written: "Written") -> None:
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
        print(f"  beside   {rules}: applied by Feint's gateway only; other servers ignore them")
