"""Which inputs of a pool an attacker asks next, by what his surrogate says of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.errors import BadRecipe
from feint.models.networks import Classifier
from feint.models.perturbation import DeepFool, StepState, margin_gradient, margin_of, per_row


@dataclass(frozen=True)
class Candidates:
    """What can be chosen from: the surrogate's probabilities `p` (N, K) of N inputs, those of the inputs asked so far,
    `asked` (M, K), and `inputs`, which decodes rows of the N."""

    surrogate: Classifier
    p: Tensor
    asked: Tensor
    inputs: Callable[[Tensor], Tensor]


class Selection(ABC):
    """A recipe of a choice."""

    cite: ClassVar[str]

    @abstractmethod
    def choose(self, count: int, among: Candidates) -> Tensor:
        """`count` rows (n,) of the candidates, none twice."""


@dataclass(frozen=True)
class Uncertainty(Selection):
    """The inputs of the largest entropy −Σ_k p_k log p_k (Lewis and Gale, SIGIR 1994; in ActiveThief)."""

    cite: ClassVar[str] = "pal2020activethief"

    def choose(self, count: int, among: Candidates) -> Tensor:
        return torch.special.entr(among.p).sum(-1).topk(count).indices


@dataclass(frozen=True)
class KCentre(Selection):
    """Greedy k-centre (Sener and Savarese, ICLR 2018; in ActiveThief): again and again the input that is furthest, in
    the surrogate's probabilities, from all that were asked or chosen. Each choice costs one pass over the candidates.
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
    """The inputs that DeepFool moves over the surrogate's boundary by the least L2 distance (Ducoffe and Precioso,
    arXiv 2018; in ActiveThief), by up to `steps` of `feint.models.perturbation.DeepFool`. Inputs that do not cross it
    come last.
    """

    cite: ClassVar[str] = "pal2020activethief"
    steps: int = 5
    batch: int = 500

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise BadRecipe(repr(self), "one or more steps, and inputs in a batch", "change it")

    def choose(self, count: int, among: Candidates) -> Tensor:
        rows = torch.arange(len(among.p)).split(self.batch)
        distance = torch.cat([perturbation(among.surrogate, among.inputs(it), self.steps) for it in rows])
        return distance.topk(count, largest=False).indices


@dataclass(frozen=True)
class DFALThenKCentre(Selection):
    """DFAL chooses `factor` times as many as are asked, and k-centre those that are asked among them (ActiveThief,
    Pal et al., AAAI 2020, whose first choice is as large as the whole budget)."""

    cite: ClassVar[str] = "pal2020activethief"
    dfal: DFAL = DFAL()
    factor: int = 4

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise BadRecipe(repr(self), "a factor of 1 or more", "change it")

    def choose(self, count: int, among: Candidates) -> Tensor:
        first = self.dfal.choose(min(count * self.factor, len(among.p)), among)
        near = Candidates(among.surrogate, among.p[first], among.asked, lambda rows: among.inputs(first[rows]))
        return first[KCentre().choose(count, near)]


def perturbation(surrogate: Classifier, x: Tensor, steps: int) -> Tensor:
    """How far (n,) DeepFool goes from inputs `x` (n, …) until the surrogate's label changes; ∞ where it does not."""
    origin, found = x, torch.full((len(x),), torch.inf)
    with torch.no_grad():
        label = surrogate(x).argmax(-1)
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        margin = margin_of(surrogate(leaf), label)
        gradient = margin_gradient(margin, leaf)
        x, _ = DeepFool().move(StepState(x, origin, margin.detach(), gradient), ())
        with torch.no_grad():
            over = (margin_of(surrogate(x), label) < 0) & found.isinf()
        found[over] = (x - origin)[over].flatten(1).norm(dim=1)
        x = torch.where(per_row(found.isinf(), x), x, origin)
    return found
