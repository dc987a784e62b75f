"""The two-sample test beside its definition, and how often it accuses honest clients."""

import math

import pytest
import torch
from tests.support.problems import Linear

from feint.data import Split
from feint.defenses.access import TwoSample
from feint.errors import BadInput
from feint.ledger import Account
from feint.query import Query


def inputs(n: int, seed: int) -> Split:
    x = torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Split.of(x.numpy(), torch.zeros(n, dtype=torch.int64).numpy())


@pytest.fixture(scope="module")
def fitted() -> TwoSample:
    return TwoSample(window=40, reference=300, draws=400).fit(Linear(), inputs(1500, 0))


def slow_discrepancy(w: torch.Tensor, r: torch.Tensor, width: float) -> float:
    """Compute the statistic pair by pair."""

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.exp(-(a - b).square().sum().item() / (2 * width**2))

    n = len(w)
    among = sum(k(w[i], w[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return among - 2 * sum(k(a, b) for a in w for b in r) / (n * len(r))


def test_the_p_value_is_the_rank_of_the_discrepancy(fitted):
    learned = fitted.benign.tensors
    for rows in (torch.randn(12, 3), learned["points"][:12]):
        statistic = slow_discrepancy(rows, learned["points"], learned["width"].item())
        above = (learned["ranked"] >= statistic).sum().item()
        assert fitted.p_value(rows) == pytest.approx((1 + above) / (1 + len(learned["ranked"])), abs=0.003)
    points = learned["points"]
    assert learned["width"].item() == pytest.approx(torch.pdist(points).median().item())


def test_evidence_is_what_the_bets_on_disjoint_windows_won(fitted):
    z = 3 * torch.rand(100, 3, generator=torch.Generator().manual_seed(2))
    account, won = Account("a"), []
    for row in z:
        evidence = fitted.observe(Query(torch.zeros(1, 4)), row[None], account)
        if len(account.rows("TwoSample")) == 40:
            won.append(0.5 * fitted.p_value(account.rows("TwoSample").tensor) ** -0.5)
    assert len(won) == 2
    assert evidence == pytest.approx(max(0.0, math.log(won[0]), math.log(won[0] * won[1])) / math.log(1000), rel=1e-6)


def test_honest_p_values_are_uniform_and_honest_clients_are_left_alone(fitted):
    z = Linear()(inputs(12_000, 5).inputs()).detach()
    z = z - z.mean(-1, keepdim=True)
    p = torch.tensor([fitted.p_value(rows) for rows in z.split(40)])
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).double().mean() < level + 3 * math.sqrt(level / len(p)) + 0.02
    x = inputs(4000, 6).inputs()
    assert fitted.observe(Query(x), Linear()(x).detach(), Account("honest")) < 1


def test_too_few_inputs_are_refused():
    with pytest.raises(BadInput, match="6 windows"):
        TwoSample(window=100).fit(Linear(), inputs(500, 0))
