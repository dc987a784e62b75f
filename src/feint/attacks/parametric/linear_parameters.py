"""Parameters of linear classifiers, as they act on inputs and on the features of their preprocessing."""

import torch
from torch import Tensor

from feint.errors import BadRecipe
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
    return classifier_of_features(surrogate, weight * deviation, bias + weight @ mean)


def classifier_of_features(surrogate: Network, weight: Tensor, bias: Tensor) -> Classifier:
    """Build a linear classifier with given parameters of its features.

    Args:
        surrogate: The network `linear`.
        weight: Weights (K, d) of the features; see `features`.
        bias: Biases (K,).

    Returns:
        The classifier whose logits are `weight` · features + `bias`.
    """
    model = surrogate.build().eval()
    model.load_state_dict(model.state_dict() | {"body.1.weight": weight.float(), "body.1.bias": bias.float()})
    return model


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
