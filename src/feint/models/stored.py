"""Storage of trained networks, victims and surrogates alike."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import safetensors
import safetensors.torch
from torch import nn

from feint.errors import DamagedFile, MissingData, NotFitted, one_line
from feint.models.networks import VOCABULARY, Classifier, Network
from feint.recipes import store


def save(path: Path | str, model: Classifier, **about: object) -> None:
    """Write `model` to the directory `path`, with the notes `about`: plain values, like the name of the data."""
    store.save(path, model.network, model.state_dict(), **about)


def load(path: Path | str) -> Classifier:
    """Return the network that `save` wrote, in evaluation mode. A missing directory raises `MissingData`.

    Raises:
        DamagedFile: The directory is broken, or has no trained network.
    """
    stored = store.load(path, VOCABULARY)
    if not isinstance(stored.recipe, Network):
        raise DamagedFile(f"{path}, which holds {stored.recipe!r}", "a trained network", "name a victim or a surrogate")
    model = stored.recipe.build()
    try:
        model.load_state_dict(stored.tensors)
    except RuntimeError as error:
        raise DamagedFile(f"{path} ({error})", f"the weights of {stored.recipe.name}", "train it again") from error
    return model.eval()


def load_weights(path: Path | str, network: Network) -> Classifier:
    """Return `network` with the weights of a safetensors file, in evaluation mode.

    Args:
        path: The file, with the tensors of the network's `state_dict`.
        network: The network.

    Raises:
        MissingData: There is no such file.
        DamagedFile: The file is broken, or its tensors are those of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingData(f"{path}, which is not there", "a safetensors file of weights", "check the path")
    model = network.build()
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError) as error:
        raise DamagedFile(f"{path} ({error})", "a safetensors file", "write it again") from error
    except RuntimeError as error:  # torch's error for names and shapes that do not fit
        raise DamagedFile(
            f"{path}, whose tensors do not fit ({one_line(error, 160)} …)",
            f"those of Feint's {network.name} for inputs {network.shape} and {network.classes} classes",
            "check --network; a network of your own comes as package.module:factory or as an ONNX file",
        ) from error
    return model.eval()


def fingerprint(model: nn.Module) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the weights of `model`."""
    return store.fingerprint(model.state_dict())


@dataclass(frozen=True)
class Trained:
    """Trained network within a recipe.

    Attributes:
        network: Recipe of the network.
        weights: Handle of its tensors.
    """

    network: Network
    weights: store.Weights

    @classmethod
    def of(cls, model: Classifier) -> Self:
        """Return `model` with a copy of its present weights."""
        return cls(
            model.network, store.Weights.of({name: tensor.clone() for name, tensor in model.state_dict().items()})
        )

    @cached_property
    def model(self) -> Classifier:
        """The network, in evaluation mode.

        Raises:
            NotFitted: The handle has no tensors, since it was read from text.
        """
        if not self.weights.tensors:
            raise NotFitted(f"{self!r}", "the weights themselves", "load the defense from its directory")
        model = self.network.build()
        model.load_state_dict(dict(self.weights.tensors))
        return model.eval().requires_grad_(False)

    def __getstate__(self) -> dict[str, object]:
        """A pickle has recipe and weights, without the network that was built from them."""
        return {"network": self.network, "weights": self.weights}
