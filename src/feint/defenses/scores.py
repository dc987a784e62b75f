"""Scores of how ordinary a query looks: functions `(x, z) -> (N,)` of inputs and undefended logits; low is suspicious.

A detector of the access room turns scores into evidence against a client. A gate of the outputs room turns them into
the share of the harsh answer. `of_probabilities` marks a score that is the same for `z` and for log softmax(z).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.defense import bind
from feint.defenses.access.martingale import LAST_BITS
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.fitting import FitContext, Fittable
from feint.ledger import Ledger
from feint.progress import ProgressCallback
from feint.query import channels_last
from feint.recipes.store import Weights
from feint.victims import CachedForward, logits, penultimate

__all__ = ["Energy", "LearnedScore", "MaxProbability"]

READS = "features", "logits"


class Score(Protocol):
    """Score of queries, of which low values are suspicious."""

    of_probabilities: ClassVar[bool]

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the scores (N,) of inputs `x` (N, …) with undefended logits `z` (N, K)."""
        ...


@dataclass(frozen=True)
class Energy:
    """Negative free energy, T log Σ exp(z_k / T) (Liu, Wang, Owens and Li, NeurIPS 2020).

    Attributes:
        temperature: T, above 0.
    """

    of_probabilities: ClassVar[bool] = False
    cite: ClassVar[str] = "liu2020energy"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise BadRecipe(f"a temperature of {self.temperature}", "a number above 0", "change it")

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        return self.temperature * (z / self.temperature).logsumexp(-1)


@dataclass(frozen=True)
class MaxProbability:
    """Largest probability of the answer (Hendrycks and Gimpel, ICLR 2017)."""

    of_probabilities: ClassVar[bool] = True
    cite: ClassVar[str] = "hendrycks2017baseline"

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        return z.softmax(-1).amax(-1)


