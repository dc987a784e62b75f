"""KnockoffNets: random inputs of a pool, and a surrogate trained on the answers."""

from dataclasses import dataclass
from typing import ClassVar

from feint.attacks.attack import Attack
from feint.attacks.probing import ask_all, check, draw_rows, in_batches
from feint.data import Split
from feint.models.networks import Classifier, Network
from feint.models.training import Training, learn
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class KnockoffNets(Attack):
    """KnockoffNets with the random policy (Orekondy et al., CVPR 2019).

    The attack asks as many random inputs of `pool` as the budget pays for, each once. It trains the surrogate with the
    cross-entropy to the answers as they are: on probabilities, or on one-hot rows through `HardLabels`.

    Args:
        pool: Inputs of the attacker.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training.
    """

    cite: ClassVar[str] = "orekondy2019knockoff"
    pool: Split
    surrogate: Network
    training: Training = Training()

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        rows = draw_rows(self.pool, oracle.left, seed)
        ask_all(oracle, in_batches(self.pool, rows), len(rows), progress)
        transcript = oracle.transcript
        return learn(self.surrogate, transcript.x, transcript.p, self.training, seed=seed, progress=progress)
