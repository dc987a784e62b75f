"""Named networks, each from inputs (N, …) of a domain to logits (N, K). Normalisation is part of the model.

The variants for 32×32 images are defined here: the one maintained library that has them needs torchvision, of which
there is no build beside a CPU torch (docs/background/design/networks.md). Parameter counts are those of the literature
and are tested.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import feint.signature
from feint.errors import BadInput, UnknownName
from feint.models.estimator_body import LogisticRegression
from feint.models.forests import BoostedTrees, RandomForest
from feint.models.ngrams import NGramClassifier
from feint.models.preprocessing import Preprocessing, features, values
from feint.models.sequences import SequenceCNN
from feint.models.tree import Tree
from feint.recipes.recipe import Vocabulary, exported_recipes
from feint.signature import Columns, Domain, Pixels, Text, Tokens, as_domain

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
    def architecture(self) -> "Architecture":
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
        self.body = network.architecture.body(network)
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


def conv(inside: int, outside: int, size: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Module:
    """Return a padded convolution, which preserves the image's size, with batch normalisation."""
    layer = nn.Conv2d(inside, outside, size, stride, padding=size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outside))


class Shortcut(nn.Module):
    """Parameter-free shortcut of the CIFAR ResNets (option A): every other pixel, and new channels of zeros."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        half, rest = self.new_channels // 2, self.new_channels - self.new_channels // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, rest))


class Residual(nn.Module):
    """Residual block, `relu(path(x) + shortcut(x))`."""

    def __init__(self, path: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.path, self.shortcut = path, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.path(x) + self.shortcut(x), inplace=True)


class PreActivated(nn.Module):
    """Block of wide residual networks: normalisation and ReLU before each convolution."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.BatchNorm2d(inside), nn.ReLU(inplace=True))
        self.path = nn.Sequential(
            conv(inside, outside, stride=stride),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
        )
        same = inside == outside and stride == 1
        self.shortcut = None if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        return self.path(entered) + (x if self.shortcut is None else self.shortcut(entered))


def head(channels: int, classes: int) -> list[nn.Module]:
    """Return the layers of a head: an average over the image, then one linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def linear(network: Network) -> nn.Module:
    """Return a softmax regression: one linear layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(network.features, network.classes))


def one_vs_rest(network: Network) -> nn.Module:
    """Return a logistic regression for each class against the rest: the softmax of log σ(z) is σ(z) / Σσ(z)."""
    return nn.Sequential(linear(network), nn.LogSigmoid())


def tree(network: Network) -> nn.Module:
    """Return a decision tree: no training fits it, and its nodes are loaded with its weights."""
    return Tree(network.features, network.classes)


def logistic(network: Network) -> nn.Module:
    """Return a softmax regression that scikit-learn fits."""
    return LogisticRegression(network.features, network.classes)


def boosted_trees(network: Network) -> nn.Module:
    """Return gradient-boosted trees, which scikit-learn fits."""
    return BoostedTrees.of(network.domain, network.features, network.classes)


def random_forest(network: Network) -> nn.Module:
    """Return a random forest, which scikit-learn fits."""
    return RandomForest(network.features, network.classes)


def mlp20(network: Network) -> nn.Module:
    """Return a network with one hidden layer of 20 (Tramèr et al., USENIX Security 2016)."""
    hidden = nn.Linear(network.features, 20)
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(inplace=True), nn.Linear(20, network.classes))


def mlp(network: Network) -> nn.Module:
    """Return a network with two hidden layers of 128."""
    sizes = [network.features, 128, 128]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU(inplace=True))]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], network.classes))


def ngrams(network: Network) -> nn.Module:
    """Return a linear classifier of hashed n-grams, which scikit-learn fits."""
    return NGramClassifier(network.domain, network.classes)


def textcnn(network: Network) -> nn.Module:
    """Return a convolutional network for sequences of bytes or tokens."""
    return SequenceCNN(network.domain, network.classes)


