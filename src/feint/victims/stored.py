"""Trained networks on disk, victims and surrogates alike."""

from pathlib import Path

from torch import nn

from feint import store
from feint.errors import DamagedFile
from feint.networks import Classifier, Network


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


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits that stand for the weights of `model`."""
    return store.fingerprint(model.state_dict())
