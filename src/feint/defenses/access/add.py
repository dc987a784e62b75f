"""ADD: class-conditional Fréchet distance of short windows of queries from benign inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from feint.defenses.access._bets import levels, priced_bets, prices, window_payments
from feint.defenses.access.detector import CalibratedDetector
from feint.defenses.access.windows import WindowFrechet, frechet
from feint.defenses.feature_scores import ClassFeatures
from feint.defenses.scores import scores
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext
from feint.recipes.store import Weights, with_prefix
from feint.victims import logits

LEAST = 20  # benign windows


@dataclass(frozen=True)
class ADD(CalibratedDetector):
    """Fréchet distance of each window of a client's queries from benign inputs, class by predicted class.

    D-ADD (Mei et al., AAAI 2025) measures the features of a window against Gaussians of the training data, one for each
    predicted class (`feint.defenses.access.windows.frechet`), and accuses above a threshold. Here one half of the
    benign inputs makes the Gaussians, and the other is divided into disjoint windows. A client's window has the rank of
    its distance among these as p-value, and bets are made on it at the prices of `SequentialTest`: an honest client
    whose queries are independent draws from the calibration's distribution is ever accused with probability ≤ alpha
    (+ delta, once). With m benign windows no bet pays more than m + 1 a window, so that two or more are needed.

    Features have unit length, which tells CIFAR-100 from CIFAR-10 better, and are read in the `dimensions` directions
    in which a class varies most and the length of the rest: a client's memory is a window of these. Both were chosen
    here, as was the bet; the paper's answer to an accused window, a random one, is a rung of a ladder.

    Attributes:
        window: Queries in a window, 2 or more.
        alpha: Probability with which an honest client may ever be accused.
        delta: Probability with which the calibration set may break that promise.
        on: What is read: "features", the input of the victim's last linear layer, or "logits".
        dimensions: Directions that are read, 1 or more.
        benign: Projection, Gaussians, distances of benign windows, prices and the number of classes, set by `fit`.
    """

    cite: ClassVar[str] = "mei2025dadd"
    window: int = 16
    alpha: float = 1e-3
    delta: float = 5e-3
    on: str = "features"
    dimensions: int = 8
    benign: Weights | None = None

    def __post_init__(self) -> None:
        if not (self.window >= 2 and self.dimensions >= 1 and 0 < self.alpha < 1 and 0 < self.delta < 1):
            raise BadRecipe(repr(self), "window ≥ 2, dimensions ≥ 1, 0 < alpha, delta < 1", "change it")
        ClassFeatures(self.on)

    def fit_from(self, context: FitContext) -> Self:
        """Return this detector calibrated on benign inputs, on which the victim was not trained.

        Raises:
            BadInput: if half of the inputs make fewer than 20 windows.
        """
        inputs = context.inputs
        count = len(inputs) // 2 // self.window
        if count < LEAST:
            raise BadInput(f"{len(inputs)} benign inputs", f"{2 * LEAST * self.window} or more", "give more")
        first, second = (inputs.take(slice(i, None, 2), part=f"{inputs.part}, half {i}") for i in (0, 1))
        score = ClassFeatures(self.on, dimensions=self.dimensions).fit_from(replace(context, inputs=first))
        known, held = (scores(score, context.victim, part, context.progress) for part in (first, second))
        classes = logits(context.victim, inputs.inputs(slice(0, 1))).shape[1]
        fitted = gaussians(known[:, :-1].double(), known[:, -1].long(), classes)
        order = torch.randperm(len(held), generator=torch.Generator().manual_seed(context.seed))
        windows = held[order[: count * self.window]].double().view(count, self.window, -1)
        means, roots = (fitted[name].numpy() for name in ("means", "roots"))
        far = [frechet(part[:, :-1].numpy(), part[:, -1].int().numpy(), means, roots) for part in windows]
        assert score.weights is not None
        learned = {
            **{f"score/{name}": tensor for name, tensor in score.weights.tensors.items()},
            **fitted,
            "inputs": -torch.tensor(far, dtype=torch.float64).sort(descending=True).values,
            "prices": prices(window_payments(levels(count))[0], self.delta),
            "classes": torch.tensor(classes),
        }
        return replace(self, benign=Weights.of(learned))

    @property
    def ranked_score(self) -> ClassFeatures:
        """The features that are read, and the predicted class."""
        return ClassFeatures(self.on, Weights.of(with_prefix("score/", self.learned)), self.dimensions)

    @property
    def columns(self) -> int:
        return self.learned["means"].shape[1] + 1

    def martingale(self) -> WindowFrechet:
        means, roots = (self.learned[name].numpy() for name in ("means", "roots"))
        return WindowFrechet(self.window, priced_bets(self.learned, self.alpha), means, roots)


def gaussians(rows: Tensor, predicted: Tensor, classes: int) -> Mapping[str, Tensor]:
    """Return the mean (K, d) and the root of the covariance (K, d, d) of each predicted class.

    Classes with fewer than 2 d rows have those of all rows.
    """
    means, roots = [], []
    for label in range(classes):
        part = rows[predicted == label]
        part = part if len(part) >= 2 * rows.shape[1] else rows
        values, vectors = torch.linalg.eigh(torch.cov(part.T))
        means.append(part.mean(0))
        roots.append(vectors * values.clamp_min(0).sqrt() @ vectors.T)
    return {"means": torch.stack(means), "roots": torch.stack(roots)}
