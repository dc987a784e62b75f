"""Training loop of the data-free attacks: a generator makes the queries, and a surrogate learns from the answers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from feint.attacks.data_free.generators import ImageGenerator, squash
from feint.attacks.data_free.replay import ReplayMemory
from feint.attacks.probing import require_budget, require_weights
from feint.errors import BadInput, BadRecipe, Refused
from feint.models.networks import Classifier, Network, default_device
from feint.oracle import Oracle
from feint.progress import ProgressCallback

LoopBatch = tuple[Tensor, Tensor]  # inputs (n, C, H, W) in [0, 1] and the answers (n, K) to them
Distance = Callable[[Tensor, Tensor], Tensor]  # answers p and logits (n, K) to numbers (n,)


class Schedule(ABC):
    """Schedule of the learning rates: a frozen dataclass that defines `factor`."""

    @abstractmethod
    def factor(self, spent: float) -> float:
        """Return the factor of the learning rates once this share of the budget is spent."""


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Step schedule: the factor is multiplied by `by` at each of the shares `at` of the budget.

    Args:
        at: Shares of the budget, between 0 and 1.
        by: Factor of one step, above 0 and at most 1.
    """

    at: tuple[float, ...] = (0.1, 0.3, 0.5)
    by: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(self.at))
        if not all(0 < share < 1 for share in self.at) or not 0 < self.by <= 1:
            raise BadRecipe(repr(self), "shares between 0 and 1, and a factor above 0, at most 1", "change it")

    def factor(self, spent: float) -> float:
        return self.by ** sum(spent >= share for share in self.at)


@dataclass(frozen=True)
class HalfCosine(Schedule):
    """Cosine schedule: the factor falls from 1 to 0 along half a cosine."""

    def factor(self, spent: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * spent))