@dataclass(frozen=True)
class LearnedScore(Fittable):
    """Log odds of being benign, of a small network that was trained to tell benign inputs from outliers.

    The energy is one number that the victim happens to compute. A network on all that its last layer reads finds more:
    images that the energy finds ordinary, as selected or optimised ones are, need not be ordinary in every feature.
    That outliers of one kind teach what is out of place in others is outlier exposure (Hendrycks, Mazeika and
    Dietterich, ICLR 2019); here they train a detector, and the victim stays as it is.

    Features of a torch network come with its logits, at no further pass. Of any other model it reads the logits.

    Attributes:
        hidden: Hidden units.
        on: What the network reads: "features", the input of the victim's last linear layer, or "logits", less their
            mean.
        weights: The network and the scale of its inputs, set by `fit`.
    """

    of_probabilities: ClassVar[bool] = False
    cite: ClassVar[str] = "hendrycks2019deep"
    hidden: int = 64
    on: str = "features"
    weights: Weights | None = None

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.on not in READS:
            raise BadRecipe(repr(self), f"hidden ≥ 1, and on one of {', '.join(READS)}", "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this score trained on the benign inputs and the outliers of `context`.

        Raises:
            BadInput: if there are no outliers, or the victim has no features.
        """
        if context.outliers is None:
            raise BadInput("no outliers", "inputs of another task, to learn from", "name some: --outliers DATA")
        benign, others = (self._read_all(context.victim, part) for part in (context.inputs, context.outliers))
        scale = torch.stack([benign.mean(0), benign.std(0).clamp_min(1e-6)])
        layers = train_binary(scaled(benign, scale), scaled(others, scale), self.hidden, context.seed)
        return replace(self, weights=Weights.of({"scale": scale, **layers}))

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        if self.on == "features":
            raise NotFitted(f"{self!r} without the model's features", "a score on a line", "give it to a Service")
        return self.score_rows(centred(z))

    def bind(self, model: nn.Module, ledger: Ledger) -> Callable[[Tensor, Tensor], Tensor]:
        """Return this score bound to `model`, whose features it reads."""
        if self.on == "logits":
            return self
        if isinstance(model, CachedForward):
            model.read_features()
        return lambda x, z: self.score_rows(penultimate(model, x))

    def score_rows(self, rows: Tensor) -> Tensor:
        """Return the scores (N,) of features or centred logits (N, D)."""
        if self.weights is None or not self.weights.tensors:
            raise NotFitted(f"{self!r}", "a trained network", "fit it to a victim, benign inputs and outliers")
        scale, first, second = (self.weights.tensors[name].to(rows.device) for name in ("scale", "first", "second"))
        if not torch.compiler.is_exporting() and rows.shape[1] != scale.shape[1]:
            raise BadInput(f"{rows.shape[1]} {self.on}", f"the {scale.shape[1]} fitted to", "fit it to this victim")
        inner = torch.relu(with_one(scaled(rows, scale)) @ first)
        return (with_one(inner) @ second)[:, 0]

    def _read_all(self, victim: nn.Module, inputs: Split) -> Tensor:
        read = penultimate if self.on == "features" else lambda model, x: centred(logits(model, x))
        return torch.cat([read(victim.eval(), inputs.inputs(rows)) for rows in torch.arange(len(inputs)).split(500)])


STEPS, RATE, DECAY = 300, 0.01, 1e-3  # of Adam, on all rows at once: 2 s for 10,000 rows of 64 features


def train_binary(benign: Tensor, others: Tensor, hidden: int, seed: int) -> dict[str, Tensor]:
    """Train a network of one hidden layer to tell rows apart; both kinds weigh the same.

    Args:
        benign: Standardised rows (n, D), for which its output is high.
        others: Standardised rows (m, D).
        hidden: Hidden units H.
        seed: Seed of the first weights.

    Returns:
        The layers "first" (D + 1, H) and "second" (H + 1, 1), each with its biases as the last row.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = with_one(torch.cat([benign, others]))
    labels = torch.cat([torch.ones(len(benign)), torch.zeros(len(others))])
    shares = torch.cat([torch.full((len(part),), 0.5 / len(part)) for part in (benign, others)])
    sizes = (rows.shape[1], hidden), (hidden + 1, 1)
    layers = [torch.randn(size, generator=generator) * (2 / size[0]) ** 0.5 for size in sizes]
    with torch.enable_grad():
        layers = [layer.requires_grad_() for layer in layers]
        optimizer = torch.optim.Adam(layers, lr=RATE, weight_decay=DECAY)
        for _ in range(STEPS):
            odds = (with_one(torch.relu(rows @ layers[0])) @ layers[1])[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(odds, labels, weight=shares, reduction="sum")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {"first": layers[0].detach(), "second": layers[1].detach()}


def scaled(rows: Tensor, scale: Tensor) -> Tensor:
    """Return rows (N, D) less the mean, in deviations, at most 10 of them; `scale` (2, D) has both."""
    return ((rows - scale[0]) / scale[1]).clamp(-10, 10)


def with_one(rows: Tensor) -> Tensor:
    """Return rows (N, D) with a 1 at their end, (N, D + 1)."""
    return nn.functional.pad(rows, (0, 1), value=1.0)


def centred(z: Tensor) -> Tensor:
    """Return logits (N, K) less their mean, which softmax does not see."""
    return (z - z.mean(-1, keepdim=True)).float()


def calibrate(score: Score, context: FitContext) -> tuple[Score, Tensor]:
    """Return the score to use and its values (N,) on the inputs, on which a threshold or a test is calibrated.

    The energy of a model that returns probabilities is the same for every input. `MaxProbability` then takes the place
    of a score that is no score of probabilities.

    Raises:
        BadInput: if all inputs have the same value.
    """
    values = scores(score, context.victim, context.inputs, context.progress)
    if _alike(values) and not score.of_probabilities:
        score = MaxProbability()
        values = scores(score, context.victim, context.inputs, context.progress)
    if _alike(values):
        raise BadInput(
            f"the same {type(score).__name__} for all {len(values)} inputs", "answers that differ in their confidence",
            "a model of labels alone needs a detector of inputs: PRADA or SEAT",
        )  # fmt: skip
    return score, values


def _alike(values: Tensor) -> bool:
    return bool(len(values)) and bool(values.max() - values.min() <= LAST_BITS * values.abs().max().clamp_min(1))


def scores(score: Score, victim: nn.Module, inputs: Split, progress: ProgressCallback) -> Tensor:
    """Return the scores (N,), or statistics (N, d), of all `inputs` under `victim`."""
    parts, model = [], CachedForward(victim.eval())
    bound = bind(score, model, Ledger())
    for rows in torch.arange(len(inputs)).split(500):
        x = channels_last(inputs.inputs(rows))
        parts.append(bound(x, logits(model, x)))
        progress.step("calibrating", int(rows[-1]) + 1, len(inputs))
    return torch.cat(parts)
