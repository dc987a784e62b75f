"""Bodies of networks that scikit-learn fits at once, and soft targets for its classifiers."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from feint._optional import require

LEAST_SHARE = 1e-3  # share of a class in a target below which it does not count: a row would cost as much as any other
NEVER = -50.0  # logit of a class of which no target has a share


class EstimatorBody(ABC):
    """Body of a network that scikit-learn fits, and whose tensors hold all that it learned."""

    @abstractmethod
    def fit(self, x: Tensor, targets: Tensor, *, seed: int) -> None:
        """Fit this body in place.

        Args:
            x: Features (N, …).
            targets: Rows (N, K) on the simplex.
            seed: Seed of the estimator.
        """


def class_rows(targets: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of a classifier's training whose weighted log-loss is the cross-entropy to soft targets.

    Args:
        targets: Rows (N, K) on the simplex.

    Returns:
        Rows (M,) of the inputs, a class (M,) for each, and its share in the target as the row's weight (M,).
    """
    shares = targets.double().cpu().numpy()
    rows, classes = (shares >= LEAST_SHARE).nonzero()
    return rows, classes, shares[rows, classes]


class LogisticRegression(nn.Module, EstimatorBody):
    """Logistic regression on features (N, …), fitted by scikit-learn.

    Args:
        features: Number of features of an input.
        classes: Number K of classes.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))

    def fit(self, x: Tensor, targets: Tensor, *, seed: int) -> None:
        weight, bias = linear_parameters(x.cpu().flatten(1).double().numpy(), targets, strength=1.0, seed=seed)
        with torch.no_grad():
            self.layer.weight.copy_(weight)
            self.layer.bias.copy_(bias)


def linear_parameters(x: Any, targets: Tensor, *, strength: float, seed: int) -> tuple[Tensor, Tensor]:
    """Fit a logistic regression of scikit-learn to soft targets.

    Args:
        x: Features (N, D), an array or a sparse matrix.
        targets: Rows (N, K) on the simplex.
        strength: Inverse strength `C` of the L2 regularization.
        seed: Seed of the estimator.

    Returns:
        Weights (K, D) and biases (K,).
    """
    rows, classes, shares = class_rows(targets)
    present, count = np.unique(classes), targets.shape[1]
    weight, bias = torch.zeros(count, x.shape[1]), torch.full((count,), NEVER)
    bias[present] = 0.0
    if len(present) > 1:
        estimator = require("sklearn.linear_model", "sklearn").LogisticRegression(
            C=strength, max_iter=1000, random_state=seed
        )
        estimator.fit(x[rows], classes, sample_weight=shares)
        fitted = present[1:] if len(present) == 2 else present  # of two classes, the parameters give the log-odds
        weight[fitted] = torch.from_numpy(estimator.coef_).float()
        bias[fitted] = torch.from_numpy(estimator.intercept_).float()
    return weight, bias


def ridge_parameters(x: Any, targets: Tensor, *, strength: float, seed: int) -> tuple[Tensor, Tensor]:
    """Fit a ridge regression of scikit-learn to the logarithms of soft targets, each row less its mean.

    Args:
        x: Features (N, D), an array or a sparse matrix.
        targets: Rows (N, K) on the simplex; a share below 0.1 % counts as 0.1 %.
        strength: Strength of the L2 regularization.
        seed: Seed of the estimator.

    Returns:
        Weights (K, D) and biases (K,).
    """
    logits = targets.double().cpu().clamp_min(LEAST_SHARE).log()
    estimator = require("sklearn.linear_model", "sklearn").Ridge(strength, random_state=seed)
    estimator.fit(x, (logits - logits.mean(1, keepdim=True)).numpy())
    return torch.from_numpy(estimator.coef_).float(), torch.from_numpy(estimator.intercept_).float()
