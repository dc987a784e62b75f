"""The loop of all attacks that go in rounds: ask, learn from all answers so far, choose with that what to ask next."""

from collections.abc import Callable

from torch import Tensor

from feint.attacks.asking import BATCH, ask_all
from feint.networks import Classifier
from feint.oracle import Oracle
from feint.transcript import Transcript
from feint.watch import Watch


def in_rounds(
    oracle: Oracle,
    first: Tensor,
    *,
    learn: Callable[[Transcript], Classifier],
    propose: Callable[[Classifier, int], Tensor],
    watch: Watch,
) -> Classifier:
    """The surrogate that `learn` makes of the transcript after the last round.

    The first round asks the inputs `first` (n, …), each other one what `propose` returns for the surrogate so far and
    the number of queries that are left: at most as many inputs, and none to end the attack. A refusal ends it too.
    """
    total, x = oracle.left, first
    while True:
        refusal = ask_all(oracle, x.split(BATCH), total, watch)
        surrogate = learn(oracle.transcript)
        x = propose(surrogate, oracle.left) if refusal is None and oracle.left else x[:0]
        if not len(x):
            return surrogate
