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

    A GAN first learns, in `warm_up` steps, to draw synthetic images: shapes on a plain ground. The surrogate learns the
    labels of `start` of its images (at most a tenth of the budget), in `start_epochs` passes at `start_rate`. Then the
    game begins. On each batch the surrogate learns the victim's labels by cross-entropy, then the generator minimises

        L_adv + diversity · Σ_j a_j log a_j        a = mean over the batch of the surrogate's softmax

    so that its images stay credible to the discriminator and show the surrogate all classes, and then the discriminator
    learns. A turn costs B · n_S queries, all for the surrogate.

    Rates, β₁ and the order of the steps are those of the authors' code. It differs in these: it trains the surrogate
    for 200 epochs on proxy images and those of a DCGAN of 200 epochs, trains that GAN for 100 more epochs with a
    diversity of 10, and the surrogate anew on its images, before the game; it changes every query by AutoAugment; its
    synthetic images hold 50 grey shapes of 5 to 10 pixels on 100 × 100, blurred and scaled to 32 × 32. Here the
    generator is that of `DFME`, and the discriminator has two convolutions.

    Args:
        surrogate: Architecture of the surrogate.
        game: Settings of the training loop.
        diversity: Weight of the diversity term, 0 or more.
        warm_up: Steps of the DCGAN before the first query.
        start: Queries for the surrogate before the generator's first step on diversity.
        start_epochs: Passes of the surrogate over these, 1 or more.
        start_rate: Learning rate at their beginning, which falls along half a cosine.
    """

    cite: ClassVar[str] = "sanyal2022towards"
    is_naive: ClassVar[bool] = False
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    instead: ClassVar[Mapping[type[Domain], str]] = WITHOUT_DATA
    surrogate: Network
    game: LoopConfig = LoopConfig(
        128, surrogate_steps=1, latent=100, generator_rate=2e-4, surrogate_rate=0.01, schedule=HalfCosine()
    )
    diversity: float = 500.0
    warm_up: int = 1000
    start: int = 50_000
    start_epochs: int = 20
    start_rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.diversity < math.inf or self.warm_up < 0 or self.start < 0:
            raise BadRecipe(repr(self), "diversity, warm_up and start of 0 or more", "change it")
        if self.start_epochs < 1 or not 0 < self.start_rate < math.inf:
            raise BadRecipe(repr(self), "start_epochs ≥ 1 and a start_rate above 0", "change it")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        cost = self.game.batch_size * self.game.surrogate_steps
        require_turn(oracle, self.surrogate, cost)
        oracle.keep_answers_only()
        state = LoopState(self.game, self.surrogate, distance=cross_entropy, seed=seed, momentum=MOMENTUM)
        gan = _GanTrainer(state, self.surrogate, seed)
        for step in range(self.warm_up):
            fake = squash(state.generate())
            gan.train_discriminator(fake.detach())
            gan.train_generator(fake, 0.0)
            progress.step("warming up", step + 1, self.warm_up)
        try:
            self._start(oracle, state)
        except Refused:
            if not len(oracle.transcript):
                raise
            return state.surrogate.eval()

        def surrogate_step() -> LoopBatch:
            fake = squash(state.generate())
            p = state.ask(oracle, fake.detach())
            state.surrogate_step(fake.detach(), p)
            return fake, p

        def turn() -> None:
            for _ in range(self.game.surrogate_steps - 1):
                surrogate_step()
            fake, p = surrogate_step()
            state.replay(fake.detach(), p)
            gan.train_generator(fake, self.diversity)
            for _ in range(self.game.generator_steps - 1):
                gan.train_generator(fake := squash(state.generate()), self.diversity)
            gan.train_discriminator(fake.detach())

        return train(oracle, state, turn, cost=cost, progress=progress)

    def _start(self, oracle: Oracle, state: LoopState) -> None:
        """Ask the first images of the generator, train the surrogate on the answers, and raise a refusal after that."""
        batches, size, refusal = list[LoopBatch](), self.game.batch_size, None
        for _ in range(min(self.start, oracle.left // 10) // size):
            with torch.no_grad():
                x = squash(state.generate())
            p, refusal = oracle.try_ask(x.cpu())
            batches.append((x[: len(p)], p.to(state.device)))
            if refusal is not None:
                break
        if batches:
            x, p = (torch.cat(parts) for parts in zip(*batches, strict=True))
            for epoch in range(self.start_epochs):
                for group in state.surrogate_optimizer.param_groups:
                    group["lr"] = self.start_rate * HalfCosine().factor(epoch / self.start_epochs)
                for rows in torch.randperm(len(x), generator=state.random).split(size):
                    state.surrogate_step(x[rows], p[rows])
        if refusal is not None:
            raise refusal


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

    def train_generator(self, fake: Tensor, diversity: float) -> None:
        """Take one step of the generator that made the images `fake` (n, C, H, W), without a query."""
        loss = F.softplus(-self.discriminator(fake)).mean()
        if diversity:
            self.state.surrogate.eval()
            loss = loss + diversity * mean_information(self.state.surrogate(fake))
        self.state.generator_optimizer.zero_grad()
        loss.backward()
        self.state.generator_optimizer.step()

    def train_discriminator(self, fake: Tensor) -> None:
        """Take one step of the discriminator on the images `fake` (n, C, H, W) and as many synthetic ones."""
        real = synthetic_images(len(fake), self.shape, random=self.state.random).to(fake.device)
        z = self.discriminator(torch.cat([real, fake]))
        is_real = torch.arange(len(z), device=z.device) < len(real)
        self.optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(z, is_real.float()).backward()
        self.optimizer.step()
