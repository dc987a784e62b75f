"""The parameters of a linear classifier as they act on inputs in [0, 1], for attacks that compute them."""

import torch
from torch import Tensor

from feint.attacks.asking import check
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.networks import Classifier, Network
from feint.oracle import Oracle


def need_linear(surrogate: Network) -> None:
    """Raise `BadRecipe` unless the surrogate is a softmax regression."""
    if surrogate.name != "linear":
        raise BadRecipe(f"the surrogate {surrogate.name!r}", "'linear'", "name it: Retraining takes other networks")


def need_budget(oracle: Oracle, surrogate: Network, least: int, pool: Split | None = None) -> None:
    """Raise `BadInput` before anything is asked where the budget does not pay for `least`, or the pool has inputs of
    another shape; where the budget pays for nothing at all, the refusal."""
    if not oracle.left:
        oracle.ask(torch.zeros(1, *surrogate.shape))
    if oracle.left < least:
        raise BadInput(f"a budget for {oracle.left} inputs", f"at least {least:,}", "raise the budget")
    if pool is not None:
        check(oracle, pool, surrogate, most=1)


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
    need_linear(model.network)
    mean, deviation = normalisation(model)
    state = {name: it.double() for name, it in model.state_dict().items()}
    weight = state["body.1.weight"] / deviation
    return weight, state["body.1.bias"] - weight @ mean


def normalisation(model: Classifier) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each input feature, (d,) float64."""
    whole = torch.zeros(model.network.shape, dtype=torch.float64)
    return (model.mean + whole).flatten(), (model.deviation + whole).flatten()