def lenet(network: Network) -> nn.Module:
    """Return LeNet-5 with ReLU, maximum pooling and padded convolutions, so that small images fit, too.

    ReLU is applied after pooling, to a quarter of the values: bit for bit the same, with its gradients, and training is
    13 % faster.
    """
    channels, height, width = network.shape
    features = []
    for inside, outside in ((channels, 6), (6, 16)):
        features += [nn.Conv2d(inside, outside, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
    sizes = [16 * (height // 4) * (width // 4), 120, 84]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU(inplace=True))]
    return nn.Sequential(*features, nn.Flatten(), *layers, nn.Linear(sizes[-1], network.classes))


def cifar_resnet(depth: int) -> Callable[[Network], nn.Module]:
    """Return a ResNet for CIFAR (He et al., CVPR 2016, §4.2): 16, 32 and 64 channels, depth 6n + 2."""

    def body(network: Network) -> nn.Module:
        layers, inside = [conv(network.shape[0], 16), nn.ReLU(inplace=True)], 16
        for outside in (16, 32, 64):
            for block in range((depth - 2) // 6):
                grows = block == 0 and outside > 16
                path = nn.Sequential(
                    conv(inside, outside, stride=2 if grows else 1), nn.ReLU(inplace=True), conv(outside, outside)
                )
                layers.append(Residual(path, Shortcut(outside - inside) if grows else nn.Identity()))
                inside = outside
        return nn.Sequential(*layers, *head(inside, network.classes))

    return body


def resnet(
    blocks: tuple[int, ...], *, bottleneck: bool = False, width: int = 64, groups: int = 1, expansion: int = 4
) -> Callable[[Network], nn.Module]:
    """Return an ImageNet ResNet or ResNeXt with a 3×3 stem and no pooling, as used on 32×32 images.

    Args:
        blocks: Number of blocks in each stage.
        bottleneck: Whether a block is 1×1, 3×3 and 1×1 convolutions, rather than two of 3×3.
        width: Channels of the 3×3 convolutions in the first stage; each further stage doubles them.
        groups: Groups of a bottleneck's 3×3 convolution.
        expansion: Output channels of a bottleneck in the first stage, as a multiple of 64.
    """

    def body(network: Network) -> nn.Module:
        layers, inside = [conv(network.shape[0], 64), nn.ReLU(inplace=True)], 64
        for stage, count in enumerate(blocks):
            middle = width * 2**stage
            outside = 64 * expansion * 2**stage if bottleneck else middle
            for block in range(count):
                stride = 2 if block == 0 and stage > 0 else 1
                if bottleneck:
                    parts = [
                        conv(inside, middle, 1),
                        conv(middle, middle, stride=stride, groups=groups),
                        conv(middle, outside, 1),
                    ]
                else:
                    parts = [conv(inside, outside, stride=stride), conv(outside, outside)]
                path = nn.Sequential(*[layer for part in parts for layer in (part, nn.ReLU(inplace=True))][:-1])
                same = inside == outside and stride == 1
                layers.append(Residual(path, nn.Identity() if same else conv(inside, outside, 1, stride=stride)))
                inside = outside
        return nn.Sequential(*layers, *head(inside, network.classes))

    return body


def wide_resnet(depth: int, factor: int) -> Callable[[Network], nn.Module]:
    """Return a wide residual network (Zagoruyko and Komodakis, BMVC 2016): depth 6n + 4, 16·factor channels and up."""

    def body(network: Network) -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(network.shape[0], 16, 3, 1, 1, bias=False)]
        inside = 16
        for stage in range(3):
            for block in range((depth - 4) // 6):
                outside = 16 * factor * 2**stage
                layers.append(PreActivated(inside, outside, 2 if block == 0 and stage > 0 else 1))
                inside = outside
        return nn.Sequential(*layers, nn.BatchNorm2d(inside), nn.ReLU(inplace=True), *head(inside, network.classes))

    return body


def resnet9(width: int) -> Callable[[Network], nn.Sequential]:
    """Return the body of a ResNet-9 for small images, after the fast trainings of DAWNBench (Page, 2018).

    Of the networks tried as surrogates it learns most in the same CPU seconds
    (docs/background/results/evidence.md).
    """

    def body(network: Network) -> nn.Sequential:
        w = width

        def residual(channels: int) -> nn.Module:
            path = [part for _ in range(2) for part in (conv(channels, channels), nn.ReLU(inplace=True))]
            return Residual(nn.Sequential(*path), nn.Identity())

        def pooled(inside: int, outside: int) -> list[nn.Module]:
            return [conv(inside, outside), nn.ReLU(inplace=True), nn.MaxPool2d(2)]

        return nn.Sequential(
            *(conv(network.shape[0], w), nn.ReLU(inplace=True)),
            *(*pooled(w, 2 * w), residual(2 * w)),
            *(*pooled(2 * w, 4 * w), *pooled(4 * w, 4 * w), residual(4 * w)),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4 * w, network.classes, bias=False), Scaled(0.125)),
        )

    return body


class Mirrored(nn.Sequential):
    """Layers whose probabilities are, in evaluation mode, the mean of those of an image and of its mirror image.

    Answers take twice the time, a training no more.
    """

    def forward(self, input: Tensor) -> Tensor:
        z = super().forward(input)
        if self.training:
            return z
        both = torch.stack([z, super().forward(input.flip(-1))])
        return both.log_softmax(-1).logsumexp(0) - math.log(2)


def mirrored(body: Callable[[Network], nn.Sequential]) -> Callable[[Network], nn.Module]:
    """Return a body that averages over mirror images (`Mirrored`), with the same weights by the same names."""
    return lambda network: Mirrored(*body(network))


class Scaled(nn.Module):
    """Product with a constant, by which first logits are small."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def vgg16(network: Network) -> nn.Module:
    """Return VGG-16 with batch normalisation and one linear layer, as used on 32×32 images."""
    layers: list[nn.Module] = []
    inside = network.shape[0]
    for stage in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)):
        for outside in stage:
            layers += [conv(inside, outside), nn.ReLU(inplace=True)]
            inside = outside
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *head(inside, network.classes))


@dataclass(frozen=True)
class Architecture:
    """Architecture of a network: layers without numbers of inputs and classes.

    Attributes:
        body: Returns the layers of a network, from features to logits.
        domains: Domains of the inputs that it takes.
        dimensions: Dimensions of one input; None for any number.
        preprocessing: Returns the first layer for a domain.
        at_once: Whether scikit-learn fits the body, an `EstimatorBody`, rather than a training in steps.
        weights: Whether the body has weights that a training in steps can change.
    """

    body: Callable[[Network], nn.Module]
    domains: tuple[type[Domain], ...] = (Pixels, Columns, Tokens, Text)
    dimensions: int | None = None
    preprocessing: Callable[[Domain], Preprocessing] = features
    at_once: bool = False
    weights: bool = True

    def takes(self, domain: Domain) -> bool:
        """Return whether inputs of this domain have the right type and number of dimensions."""
        return isinstance(domain, self.domains) and self.dimensions in (None, len(domain.shape))


def _of_images(body: Callable[[Network], nn.Module]) -> Architecture:
    """Return an architecture of convolutions, for images (C, H, W)."""
    return Architecture(body, (Pixels,), dimensions=3)


ARCHITECTURES: dict[str, Architecture] = {
    "linear": Architecture(linear),
    "one_vs_rest": Architecture(one_vs_rest),
    "tree": Architecture(tree, (Pixels, Columns), preprocessing=values, weights=False),
    "logistic": Architecture(logistic, at_once=True),
    "boosted_trees": Architecture(
        boosted_trees, (Pixels, Columns, Tokens), preprocessing=values, at_once=True, weights=False
    ),
    "random_forest": Architecture(
        random_forest, (Pixels, Columns, Tokens), preprocessing=values, at_once=True, weights=False
    ),
    "mlp20": Architecture(mlp20),
    "mlp": Architecture(mlp),
    "ngrams": Architecture(ngrams, (Tokens, Text), preprocessing=values, at_once=True),
    "textcnn": Architecture(textcnn, (Tokens, Text), preprocessing=values),
    "lenet": _of_images(lenet),
    "resnet9_32": _of_images(resnet9(32)),
    "resnet9_32_mirrored": _of_images(mirrored(resnet9(32))),
    "resnet20": _of_images(cifar_resnet(20)),
    "resnet32": _of_images(cifar_resnet(32)),
    "resnet56": _of_images(cifar_resnet(56)),
    "resnet18": _of_images(resnet((2, 2, 2, 2))),
    "resnet50": _of_images(resnet((3, 4, 6, 3), bottleneck=True)),
    "resnext29": _of_images(resnet((3, 3, 3), bottleneck=True, width=128, groups=32)),
    "wrn16_4": _of_images(wide_resnet(16, 4)),
    "wrn40_2": _of_images(wide_resnet(40, 2)),
    "wrn28_10": _of_images(wide_resnet(28, 10)),
    "vgg16_bn": _of_images(vgg16),
}

VOCABULARY: Vocabulary = exported_recipes(feint.signature) | {"Network": Network}  # of stored networks
