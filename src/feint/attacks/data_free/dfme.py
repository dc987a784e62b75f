"""DFME and MAZE: a generator of queries on which victim and surrogate disagree, without any data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.data_free.generators import squash
from feint.attacks.data_free.loop import Distance, HalfCosine, LoopBatch, LoopConfig, LoopState, require_turn, train
from feint.attacks.data_free.statistics import WITHOUT_DATA
from feint.attacks.data_free.zeroth_order import forward_differences
from feint.attacks.probing import require_probabilities
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Domain, Pixels


@dataclass(frozen=True)
class Differences:
    """Forward differences that estimate the generator's gradient; each input costs 1 + m queries.

    Args:
        directions: m, random directions for each input.
        epsilon: ε, length of a step.
        floor: Least probability; a smaller answer, such as 0 after rounding, counts as this. For undefended answers,
            which are float32, 1e-30 loses nothing.
    """

    directions: int = 1
    epsilon: float = 1e-3
    floor: float = 1e-7

    def __post_init__(self) -> None:
        if self.directions < 1 or not self.epsilon > 0 or not 0 < self.floor < 0.1:
            raise BadRecipe(repr(self), "directions ≥ 1, epsilon > 0, 0 < floor < 0.1", "change it")


@dataclass(frozen=True)
class DFME(Attack):
    """Data-free model extraction (Truong et al., CVPR 2021).

        min over S, max over G of E_z mean_k |l_V(x) − l_S(x)|

    x = G(z) is the generator's image, l_V = log p − mean_k log p the victim's logits, recovered up to a shift from the
    answer p, and l_S those of the surrogate. Forward differences estimate the generator's gradient in x. A turn costs
    B · (n_G (1 + m) + n_S) queries. The paper clips nothing; here p is at least `differences.floor`.

    Args:
        surrogate: Architecture of the surrogate.
        game: Settings of the training loop.
        differences: Settings of the forward differences.
    """

    cite: ClassVar[str] = "truong2021data"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    instead: ClassVar[Mapping[type[Domain], str]] = WITHOUT_DATA
    surrogate: Network
    game: LoopConfig = LoopConfig()
    differences: Differences = Differences()

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        cost = self.game.generator_steps * (1 + self.differences.directions) + self.game.surrogate_steps
        distance = partial(l1_of_logits, floor=self.differences.floor)
        return _train_on_disagreement(
            oracle, self, distance, seed=seed, progress=progress, cost=cost * self.game.batch_size
        )


@dataclass(frozen=True)
class MAZE(Attack):
    """MAZE (Kariyappa et al., CVPR 2021), model stealing with zeroth-order gradients and experience replay.

        min over S, max over G of E_z KL(p_V(x) ‖ p_S(x))

    It differs from `DFME` in the distance, in that the surrogate also learns from the generator's batch, in the steps
    on images of earlier turns, and in the generator's optimizer, which is SGD. The surrogate is in training mode
    whenever it answers, as in the authors' code. A turn costs B · (n_G (1 + m) + n_S − n_G) queries. The code remembers
    the last batch of every turn and draws single images; here a memory holds a random choice of them, which is the same
    while all fit. The generator is that of `DFME`: the last normalisation of MAZE's has weights.

    The generator's rate is 1e-4, the code's default for CIFAR-10; for Fashion-MNIST the authors take 1e-3.

    Args:
        surrogate: Architecture of the surrogate.
        game: Settings of the training loop.
        differences: Settings of the forward differences.
    """

    cite: ClassVar[str] = "kariyappa2021maze"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    instead: ClassVar[Mapping[type[Domain], str]] = WITHOUT_DATA
    surrogate: Network
    game: LoopConfig = LoopConfig(128, replay_steps=10, latent=100, schedule=HalfCosine(), generator_optimizer="sgd")
    differences: Differences = Differences(directions=10)

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        fresh = max(0, self.game.surrogate_steps - self.game.generator_steps)
        cost = self.game.generator_steps * (1 + self.differences.directions) + fresh
        distance = partial(divergence, floor=self.differences.floor)
        return _train_on_disagreement(
            oracle, self, distance, seed=seed, progress=progress, cost=cost * self.game.batch_size, as_maze=True
        )


def l1_of_logits(p: Tensor, z: Tensor, *, floor: float) -> Tensor:
    """Return the mean distance (n,) between logits `z` (n, K) and those recovered from the answers `p` (n, K)."""
    recovered = p.clamp_min(floor).log()
    return (recovered - recovered.mean(-1, keepdim=True) - z).abs().mean(-1)


def divergence(p: Tensor, z: Tensor, *, floor: float) -> Tensor:
    """Return KL (n,), in nats, from the answers `p` (n, K) to the softmax of the logits `z` (n, K)."""
    return (p * (p.clamp_min(floor).log() - F.log_softmax(z, -1))).sum(-1)


def _train_on_disagreement(
    oracle: Oracle,
    attack: DFME | MAZE,
    distance: Distance,
    *,
    seed: int,
    progress: ProgressCallback,
    cost: int,
    as_maze: bool = False,  # the surrogate learns the generator's batches, too, in training mode when it answers them
) -> Classifier:
    """Train a generator up the distance, by forward differences, and the surrogate down it."""
    require_turn(oracle, attack.surrogate, cost)
    oracle.keep_answers_only()
    state, differences = LoopState(attack.game, attack.surrogate, distance=distance, seed=seed), attack.differences

    def generator_step() -> list[LoopBatch]:
        generated, batches = state.generate(), list[LoopBatch]()

        def values(raw: Tensor) -> Tensor:
            x = squash(raw)
            p = state.ask(oracle, x)
            require_probabilities(p, "DFMSHL, which asks for labels only")
            batches.append((x[: len(generated)], p[: len(generated)]))
            return distance(p.double(), state.surrogate(x).double())  # differences of a thousandth need the digits

        state.surrogate.train(as_maze)
        slope = forward_differences(
            values, generated.detach(), directions=differences.directions, step=differences.epsilon, random=state.random
        )
        state.generator_optimizer.zero_grad()
        generated.backward(-slope / len(generated))
        state.generator_optimizer.step()
        return batches if as_maze else []

    def turn() -> None:
        batches = [batch for _ in range(attack.game.generator_steps) for batch in generator_step()]
        state.train_surrogate(oracle, batches)

    return train(oracle, state, turn, cost=cost, progress=progress)
