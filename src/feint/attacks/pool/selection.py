"""Selections of active learning: the inputs of a pool to ask next, by the surrogate's probabilities."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.domains import AttackerMethod
from feint.attacks.ranges import Ranges
from feint.attacks.synthetic.descent import SLOPED, require_slope
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.perturbation import DeepFool, StepState, margin_gradient, margin_of, per_row
from feint.signature import Domain, Text, Tokens


@dataclass(frozen=True)
class Candidates:
    """Inputs to select from.

    Attributes:
        surrogate: The surrogate so far, or the attacker's proxy.
        p: Its probabilities (N, K) of the N candidates.
        asked: Its probabilities (M, K) of the inputs asked so far.
        inputs: Decodes rows (n,) of the candidates to inputs (n, …).
    """

    surrogate: Classifier
    p: Tensor
    asked: Tensor
    inputs: Callable[[Tensor], Tensor]


class Selection(AttackerMethod, ABC):
    """Selection of candidates: a frozen dataclass that defines `choose`."""

    cite: ClassVar[str]

    def require_surrogate(self, surrogate: Network) -> None:
        """Raise `BadInput` unless the selection works with this surrogate and on its inputs."""
        self.require_domain(surrogate.domain)

    @abstractmethod
    def choose(self, count: int, among: Candidates) -> Tensor:
        """Return `count` distinct rows (count,) of the candidates."""


@dataclass(frozen=True)
class Uncertainty(Selection):
    """The inputs of the largest entropy −Σ_k p_k log p_k (Lewis and Gale, SIGIR 1994; in ActiveThief)."""

    cite: ClassVar[str] = "pal2020activethief"

    def choose(self, count: int, among: Candidates) -> Tensor:
        return torch.special.entr(among.p).sum(-1).topk(count).indices


@dataclass(frozen=True)
class KCentre(Selection):
    """Greedy k-centre (Sener and Savarese, ICLR 2018; in ActiveThief).

    Each choice is the input that is furthest, in the surrogate's probabilities, from all that were asked or chosen. It
    costs one pass over the candidates.
    """

    cite: ClassVar[str] = "pal2020activethief"

    def choose(self, count: int, among: Candidates) -> Tensor:
        distance = torch.cat([torch.cdist(part, among.asked).amin(1) for part in among.p.split(1000)])
        chosen = torch.empty(count, dtype=torch.long)
        for i in range(count):
            chosen[i] = distance.argmax()
            distance = torch.minimum(distance, (among.p - among.p[chosen[i]]).norm(dim=1))
            distance[chosen[i]] = -1.0  # not again, even where all the others lie on a centre
        return chosen


@dataclass(frozen=True)
class DFAL(Selection):
    """The inputs nearest to the surrogate's boundary, by DeepFool (Ducoffe and Precioso, arXiv 2018; in ActiveThief).

    The distance is the L2 length of the way that up to `steps` of `feint.models.perturbation.DeepFool` take over the
    boundary. Inputs that do not cross it come last.

    Args:
        steps: Most steps of DeepFool.
        batch: Inputs in a batch.
    """

    cite: ClassVar[str] = "pal2020activethief"
    domains: ClassVar[tuple[type[Domain], ...]] = SLOPED
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys((Tokens, Text), "Uncertainty")
    steps: int = 5
    batch: int = 500

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise BadRecipe(repr(self), "one or more steps, and inputs in a batch", "change it")

    def require_surrogate(self, surrogate: Network) -> None:
        super().require_surrogate(surrogate)
        require_slope(surrogate, "Uncertainty")

    def choose(self, count: int, among: Candidates) -> Tensor:
        rows = torch.arange(len(among.p)).split(self.batch)
        distance = torch.cat([deepfool_distance(among.surrogate, among.inputs(batch), self.steps) for batch in rows])
        return distance.topk(count, largest=False).indices


@dataclass(frozen=True)
class DFALThenKCentre(Selection):
    """DFAL followed by k-centre (ActiveThief, Pal et al., AAAI 2020).

    DFAL chooses `factor` times as many inputs as are asked, and k-centre chooses among them. In the paper the first
    choice is as large as the whole budget.

    Args:
        dfal: The first selection.
        factor: Candidates of the second selection for each input to choose.
    """

    cite: ClassVar[str] = "pal2020activethief"
    domains: ClassVar[tuple[type[Domain], ...]] = DFAL.domains
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys((Tokens, Text), "KCentre")
    dfal: DFAL = DFAL()
    factor: int = 4

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise BadRecipe(repr(self), "a factor of 1 or more", "change it")

    def require_surrogate(self, surrogate: Network) -> None:
        super().require_surrogate(surrogate)
        self.dfal.require_surrogate(surrogate)

    def choose(self, count: int, among: Candidates) -> Tensor:
        first = self.dfal.choose(min(count * self.factor, len(among.p)), among)
        near = Candidates(among.surrogate, among.p[first], among.asked, lambda rows: among.inputs(first[rows]))
        return first[KCentre().choose(count, near)]


def deepfool_distance(surrogate: Classifier, x: Tensor, steps: int) -> Tensor:
    """Return how far DeepFool moves inputs until the surrogate's label changes, in usual ranges of their numbers.

    Args:
        surrogate: Model from inputs (n, …) to logits (n, K).
        x: Inputs (n, …).
        steps: Most steps of DeepFool.

    Returns:
        L2 distances (n,), ∞ where the label does not change.
    """
    ranges = Ranges(surrogate.domain)
    x = ranges.scaled(x)
    origin, distance = x, torch.full((len(x),), torch.inf, dtype=x.dtype)
    with torch.no_grad():
        label = surrogate(ranges.numbers(x)).argmax(-1)
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        margin = margin_of(surrogate(ranges.numbers(leaf)), label)
        gradient = margin_gradient(margin, leaf)
        x, _ = DeepFool().move(StepState(x, origin, margin.detach(), gradient), ())
        with torch.no_grad():
            crossed = (margin_of(surrogate(ranges.numbers(x)), label) < 0) & distance.isinf()
        distance[crossed] = (x - origin)[crossed].nan_to_num().flatten(1).norm(dim=1)
        x = torch.where(per_row(distance.isinf(), x), x, origin)
    return distance
