"""KnockoffNets: label images of one's own with the victim, and train on the answers."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from feint.attacks.attack import Attack
from feint.data import Split
from feint.errors import BadInput
from feint.networks import Classifier, Network
from feint.oracle import Oracle
from feint.training import Training, learn
from feint.watch import SILENT, Watch

BATCH = 500


@dataclass(frozen=True)
class KnockoffNets(Attack):
    """KnockoffNets with the random policy (Orekondy et al., CVPR 2019).

    Draws as many inputs from `pool` as the budget pays for, asks each of them once, and trains `surrogate` with the
    cross-entropy to the answers as they are: on probabilities, or on one-hot rows through `HardLabels`.
    """

    cite: ClassVar[str] = "orekondy2019knockoff"
    pool: Split
    surrogate: Network
    training: Training = Training()

    def steal(self, oracle: Oracle, *, seed: int = 0, watch: Watch = SILENT) -> Classifier:
        if oracle.left > len(self.pool):
            raise BadInput(
                f"a budget for {oracle.left} inputs and a pool of {len(self.pool)}",
                "a pool at least as large as the budget",
                "lower the budget or bring a larger pool",
            )
        if not oracle.left:
            oracle.ask(self.pool.inputs(slice(0, 1)))  # raises the refusal
        refusal = None
        chosen = torch.randperm(len(self.pool), generator=torch.Generator().manual_seed(seed))[: oracle.left]
        asked = 0
        for rows in chosen.split(BATCH):
            p, refusal = oracle.try_ask(self.pool.inputs(rows))
            asked += len(p)
            watch.step("asking", asked, len(chosen))
            if refusal is not None:
                break
        if refusal is not None and not len(oracle.transcript):
            raise refusal
        transcript = oracle.transcript
        return learn(self.surrogate, transcript.x, transcript.p, self.training, seed=seed, watch=watch)
