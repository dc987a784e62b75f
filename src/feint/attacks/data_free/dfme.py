"""DFME and MAZE: a generator looks for the inputs on which victim and surrogate differ, with no data at all."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.data_free.generators import squash
from feint.attacks.data_free.loop import Distance, HalfCosine, LoopBatch, LoopConfig, LoopState, afford, train
from feint.attacks.data_free.zeroth_order import forward_differences
from feint.attacks.probing import require_probabilities
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class Differences:
    """How the generator's gradient is found: `directions` m and step `epsilon` ε of the forward differences, for which
    an input is asked 1 + m times. An answer below `floor`, 0 where it was rounded, is taken for that."""

    directions: int = 1
    epsilon: float = 1e-3
    floor: float = 1e-7

    def __post_init__(self) -> None:
        if self.directions < 1 or not self.epsilon > 0 or not 0 < self.floor < 0.1:
            raise BadRecipe(repr(self), "directions ≥ 1, epsilon > 0, 0 < floor < 0.1", "change it")


@dataclass(frozen=True)
class DFME(Attack):
    """Data-free model extraction (Truong et al., CVPR 2021): min over S, max over G of E_z mean_k |l_V(x) − l_S(x)|.

    x = G(z) is the generator's image, l_V = log p − mean_k log p the victim's logits, recovered up to a shift from its
    answer p, and l_S those of the surrogate. The generator's gradient in x comes from forward differences. A turn asks
    B · (n_G (1 + m) + n_S) queries. The paper clips nothing; here p is at least `differences.floor`.
    """

    cite: ClassVar[str] = "truong2021data"
    surrogate: Network
    game: LoopConfig = LoopConfig()
    differences: Differences = Differences()

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        cost = self.game.generator_steps * (1 + self.differences.directions) + self.game.surrogate_steps
        distance = partial(l1_of_logits, floor=self.differences.floor)
        return _duel(
            oracle, self, distance, seed=seed, progress=progress, cost=cost * self.game.batch_size, reuse=False
        )


@dataclass(frozen=True)
class MAZE(Attack):
    """MAZE (Kariyappa et al., CVPR 2021): min over S, max over G of E_z KL(p_V(x) ‖ p_S(x)), with experience replay.

    As `DFME`, with another distance, a batch of the generator's that the surrogate learns from, and steps on earlier
    batches. A turn asks B · (n_G (1 + m) + n_S − n_G) queries. The paper keeps all batches; here a memory keeps a
    random choice of them, which is the same while all fit.
    """

    cite: ClassVar[str] = "kariyappa2021maze"
    surrogate: Network
    game: LoopConfig = LoopConfig(128, replay_steps=10, latent=100, schedule=HalfCosine())
    differences: Differences = Differences(directions=10)

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        fresh = max(0, self.game.surrogate_steps - self.game.generator_steps)
        cost = self.game.generator_steps * (1 + self.differences.directions) + fresh
        distance = partial(divergence, floor=self.differences.floor)
        return _duel(oracle, self, distance, seed=seed, progress=progress, cost=cost * self.game.batch_size, reuse=True)


def l1_of_logits(p: Tensor, z: Tensor, *, floor: float) -> Tensor:
    """The mean distance (n,) of logits `z` (n, K) from those recovered from the answers `p` (n, K)."""
    recovered = p.clamp_min(floor).log()
    return (recovered - recovered.mean(-1, keepdim=True) - z).abs().mean(-1)


def divergence(p: Tensor, z: Tensor, *, floor: float) -> Tensor:
    """KL (n,), in nats, from the answers `p` (n, K) to the softmax of the logits `z` (n, K)."""
    return (p * (p.clamp_min(floor).log() - F.log_softmax(z, -1))).sum(-1)


def _duel(
    oracle: Oracle,
    attack: DFME | MAZE,
    distance: Distance,
    *,
    seed: int,
    progress: ProgressCallback,
    cost: int,
    reuse: bool,
) -> Classifier:
    """The game in which the generator asks for the slope of the distance that the surrogate makes smaller."""
    afford(oracle, attack.surrogate, cost)
    oracle.keep_answers_only()
    table, found = LoopState(attack.game, attack.surrogate, distance=distance, seed=seed), attack.differences

    def outwit() -> list[LoopBatch]:
        made, asked = table.made(), list[LoopBatch]()

        def values(around: Tensor) -> Tensor:
            x = squash(around)
            p = table.ask(oracle, x)
            require_probabilities(p, "DFMSHL, which asks for labels only")
            asked.append((x[: len(made)], p[: len(made)]))
            return distance(p.double(), table.surrogate(x).double())  # differences of a thousandth need the digits

        table.surrogate.eval()
        slope = forward_differences(
            values, made.detach(), directions=found.directions, step=found.epsilon, random=table.random
        )
        table.against.zero_grad()
        made.backward(-slope / len(made))
        table.against.step()
        return asked if reuse else []

    return train(oracle, table, outwit, cost=cost, progress=progress)
