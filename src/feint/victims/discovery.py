"""Victims by place: a directory, a file of weights, an ONNX graph, an estimator, or a factory in code."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from feint.errors import BadInput, MissingData, one_line
from feint.models.inference import CachedForward, FromProbabilities, logits
from feint.models.networks import Network
from feint.models.stored import load, load_weights
from feint.signature import Domain
from feint.victims.estimator import load_estimator
from feint.victims.factory import from_factory
from feint.victims.onnx import FromONNX

FILES: dict[str, Callable[[str], nn.Module]] = {".skops": load_estimator, ".onnx": FromONNX}  # loaders by suffix
KINDS = "a victim's directory, NAME.safetensors with its --network, NAME.onnx, NAME.skops or package.module:factory"


@runtime_checkable
class HasDomain(Protocol):
    """Model with the domain of its inputs; None where it takes images of any height and width."""

    @property
    def domain(self) -> Domain | None:
        """Domain of the inputs."""
        ...


def load_any(place: Path | str, *, network: Network | None = None, probabilities: bool = False) -> nn.Module:
    """Load a victim of any kind.

    A missing place raises `MissingData`, a broken one `DamagedFile`, and one of no known kind `BadInput`.

    Args:
        place: Directory that `save` wrote, NAME.skops, NAME.onnx, NAME.safetensors, or `package.module:factory`.
        network: Network of NAME.safetensors, which needs one; None for all others.
        probabilities: Whether the model returns probabilities instead of logits.

    Returns:
        A module from inputs (N, …) in [0, 1] to logits (N, K), in evaluation mode.
    """
    place = str(place)
    model = _load(place, network).eval()
    return FromProbabilities(model) if probabilities else model


def _load(place: str, network: Network | None) -> nn.Module:
    suffix = Path(place).suffix
    if suffix == ".safetensors":
        if network is None:
            raise BadInput(f"{place} alone", "the network that these weights belong to", "name it: --network resnet18")
        return load_weights(place, network)
    if network is not None:
        raise BadInput(f"{place} and a network", "one for NAME.safetensors only", "leave --network out")
    if suffix in FILES:
        return FILES[suffix](place)
    if ":" in place and not Path(place).exists():
        return from_factory(place)
    if Path(place).is_file():
        raise BadInput(place, KINDS, "name one of these")
    if not Path(place).exists():
        raise MissingData(f"{place}, which does not exist", KINDS, "check the path")
    return load(place)


def domain_of(model: nn.Module) -> Domain | None:
    """Return the domain of the inputs of `model`, or None where the model does not have it."""
    inner = model.model if isinstance(model, (FromProbabilities, CachedForward)) else model
    return inner.domain if isinstance(inner, HasDomain) else None


def classes_of(model: nn.Module, domain: Domain) -> int:
    """Determine the number of classes of a model by a query.

    Args:
        model: Module to logits.
        domain: Domain of the query.

    Returns:
        The number K of its logits.

    Raises:
        BadInput: The model does not take such an input, or its output is not a row of logits.
    """
    try:
        return logits(model, torch.from_numpy(domain.sample(1, 0))).shape[1]
    except BadInput:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise BadInput(
            f"{domain.noun} of shape {domain.shape} ({one_line(error, 160)})", "inputs that the model takes",
            "check the data's size and channels",
        ) from error  # fmt: skip
