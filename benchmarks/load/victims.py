"""Small model with a budget, evidence and an output defense, exported as an owner would."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

import feint
from benchmarks.load.clients import ExpectedAnswers
from feint import Defense, Service
from feint.data import Split
from feint.defense import Ladder
from feint.defenses.access import Budget, SequentialTest
from feint.defenses.outputs import APGP
from feint.defenses.scores import MaxProbability
from feint.gateway.backends.onnx_model import OnnxModel

SHAPE, CLASSES = (3, 32, 32), 10
OUTPUTS = "outputs.onnx"
DIFFERENT = 251  # inputs in turn: more than are remembered of a client, and no multiple of the number of clients


def inputs(n: int, seed: int = 0) -> np.ndarray:
    """Return `n` images of noise in 256 levels, (n, 3, 32, 32) float32."""
    return (np.random.default_rng(seed).integers(0, 256, (n, *SHAPE)) / 255).astype(np.float32)


def model() -> nn.Module:
    """Return a linear classifier, since the gateway is measured and not the network."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, CLASSES)).eval()


def exported(room: Path) -> tuple[Path, Path]:
    """Export the bare model and the defended one, and beside them `OUTPUTS`, the output defense alone.

    Returns:
        The ONNX files in `room` of the bare model, and of the one with a budget, evidence and APGP.
    """
    victim = model()
    bare, defended = room / "bare.onnx", room / "defended.onnx"
    noise = (255 * inputs(2000)).round().astype(np.uint8)
    split = Split.of(noise, np.zeros(len(noise), np.int64), name="noise")
    apgp = APGP(top=1, steps=300).fit(victim, split)
    test = SequentialTest(MaxProbability()).fit(victim, split)
    rungs = [Defense(outputs=[apgp]), Defense(outputs=[APGP(steps=300).fit(victim, split)])]
    ladder = Ladder([test], rungs, access=[Budget(10**9)])
    feint.export.onnx(Service(victim), bare, inputs=split.inputs(slice(0, 128)))
    feint.export.onnx(Service(victim, ladder), defended, inputs=split.inputs(slice(0, 128)), gateway=True)
    feint.export.outputs(rungs[0], room / OUTPUTS, classes=CLASSES, gateway=True)
    return bare, defended


def answers(bare: Path, defended: Path, n: int = 64) -> ExpectedAnswers:
    """Return requests and their possible answers: those of the rungs of `defended`, a model or an output defense."""
    x = inputs(n, seed=2)
    graph = OnnxModel(defended)
    out = graph.run(x if graph.takes == "x" else OnnxModel(bare).run(x).rungs[0])
    tensors = [{"name": "x", "shape": [1, *SHAPE], "datatype": "FP32", "data": row.ravel().tolist()} for row in x]
    return ExpectedAnswers(
        [json.dumps({"inputs": [tensor]}).encode() for tensor in tensors], list(zip(*out.rungs, strict=True))
    )
