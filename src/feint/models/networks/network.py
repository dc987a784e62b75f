"""Networks as recipes, and the modules that they build."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

import feint.signature
from feint.errors import BadInput, UnknownName
from feint.models.networks.architectures import ARCHITECTURES, Architecture
from feint.models.preprocessing import Preprocessing
from feint.recipes.recipe import Vocabulary, exported_recipes
from feint.signature import Domain, Pixels, as_domain

if TYPE_CHECKING:
    from feint.data import Dataset


@functools.cache
def default_device() -> torch.device:
    """Return the device of new networks: the GPU where this process has one, otherwise the CPU.

    Convolutions on a GPU are set to exact and deterministic. With TF32, which keeps 10 bits of a product's 23, the
    answer to an input would differ between batches by more than the margins that preserve its label.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    return torch.device("cuda")


@dataclass(frozen=True)
class Network:
    """Recipe of a network.

    Attributes:
        name: One of `ARCHITECTURES`, like "resnet20".
        domain: Domain of the inputs; the shape (C, H, W) of an image stands for `Pixels`.
        classes: Number K of classes, at least 2.

    Raises:
        UnknownName: There is no such network.
        BadInput: There are fewer than two classes, or the network takes other inputs.
    """

    former_fields: ClassVar[Mapping[str, str]] = {"shape": "domain"}  # in recipes and rows until 0.2
    name: str
    domain: Domain
    classes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", as_domain(self.domain))
        if self.name not in ARCHITECTURES:
            raise UnknownName.among("network", self.name, ARCHITECTURES)
        if self.classes < 2:
            raise BadInput(f"a network of {self.classes} classes", "2 or more", "check the data set")
        if not self.architecture.takes(self.domain):
            fitting = [name for name, architecture in ARCHITECTURES.items() if architecture.takes(self.domain)]
            raise BadInput(
                f"the network {self.name!r} for {self.domain.noun} of shape {self.shape}",
                f"one of {', '.join(fitting)}", "choose one of these",
            )  # fmt: skip

    @property
    def architecture(self) -> Architecture:
        """Architecture of this name."""
        return ARCHITECTURES[self.name]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.domain.shape

    @property
    def augmentable(self) -> bool:
        """Whether a training can augment the inputs: images, by a training in steps."""
        return isinstance(self.domain, Pixels) and len(self.shape) == 3 and not self.architecture.at_once

    @property
    def features(self) -> int:
        """Number of features of an input."""
        return self.architecture.preprocessing(self.domain).features

    def build(self, seed: int = 0) -> "Classifier":
        """Return a new network with initial weights drawn from `seed`, the same on every device.

        The global random state is unchanged.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Classifier(self).to(default_device())


def get(name: str, data: "Dataset") -> Network:
    """Return the network `name` for the inputs and classes of `data`. Raises `UnknownName`."""
    return Network(name, data.domain, len(data.classes))


class Classifier(nn.Module):
    """Network from inputs (N, …) of a domain to logits (N, K), built from a recipe.

    Inputs may be on another device than the weights: the logits are returned on the device of the inputs.

    Attributes:
        network: The recipe.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.preprocessing: Preprocessing = network.architecture.preprocessing(network.domain)
        self.body = network.architecture.body(self.preprocessing, network.classes)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    @property
    def domain(self) -> Domain:
        """Domain of the inputs."""
        return self.network.domain

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.preprocessing.origin.device

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != torch.Size(self.network.shape):
            raise BadInput(
                f"inputs of shape {tuple(x.shape)}", f"(N, {', '.join(map(str, self.network.shape))})", "resize them"
            )
        if x.device == self.device:
            return self.body(self.preprocessing(x))
        return self(x.to(self.device)).to(x.device)

    def __reduce__(self) -> tuple[Callable[..., "Classifier"], tuple[Network, Mapping[str, Tensor], bool]]:
        """A pickle has recipe and weights; the receiving process builds the network on its own device."""
        weights = {name: tensor.cpu() for name, tensor in self.state_dict().items()}
        return _unpickle, (self.network, weights, self.training)


def _unpickle(network: Network, weights: Mapping[str, Tensor], training: bool) -> Classifier:
    model = network.build()
    model.load_state_dict(weights)
    return model.train(training)


class Ensemble(nn.Module):
    """Several networks of one recipe, from inputs (N, …) of a domain to all their logits (members, N, K)."""

    def __init__(self, network: Network, seeds: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.classifiers = [network.build(seed) for seed in seeds]
        self.members = nn.ModuleList(self.classifiers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.classifiers])


VOCABULARY: Vocabulary = exported_recipes(feint.signature) | {"Network": Network}  # of stored networks
