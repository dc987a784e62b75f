"""KnockoffNets: random inputs of a pool, and a surrogate trained on the answers."""

from dataclasses import dataclass
from typing import ClassVar

from feint.attacks.attack import Attack
from feint.attacks.iterative import train_once
from feint.attacks.probing import check, draw_rows, in_batches
from feint.data import Split
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class KnockoffNets(Attack):
    """KnockoffNets with the random policy (Orekondy et al., CVPR 2019).

    The attack asks as many random inputs of `pool` as the budget pays for, each once: natural images, rows of a table,
    public sentences (WIKI in Krishna et al., ICLR 2020). It trains the surrogate with the
    cross-entropy to the answers as they are: on probabilities, or on one-hot rows through `HardLabels`. A training with
    `rotation` rotates the whole pool, as in ModelGuard's code, which costs no query.

    The training is not the paper's, which trains for 100 to 200 epochs from the weights of ImageNet, in batches of 64
    by SGD at 0.01 with a momentum of 0.5 and no weight decay.

    Args:
        pool: Inputs of the attacker.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training; None for `default_training`.
    """

    cite: ClassVar[str] = "orekondy2019knockoff"
    pool: Split
    surrogate: Network
    training: Training | None = None

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        rows = draw_rows(self.pool, oracle.left, seed)
        batches = in_batches(self.pool, rows)
        return train_once(
            oracle, batches, len(rows), network=self.surrogate, training=self.training, pool=self.pool,
            seed=seed, progress=progress,
        )  # fmt: skip
