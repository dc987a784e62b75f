"""The loop of all attacks that go in rounds: ask, learn from all answers so far, choose with that what to ask next."""

from collections.abc import Callable

from torch import Tensor

from feint.attacks.asking import BATCH, ask_all
from feint.errors import BadRecipe
from feint.networks import Classifier, Network
from feint.oracle import Oracle
from feint.training import Training, cross_entropy, learn, refine
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


def train_in_rounds(
    oracle: Oracle,
    first: Tensor,
    *,
    network: Network,
    training: Training,
    between: Training | None,
    propose: Callable[[Classifier, int], Tensor],
    seed: int,
    watch: Watch,
) -> Classifier:
    """`in_rounds`, with a new `network` trained on all answers after every round.

    With `between`, the surrogates that only choose what to ask cost less: each but the first starts from the one before
    and is trained by this recipe. The one that is returned is always trained from scratch, by `training`.
    """
    before: Classifier | None = None

    def anew(transcript: Transcript) -> Classifier:
        return learn(network, transcript.x, transcript.p, training, seed=seed, watch=watch)

    def onward(transcript: Transcript) -> Classifier:
        nonlocal before
        if before is None or between is None:
            before = anew(transcript)
        else:
            x, p, name = transcript.x, transcript.p, "cross-entropy to the answers"
            before = refine(before, x, p, between, loss=cross_entropy, name=name, seed=seed, watch=watch)[0]
        return before

    surrogate = in_rounds(oracle, first, learn=onward, propose=propose, watch=watch)
    return surrogate if between is None else anew(oracle.transcript)


def check_between(between: Training | None) -> None:
    """Raise `BadRecipe` for a holdout: a training that goes on from the weights of another one has none."""
    if between is not None and between.holdout:
        raise BadRecipe("between with a holdout", "holdout=0", "judge the epochs in training instead")
