"""Architectures of networks by their names.

The variants for 32×32 images are defined here: the one maintained library that has them needs torchvision, of which
there is no build beside a CPU torch (docs/background/design/networks.md). Parameter counts are those of the literature
and are tested.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from feint.models.estimator_body import LogisticRegression
from feint.models.forests import BoostedTrees, RandomForest
from feint.models.networks.convolutional import Body, lenet, vgg16
from feint.models.networks.dense import linear, mlp, mlp20, one_vs_rest
from feint.models.networks.residual import cifar_resnet, mirrored, resnet, resnet9, shrunk, wide_resnet
from feint.models.ngrams import NGramClassifier, WordClassifier
from feint.models.preprocessing import Preprocessing, features, values
from feint.models.sequences import SequenceCNN
from feint.models.tree import Tree
from feint.signature import Columns, Domain, Pixels, Text, Tokens


def tree(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a decision tree: no training fits it, and its nodes are loaded with its weights."""
    return Tree(inputs.features, classes)


def logistic(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a softmax regression that scikit-learn fits."""
    return LogisticRegression(inputs.features, classes)


def boosted_trees(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return gradient-boosted trees, which scikit-learn fits."""
    return BoostedTrees.of(inputs.domain, inputs.features, classes)


def random_forest(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a random forest, which scikit-learn fits."""
    return RandomForest(inputs.features, classes)


def ngrams(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a linear classifier of hashed n-grams, which scikit-learn fits."""
    return NGramClassifier(inputs.domain, classes)


def bag_of_words(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a linear classifier of the words of a text, which scikit-learn fits."""
    return WordClassifier(inputs.domain, classes)


def textcnn(inputs: Preprocessing, classes: int) -> nn.Module:
    """Return a convolutional network for sequences of bytes or tokens."""
    return SequenceCNN(inputs.domain, classes)


@dataclass(frozen=True)
class Architecture:
    """Architecture of a network: layers without numbers of inputs and classes.

    Attributes:
        body: Returns the layers of a network, from the output of its first layer to logits.
        domains: Domains of the inputs that it takes.
        dimensions: Dimensions of one input; None for any number.
        preprocessing: Returns the first layer for a domain.
        at_once: Whether scikit-learn fits the body, an `EstimatorBody`, rather than a training in steps.
        weights: Whether the body has weights that a training in steps can change.
    """

    body: Body
    domains: tuple[type[Domain], ...] = (Pixels, Columns, Tokens, Text)
    dimensions: int | None = None
    preprocessing: Callable[[Domain], Preprocessing] = features
    at_once: bool = False
    weights: bool = True

    def takes(self, domain: Domain) -> bool:
        """Return whether inputs of this domain have the right type and number of dimensions."""
        return isinstance(domain, self.domains) and self.dimensions in (None, len(domain.shape))


def _of_images(body: Body) -> Architecture:
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
    "bag_of_words": Architecture(bag_of_words, (Text,), preprocessing=values, at_once=True),
    "textcnn": Architecture(textcnn, (Tokens, Text), preprocessing=values),
    "lenet": _of_images(lenet),
    "resnet9_16": _of_images(resnet9(16)),
    "resnet9_32": _of_images(resnet9(32)),
    "resnet9_32_shrunk": _of_images(shrunk(resnet9(32))),
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
