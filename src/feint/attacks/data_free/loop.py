"""The loop of all data-free attacks: a generator makes the inputs, and plays against the surrogate that learns them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from feint.attacks.data_free.generators import ImageGenerator, squash
from feint.attacks.probing import require_budget
from feint.errors import BadRecipe, Refused
from feint.models.networks import Classifier, Network, default_device
from feint.oracle import Oracle
from feint.progress import ProgressCallback

LoopBatch = tuple[Tensor, Tensor]  # inputs (n, C, H, W) in [0, 1] and the answers (n, K) to them
Distance = Callable[[Tensor, Tensor], Tensor]  # answers p and logits (n, K) to numbers (n,)


class Schedule(ABC):
    """What the learning rates are multiplied by: a frozen dataclass that defines `factor`."""

    @abstractmethod
    def factor(self, done: float) -> float:
        """The factor when this share of the budget is spent."""


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Times `by` whenever one of the shares `at` of the budget is spent."""

    at: tuple[float, ...] = (0.1, 0.3, 0.5)
    by: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(self.at))
        if not all(0 < it < 1 for it in self.at) or not 0 < self.by <= 1:
            raise BadRecipe(repr(self), "shares between 0 and 1, and a factor above 0, at most 1", "change it")

    def factor(self, done: float) -> float:
        return self.by ** sum(done >= it for it in self.at)


@dataclass(frozen=True)
class HalfCosine(Schedule):
    """Down to 0 along half a cosine."""

    def factor(self, done: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class LoopConfig:
    """How the generator and the surrogate take turns, in batches of `batch_size` images.

    A turn is `generator_steps` of the generator (Adam), then `surrogate_steps` of the surrogate (SGD with momentum) on
    what the generator makes and the victim answers, then `replay_steps` on batches of earlier turns, of which a memory
    of about `memory` images keeps a random choice. The generator turns `latent` random numbers into an image, with
    2 · `width` and `width` channels on the way. Both learning rates follow the `schedule`.
    """

    batch_size: int = 256
    generator_steps: int = 1
    surrogate_steps: int = 5
    replay_steps: int = 0
    memory: int = 20_000
    latent: int = 256
    width: int = 64
    generator_rate: float = 1e-4
    surrogate_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = MultiStep()

    def __post_init__(self) -> None:
        counts = self.generator_steps, self.surrogate_steps, self.latent, self.width
        if self.batch_size < 2 or min(counts) < 1 or self.replay_steps < 0 or self.memory < self.batch_size:
            known = "batch_size ≥ 2, replay_steps ≥ 0, memory ≥ batch_size, other counts ≥ 1"
            raise BadRecipe(repr(self), known, "change it")
        rates = self.generator_rate, self.surrogate_rate
        if not (all(0 < it < math.inf for it in rates) and 0 <= self.momentum < 1 and 0 <= self.weight_decay < 1):
            raise BadRecipe(repr(self), "learning rates above 0, 0 ≤ momentum < 1, 0 ≤ weight_decay < 1", "change it")


class LoopState:
    """The players of one game, and all that changes while they play."""

    def __init__(
        self,
        game: LoopConfig,
        surrogate: Network,
        *,
        distance: Distance,
        seed: int,
        momentum: float = 0.9,
    ) -> None:
        self.game, self.distance = game, distance
        self.device = default_device()
        self.random = torch.Generator().manual_seed(seed)
        self.surrogate = surrogate.build(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = ImageGenerator(surrogate.shape, latent=game.latent, width=game.width)
        self.generator = generator.to(self.device).train()
        self.against = torch.optim.Adam(generator.parameters(), lr=game.generator_rate, betas=(momentum, 0.999))
        self.towards = torch.optim.SGD(
            self.surrogate.parameters(), lr=game.surrogate_rate, momentum=game.momentum, weight_decay=game.weight_decay
        )
        self._memory: list[LoopBatch] = []
        self._remembered = 0

    def made(self) -> Tensor:
        """New images before the squashing (n, C, H, W), through which the generator can learn."""
        return self.generator(
            torch.randn(self.game.batch_size, self.game.latent, generator=self.random).to(self.device)
        )

    def ask(self, oracle: Oracle, x: Tensor) -> Tensor:
        """The answers to `x`. Where not all are answered, what was is learned from, and the refusal is raised."""
        p, refusal = oracle.try_ask(x.cpu())
        if refusal is not None:
            self.learn(x[: len(p)], p)
            raise refusal
        return p.to(self.device)

    @torch.enable_grad()  # a refusal can come amid the generator's differences, which need none
    def learn(self, x: Tensor, p: Tensor) -> None:
        """One step of the surrogate; a single image is left out, which batch normalisation cannot take."""
        if len(x) > 1:
            self.surrogate.train()
            loss = self.distance(p.to(self.device), self.surrogate(x.to(self.device))).mean()
            self.towards.zero_grad()
            loss.backward()
            self.towards.step()
            self.surrogate.eval()

    def turn(self, oracle: Oracle, paid: list[LoopBatch]) -> None:
        """The surrogate's part of a turn; it learns from the batches that the generator `paid` for first."""
        for i in range(self.game.surrogate_steps):
            if i < len(paid):
                x, p = paid[i]
            else:
                with torch.no_grad():
                    x = squash(self.made())
                p = self.ask(oracle, x)
            self.learn(x, p)
            self._remember((x, p))
        for _ in range(self.game.replay_steps):
            self.learn(*self._memory[self._drawn(len(self._memory))])

    def slow_down(self, done: float) -> None:
        """The learning rates when this share of the budget is spent."""
        factor = self.game.schedule.factor(done)
        for optimizer, rate in ((self.against, self.game.generator_rate), (self.towards, self.game.surrogate_rate)):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def _remember(self, batch: LoopBatch) -> None:
        """Reservoir sampling: each batch so far is in the memory with the same probability."""
        if not self.game.replay_steps:
            return
        self._remembered += 1
        if len(self._memory) < self.game.memory // self.game.batch_size:
            self._memory.append(batch)
        elif (place := self._drawn(self._remembered)) < len(self._memory):
            self._memory[place] = batch

    def _drawn(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self.random))


def afford(oracle: Oracle, network: Network, cost: int) -> None:
    """Raise as `need_budget` does where the budget does not pay for one turn, of `cost` queries."""
    require_budget(oracle, network, cost, what=", one turn", remedy="raise the budget, or lower batch_size")


def train(
    oracle: Oracle, table: LoopState, outwit: Callable[[], list[LoopBatch]], *, cost: int, progress: ProgressCallback
) -> Classifier:
    """The surrogate when the budget is spent, or the victim refuses. The refusal is raised where nothing was answered.

    `outwit` is a step of the generator, and returns what it asked that the surrogate may learn from. A turn costs
    `cost` queries.
    """
    total = oracle.left
    try:
        while oracle.left >= cost:
            table.slow_down(1 - oracle.left / total)
            paid = [batch for _ in range(table.game.generator_steps) for batch in outwit()]
            table.turn(oracle, paid)
            progress.step("asking", total - oracle.left, total)
    except Refused:
        if not len(oracle.transcript):
            raise
    return table.surrogate.eval()
