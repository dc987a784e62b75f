"""Checks before the first query, and queries in batches."""

from collections.abc import Iterable

import torch
from torch import Tensor

from feint.data import Split
from feint.errors import BadInput, BadRecipe, Refused, require_kind
from feint.models.networks import Network
from feint.oracle import Oracle
from feint.progress import ProgressCallback
from feint.signature import Domain

BATCH = 500


def require_budget(
    oracle: Oracle, surrogate: Network, least: int, *, what: str = "", remedy: str = "raise the budget"
) -> None:
    """Check, before anything is asked, that the budget pays for `least` inputs.

    A spent budget raises the refusal of the oracle instead.

    Args:
        oracle: The victim behind its budget.
        surrogate: Network whose domain the queries have.
        least: Number of inputs that the attack needs.
        what: What these inputs are, appended to the number in the message.
        remedy: What to do about it, in the message.

    Raises:
        BadInput: If the budget pays for fewer inputs.
    """
    if not oracle.left:
        oracle.ask(torch.from_numpy(surrogate.domain.sample(1, 0)))
    if oracle.left < least:
        raise BadInput(f"a budget for {oracle.left} inputs", f"at least {least:,}{what}", remedy)


def require_weights(surrogate: Network) -> None:
    """Raise `BadRecipe` for a surrogate that cannot be trained in steps, like a forest."""
    if not surrogate.architecture.weights:
        raise BadRecipe(
            f"the surrogate {surrogate.name!r}", "a network that is trained in steps", "choose another, like 'mlp'"
        )


def check(oracle: Oracle, pool: Split, surrogate: Network, *, least: int = 1, most: int | None = None) -> None:
    """Check, before anything is asked, that budget, pool and surrogate fit each other.

    Args:
        oracle: The victim behind its budget.
        pool: Inputs to ask.
        surrogate: Network to train on the answers.
        least: Number of inputs that the budget must pay for.
        most: Number of pool inputs that will be asked; by default all that the budget pays for.

    Raises:
        BadInput: If the budget pays for fewer than `least` inputs, if the pool has another domain than the surrogate
            takes, or if it holds fewer than `most` inputs.
    """
    require_budget(oracle, surrogate, least)
    require_like(pool, surrogate.domain, "a pool", "the surrogate takes")
    most = oracle.left if most is None else most
    if most > len(pool):
        raise BadInput(
            f"a budget for {most} inputs and a pool of {len(pool)}",
            "a pool at least as large as the budget",
            "lower the budget or bring a larger pool",
        )


def require_like(inputs: Split, domain: Domain, what: str, whose: str) -> None:
    """Raise `BadInput` unless `inputs` have this kind and shape; `what` they are and `whose` `domain` is are named."""
    require_kind(
        inputs, Split, what, "pass a part of a data set, like data.pool, or feint.data.pools of your own inputs"
    )
    if type(inputs.domain) is not type(domain) or inputs.shape != domain.shape:
        raise BadInput(
            f"{what} of {inputs.domain.noun} {inputs.shape}",
            f"{domain.noun} {domain.shape}, which {whose}",
            "change either",
        )


def draw_rows(pool: Split, count: int, seed: int) -> Tensor:
    """Draw `count` distinct rows of the pool in random order."""
    return torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:count]


def ask_all(oracle: Oracle, batches: Iterable[Tensor], total: int, progress: ProgressCallback) -> Refused | None:
    """Ask every batch of inputs until one is refused; the oracle's transcript holds the answers.

    The refusal is raised if the transcript is empty, since there is nothing to learn from.

    Args:
        oracle: The victim behind its budget.
        batches: Batches of inputs (n, …).
        total: Number of inputs in all batches, for `progress`.
        progress: Callback for each batch.

    Returns:
        The refusal that ended it, or None.
    """
    for x in batches:
        _, refusal = oracle.try_ask(x)
        progress.step("asking", len(oracle.transcript), total)
        if refusal is not None:
            if not len(oracle.transcript):
                raise refusal
            return refusal
    return None


def in_batches(pool: Split, rows: Tensor) -> Iterable[Tensor]:
    """Decode the chosen inputs of the pool, one batch at a time."""
    return (pool.inputs(batch) for batch in rows.split(BATCH))


def require_probabilities(p: Tensor, instead: str) -> None:
    """Raise `BadInput` if the answers `p` (N, K) are labels only; `instead` names what works on labels."""
    if len(p) and ((p == 0) | (p == 1)).all():
        raise BadInput("answers that are labels only", "probabilities", instead)


def require_classes(p: Tensor, classes: int, whose: str) -> None:
    """Raise `BadInput` unless the answers `p` (N, K) have as many classes."""
    if p.shape[1] != classes:
        raise BadInput(
            f"answers of {p.shape[1]} classes and {whose} of {classes}", "the same number", f"change {whose}"
        )
