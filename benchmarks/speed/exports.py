"""A defended ResNet-18 in one ONNX graph beside the bare one, in onnxruntime; one thread."""

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.speed.clock import least, pairs
from feint import Defense, Service, export
from feint.defenses.outputs import APGP, ReverseSigmoid, Rounding
from feint.defenses.outputs.output import Output
from feint.gateway.backends.onnx_model import OnnxModel
from feint.models.networks import Network
from feint.signature import Pixels
from feint.victims import logits

Row = dict[str, str | float]
REPEATS = {1: 200, 128: 7}  # turns at each size of batch: three minutes of a core together


def cost() -> list[Row]:
    """Measure the processor time of a batch of 3×32×32 inputs in milliseconds.

    Returns:
        Medians of the defended graph and of the bare one beside it, and the least time of the output defense alone.
    """
    model = Network("resnet18", Pixels((3, 32, 32)), 10).build(0).eval()
    x = torch.rand(128, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    p = (4 * logits(model, x)).softmax(-1)
    defenses: Mapping[str, Output] = {
        "APGP all-order": APGP(steps=50).fit_answers(p),
        "APGP top-1": APGP(top=1, steps=50).fit_answers(p),
        "reverse sigmoid": ReverseSigmoid(),
        "rounding to 3 decimals": Rounding(3),
    }
    with tempfile.TemporaryDirectory() as folder:
        whole, alone = _graphs(model, defenses, Path(folder))
        return [row for n, repeats in REPEATS.items() for row in _beside(whole, alone, x[:n], p[:n], repeats)]


def _graphs(
    model: torch.nn.Module, defenses: Mapping[str, Output], folder: Path
) -> tuple[dict[str, OnnxModel], dict[str, OnnxModel]]:
    """Return the graphs of the model without ("bare") and with each defense, and of each defense without the model."""
    lines = {"bare": Defense()} | {name: Defense(outputs=[it]) for name, it in defenses.items()}
    whole = {
        name: OnnxModel(export.onnx(Service(model, line), folder / f"{name}.onnx").path) for name, line in lines.items()
    }
    alone = {
        name: OnnxModel(export.outputs(lines[name], folder / f"{name}, alone.onnx", classes=10).path)
        for name in defenses
    }
    return whole, alone


def _beside(
    whole: Mapping[str, OnnxModel], alone: Mapping[str, OnnxModel], x: torch.Tensor, p: torch.Tensor, repeats: int
) -> Iterator[Row]:
    """Time each graph beside the bare one; the bare one beside itself shows the noise of a ratio."""
    bare = partial(whole["bare"].run, x.numpy())
    for name, graph in whole.items():
        ours, others = pairs(partial(graph.run, x.numpy()), bare, repeats=repeats)
        row: Row = {
            "defense": name,
            "batch": len(x),
            "ms": median(ours) * 1e3,
            "bare_ms": median(others) * 1e3,
            "ratio": median(one / other for one, other in zip(ours, others, strict=True)),
        }
        if name in alone:
            row["alone_ms"] = least({name: partial(alone[name].run, p.numpy())}, repeats=1000)[name] * 1e3
        yield row
