"""The parameters of a linear classifier as they act on inputs in [0, 1], for attacks that compute them."""

import torch
from torch import Tensor

from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network


def require_linear(surrogate: Network) -> None:
    """Raise `BadRecipe` unless the surrogate is a softmax regression."""
    if surrogate.name != "linear":
        raise BadRecipe(f"the surrogate {surrogate.name!r}", "'linear'", "name it: Retraining takes other networks")


def classifier(surrogate: Network, weight: Tensor, bias: Tensor) -> Classifier:
    """The linear `surrogate` whose logits are `weight` (K, d) · x + `bias` (K,), for flattened inputs x in [0, 1].

    A classifier normalises what it sees, (x − mean) / deviation, so its own parameters are other numbers.
    """
    model = surrogate.build().eval()
    mean, deviation = normalisation(model)
    own = {"body.1.weight": weight * deviation, "body.1.bias": bias + weight @ mean}
    model.load_state_dict({name: it.float() for name, it in own.items()})
    return model


def parameters(model: Classifier) -> tuple[Tensor, Tensor]:
    """`weight` (K, d) and `bias` (K,) in float64, as they act on inputs in [0, 1]; what `classifier` was given."""
    require_linear(model.network)
    mean, deviation = normalisation(model)
    state = {name: it.double().cpu() for name, it in model.state_dict().items()}
    weight = state["body.1.weight"] / deviation
    return weight, state["body.1.bias"] - weight @ mean


def normalisation(model: Classifier) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each input feature, (d,) float64."""
    whole = torch.zeros(model.network.shape, dtype=torch.float64)
    return (model.mean.cpu() + whole).flatten(), (model.deviation.cpu() + whole).flatten()
