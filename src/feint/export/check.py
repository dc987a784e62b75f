"""A graph beside the service that it was made of, on the same rows: it is written where they agree."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from feint.defense import Defense
from feint.defenses.outputs import Output
from feint.defenses.outputs.gated import ranks_kept
from feint.defenses.outputs.rows import ranking
from feint.errors import NotExportable
from feint.export.tracing import Parts, through
from feint.gateway.backends.onnx_model import OnnxModel
from feint.query import Query
from feint.service import Service
from feint.victims import logits

BATCHES = 1, 2, 7, 64
NEAR = 1e-5
REMEDY = "nothing was written; report it with the recipe and the model"


@dataclass(frozen=True)
class Checked:
    """What was compared: `rows` of inputs, the `largest` difference of a probability, and how many rows are `apart`.

    These differ because the graph's undefended answer differs from the service's in its last bits, where the defense
    jumps (a tie, a threshold): of the graph's own the service's output defenses make what the graph says.
    """

    rows: int
    largest: float
    apart: int


@dataclass(frozen=True)
class ExpectedOutput:
    """What a service says of one batch of `rows`: for each rung its answers (N, K), and the scores (N,).

    `x` and `z` are the inputs and the model's logits, None where the rows are undefended answers.
    """

    rows: Tensor
    answers: Sequence[Tensor]
    scores: Sequence[Tensor]
    x: Tensor | None = None
    z: Tensor | None = None


def batches(rows: Tensor) -> Iterator[Tensor]:
    """The rows in batches of 1, 2, 7 and 64, taken again from the front where there are too few."""
    return iter(rows[torch.arange(sum(BATCHES)) % len(rows)].split(list(BATCHES)))


def awkward(classes: int) -> Tensor:
    """Answers (74, K) that break careless code: one-hot, nearly tied, tied, and from flat to confident."""
    generator = torch.Generator().manual_seed(classes)
    one_hot = torch.eye(classes, dtype=torch.float64)[[0, classes // 2, -1]]
    near = torch.ones(1, classes, dtype=torch.float64)
    near[0, -1] += 1e-6
    tied = torch.randint(0, 4, (20, classes), generator=generator).double() + 1e-3
    sharp = torch.logspace(-2, 2, 50, dtype=torch.float64)[:, None]
    confident = (torch.randn(50, classes, generator=generator).double() * sharp).softmax(-1)
    rows = torch.cat([one_hot, near, tied, confident])
    return (rows / rows.sum(-1, keepdim=True)).float()


def of_inputs(model: nn.Module, parts: Parts, x: Tensor) -> ExpectedOutput:
    """What a service of each rung says of the inputs."""
    z = logits(model, x)
    answers = [Service(model, Defense(outputs=rung.outputs))(Query(x)).p for rung in parts.rungs]
    return ExpectedOutput(x, answers, [score(x, z) for score in parts.scores], x, z)


def of_answers(parts: Parts, p: Tensor) -> ExpectedOutput:
    """What the output defenses of each rung make of undefended answers."""
    z = p.clamp_min(torch.finfo(p.dtype).tiny).log()
    answers = [through(rung.outputs, p, None, None) for rung in parts.rungs]
    return ExpectedOutput(p, answers, [score(p, z) for score in parts.scores])


def check(
    graph: OnnxModel, undefended: Callable[[np.ndarray], Tensor], parts: Parts, expected: Sequence[ExpectedOutput]
) -> Checked:
    """Run a graph, and a copy of it that tells its `undefended` answers. Raises `NotExportable` where it is wrong."""
    found = []
    for batch in expected:
        said, p = graph.run(batch.rows.numpy()), undefended(batch.rows.numpy())
        if batch.z is not None:
            _close(p, batch.z.softmax(-1), "undefended answers")
        for score, own in zip(said.scores, batch.scores, strict=True):
            _close(torch.from_numpy(score) / (1 + own.abs()), own / (1 + own.abs()), "scores")
        for i, rung in enumerate(parts.rungs):
            q = torch.from_numpy(said.rungs[i])
            found.append(_compared(q, batch, i, p, rung))
            if said.moved is not None:
                _close(torch.from_numpy(said.moved[i]) / 10, (q - p).abs().sum(-1) / 10, "distances")
    rows = sum(len(batch.rows) for batch in expected)
    return Checked(rows, max(it.largest for it in found), sum(it.apart for it in found))


def _compared(q: Tensor, batch: ExpectedOutput, i: int, p: Tensor, rung: Defense) -> Checked:
    """The answers `q` of a graph beside the service's; `p` is the graph's own undefended answer."""
    service = batch.answers[i]
    apart = (q - service).abs().amax(-1) > NEAR
    if apart.any():
        service = torch.where(apart[:, None], through(rung.outputs, p, batch.x, batch.z), service)
    largest = _close(q, service, "answers")
    behind = q.amax(-1) - q.gather(-1, service.argmax(-1, keepdim=True))[:, 0]  # of equals any may be first in floats
    labels = (behind > NEAR / 10).sum().item()
    kept = min((ranks_kept(it.preserves) if isinstance(it, Output) else 0 for it in rung.outputs), default=torch.inf)
    top = int(min(kept, p.shape[-1]))
    orders = (ranking(q)[1][:, :top] != ranking(p)[1][:, :top]).any(-1).sum().item()
    if labels or orders:
        raise NotExportable(
            f"a graph with another label in {labels} and another order in {orders} of {len(q)} rows", "the same", REMEDY
        )
    return Checked(len(q), largest, int(apart.sum()))


def _close(found: Tensor, expected: Tensor, what: str) -> float:
    """The largest difference. Raises `NotExportable` where it is more than 1e-5."""
    worst = (found - expected).abs().max().item() if found.shape == expected.shape else torch.inf
    if not worst <= NEAR:  # written so that NaN is refused as well
        raise NotExportable(f"a graph whose {what} are {worst:.2g} from the service's", f"≤ {NEAR:g}", REMEDY)
    return worst