@dataclass(frozen=True)
class LoopConfig:
    """Settings of the loop in which the generator and the surrogate take turns.

    A turn is `generator_steps` of the generator, `surrogate_steps` of the surrogate (SGD with momentum) on new images
    and the victim's answers, and at most `replay_steps` of the surrogate on images of the last batches of all turns, in
    random order, each at most once.

    Args:
        batch_size: Images in a batch, at least 2.
        generator_steps: Steps of the generator in a turn.
        surrogate_steps: Steps of the surrogate on new answers in a turn.
        replay_steps: Steps of the surrogate on remembered answers in a turn.
        memory: Images that the replay memory holds at most: a random choice of the last batches of all turns.
        latent: Length of the generator's noise vectors.
        width: Channels of the generator's last hidden convolution; those before it have twice as many.
        generator_rate: Learning rate of the generator.
        surrogate_rate: Learning rate of the surrogate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        schedule: Schedule of both learning rates over the share of the budget that is spent.
        generator_optimizer: "sgd", which trains the generator as the surrogate is trained; None for Adam.
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
    generator_optimizer: str | None = None

    def __post_init__(self) -> None:
        if self.generator_optimizer not in (None, "sgd"):
            got = f"generator_optimizer={self.generator_optimizer!r}"
            raise BadRecipe(got, "'sgd', or None for Adam", "change it")
        counts = self.generator_steps, self.surrogate_steps, self.latent, self.width
        if self.batch_size < 2 or min(counts) < 1 or self.replay_steps < 0 or self.memory < self.batch_size:
            known = "batch_size ≥ 2, replay_steps ≥ 0, memory ≥ batch_size, other counts ≥ 1"
            raise BadRecipe(repr(self), known, "change it")
        rates = self.generator_rate, self.surrogate_rate
        if not (all(0 < rate < math.inf for rate in rates) and 0 <= self.momentum < 1 and 0 <= self.weight_decay < 1):
            raise BadRecipe(repr(self), "learning rates above 0, 0 ≤ momentum < 1, 0 ≤ weight_decay < 1", "change it")


class LoopState:
    """Generator, surrogate, their optimizers, and the replay memory of one run.

    Args:
        config: Settings of the loop.
        surrogate: Architecture of the surrogate.
        distance: Loss of the surrogate's logits z (n, K) against the answers p (n, K).
        seed: Seed of the initial weights, of the noise and of the memory.
        momentum: β₁ of the generator's Adam.
    """

    def __init__(
        self,
        config: LoopConfig,
        surrogate: Network,
        *,
        distance: Distance,
        seed: int,
        momentum: float = 0.9,
    ) -> None:
        self.config, self.distance = config, distance
        self.device = default_device()
        self.random = torch.Generator().manual_seed(seed)
        self.surrogate = surrogate.build(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = ImageGenerator(surrogate.shape, latent=config.latent, width=config.width)
        self.generator = generator.to(self.device).train()
        self.generator_optimizer = (
            _sgd(self.generator, config.generator_rate, config)
            if config.generator_optimizer == "sgd"
            else torch.optim.Adam(self.generator.parameters(), lr=config.generator_rate, betas=(momentum, 0.999))
        )
        self.surrogate_optimizer = _sgd(self.surrogate, config.surrogate_rate, config)
        self._memory = ReplayMemory(config.memory, self.random)

    def generate(self) -> Tensor:
        """Return new images before squashing (n, C, H, W), through which the generator can learn."""
        return self.generator(
            torch.randn(self.config.batch_size, self.config.latent, generator=self.random).to(self.device)
        )

    def ask(self, oracle: Oracle, x: Tensor) -> Tensor:
        """Ask the images of a batch. If not all are answered, learn from those that are and raise the refusal.

        Args:
            oracle: The victim behind its budget.
            x: Images (n, C, H, W) in [0, 1].

        Returns:
            The answers (n, K), on the device of the surrogate.
        """
        p, refusal = oracle.try_ask(x.cpu())
        if refusal is not None:
            self.surrogate_step(x[: len(p)], p)
            raise refusal
        return p.to(self.device)

    @torch.enable_grad()  # a refusal can come amid the generator's differences, which need none
    def surrogate_step(self, x: Tensor, p: Tensor) -> None:
        """Take one step of the surrogate; a single image is left out, since batch normalisation cannot take it."""
        if len(x) > 1:
            self.surrogate.train()
            loss = self.distance(p.to(self.device), self.surrogate(x.to(self.device))).mean()
            self.surrogate_optimizer.zero_grad()
            loss.backward()
            self.surrogate_optimizer.step()
            self.surrogate.eval()

    def train_surrogate(self, oracle: Oracle, batches: list[LoopBatch]) -> None:
        """Take the surrogate's steps of a turn, first on the `batches` that the generator has asked already."""
        asked = batches[: self.config.surrogate_steps]
        for x, p in asked:
            self.surrogate_step(x, p)
        while len(asked) < self.config.surrogate_steps:
            with torch.no_grad():
                x = squash(self.generate())
            asked.append((x, self.ask(oracle, x)))
            self.surrogate_step(*asked[-1])
        self.replay(*asked[-1])

    def replay(self, x: Tensor, p: Tensor) -> None:
        """Remember the last batch of a turn, and take the surrogate's steps on remembered images."""
        if self.config.replay_steps:
            self._memory.offer(x, p)
        for remembered in self._memory.shuffled(self.config.batch_size, self.config.replay_steps):
            self.surrogate_step(*remembered)

    def set_learning_rates(self, spent: float) -> None:
        """Set both learning rates for this share of the budget spent."""
        factor = self.config.schedule.factor(spent)
        for optimizer, rate in (
            (self.generator_optimizer, self.config.generator_rate),
            (self.surrogate_optimizer, self.config.surrogate_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor


def _sgd(model: nn.Module, rate: float, config: LoopConfig) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=config.momentum, weight_decay=config.weight_decay)


def require_turn(oracle: Oracle, network: Network, cost: int) -> None:
    """Raise `BadInput` unless inputs are images (C, H, W) and the budget pays for one turn of `cost` queries."""
    if len(network.shape) != 3:
        raise BadInput(f"inputs of shape {network.shape}", "images (C, H, W)", "use Uniform instead")
    require_weights(network)
    require_budget(oracle, network, cost, what=", one turn", remedy="raise the budget, or lower batch_size")


def train(
    oracle: Oracle,
    state: LoopState,
    turn: Callable[[], None],
    *,
    cost: int,
    progress: ProgressCallback,
) -> Classifier:
    """Take turns of the generator and the surrogate until the budget is spent or the victim refuses.

    Args:
        oracle: The victim behind its budget.
        state: Networks and optimizers of the run.
        turn: Takes the steps of one turn.
        cost: Queries of a turn.
        progress: Callback for each turn.

    Returns:
        The surrogate, in evaluation mode.

    Raises:
        Refused: If the victim refuses before it has answered anything.
    """
    total = oracle.left
    try:
        while oracle.left >= cost:
            state.set_learning_rates(1 - oracle.left / total)
            turn()
            progress.step("asking", total - oracle.left, total)
    except Refused:
        if not len(oracle.transcript):
            raise
    return state.surrogate.eval()
