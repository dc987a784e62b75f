"""Command `feint inspect`."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from feint.cli.app import PROTECT, app
from feint.cli.out import require_new
from feint.errors import BadInput

if TYPE_CHECKING:
    from feint.victims import RawModel
    from feint.victims.inspection import Inspection


@app.command(group=PROTECT)
def inspect(
    model: str,
    /,
    *,
    data: str | None = None,
    label: str | None = None,
    network: str | None = None,
    classes: str | None = None,
    padding: int | None = None,
    length: int | None = None,
    expect_accuracy: float | None = None,
    max_calls: int | None = None,
    out: Path = Path("model.toml"),
) -> None:
    """Find out how a model is used, and write it to a file that every other command takes in place of the model.

    Layouts, scales, normalisations, orders of colours and labels, and kinds of scores are tried on the samples; the
    adapter under which the model is right is written, with the evidence.

    Example: `feint inspect cnn.onnx --data photos --out cnn.toml`

    Args:
        model: File, directory, or package.module:name of a model.
        data: Labelled samples: a data set, a directory of CLASS/*.png, or a .csv, .parquet, .jsonl or .npz file.
            Without any, only what the model says of itself counts.
        label: Column of the label (default: label, target, class or y).
        network: Network of the weights in a .safetensors file.
        classes: Names of the model's classes in the order of its scores, like "cat,dog", or a text file with a name a
            line. Without them the order is measured where the model does not name its classes.
        padding: Token that fills sequences up (default: the one that most samples end with).
        length: Greatest length of a text in bytes, or of a sequence in tokens, that is asked about and served (default:
            the power of two that holds 95 % of the samples whole).
        expect_accuracy: Accuracy that the model has on the samples, like 0.93; it may be no better than chance.
        max_calls: Ceiling on the calls to a paid model; 100 are made at most.
        out: File to write.
    """
    from feint.cli.common import limit_calls, named_network
    from feint.signature import Text
    from feint.victims import ModelFile, load_raw
    from feint.victims.inspection import inspect_model, read_samples

    require_new(out)
    known = named_network(network, data, label)
    raw = load_raw(model, network=known)
    if classes is not None:
        raw.metadata = replace(raw.metadata, classes=_names(classes), named=True)
    if raw.meter is not None:
        limit_calls(model, raw.meter, max_calls)
    _print_raw(raw)
    if data is None:
        inspection = inspect_model(raw)
    else:
        samples = read_samples(raw, data, label=label, padding=padding, length=length)
        for remark in samples.remarks:
            print(f"  samples   {remark.text()}")
        named = bool(samples.assignments) and samples.assignments[0].rule == "name"
        inspection = inspect_model(raw, samples.split, samples.classes, named=named, expected=expect_accuracy)
        if isinstance(samples.split.domain, Text):
            print(f"  length    {samples.split.domain.length:,} bytes: longer texts are refused (--length)")
    _print_inspection(inspection)
    place = model if ":" in model and not Path(model).exists() else os.path.relpath(model, out.parent)
    ModelFile(place, inspection.adapter, known, inspection.evidence).write(out)
    options = [*(["--label", label] if label is not None else []), *(["--max-calls", "N"] if raw.meter else [])]
    following = shlex.join(["feint", "audit", str(out), "--data", data or "SAMPLES", *options])
    print(f"{out}: written. Next: {following}")


def _names(classes: str) -> tuple[str, ...]:
    """Return the names of classes, written with commas or in a file."""
    path = Path(classes)
    names = path.read_text("utf-8").splitlines() if path.is_file() else classes.split(",")
    named = tuple(name.strip() for name in names if name.strip())
    if len({*named}) < max(2, len(named)):
        raise BadInput(f"--classes {classes:.80}", "two or more different names", "mend the list")
    return named


def _print_raw(raw: "RawModel") -> None:
    print(f"{raw.place}")
    for name, specs in (("input", raw.inputs), ("output", raw.outputs)):
        for spec in specs:
            print(f"  {name:9} {spec}")
    if raw.metadata.note:
        print(f"  note      {raw.metadata.note}")


def _print_inspection(inspection: "Inspection") -> None:
    names = inspection.adapter.classes
    more = f", … ({len(names)})" if len(names) > 10 else ""
    print(f"  classes   {', '.join(names[:10])}{more}")
    for i, line in enumerate(inspection.evidence):
        print(f"  {'' if i else 'evidence':9} {line}")
