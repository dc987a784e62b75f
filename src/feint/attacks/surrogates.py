"""Surrogates that an attacker tries, and forward passes of the attacker's own models, which cost no queries."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from feint.attacks.probing import BATCH, in_batches
from feint.data import Split
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.signature import Columns, Domain, Pixels, Text, Tokens

MOST_BOOSTED = 20  # classes, each of which takes as many boosted trees
MIRRORED = "resnet9_32_mirrored"  # for images whose mirror image is of the same class
RESNET = "resnet9_32"  # of the residual networks the one that learns most in the same time
# Of 1,000 answers of a published ResNet-20 to CIFAR-100, enlarged to 96×96, it gives 37.8 % after 400 steps, a LeNet
# of these images 25.7 % (fidelity on 1,000 images of CIFAR-10, one seed).
SHRUNK = "resnet9_32_shrunk"  # the same for large images
LARGE = 16  # pixels of a side from which on a residual network is worth its time
WIDE_CROP = 24  # pixels of a side from which on images are shifted by an eighth of it
MOST_PIXELS = 64 * 64  # of an image up to which a residual network that sees it whole takes minutes, not hours
SGD = Training(epochs=20, least_steps=600, batch_size=32, learning_rate=0.05)
# What decides is how many inputs a training sees, not how many answers there are. Smoothed labels are worth 1.5 points
# on digits (700 labels, two seeds).
SMALL = Training(epochs=20, least_steps=2000, batch_size=64, smoothing=0.1, average=0.05)
# A LeNet has no batch normalisation: at a rate of 0.1 one of three seeds ended at 84.6 % of Fashion-MNIST, and one of
# sharpened answers at 68.7 % (5,000 answers). At 0.05 that seed gets 87.2 % in 2,000 steps and 88.3 % in 4,000.
LENET = replace(SMALL, least_steps=4000, learning_rate=0.05)
SHALLOW = dict.fromkeys(("linear", "one_vs_rest", "mlp20", "mlp"), SMALL) | {"lenet": LENET}
# Of 10,000 answers of a published ResNet-20 a copy is right on 75.2 % of CIFAR-10 after 40 epochs, on 70.8 % after 20
# (one seed). With smoothed labels and a square erased in each image 10,000 labels are not learned in so few steps:
# after 20 epochs 48 % of them are explained, and the copy is right on 63.9 %.
RESIDUAL = Training(epochs=40, least_steps=1600, batch_size=128, average=0.05)
ADAMW = Training(epochs=20, least_steps=600, batch_size=32, learning_rate=1e-3, weight_decay=0.01, optimizer="adamw")
SHORT = replace(ADAMW, epochs=4, least_steps=400)  # for long inputs, of which each step takes longer
EMBEDDED = replace(ADAMW, epochs=2, least_steps=300, learning_rate=5e-3)  # embeddings want a larger rate

Tried = list[tuple[str, Training]]


@dataclass(frozen=True)
class Surrogate:
    """Surrogate that an attacker tries.

    Attributes:
        network: Recipe of the network.
        training: Recipe of its training; a network that scikit-learn fits takes nothing of it.
    """

    network: Network
    training: Training = SGD

    @property
    def name(self) -> str:
        """Name of the network, which says whether its weights are pretrained."""
        return self.network.name if self.training.start is None else f"pretrained {self.network.name}"


def default_training(network: Network) -> Training:
    """Return the training of a surrogate that does not hide what the answers teach.

    Its number of steps depends on the network, not on the number of answers: few answers are seen more often. Images
    are shifted, but not mirrored, since a mirrored sign or digit is another one; a network that averages over mirror
    images is trained on them.

    Args:
        network: Recipe of the surrogate.

    Returns:
        The training.
    """
    domain = network.domain
    if isinstance(domain, Text | Tokens):
        return EMBEDDED if network.name == "textcnn" else SHORT
    if not network.augmentable:
        return ADAMW
    side = min(network.shape[1:])
    crop = side // 8 if side >= WIDE_CROP else 0
    if network.name in SHALLOW:
        return replace(SHALLOW[network.name], crop=crop)
    return replace(RESIDUAL, crop=crop, flip=network.name == MIRRORED)


def default_surrogates(domain: Domain, classes: int) -> tuple[Surrogate, ...]:
    """Return the surrogates that an attacker would try on inputs of a domain.

    Args:
        domain: Domain of the inputs.
        classes: Number K of classes.

    Returns:
        Networks with their trainings, the cheapest first, which is linear.
    """
    tried = TRIED[type(domain)](domain, classes)
    return tuple(Surrogate(Network(name, domain, classes), training) for name, training in tried)


def _on_images(domain: Pixels, classes: int) -> Tried:
    if len(domain.shape) != 3:  # a row of scaled numbers
        return _on_columns(domain, classes)
    _, height, width = domain.shape
    small: Tried = [("linear", ADAMW), ("lenet", SGD), ("lenet", ADAMW)]
    if height * width > MOST_PIXELS:
        return [*small, *_residual(SHRUNK, domain, classes)]
    lenet, mlp = (default_training(Network(name, domain, classes)) for name in ("lenet", "mlp"))
    if min(height, width) < LARGE:
        return [*small, ("lenet", lenet), ("mlp", ADAMW), ("mlp", mlp)]
    return [*small, ("lenet", lenet), *_residual(RESNET, domain, classes)]


def _residual(name: str, domain: Pixels, classes: int) -> Tried:
    """Return trainings of a residual network: a hurried one, a whole one, and one that mirrors images as well."""
    training = default_training(Network(name, domain, classes))
    return [
        (name, replace(training, epochs=5, least_steps=400)),
        (name, training),
        (name, replace(training, flip=True)),
    ]


def _on_columns(domain: Domain, classes: int) -> Tried:
    boosted: Tried = [("boosted_trees", ADAMW)] if classes <= MOST_BOOSTED else []
    return [("logistic", ADAMW), *boosted, ("random_forest", ADAMW), ("mlp", ADAMW), ("mlp", SGD)]


def _on_sequences(domain: Domain, classes: int) -> Tried:
    slower = replace(EMBEDDED, learning_rate=2e-3)
    return [("ngrams", ADAMW), ("mlp", SHORT), ("textcnn", EMBEDDED), ("textcnn", slower)]


def _on_texts(domain: Domain, classes: int) -> Tried:
    ngrams, *networks = _on_sequences(domain, classes)
    return [ngrams, ("bag_of_words", ADAMW), *networks]


TRIED: dict[type[Domain], Callable[[Any, int], Tried]] = {
    Pixels: _on_images, Columns: _on_columns, Tokens: _on_sequences, Text: _on_texts
}  # fmt: skip


@torch.no_grad()
def logits(surrogate: nn.Module, x: Tensor) -> Tensor:
    """Return the logits (N, K) of the inputs `x` (N, …), computed in batches."""
    return torch.cat([surrogate(part) for part in x.split(BATCH)])


@torch.no_grad()
def logits_of_rows(surrogate: Classifier, pool: Split, rows: Tensor) -> Tensor:
    """Return the logits (n, K) of these rows of the pool, decoded in batches."""
    return torch.cat([surrogate(x) for x in in_batches(pool, rows)])
