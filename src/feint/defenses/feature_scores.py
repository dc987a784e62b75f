"""Scores that are fitted to what a victim's last layer reads, or to rows of a table: they say more than answers."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.fitting import FitContext, Fittable, learned_by
from feint.ledger import Ledger
from feint.models.preprocessing import TablePreprocessing, encoded
from feint.query import channels_last
from feint.recipes.store import Weights, with_prefix
from feint.signature import Columns
from feint.victims import CachedForward, logits, penultimate

__all__ = ["LearnedScore", "Mahalanobis"]

READS = "features", "logits", "inputs"
ENCODING = "encoding/"  # what the names of the tensors begin with by which rows of a table are read


@dataclass(frozen=True)
class FeatureScore(Fittable):
    """Base of scores of features (N, D), or of what else `on` says. A method defines `learn` and `score`.

    Features of a torch network come with its logits, at no further pass. Of any other model the logits, less their
    mean, can be read instead, and of rows of a table the inputs: standardised numbers, one-hot categories, and which
    values are missing (`feint.models.preprocessing`). The one logit of a model with two classes says little of a row;
    the row says which values occur together.
    """

    of_probabilities: ClassVar[bool] = False
    on: str = "features"
    weights: Weights | None = None

    def __post_init__(self) -> None:
        if self.on not in READS:
            raise BadRecipe(f"on={self.on!r}", f"one of {', '.join(READS)}", "change it")

    @abstractmethod
    def learn(self, benign: Tensor, predicted: Tensor, others: Tensor | None, seed: int) -> dict[str, Tensor]:
        """Return what the score learns.

        Args:
            benign: Rows of benign inputs, (n, D).
            predicted: Their predicted classes, (n,).
            others: Rows of outliers, (m, D); None where there are none.
            seed: Seed of all randomness.
        """

    @abstractmethod
    def score(self, rows: Tensor, predicted: Tensor, learned: dict[str, Tensor]) -> Tensor:
        """Return the scores (N,) of rows (N, D) with these predicted classes (N,)."""

    def fit_from(self, context: FitContext) -> Self:
        """Return this score fitted to the benign inputs and, where it learns from them, the outliers of `context`.

        `BadInput` is raised where the victim has no features, inputs are read that are no rows of a table, or outliers
        are required and missing.
        """
        encoding = _encoding(context.inputs) if self.on == "inputs" else {}
        benign, predicted = self._read(context.victim, context.inputs, encoding)
        others = None if context.outliers is None else self._read(context.victim, context.outliers, encoding)[0]
        learned = self.learn(benign, predicted, others, context.seed)
        return replace(self, weights=Weights.of({"features": benign.mean(0), **encoding, **learned}))

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        if self.on == "features":
            raise NotFitted(f"{self!r} without the model's features", "a score on a line", "give it to a Service")
        return self._score(self._rows(x, z, self._learned(z)), z)

    def bind(self, model: nn.Module, ledger: Ledger) -> Callable[[Tensor, Tensor], Tensor]:
        """Return this score bound to `model`, whose features it reads."""
        if self.on != "features":
            return self
        if isinstance(model, CachedForward):
            model.read_features()
        return lambda x, z: self._score(penultimate(model, x), z)

    def _learned(self, like: Tensor) -> dict[str, Tensor]:
        """Return what the score learned, on the device of `like`; raise `NotFitted` where it is nothing."""
        return {
            name: tensor.to(like.device) for name, tensor in learned_by(self, self.weights, "a fitted score").items()
        }

    def _rows(self, x: Tensor, z: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        """Return what is read of inputs and logits, where it is not the features."""
        if self.on == "logits":
            return centred(z)
        encoding = with_prefix(ENCODING, learned)
        columns = len(encoding.pop("columns"))
        if x.shape[1:] != (columns,):
            got = "answers without inputs" if 0 in x.shape[1:] else f"inputs of shape {tuple(x.shape[1:])}"
            raise BadInput(
                got, f"rows of the {columns} columns fitted to", "fit it to this model, and serve them together"
            )
        return encoded(x, **encoding)

    def _score(self, rows: Tensor, z: Tensor) -> Tensor:
        learned = self._learned(rows)
        if rows.shape[1] != len(learned["features"]):
            fitted = f"the {len(learned['features'])} fitted to"
            raise BadInput(f"{rows.shape[1]} {self.on}", fitted, "fit it to this victim")
        return self.score(rows, z.argmax(-1), learned)

    def at_length_one(self, rows: Tensor) -> Tensor:
        """Return features (N, D) at length 1, and logits as they are: their length is what tells them apart."""
        return nn.functional.normalize(rows, dim=-1) if self.on == "features" else rows

    def _read(self, victim: nn.Module, inputs: Split, encoding: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the rows (N, D) of all inputs, and their predicted classes (N,)."""
        model, rows, predicted = CachedForward(victim.eval()), [], []
        for part in torch.arange(len(inputs)).split(500):
            x = channels_last(inputs.inputs(part))
            z = logits(model, x)
            rows.append(penultimate(model, x) if self.on == "features" else self._rows(x, z, encoding))
            predicted.append(z.argmax(-1))
        return torch.cat(rows), torch.cat(predicted)


