"""Mean discrepancy: a two-sample test of long windows, for clients of whose queries few are out of place."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.defenses.access._bets import joint_quantile, levels, priced_bets, window_payments
from feint.defenses.access._ranks import RankInClass, by_class
from feint.defenses.access.detector import CalibratedDetector
from feint.defenses.access.windows import WindowMeans
from feint.defenses.scores import Score, calibrate, scores
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext, Fittable
from feint.ledger import Ledger
from feint.recipes.store import Weights
from feint.victims import answers, logits

WINDOWS, SETS = 2000, 2000  # simulated at fit: benign windows, and calibration sets
DEPTH = 30.0  # nats below the largest logit, at which e^−30 makes no difference to any answer


@dataclass(frozen=True)
class MeanDiscrepancy(CalibratedDetector):
    """Two-sample test of each window of a client's queries by the mean of their sorted logits, or of their surprise.

    The statistic is the squared maximum mean discrepancy (Gretton et al., JMLR 2012) of a linear kernel: the squared
    distance between the mean of a window's logits, centred and sorted, and the mean of the n benign inputs'. Its rank
    among windows drawn from these is a p-value, which is bet on when the window ends.

    A bet has a price, as in `SequentialTest`. The mean μ of benign queries is not that of the calibration set, and what
    that does to a window grows with its length. The price is the largest mean payment, over calibration sets as the
    Bayesian bootstrap (Rubin, Annals of Statistics 1981) draws them, for all bets at once with probability 1 − `delta`.
    An honest client whose queries are independent draws from the calibration's distribution is then ever accused with
    probability ≤ alpha, up to the bootstrap's error. That windows of unlike queries are told from benign ones is all
    that it sees: changes of the inputs that a `SequentialTest` forgives as slices are not forgiven here.

    Attributes:
        window: Queries in a window, 2 or more.
        alpha: Probability with which an honest client may ever be accused.
        delta: Probability with which the calibration set may break that promise.
        dimensions: Largest logits that are read, 1 or more.
        score: Score whose surprise is read in place of logits, one that need not be trained; None for logits.
        benign: The mean, distances of benign windows, prices and the number of classes, set by `fit`.
    """

    cite: ClassVar[str] = "gretton2012kernel"
    window: int = 500
    alpha: float = 1e-3
    delta: float = 5e-3
    dimensions: int = 16
    score: Score | None = None
    benign: Weights | None = None

    def __post_init__(self) -> None:
        if not (self.window >= 2 and self.dimensions >= 1 and 0 < self.alpha < 1 and 0 < self.delta < 1):
            raise BadRecipe(repr(self), "window ≥ 2, dimensions ≥ 1, 0 < alpha, delta < 1", "change it")
        if isinstance(self.score, Fittable):
            raise BadRecipe(repr(self.score), "a score that need not be trained, such as Energy()", "take another")

    def fit_from(self, context: FitContext) -> Self:
        """Return this test calibrated on benign inputs, on which the victim was not trained.

        Raises:
            BadInput: if there are fewer inputs than two windows.
        """
        if len(context.inputs) < 2 * self.window:
            raise BadInput(f"{len(context.inputs)} benign inputs", f"two windows of {self.window} or more", "give more")
        classes = logits(context.victim, context.inputs.inputs(slice(0, 1))).shape[1]
        if self.score is None:
            score, ranks, read = None, {}, SortedLogits(self.dimensions)
        else:
            score, s = calibrate(self.score, context)
            ranks = by_class(s, answers(context.victim, context.inputs).argmax(-1), classes)
            del ranks["inputs"]
            read = Surprise(RankInClass(score, ranks))
        rows = scores(read, context.victim, context.inputs, context.progress).double()
        generator = torch.Generator().manual_seed(context.seed)
        apart = rows - rows.mean(0)
        chosen = (torch.randint(len(rows), (self.window,), generator=generator) for _ in range(WINDOWS))
        windows = torch.stack([apart[part].mean(0) for part in chosen])
        ranked = -windows.square().sum(-1).sort(descending=True).values
        drawn = torch.empty(SETS, len(rows), dtype=torch.float64).exponential_(generator=generator)
        shifts = drawn / drawn.sum(-1, keepdim=True) @ apart
        paid, _ = window_payments(levels(len(ranked)))
        learned = {
            "reference": rows.mean(0),
            "inputs": ranked,
            "prices": joint_quantile(_mean_payments(ranked, paid, shifts, windows), self.delta),
            "classes": torch.tensor(classes),
            **ranks,
        }
        return replace(self, score=score, benign=Weights.of(learned))

    @property
    def ranked_score(self) -> "SortedLogits | Surprise":
        """The largest logits, or the surprise of the score."""
        return SortedLogits(self.dimensions) if self.score is None else Surprise(RankInClass(self.score, self.learned))

    @property
    def columns(self) -> int:
        return len(self.learned["reference"])

    def martingale(self) -> WindowMeans:
        return WindowMeans(self.window, priced_bets(self.learned, self.alpha), self.learned["reference"].numpy())


@dataclass(frozen=True)
class SortedLogits:
    """Largest logits of each input, less the mean of all.

    Attributes:
        dimensions: Number of them, or that of the classes where it is smaller.
    """

    of_probabilities: ClassVar[bool] = False
    dimensions: int

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        near = torch.maximum(z, z.amax(-1, keepdim=True) - DEPTH)
        largest = near.topk(min(self.dimensions, z.shape[-1]), dim=-1).values
        return largest - near.mean(-1, keepdim=True)


@dataclass(frozen=True)
class Surprise:
    """−log of the p-value of a score within the predicted class, (N, 1).

    Attributes:
        ranked: The p-value.
    """

    of_probabilities: ClassVar[bool] = False
    ranked: RankInClass

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        least = 1 / (1 + self.ranked.benign["class_counts"].max())  # of a score that is no finite number
        return -torch.maximum(self.ranked(x, z), least).log()[:, None]

    def bind(self, model: nn.Module, ledger: Ledger) -> "Surprise":
        """Return this with the score bound to `model` and `ledger`."""
        return replace(self, ranked=self.ranked.bind(model, ledger))


def _mean_payments(ranked: Tensor, paid: Tensor, shifts: Tensor, windows: Tensor) -> Tensor:
    """Return what each bet pays on average, (shifts, bets), where the mean of benign queries is shifted.

    Args:
        ranked: Negative distances of benign windows, (n,), rising.
        paid: Payment of each bet at each rank, (n + 1, bets).
        shifts: Shifts of the mean, (s, d).
        windows: Means of benign windows from that of all, (r, d).
    """
    means = []
    for part in shifts.split(100):
        distances = (part[:, None] + windows).square().sum(-1)
        means.append(paid[torch.searchsorted(ranked, -distances, right=True)].mean(1))
    return torch.cat(means)
