"""How attacks ask: what they check before the first query, and how they go through many."""

from collections.abc import Iterable

import torch
from torch import Tensor

from feint.data import Split
from feint.errors import BadInput, Refused
from feint.models.networks import Network
from feint.oracle import Oracle
from feint.progress import ProgressCallback

BATCH = 500


def require_budget(
    oracle: Oracle, surrogate: Network, least: int, *, what: str = "", remedy: str = "raise the budget"
) -> None:
    """Raise `BadInput` before anything is asked where the budget does not pay for `least` inputs, which are `what`; the
    refusal, where it pays for nothing at all."""
    if not oracle.left:
        oracle.ask(torch.zeros(1, *surrogate.shape))
    if oracle.left < least:
        raise BadInput(f"a budget for {oracle.left} inputs", f"at least {least:,}{what}", remedy)


def check(oracle: Oracle, pool: Split, surrogate: Network, *, least: int = 1, most: int | None = None) -> None:
    """Raise as `need_budget` does, and `BadInput` where the pool does not fit the surrogate, or holds fewer inputs than
    the `most` that will be asked (by default all that the budget pays for)."""
    require_budget(oracle, surrogate, least)
    if pool.shape != tuple(surrogate.shape):
        raise BadInput(
            f"a pool of inputs {pool.shape}", f"{tuple(surrogate.shape)}, which the surrogate takes", "change either"
        )
    most = oracle.left if most is None else most
    if most > len(pool):
        raise BadInput(
            f"a budget for {most} inputs and a pool of {len(pool)}",
            "a pool at least as large as the budget",
            "lower the budget or bring a larger pool",
        )


def draw_rows(pool: Split, count: int, seed: int) -> Tensor:
    """`count` rows of the pool, none twice, in a random order."""
    return torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:count]


def ask_all(oracle: Oracle, batches: Iterable[Tensor], total: int, progress: ProgressCallback) -> Refused | None:
    """Ask every batch of inputs, `total` in all, until one is refused; the answers are in the transcript.

    Returns the refusal, if any, and raises it where the transcript is empty.
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
    """The chosen inputs of the pool, decoded a batch at a time."""
    return (pool.inputs(batch) for batch in rows.split(BATCH))


def require_probabilities(p: Tensor, instead: str) -> None:
    """Raise `BadInput` where the answers `p` (N, K) are labels only; `instead` names what works on those."""
    if len(p) and ((p == 0) | (p == 1)).all():
        raise BadInput("answers that are labels only", "probabilities", instead)
