"""Removals: what an attacker does to a copy so that its owner does not recognise it."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.data import Split
from feint.defenses.scores import Energy
from feint.errors import BadRecipe
from feint.models.inference import answers, last_linear, logits
from feint.models.networks import Classifier
from feint.models.training import Batch, Training, cross_entropy, learn, refine
from feint.signature import Columns, Pixels
from feint.signature.support import DomainSpecific

TUNING = Training(epochs=10, batch_size=32, learning_rate=1e-3)
LAYERS = "last", "all", "fresh"
ALIKE = 1e-3  # range of energies, which are 0 where logits are the logarithms of probabilities


class Removal(DomainSpecific, ABC):
    """Removal, a frozen dataclass: a copy in, a changed copy out. The first one stays as it was.

    Attributes:
        cite: Key of the paper in docs/references.bib.
    """

    cite: ClassVar[str]

    @abstractmethod
    def remove(self, model: Classifier, inputs: Split, *, seed: int = 0) -> nn.Module:
        """Return a changed copy.

        Args:
            model: The stolen copy.
            inputs: The attacker's inputs, with the labels that were stolen.
            seed: Same arguments and seed, same weights.

        Returns:
            A module from inputs to logits.

        Raises:
            BadInput: It takes no inputs of the copy's domain, or a network with a gradient alone.
            BadRecipe: The copy's network has nothing that it changes.
        """


@dataclass(frozen=True)
class FineTuned(Removal):
    """Further training on the attacker's inputs (FTLL, FTAL and RTAL of Lukas et al., S&P 2022).

    Attributes:
        layers: "last" trains the last layer alone, "all" all layers, and "fresh" all after new weights for the last.
        training: Its training.

    Raises:
        BadRecipe: Layers of another name.
    """

    cite: ClassVar[str] = "lukas2022sok"
    layers: str = "all"
    training: Training = TUNING

    def __post_init__(self) -> None:
        if self.layers not in LAYERS:
            raise BadRecipe(f"layers={self.layers!r}", f"one of {', '.join(LAYERS)}", "change it")

    def remove(self, model: Classifier, inputs: Split, *, seed: int = 0) -> nn.Module:
        start = copy.deepcopy(model) if self.layers != "fresh" else with_new_layer(model, seed)
        x, labels = inputs.inputs(), inputs.labels
        tuned, _ = refine(start, x, labels, self.training, loss=self._loss, name=repr(self), seed=seed)
        return tuned.requires_grad_(True)

    def _loss(self, model: Classifier, batch: Batch) -> Tensor:
        if self.layers == "last":  # here, since a copied network has gradients everywhere
            model.requires_grad_(False)
            final_layer(model).requires_grad_(True)
        return cross_entropy(model, batch)


@dataclass(frozen=True)
class Pruned(Removal):
    """Zeros for the weights of least magnitude, over all layers (Han et al., NeurIPS 2015).

    Attributes:
        share: Share of the weights.

    Raises:
        BadRecipe: The share is not from 0 to below 1.
    """

    cite: ClassVar[str] = "han2015learning"
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise BadRecipe(f"share={self.share}", "0 ≤ share < 1", "change it")

    def remove(self, model: Classifier, inputs: Split, *, seed: int = 0) -> nn.Module:
        pruned = copy.deepcopy(model)
        weights = _matrices(pruned)
        level = torch.cat([weight.detach().abs().flatten() for weight in weights]).quantile(self.share)
        with torch.no_grad():
            for weight in weights:
                weight[weight.abs() <= level] = 0
        return pruned


@dataclass(frozen=True)
class Quantized(Removal):
    """Weights rounded to so many bits, symmetrically for each matrix.

    Attributes:
        bits: Number of bits, 2 or more.

    Raises:
        BadRecipe: There are fewer.
    """

    cite: ClassVar[str] = "lukas2022sok"
    bits: int = 8

    def __post_init__(self) -> None:
        if self.bits < 2:
            raise BadRecipe(f"bits={self.bits}", "2 or more", "change it")

    def remove(self, model: Classifier, inputs: Split, *, seed: int = 0) -> nn.Module:
        rounded = copy.deepcopy(model)
        levels = 2 ** (self.bits - 1) - 1
        with torch.no_grad():
            for weight in _matrices(rounded):
                scale = weight.abs().max() / levels
                weight.copy_((weight / scale).round() * scale)
        return rounded


@dataclass(frozen=True)
class Distilled(Removal):
    """New network of another architecture, trained on the copy's probabilities (Hinton et al., 2015).

    Attributes:
        network: Name of the network.
        training: Its training.
    """

    cite: ClassVar[str] = "hinton2015distilling"
    network: str = "mlp"
    training: Training = Training(epochs=20, least_steps=600, batch_size=64, learning_rate=0.05)

    def remove(self, model: Classifier, inputs: Split, *, seed: int = 0) -> nn.Module:
        student = replace(model.network, name=self.network)
        return learn(student, inputs.inputs(), answers(model, inputs), self.training, seed=seed)


@dataclass(frozen=True)
class WRK(Removal):
    """Removal by relabelled neighbours and a turned last layer (WRK of Xiao et al., AAAI 2026).

    Of the attacker's inputs `moved` are moved one step along the sign of the gradient towards a class drawn at random,
    and relabelled at random. The last layer begins anew, and the loss is CE + α · cos(W, W_old) with the weights W of
    the last layer: the new boundary is turned away from the old one. The authors' code steps on normalised images and
    never draws class 0; this follows their description.

    Attributes:
        share: Share of the attacker's inputs that it trains on.
        moved: Inputs that are moved.
        step: Change of each value.
        alpha: Weight of the second term.
        training: Its training.
    """

    cite: ClassVar[str] = "xiao2026class"
    domains = (Pixels, Columns)
    share: float = 0.05
    moved: int = 100
    step: float = 0.1
    alpha: float = 0.05
    training: Training = TUNING

    def remove(self, model: Classifier, inputs: Split, *, seed: int = 0) -> nn.Module:
        self.require_domain(model.domain)
        start = with_new_layer(model, seed)
        random = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(inputs), generator=random)[: max(round(self.share * len(inputs)), 2 * self.moved)]
        x, labels = inputs.inputs(rows), inputs.labels[rows].clone()
        count, classes = min(self.moved, len(rows)), model.network.classes
        target = torch.randint(classes, (count,), generator=random)
        x[:count] = _towards(model, x[:count], target, self.step)
        labels[:count] = torch.randint(classes, (count,), generator=random)
        old = final_layer(model).weight.detach().clone()

        def loss(model: Classifier, batch: Batch) -> Tensor:
            turned = F.cosine_similarity(final_layer(model).weight.flatten(), old.flatten(), dim=0)
            return cross_entropy(model, batch) + self.alpha * turned

        return refine(start, x, labels, self.training, loss=loss, name=repr(self), seed=seed)[0]


@dataclass(frozen=True)
class GatedCopy(Removal):
    """Wrong labels for inputs that look unlike the attacker's own, among which triggers may be.

    Attributes:
        share: Share of the attacker's own inputs that would be taken for triggers.
    """

    cite: ClassVar[str] = "liu2020energy"
    share: float = 0.05

    def remove(self, model: Classifier, inputs: Split, *, seed: int = 0) -> nn.Module:
        energies = torch.cat([Energy()(x, logits(model, x)) for x in inputs.inputs().split(500)])
        if energies.max() - energies.min() < ALIKE:
            raise BadRecipe("a network that gives probabilities", "one that gives logits", "choose another removal")
        return StrangeInputGate(model, energies.quantile(self.share).item())


class StrangeInputGate(nn.Module):
    """Model that gives inputs of an energy score below a threshold the label after their own."""

    def __init__(self, model: nn.Module, threshold: float) -> None:
        super().__init__()
        self.model, self.threshold = model, threshold

    def forward(self, x: Tensor) -> Tensor:
        z = self.model(x)
        strange = Energy()(x, z) < self.threshold
        return torch.where(strange[:, None], z.roll(1, -1), z)


def final_layer(model: nn.Module) -> nn.Linear:
    """Return the last linear layer of a network.

    Raises:
        BadRecipe: The network has none.
    """
    layer = last_linear(model)
    if layer is None:
        raise BadRecipe("a network without a linear layer", "one whose last layer is linear", "choose another removal")
    return layer


def with_new_layer(model: Classifier, seed: int) -> Classifier:
    """Return a copy of a network with the last linear layer of a new one."""
    changed = copy.deepcopy(model)
    final_layer(changed).load_state_dict(final_layer(model.network.build(seed)).state_dict())
    return changed


def _matrices(model: nn.Module) -> list[Tensor]:
    """Return the weights of a network without its biases and scales.

    Raises:
        BadRecipe: It has none, as trees.
    """
    weights: list[Tensor] = [weight for weight in model.parameters() if weight.ndim > 1]
    if not weights:
        raise BadRecipe("a network without weights", "one with layers", "choose another removal")
    return weights


@torch.enable_grad()
def _towards(model: Classifier, x: Tensor, target: Tensor, step: float) -> Tensor:
    """Return inputs moved one step towards classes, along the sign of the gradient, within the domain."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(x).float(), target, reduction="sum"), x)
    return torch.from_numpy(model.domain.clip((x - step * slope.sign()).detach().cpu().numpy()))
