"""Check of an exported graph against its service on the same rows. Only a graph that agrees is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from feint.defense import Defense, bind
from feint.defenses.outputs import Output
from feint.defenses.outputs.gated import ranks_kept
from feint.defenses.outputs.rows import ranking
from feint.errors import NotExportable
from feint.export.tracing import FixedLogits, Parts, apply_outputs
from feint.gateway.backends.onnx_model import OnnxModel
from feint.ledger import Ledger
from feint.models.simplex import log_probabilities
from feint.query import Query
from feint.service import Service
from feint.victims import logits

BATCHES = 1, 2, 7, 64
TOLERANCE = 1e-5
REMEDY = "nothing was written; report it with the recipe and the model"


@dataclass(frozen=True)
class CheckResult:
    """Result of a check.

    Attributes:
        rows: Number of rows that were compared.
        largest: Largest difference of a probability.
        apart: Number of rows at a jump of the defense (a tie, a threshold). There the last bits of the undefended
            answer decide, so graph and service differ. The service's defenses agree with the graph once they are
            applied to the graph's own undefended answer.
    """

    rows: int
    largest: float
    apart: int


@dataclass(frozen=True)
class ExpectedOutput:
    """Output of a service for one batch.

    Attributes:
        rows: Inputs of the graph: images (N, …), or undefended answers (N, K).
        answers: Defended answers (N, K) of each rung.
        scores: Scores (N,) or (N, d) of each detector.
        x: Images, None where the rows are undefended answers.
        z: Logits (N, K) of the model, None where the rows are undefended answers.
    """

    rows: Tensor
    answers: Sequence[Tensor]
    scores: Sequence[Tensor]
    x: Tensor | None = None
    z: Tensor | None = None


def batches(rows: Tensor) -> Iterator[Tensor]:
    """Yield the rows in batches of 1, 2, 7 and 64, and start over at the first row where there are too few."""
    return iter(rows[torch.arange(sum(BATCHES)) % len(rows)].split(list(BATCHES)))


def awkward(classes: int) -> Tensor:
    """Return answers (74, K) that break careless code: one-hot, nearly tied, tied, and from flat to confident."""
    generator = torch.Generator().manual_seed(classes)
    one_hot = torch.eye(classes, dtype=torch.float64)[[0, classes // 2, -1]]
    near = torch.ones(1, classes, dtype=torch.float64)
    near[0, -1] += 1e-6
    tied = torch.randint(0, 4, (20, classes), generator=generator).double() + 1e-3
    sharp = torch.logspace(-2, 2, 50, dtype=torch.float64)[:, None]
    confident = (torch.randn(50, classes, generator=generator).double() * sharp).softmax(-1)
    rows = torch.cat([one_hot, near, tied, confident])
    return (rows / rows.sum(-1, keepdim=True)).float()


def expected_of_inputs(model: nn.Module, parts: Parts, x: Tensor) -> ExpectedOutput:
    """Run a service of each rung on the inputs `x` (N, …)."""
    z = logits(model, x)
    answers = [Service(model, Defense(outputs=rung.outputs))(Query(x)).p for rung in parts.rungs]
    return ExpectedOutput(x, answers, _scores(parts, model, x, z), x, z)


def expected_of_answers(parts: Parts, p: Tensor) -> ExpectedOutput:
    """Apply the output defenses of each rung to undefended answers `p` (N, K)."""
    z = log_probabilities(p)
    answers = [apply_outputs(rung.outputs, p, None, None) for rung in parts.rungs]
    return ExpectedOutput(p, answers, _scores(parts, FixedLogits(z), p[:, :0], z))


def _scores(parts: Parts, model: nn.Module, x: Tensor, z: Tensor) -> list[Tensor]:
    return [bind(score, model, Ledger())(x, z) for score in parts.scores]


def check(
    graph: OnnxModel, undefended: Callable[[np.ndarray], Tensor], parts: Parts, expected: Sequence[ExpectedOutput]
) -> CheckResult:
    """Run a graph and compare all its outputs with those of the service.

    Args:
        graph: The exported graph.
        undefended: Returns the graph's own undefended answers (N, K) to its inputs.
        parts: Rungs and scores of the graph.
        expected: Batches of the service.

    Returns:
        The comparison. Another label or order, or a value more than 1e-5 off, is raised as `NotExportable`.
    """
    compared = []
    for batch in expected:
        output, p = graph.run(batch.rows.numpy()), undefended(batch.rows.numpy())
        if batch.z is not None:
            _require_close(p, batch.z.softmax(-1), "undefended answers")
        for score, reference in zip(output.scores, batch.scores, strict=True):
            scale = 1 + reference.abs()
            _require_close(torch.from_numpy(score) / scale, reference / scale, "scores")
        for i, rung in enumerate(parts.rungs):
            q = torch.from_numpy(output.rungs[i])
            compared.append(_compare(q, batch, i, p, rung))
            if output.moved is not None:
                _require_close(torch.from_numpy(output.moved[i]) / 10, (q - p).abs().sum(-1) / 10, "distances")
    rows = sum(len(batch.rows) for batch in expected)
    return CheckResult(rows, max(result.largest for result in compared), sum(result.apart for result in compared))


def _compare(q: Tensor, batch: ExpectedOutput, i: int, p: Tensor, rung: Defense) -> CheckResult:
    """Compare the answers `q` (N, K) of the graph's rung `i` with the service's; `p` are undefended, of the graph."""
    service = batch.answers[i]
    apart = (q - service).abs().amax(-1) > TOLERANCE
    if apart.any():
        service = torch.where(apart[:, None], apply_outputs(rung.outputs, p, batch.x, batch.z), service)
    largest = _require_close(q, service, "answers")
    behind = q.amax(-1) - q.gather(-1, service.argmax(-1, keepdim=True))[:, 0]  # of equals any may be first in floats
    labels = (behind > TOLERANCE / 10).sum().item()
    ranks = min(
        (ranks_kept(step.preserves) if isinstance(step, Output) else 0 for step in rung.outputs), default=torch.inf
    )
    top = int(min(ranks, p.shape[-1]))
    orders = (ranking(q)[1][:, :top] != ranking(p)[1][:, :top]).any(-1).sum().item()
    if labels or orders:
        raise NotExportable(
            f"a graph with another label in {labels} and another order in {orders} of {len(q)} rows", "the same", REMEDY
        )
    return CheckResult(len(q), largest, int(apart.sum()))


def _require_close(actual: Tensor, expected: Tensor, what: str) -> float:
    """Return the largest difference, or raise `NotExportable` if it is more than 1e-5."""
    worst = (actual - expected).abs().max().item() if actual.shape == expected.shape else torch.inf
    if not worst <= TOLERANCE:  # written so that NaN is refused as well
        raise NotExportable(f"a graph whose {what} are {worst:.2g} from the service's", f"≤ {TOLERANCE:g}", REMEDY)
    return worst
