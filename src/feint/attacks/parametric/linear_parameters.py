"""Parameters of linear classifiers, as they act on inputs and on the features of their preprocessing."""

import copy

import torch
from torch import Tensor, nn

from feint.errors import BadRecipe
from feint.models.inference import last_linear
from feint.models.networks import Classifier, Network


def require_linear(surrogate: Network) -> None:
    """Raise `BadRecipe` unless the surrogate is a softmax regression."""
    if surrogate.name != "linear":
        raise BadRecipe(f"the surrogate {surrogate.name!r}", "'linear'", "name it: Retraining takes other networks")


def classifier(surrogate: Network, weight: Tensor, bias: Tensor) -> Classifier:
    """Build a linear classifier of images with given parameters.

    A classifier normalises its inputs, (x − mean) / deviation, so its stored parameters are other numbers.

    Args:
        surrogate: The network `linear`.
        weight: Weights (K, d) of flattened inputs in [0, 1].
        bias: Biases (K,).

    Returns:
        The classifier whose logits are `weight` · x + `bias`.
    """
    mean, deviation = normalisation(surrogate.build())
    return with_head(surrogate.build(), weight * deviation, bias + weight @ mean)


def with_head(model: Classifier, weight: Tensor, bias: Tensor) -> Classifier:
    """Return a copy of a network with given parameters of its last linear layer.

    Args:
        model: A network that ends in a linear layer.
        weight: Weights (K, d) of the features that this layer reads.
        bias: Biases (K,).

    Returns:
        The network whose logits are `weight` · features + `bias`, in evaluation mode.
    """
    model = copy.deepcopy(model).eval()
    last = last_linear(model.body)
    assert last is not None  # `require_linear` or `require_head`
    last.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return model


def require_head(model: Classifier) -> None:
    """Raise `BadRecipe` unless logits are a linear layer, with biases, of the features."""
    body, last = model.body, last_linear(model.body)
    if not isinstance(body, nn.Sequential) or last is None or body[-1] is not last or last.bias is None:
        raise BadRecipe(
            f"an encoder of the network {model.network.name!r}", "one that ends in a linear layer with biases",
            "choose another, like 'resnet20'",
        )  # fmt: skip


def parameters(model: Classifier) -> tuple[Tensor, Tensor]:
    """Return the parameters of a linear classifier as they act on inputs in [0, 1]: the inverse of `classifier`.

    Args:
        model: A classifier of the network `linear`.

    Returns:
        `weight` (K, d) and `bias` (K,) in float64.
    """
    require_linear(model.network)
    mean, deviation = normalisation(model)
    state = {name: tensor.double().cpu() for name, tensor in model.state_dict().items()}
    weight = state["body.1.weight"] / deviation
    return weight, state["body.1.bias"] - weight @ mean


def normalisation(model: Classifier) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each input feature, both (d,) float64."""
    shift, scale = (model.preprocessing(torch.full((1, *model.network.shape), value)).double() for value in (0.0, 1.0))
    deviation = 1 / (scale - shift)
    return (-shift * deviation).flatten(), deviation.flatten()


def features(model: Classifier, x: Tensor) -> Tensor:
    """Return what the linear layer of a classifier takes of inputs `x` (N, …): features (N, d) float64.

    Images are normalised, numbers of a table are standardised, and its categories are one-hot.
    """
    return model.preprocessing(x.to(model.device)).flatten(1).double().cpu()
