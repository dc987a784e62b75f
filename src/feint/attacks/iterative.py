"""Training of attacks that ask once, or in rounds."""

from collections.abc import Callable, Iterable

from torch import Tensor

from feint.attacks.probing import BATCH, ask_all
from feint.attacks.surrogates import default_training
from feint.data import Split
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training, cross_entropy, learn, refine
from feint.oracle import Oracle
from feint.progress import ProgressCallback


def train_once(
    oracle: Oracle,
    batches: Iterable[Tensor],
    total: int,
    *,
    network: Network,
    training: Training | None,
    pool: Split | None = None,
    seed: int,
    progress: ProgressCallback,
) -> Classifier:
    """Ask inputs until one is refused, and train a surrogate on the answers.

    Args:
        oracle: The victim behind its budget.
        batches: Batches of inputs (n, …).
        total: Number of inputs in all batches.
        network: Architecture of the surrogate.
        training: Recipe of its training; None for `default_training`.
        pool: Inputs of the attacker, for a training with `rotation` or `auxiliary`.
        seed: Seed of initial weights and batches.
        progress: Callback for the steps of asking and training.

    Returns:
        The surrogate, in evaluation mode.
    """
    ask_all(oracle, batches, total, progress)
    x, p = oracle.transcript.x, oracle.transcript.p
    return learn(network, x, p, training or default_training(network), pool=pool, seed=seed, progress=progress)


def train_in_rounds(
    oracle: Oracle,
    first: Tensor,
    *,
    network: Network,
    training: Training | None,
    propose: Callable[[Classifier, int], Tensor],
    between: Training | None = None,
    seed: int,
    progress: ProgressCallback,
) -> Classifier:
    """Ask in rounds, and train a surrogate after each on all answers so far.

    The surrogate of one round chooses the inputs of the next. Asking ends with the budget, with a refusal, or with an
    empty proposal.

    Args:
        oracle: The victim behind its budget.
        first: Inputs (n, …) of the first round.
        network: Architecture of the surrogate.
        training: Recipe by which the returned surrogate is trained, always from new weights; None for
            `default_training`.
        propose: Returns the inputs of the next round for the surrogate so far and the number of queries left: at most
            that many, and none to end the attack.
        between: Cheaper recipe for the surrogates that only choose inputs. With it, each of these but the first
            continues from the weights of the one before; without it, each is trained from new weights by `training`.
        seed: Seed of initial weights and batches.
        progress: Callback for the steps of asking and training.

    Returns:
        The surrogate trained on all answers.
    """
    training = training or default_training(network)
    total, x, surrogate = oracle.left, first, None
    while True:
        refusal = ask_all(oracle, x.split(BATCH), total, progress)
        inputs, p, name = oracle.transcript.x, oracle.transcript.p, "cross-entropy to the answers"
        if surrogate is None or between is None:
            surrogate = learn(network, inputs, p, training, seed=seed, progress=progress)
        else:
            surrogate = refine(
                surrogate, inputs, p, between, loss=cross_entropy, name=name, seed=seed, progress=progress
            )[0]
        x = propose(surrogate, oracle.left) if refusal is None and oracle.left else x[:0]
        if not len(x):
            return surrogate if between is None else learn(network, inputs, p, training, seed=seed, progress=progress)


def check_between(between: Training | None) -> None:
    """Raise `BadRecipe` if `between` has a holdout: a training that continues from earlier weights has none."""
    if between is not None and between.holdout:
        raise BadRecipe("between with a holdout", "holdout=0", "judge the epochs in training instead")