@dataclass(frozen=True)
class LearnedScore(FeatureScore):
    """Log odds of being benign, of a small network that was trained to tell benign inputs from outliers.

    The energy is one number that the victim happens to compute. A network on all that its last layer reads finds more:
    images that the energy finds ordinary, as selected or optimised ones are, need not be ordinary in every feature.
    Of rows of a table whose model has one margin the energy sees nothing, and a network on the rows does: rows drawn
    from the means and shares of each column are outliers that every owner has, and differ in what occurs together.
    That outliers of one kind teach what is out of place in others is outlier exposure (Hendrycks, Mazeika and
    Dietterich, ICLR 2019); here they train a detector, and the victim stays as it is.

    Attributes:
        on: What the score reads: "features", the input of the victim's last linear layer, "logits", or "inputs", rows
            of a table.
        weights: The network and the scale of its inputs, set by `fit`.
        hidden: Hidden units.
    """

    cite: ClassVar[str] = "hendrycks2019deep"
    hidden: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1:
            raise BadRecipe(f"hidden={self.hidden}", "1 unit or more", "change it")

    def learn(self, benign: Tensor, predicted: Tensor, others: Tensor | None, seed: int) -> dict[str, Tensor]:
        if others is None:
            remedy = "name some: --outliers DATA, or --outliers marginals for rows of a table"
            raise BadInput("no outliers", "inputs of another task, to learn from", remedy)
        scale = torch.stack([benign.mean(0), benign.std(0).clamp_min(1e-6)])
        return {"scale": scale, **train_binary(scaled(benign, scale), scaled(others, scale), self.hidden, seed)}

    def score(self, rows: Tensor, predicted: Tensor, learned: dict[str, Tensor]) -> Tensor:
        inner = torch.relu(with_one(scaled(rows, learned["scale"])) @ learned["first"])
        return (with_one(inner) @ learned["second"])[:, 0]


@dataclass(frozen=True)
class Mahalanobis(FeatureScore):
    """Negative squared distance of unit features from the mean of the predicted class, within-class variances as unit.

    With u the features at length 1, or the logits as they are, μ_k their mean over benign inputs of predicted class k,
    and Σ their covariance about these means::

        s = −(u − μ_ŷ)ᵀ (Σ + ridge · λ_max I)⁻¹ (u − μ_ŷ),    λ_max the largest eigenvalue of Σ

    The distance is that of Lee, Lee, Lee and Shin (NeurIPS 2018), here at the last layer alone and of predicted
    classes. Unit length and the ridge were chosen here. It needs no outliers.

    Attributes:
        on: What the score reads: "features", the input of the victim's last linear layer, "logits", or "inputs", rows
            of a table.
        weights: The means and the inverse root of the covariance, set by `fit`.
        ridge: Share of the largest variance that is added to all, above 0.
    """

    cite: ClassVar[str] = "lee2018simple"
    ridge: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ridge > 0:
            raise BadRecipe(f"ridge={self.ridge}", "a number above 0", "change it")

    def learn(self, benign: Tensor, predicted: Tensor, others: Tensor | None, seed: int) -> dict[str, Tensor]:
        means, within = class_means(self.at_length_one(benign), predicted)
        values, vectors = torch.linalg.eigh(within)
        root = vectors / (values.clamp_min(0) + self.ridge * values[-1].clamp_min(1e-12)).sqrt()
        return {"means": means, "root": root.float()}

    def score(self, rows: Tensor, predicted: Tensor, learned: dict[str, Tensor]) -> Tensor:
        means = learned["means"]
        apart = self.at_length_one(rows) - means[predicted.clamp_max(len(means) - 1)]
        return -(apart @ learned["root"]).square().sum(-1)


@dataclass(frozen=True)
class ClassFeatures(FeatureScore):
    """Statistics of a class-conditional distance: unit features in fewer dimensions, and the predicted class.

    Attributes:
        on: What is read: "features", the input of the victim's last linear layer, or "logits".
        weights: The projection, set by `fit`.
        dimensions: Directions in which features of one class vary most. One more column is the length of the rest.
    """

    cite: ClassVar[str] = "mei2025dadd"
    dimensions: int = 8

    def learn(self, benign: Tensor, predicted: Tensor, others: Tensor | None, seed: int) -> dict[str, Tensor]:
        _, within = class_means(self.at_length_one(benign), predicted)
        return {"projection": torch.linalg.eigh(within).eigenvectors[:, -self.dimensions :].float()}

    def score(self, rows: Tensor, predicted: Tensor, learned: dict[str, Tensor]) -> Tensor:
        u = self.at_length_one(rows)
        inside = u @ learned["projection"]
        rest = (u.square().sum(-1, keepdim=True) - inside.square().sum(-1, keepdim=True)).clamp_min(0).sqrt()
        return torch.cat([inside, rest, predicted[:, None].to(u.dtype)], 1)


def _encoding(inputs: Split) -> dict[str, Tensor]:
    """Return the columns of rows like these and the arguments of `encoded`, by names that begin with `ENCODING`."""
    if not isinstance(inputs.domain, Columns):
        raise BadInput(f"inputs that are {inputs.domain.noun}", "rows of a table", 'read on="features" or on="logits"')
    table = TablePreprocessing(inputs.domain)
    table.adapt(inputs.inputs())
    learned = {"columns": torch.arange(len(inputs.domain.columns)), **table.encoding}
    return {ENCODING + name: tensor for name, tensor in learned.items()}


def class_means(u: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (K, D) of rows (n, D) of each predicted class, and their covariance (D, D) about these means.

    The mean of a class without rows is that of all.
    """
    means = u.mean(0).repeat(int(predicted.max()) + 1, 1)
    for label in predicted.unique():
        means[label] = u[predicted == label].mean(0)
    return means, torch.cov((u - means[predicted]).T.double())


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
