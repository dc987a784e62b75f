"""Victims wherever they are: a directory, a file of weights, an ONNX graph, an estimator, or code that makes one."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from feint.errors import BadInput, MissingData, one_line
from feint.models.inference import FromProbabilities, logits
from feint.models.networks import Network
from feint.models.stored import load, load_weights
from feint.victims.estimator import load_estimator
from feint.victims.factory import from_factory
from feint.victims.onnx import FromONNX

FILES: dict[str, Callable[[str], nn.Module]] = {".skops": load_estimator, ".onnx": FromONNX}  # what a suffix stands for
KINDS = "a victim's directory, NAME.safetensors with its --network, NAME.onnx, NAME.skops or package.module:factory"


@runtime_checkable
class Shaped(Protocol):
    """A model that knows the shape (C, H, W) of its inputs; None is any height and width."""

    shape: tuple[int, int, int] | None


def load_any(place: Path | str, *, network: Network | None = None, probabilities: bool = False) -> nn.Module:
    """The victim at `place`: a directory of Feint's, NAME.skops, NAME.onnx, NAME.safetensors, which needs its
    `network`, or `package.module:factory`. With `probabilities`, one that returns them. In evaluation mode.

    Raises `MissingData`, `DamagedFile` or `BadInput`.
    """
    place = str(place)
    model = _loaded(place, network).eval()
    return FromProbabilities(model) if probabilities else model


def _loaded(place: str, network: Network | None) -> nn.Module:
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


def shape_of(model: nn.Module) -> tuple[int, int, int] | None:
    """The shape (C, H, W) that `model` takes, where it says so."""
    inner = model.model if isinstance(model, FromProbabilities) else model
    return inner.shape if isinstance(inner, Shaped) else None


def classes_of(model: nn.Module, shape: tuple[int, ...]) -> int:
    """The number of classes that `model` answers with, found by asking it a black input of `shape` (C, H, W).

    Raises `BadInput` where it does not take that, or its answer is none.
    """
    try:
        return logits(model, torch.zeros(1, *shape)).shape[1]
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"inputs of shape {tuple(shape)} ({one_line(error, 160)})", "inputs that the model takes",
            "check the data's size and channels",
        ) from error  # fmt: skip
