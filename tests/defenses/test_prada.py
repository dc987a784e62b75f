"""PRADA and its statistic beside the obvious slow way to compute the same."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from feint.defenses.access import PRADA
from feint.defenses.access._shapiro import shapiro_w
from feint.ledger import Account
from feint.query import Query


@pytest.mark.parametrize("n", [6, 7, 11, 12, 100, 999, 5000])
def test_shapiro_wilk_is_scipys(n):
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(n)
    for values in (random.normal(3, 2, n), random.exponential(size=n), random.integers(0, 3, n).astype(float)):
        assert shapiro_w(np.sort(values)) == pytest.approx(stats.shapiro(values).statistic, abs=1e-7)


def test_equal_values_accuse_no_one():
    assert shapiro_w(np.full(20, 0.3)) == 1.0


def slow_prada(x: torch.Tensor, predicted: torch.Tensor, delta: float) -> tuple[list[int], float]:
    """Return the members and the evidence of the published procedure, query by query."""
    members, joined, threshold, distances = {}, {}, {}, {}
    joins, worst = [], 1.0
    for i, (row, c) in enumerate(zip(x.flatten(1).double().numpy(), predicted.tolist(), strict=True)):
        if c not in members:
            members[c], joined[c], threshold[c], distances[c] = [row], [0.0], 0.0, []
            joins.append(i)
        else:
            d = float(np.float32(min(np.linalg.norm(row - other) for other in members[c])))
            distances[c].append(d)
            if d > threshold[c]:
                members[c].append(row)
                joined[c].append(d)
                threshold[c] = max(threshold[c], np.mean(joined[c]) - np.std(joined[c]))
                joins.append(i)
        if (i + 1) % 10 == 0:
            pool = np.array([d for group in distances.values() if len(group) >= 10 for d in group])
            pool = pool[np.abs(pool - pool.mean()) < 3 * pool.std()] if len(pool) else pool
            if len(pool) > 100:
                worst = min(worst, shapiro_w(np.sort(pool)))
    return joins, (1 - worst) / (1 - delta)


@pytest.mark.slow
@pytest.mark.parametrize("repeated", [False, True])
def test_prada_equals_the_published_loop(repeated):
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(900, 1, 5, 5, generator=generator).mul(255).round().div(255)
    if repeated:  # equal inputs lie at distance 0, exactly
        x = x[torch.randint(0, 300, (900,), generator=generator)]
    z = torch.randn(900, 4, generator=generator) + torch.tensor([2.0, 1.0, 0.0, -2.5])
    joins, evidence = slow_prada(x, z.argmax(-1), 0.9)
    account, ends = Account("a"), [0, 1, 2, 300, 777, 900]
    for start, end in pairwise(ends):
        observed = PRADA(0.9).observe(Query(x[start:end]), z[start:end], account)
    assert observed == pytest.approx(evidence, rel=1e-6)
    for c in range(4):
        members, expected = account.rows(f"PRADA {c}").tensor, x[[i for i in joins if z[i].argmax() == c]]
        assert torch.equal(members[:, 1:].flatten(), expected.flatten())


def test_a_repeated_input_is_one_member():
    account, x = Account("a"), torch.rand(1, 784, generator=torch.Generator().manual_seed(8)).repeat(50, 1)
    PRADA().observe(Query(x), torch.eye(2)[[0] * 50], account)
    assert len(account.rows("PRADA 0")) == 1
    assert (account.rows("PRADA").tensor[:, 1] == 0).all()


def test_two_halves_of_pradas_state_merge_where_they_share_no_class():
    generator = torch.Generator().manual_seed(6)
    x = torch.rand(600, 1, 4, 4, generator=generator)
    z = torch.nn.functional.one_hot(torch.arange(600) % 2, 2).float()
    whole, halves = Account("a"), (Account("a"), Account("a"))
    PRADA().observe(Query(x), z, whole)
    for c, half in enumerate(halves):
        PRADA().observe(Query(x[c::2]), z[c::2], half)
    for name in ("PRADA", "PRADA 0", "PRADA 1"):
        merged = torch.cat([half.rows(name).tensor for half in halves if len(half.rows(name))])
        as_rows = [sorted(map(tuple, rows.tolist())) for rows in (merged, whole.rows(name).tensor)]
        assert as_rows[0] == as_rows[1]


def test_replicas_with_one_ledger_are_one_prada():
    x, z = torch.rand(500, 9, generator=torch.Generator().manual_seed(7)), torch.eye(3).repeat(167, 1)[:500]
    one, shared = Account("a"), Account("a")
    alone = [PRADA(window=200).observe(Query(part), of, one) for part, of in zip(x.split(25), z.split(25), strict=True)]
    replicas = PRADA(window=200), PRADA(window=200)
    turns = [
        replicas[i % 2].observe(Query(part), of, shared)
        for i, (part, of) in enumerate(zip(x.split(25), z.split(25), strict=True))
    ]
    assert alone == turns
