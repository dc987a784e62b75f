"""DFMS-HL: a data-free attack on labels, whose generator stays close to images and covers all classes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.data_free.generators import Discriminator, squash, synthetic_images
from feint.attacks.data_free.loop import HalfCosine, LoopBatch, LoopConfig, LoopState, require_turn, train
from feint.attacks.data_free.statistics import WITHOUT_DATA
from feint.errors import BadRecipe, Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Domain, Pixels

MOMENTUM = 0.5  # of Adam, as in DCGAN


@dataclass(frozen=True)
class DFMSHL(Attack):
    """DFMS-HL (Sanyal, Addepalli and Babu, CVPR 2022): model stealing from hard labels, without data.

    A DCGAN first learns, in `warm_up` steps, to draw synthetic images: shapes on a plain ground. The surrogate learns
    the labels of `start` of its images (at most a tenth of the budget). Then both take turns. The generator minimises

        L_adv + diversity · Σ_j a_j log a_j        a = mean over the batch of the surrogate's softmax

    so that its images stay credible to the discriminator and show the surrogate all classes. The surrogate learns the
    victim's labels of them by cross-entropy. A turn costs B · n_S queries, all for the surrogate. The paper leaves open
    the form of the synthetic images, the surrogate's learning rate, its schedule and Adam's β₁: here β₁ is that of
    DCGAN (0.5), and the others are choices of ours.

    Args:
        surrogate: Architecture of the surrogate.
        game: Settings of the training loop.
        diversity: Weight of the diversity term, 0 or more.
        warm_up: Steps of the DCGAN before the first query.
        start: Queries for the surrogate before the generator's first step on diversity.
    """

    cite: ClassVar[str] = "sanyal2022towards"
    is_naive: ClassVar[bool] = False
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    instead: ClassVar[Mapping[type[Domain], str]] = WITHOUT_DATA
    surrogate: Network
    game: LoopConfig = LoopConfig(128, surrogate_steps=1, latent=100, generator_rate=2e-4, schedule=HalfCosine())
    diversity: float = 500.0
    warm_up: int = 1000
    start: int = 50_000

    def __post_init__(self) -> None:
        if not 0 <= self.diversity < math.inf or self.warm_up < 0 or self.start < 0:
            raise BadRecipe(repr(self), "diversity, warm_up and start of 0 or more", "change it")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        cost = self.game.batch_size * self.game.surrogate_steps
        require_turn(oracle, self.surrogate, cost)
        oracle.keep_answers_only()
        state = LoopState(self.game, self.surrogate, distance=cross_entropy, seed=seed, momentum=MOMENTUM)
        gan = _GanTrainer(state, self.surrogate, seed)
        for step in range(self.warm_up):
            gan.step(0.0)
            progress.step("warming up", step + 1, self.warm_up)
        try:
            for _ in range(min(self.start, oracle.left // 10) // cost):
                state.train_surrogate(oracle, [])
        except Refused:
            if not len(oracle.transcript):
                raise
            return state.surrogate.eval()
        return train(oracle, state, lambda: gan.step(self.diversity), cost=cost, progress=progress)


def cross_entropy(p: Tensor, z: Tensor) -> Tensor:
    """Return the cross-entropy (n,) of logits `z` (n, K) with the labels of the answers `p` (n, K)."""
    return F.cross_entropy(z, p.argmax(-1), reduction="none")


def mean_information(z: Tensor) -> Tensor:
    """Return Σ_j a_j log a_j, where a is the mean of the softmaxes of the logits `z` (n, K).

    It is computed from log a: where a class's share is too small for a float, a log a has the slope 0 there, and −∞ if
    a is 0.

    Args:
        z: Logits (n, K).

    Returns:
        A number, with a finite slope in `z`.
    """
    log_a = z.log_softmax(-1).logsumexp(0) - math.log(len(z))
    return (log_a.exp() * log_a).sum()


class _GanTrainer:
    """Trainer of a loop's generator against a discriminator of synthetic images."""

    def __init__(self, state: LoopState, network: Network, seed: int) -> None:
        self.state, self.shape = state, network.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.discriminator = Discriminator(network.shape, width=state.config.width).to(state.device)
        self.optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=state.config.generator_rate, betas=(MOMENTUM, 0.999)
        )

    def step(self, diversity: float) -> list[LoopBatch]:
        """Take one step of the discriminator and one of the generator, without a query."""
        state = self.state
        real = synthetic_images(state.config.batch_size, self.shape, random=state.random).to(state.device)
        fake = squash(state.generate())
        z = self.discriminator(torch.cat([real, fake.detach()]))
        is_real = torch.arange(len(z), device=z.device) < len(real)
        self.optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(z, is_real.float()).backward()
        self.optimizer.step()
        loss = F.softplus(-self.discriminator(fake)).mean()
        if diversity:
            state.surrogate.eval()
            loss = loss + diversity * mean_information(state.surrogate(fake))
        state.generator_optimizer.zero_grad()
        loss.backward()
        state.generator_optimizer.step()
        return []
