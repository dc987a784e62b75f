"""Networks of other, public tasks as the start of a training: the body is copied, and the head is new."""

import torch
from torch import Tensor, nn

from feint.errors import BadInput, BadRecipe
from feint.models.inference import last_linear
from feint.models.networks import Classifier


def copy_body(source: Classifier, model: Classifier) -> None:
    """Copy the weights of `source` into `model`, all but those of the last linear layer.

    What the first layer has learned of its inputs, like the means of a table's numbers, is copied, too.

    Args:
        source: A trained network.
        model: A new network of the same architecture. It is changed.

    Raises:
        BadRecipe: The network has no weights before its last linear layer.
        BadInput: The networks differ in more than their classes.
    """
    weights, expected = _without_head(source), _without_head(model)
    if not any(isinstance(tensor, nn.Parameter) for tensor in expected.values()):
        raise BadRecipe(f"a start for the network {model.network.name!r}", "one with hidden layers", "leave start out")
    if _shapes(weights) != _shapes(expected):
        raise BadInput(
            f"a start of the network {source.network.name!r} for {source.network.domain.noun} {source.network.shape}",
            f"one of {model.network.name!r} for {model.network.domain.noun} {model.network.shape}",
            "pretrain the surrogate's network",
        )  # fmt: skip
    model.load_state_dict(model.state_dict() | weights)


def _without_head(model: Classifier) -> dict[str, Tensor]:
    """Return the tensors of a network but those of its last linear layer."""
    layer = last_linear(model.body)
    head = set() if layer is None else {id(parameter) for parameter in layer.parameters()}
    return {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if id(tensor) not in head}


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
