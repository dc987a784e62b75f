"""Bodies of networks that scikit-learn fits at once, and soft targets for its classifiers."""

from abc import ABC, abstractmethod

import numpy as np
from torch import Tensor

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
