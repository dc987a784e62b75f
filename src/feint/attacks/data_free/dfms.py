"""DFMS-HL: a data-free attack that needs labels only. The generator is kept in the world of images, and diverse."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.data_free.generators import Discriminator, squash, synthetic
from feint.attacks.data_free.loop import HalfCosine, LoopBatch, LoopConfig, LoopState, afford, train
from feint.errors import BadRecipe, Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback

MOMENTUM = 0.5  # of Adam, as in DCGAN


@dataclass(frozen=True)
class DFMSHL(Attack):
    """DFMS-HL (Sanyal, Addepalli and Babu, CVPR 2022): model stealing from hard labels, without data.

    A DCGAN first learns, in `warm_up` steps, to draw synthetic images: shapes on a plain ground. The surrogate learns
    the labels of `start` of its images (at most a tenth of the budget). Then they take turns: the generator makes

        L_adv + diversity · Σ_j a_j log a_j        a = mean over the batch of the surrogate's softmax

    smaller, so that its images stay credible to the discriminator and show the surrogate all classes; the surrogate
    learns the victim's labels of them by cross-entropy. A turn asks B · n_S queries, all for the surrogate.
    The form of the synthetic images, the surrogate's learning rate, its schedule and Adam's β₁ are not known; those of
    DCGAN (0.5) and ours are taken.
    """

    cite: ClassVar[str] = "sanyal2022towards"
    is_naive: ClassVar[bool] = False
    surrogate: Network
    game: LoopConfig = LoopConfig(128, surrogate_steps=1, latent=100, generator_rate=2e-4, schedule=HalfCosine())
    diversity: float = 500.0
    warm_up: int = 1000
    start: int = 50_000

    def __post_init__(self) -> None:
        if not 0 <= self.diversity < math.inf or self.warm_up < 0 or self.start < 0:
            raise BadRecipe(repr(self), "diversity, warm_up and start of 0 or more", "change it")

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        cost = self.game.batch_size * self.game.surrogate_steps
        afford(oracle, self.surrogate, cost)
        oracle.keep_answers_only()
        table = LoopState(self.game, self.surrogate, distance=cross_entropy, seed=seed, momentum=MOMENTUM)
        forger = _Forger(table, self.surrogate, seed)
        for step in range(self.warm_up):
            forger.step(0.0)
            progress.step("warming up", step + 1, self.warm_up)
        try:
            for _ in range(min(self.start, oracle.left // 10) // cost):
                table.turn(oracle, [])
        except Refused:
            if not len(oracle.transcript):
                raise
            return table.surrogate.eval()
        return train(oracle, table, lambda: forger.step(self.diversity), cost=cost, progress=progress)


def cross_entropy(p: Tensor, z: Tensor) -> Tensor:
    """The cross-entropy (n,) of logits `z` (n, K) with the labels of the answers `p` (n, K)."""
    return F.cross_entropy(z, p.argmax(-1), reduction="none")


def mean_information(z: Tensor) -> Tensor:
    """Σ_j a_j log a_j of the mean a of the softmaxes of logits `z` (n, K). It is computed from log a: where a class's
    share is too small for a float, a log a has the slope 0 there, and −∞ if a is 0."""
    log_a = z.log_softmax(-1).logsumexp(0) - math.log(len(z))
    return (log_a.exp() * log_a).sum()


class _Forger:
    """The generator of a table, learning from a discriminator that is shown synthetic images as well."""

    def __init__(self, table: LoopState, network: Network, seed: int) -> None:
        self.table, self.shape = table, network.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.discriminator = Discriminator(network.shape, width=table.game.width).to(table.device)
        self.optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=table.game.generator_rate, betas=(MOMENTUM, 0.999)
        )

    def step(self, diversity: float) -> list[LoopBatch]:
        """One step of the discriminator and one of the generator; nothing is asked."""
        table = self.table
        real = synthetic(table.game.batch_size, self.shape, random=table.random).to(table.device)
        fake = squash(table.made())
        z = self.discriminator(torch.cat([real, fake.detach()]))
        truth = torch.arange(len(z), device=z.device) < len(real)
        self.optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(z, truth.float()).backward()
        self.optimizer.step()
        loss = F.softplus(-self.discriminator(fake)).mean()
        if diversity:
            table.surrogate.eval()
            loss = loss + diversity * mean_information(table.surrogate(fake))
        table.against.zero_grad()
        loss.backward()
        table.against.step()
        return []
