"""KnockoffNets adaptive: a bandit that asks more of those classes of the pool whose answers teach most."""

from collections import deque
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.pool.bandit import WINDOW, Bandit
from feint.attacks.probing import check, require_weights
from feint.attacks.surrogates import default_training
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training, learn
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class KnockoffNetsAdaptive(Attack):
    """KnockoffNets with the adaptive policy (Orekondy et al., CVPR 2019).

    The classes of `pool` are the arms of a gradient bandit, whose policy has two levels if `hierarchy` names the group
    of each class. The reward of an answer y is the mean of three terms, each rescaled to [0, 1]:

    - certainty: y₍₁₎ − y₍₂₎, the largest probability less the second;
    - diversity: Σ_k max(0, y_k − ȳ_k), ȳ the mean of the last 100 answers;
    - loss: the cross-entropy −Σ_k y_k log f(x)_k of an online surrogate f before it learns from y.

    The paper asks one query at a time, and so do its ports, at 23 times the cost of random ones. Here `round` inputs
    are drawn, asked and rewarded at once, from the policy before them; f is a second network of the surrogate's kind,
    which takes one step of SGD on each round, so that all of it costs one epoch. A step of the policy shrinks with how
    often an arm was drawn, N^−decay. The paper's decay of 1 hardly leaves the uniform policy in 5,000 queries. Of
    CIFAR-100, a quarter of it useful against a CIFAR-10 victim, 27 % of the queries went there, and 41 % with 0.5,
    means of three seeds; 0.5 is also the best by that share times the number of useful groups that are asked
    evenly (docs/background/results/adaptive.md). The paper leaves open how rewards are rescaled: here by the least and
    the largest so far.

    Raises `BadInput` if the hierarchy lacks a class of the pool.

    Args:
        pool: Inputs of the attacker, with the labels of their classes.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training; None for `default_training`.
        hierarchy: Group of each class, counted from 0, or None for one level.
        decay: Exponent of the step size N^−decay, 0 or more.
        round: Queries in a round, 2 or more.
        learning_rate: Learning rate of the online surrogate.
        proportional: Whether the policy begins as the random one, with the shares of groups and classes in the pool;
            else uniform over groups, as in the paper. The two differ where groups have different sizes.
    """

    cite: ClassVar[str] = "orekondy2019knockoff"
    pool: Split
    surrogate: Network
    training: Training | None = None
    hierarchy: tuple[int, ...] | None = None
    decay: float = 0.5
    round: int = 64
    learning_rate: float = 0.01
    proportional: bool = True

    def __post_init__(self) -> None:
        if self.round < 2 or self.learning_rate <= 0 or self.decay < 0 or min(self.hierarchy or (0,)) < 0:
            raise BadRecipe(repr(self), "round ≥ 2, learning_rate > 0, decay ≥ 0, groups counted from 0", "change them")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        require_weights(self.surrogate)
        check(oracle, self.pool, self.surrogate)
        bandit = Bandit(self.pool.labels, self.groups(), decay=self.decay, seed=seed, proportional=self.proportional)
        rewards = Rewards(self, seed)
        total, refusal = oracle.left, None
        while oracle.left and refusal is None:
            rows, arms = bandit.draw(min(self.round, oracle.left))
            x = self.pool.inputs(rows)
            p, refusal = oracle.try_ask(x)
            if len(p) == self.round:  # an incomplete round is the last one: nothing is drawn after it
                bandit.learn(arms, rewards(x, p))
            progress.step("asking", len(oracle.transcript), total)
        if refusal is not None and not len(oracle.transcript):
            raise refusal
        transcript = oracle.transcript
        training = self.training or default_training(self.surrogate)
        return learn(self.surrogate, transcript.x, transcript.p, training, pool=self.pool, seed=seed, progress=progress)

    def groups(self) -> Tensor:
        """Return the group (classes,) of each class of the pool.

        Raises:
            BadInput: If the hierarchy lacks a class of the pool.
        """
        classes = int(self.pool.labels.max()) + 1
        if self.hierarchy is None:
            return torch.arange(classes)
        if len(self.hierarchy) < classes:
            raise BadInput(
                f"a hierarchy of {len(self.hierarchy)} classes and a pool of {classes}",
                "the group of each class",
                "add the others",
            )
        return torch.tensor(self.hierarchy[:classes])


class Rewards:
    """Rewards of answers, with the running mean of the answers and an online surrogate."""

    def __init__(self, attack: KnockoffNetsAdaptive, seed: int) -> None:
        self._model = attack.surrogate.build(seed).train()
        if next(self._model.parameters(), None) is None:
            raise BadInput(
                f"the surrogate {attack.surrogate.name!r}",
                "a network that learns by gradients",
                "use KnockoffNets instead",
            )
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=attack.learning_rate, momentum=0.9)
        self._answers: deque[Tensor] = deque(maxlen=WINDOW)
        self._least, self._largest = torch.full((3,), torch.inf), torch.full((3,), -torch.inf)

    def __call__(self, x: Tensor, p: Tensor) -> Tensor:
        """Return the rewards (n,) of the answers `p` (n, K), n ≥ 2, to the inputs `x` (n, …), and learn from them."""
        first, second = p.topk(2, dim=-1).values.unbind(-1)
        terms = torch.stack([first - second, self.diversity(p), self._learn(x, p)], 1)
        self._least = torch.minimum(self._least, terms.amin(0))
        self._largest = torch.maximum(self._largest, terms.amax(0))
        spread = (self._largest - self._least).clamp_min(torch.finfo(terms.dtype).tiny)
        return ((terms - self._least) / spread).mean(1)

    def diversity(self, p: Tensor) -> Tensor:
        """Return Σ_k max(0, p_k − ȳ_k) (n,), where ȳ is the mean of the last 100 answers up to each."""
        gains = []
        for row in p:
            self._answers.append(row)
            gains.append((row - torch.stack(list(self._answers)).mean(0)).clamp_min(0).sum())
        return torch.stack(gains)

    def _learn(self, x: Tensor, p: Tensor) -> Tensor:
        losses = F.cross_entropy(self._model(x), p, reduction="none")
        self._optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        self._optimizer.step()
        return losses.detach()
