"""Bodies of linear layers."""

from itertools import pairwise

from torch import nn

from feint.models.preprocessing import Preprocessing


def linear(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a softmax regression: one linear layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs.features, classes))


def one_vs_rest(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a logistic regression for each class against the rest: the softmax of log σ(z) is σ(z) / Σσ(z)."""
    return nn.Sequential(linear(inputs, classes), nn.LogSigmoid())


def mlp20(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a network with one hidden layer of 20 tanh units (Tramèr et al., USENIX Security 2016)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs.features, 20), nn.Tanh(), nn.Linear(20, classes))


def mlp(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a network with two hidden layers of 128."""
    sizes = [inputs.features, 128, 128]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU(inplace=True))]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], classes))
