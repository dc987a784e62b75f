"""The loop of all attacks that go in rounds: ask, learn from all answers so far, choose with that what to ask next."""

from collections.abc import Callable

from torch import Tensor

from feint.attacks.probing import BATCH, ask_all
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training, cross_entropy, learn, refine
from feint.oracle import Oracle
from feint.progress import ProgressCallback


def train_in_rounds(
    oracle: Oracle,
    first: Tensor,
    *,
    network: Network,
    training: Training,
    propose: Callable[[Classifier, int], Tensor],
    between: Training | None = None,
    seed: int,
    progress: ProgressCallback,
) -> Classifier:
    """A new `network`, trained on all answers after the last round, and after each to choose what comes next.

    The first round asks the inputs `first` (n, …), each other one what `propose` returns for the surrogate so far and
    the number of queries that are left: at most as many inputs, and none to end the attack. A refusal ends it too.

    With `between`, the surrogates that only choose what to ask cost less: each but the first starts from the one before
    and is trained by this recipe. The one that is returned is always trained from scratch, by `training`.
    """
    total, x, surrogate = oracle.left, first, None
    while True:
        refusal = ask_all(oracle, x.split(BATCH), total, progress)
        seen, p, name = oracle.transcript.x, oracle.transcript.p, "cross-entropy to the answers"
        if surrogate is None or between is None:
            surrogate = learn(network, seen, p, training, seed=seed, progress=progress)
        else:
            surrogate = refine(
                surrogate, seen, p, between, loss=cross_entropy, name=name, seed=seed, progress=progress
            )[0]
        x = propose(surrogate, oracle.left) if refusal is None and oracle.left else x[:0]
        if not len(x):
            return surrogate if between is None else learn(network, seen, p, training, seed=seed, progress=progress)


def check_between(between: Training | None) -> None:
    """Raise `BadRecipe` for a holdout: a training that goes on from the weights of another one has none."""
    if between is not None and between.holdout:
        raise BadRecipe("between with a holdout", "holdout=0", "judge the epochs in training instead")
