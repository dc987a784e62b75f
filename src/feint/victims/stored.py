"""Trained networks on disk, victims and surrogates alike."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import nn

from feint import store
from feint.errors import DamagedFile, NotFitted
from feint.networks import Classifier, Network
from feint.victims.estimator import FromEstimator, load_estimator


def save(path: Path | str, model: Classifier, **about: object) -> None:
    """Write `model` to the directory `path`, with notes about its making."""
    store.save(path, model.network, model.state_dict(), **about)


def load(path: Path | str) -> Classifier:
    """The network that `save` wrote, in evaluation mode. Raises `MissingData` or `DamagedFile`."""
    stored = store.load(path, {"Network": Network})
    if not isinstance(stored.recipe, Network):
        raise DamagedFile(f"{path}, which holds {stored.recipe!r}", "a trained network", "name a victim or a surrogate")
    model = stored.recipe.build()
    try:
        model.load_state_dict(stored.tensors)
    except RuntimeError as error:
        raise DamagedFile(f"{path} ({error})", f"the weights of {stored.recipe.name}", "train it again") from error
    return model.eval()


def load_any(path: Path | str) -> Classifier | FromEstimator:
    """The victim in a directory, or the estimator in a file of scikit-learn's, NAME.skops. Errors as those have."""
    return load_estimator(path) if Path(path).suffix == ".skops" else load(path)


def notes(path: Path | str) -> dict[str, Any]:
    """What `save` was told about the making of the network at `path`. Raises `MissingData` or `DamagedFile`."""
    return store.load(path, {"Network": Network}).about


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits that stand for the weights of `model`."""
    return store.fingerprint(model.state_dict())


@dataclass(frozen=True)
class Trained:
    """A trained network in a recipe: its `network` and, by handle, its `weights`."""

    network: Network
    weights: store.Weights

    @classmethod
    def of(cls, model: Classifier) -> Self:
        """The handle of `model` as it is now."""
        return cls(model.network, store.Weights.of({name: it.clone() for name, it in model.state_dict().items()}))

    @cached_property
    def model(self) -> Classifier:
        """The network, in evaluation mode. Raises `NotFitted` where the handle came without its tensors."""
        if not self.weights.tensors:
            raise NotFitted(f"{self!r}", "the weights themselves", "load the defense from its directory")
        model = self.network.build()
        model.load_state_dict(dict(self.weights.tensors))
        return model.eval().requires_grad_(False)

    def __getstate__(self) -> dict[str, object]:
        """What a pickle carries: not the network that was built."""
        return {"network": self.network, "weights": self.weights}
