"""What attackers send beside the pool: of a table the surest rows, shuffled columns and blends; inputs of the task."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from benchmarks.tables.attacked import BLENDED, CHOSEN, POOL, VICTIMS, Attacked, unlabelled
from feint import victims
from feint.data import Split

SENT = CHOSEN[0]  # rows of each attacker
OWN = 20  # rows of the task that an attacker blends with
DRAWS = 2  # seed of draws that no score has learned from


def surest(attacked: Attacked) -> Split:
    """Return those of drawn rows that the attackers' model is surest of."""
    domain = attacked.parts.pool.domain
    drawn = unlabelled(domain.sample(POOL, DRAWS), domain, "drawn again")
    z = torch.cat([victims.logits(attacked.proxy, drawn.inputs(rows)) for rows in torch.arange(POOL).split(500)])
    chosen = z.softmax(-1).amax(-1).argsort(descending=True)[:SENT]
    return drawn.take(chosen.numpy(), part="surest")


def shuffled(attacked: Attacked) -> Split:
    """Return rows each of whose values is that of another row of the task, drawn for each column."""
    random, domain = np.random.default_rng(DRAWS), attacked.parts.pool.domain
    real = attacked.parts.setting.images.pool.inputs().numpy()
    return unlabelled(np.stack([random.choice(column, SENT) for column in real.T], 1), domain, "columns shuffled")


def blends(attacked: Attacked) -> Split:
    """Return drawn rows, each blended with one of `OWN` rows of the task."""
    domain = attacked.parts.pool.domain
    own = attacked.parts.setting.images.pool.inputs(slice(0, OWN)).numpy()
    mixed = domain.blend(domain.sample(SENT, DRAWS), np.resize(own, (SENT, own.shape[1])), BLENDED, DRAWS)
    return unlabelled(mixed, domain, "blends with own rows")


ATTACKERS: Mapping[str, Callable[[Attacked], Split]] = {
    f"{SENT:,} rows of {POOL:,} that logistic regression is surest of": surest,
    "values of real rows, each column by itself": shuffled,
    f"rows blended with {OWN} of the task": blends,
}


OWNERS: Mapping[str, float] = {
    **{f"{share:.0%} inputs of the task, the rest of the pool": share for share in (0.25, 0.5)},
    "inputs of the task alone": 1.0,
}


def owned(attacked: Attacked, share: float) -> Split:
    """Return inputs of the pool of which a share is inputs of the task, in random order."""
    own, pool = attacked.parts.setting.images.pool, attacked.parts.pool.share(0, 4)
    count = round(share * SENT)
    values = np.concatenate([own.arrays[0][:count], pool.arrays[0][: SENT - count]])
    values = values[np.random.default_rng(DRAWS).permutation(SENT)]
    return Split.of(values, np.zeros(SENT, np.int64), domain=pool.domain, name="own and pool", part=f"{share:.0%}")


def sent(victim: str, attacker: str) -> Split:
    """Return what an attacker sends: a quarter of the pool where they have no name."""
    attacked = VICTIMS[victim]
    if attacker in OWNERS:
        return owned(attacked, OWNERS[attacker])
    return ATTACKERS[attacker](attacked) if attacker else attacked.parts.pool.share(0, 4)
