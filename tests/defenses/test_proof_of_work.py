"""Privacy cost beside a slow direct computation; stamps that are good once, and all that is wrong with others."""

import hashlib
import math
import pickle
from dataclasses import replace

import pytest
import torch
from tests.support.problems import Linear

from feint.data import Split
from feint.defenses.access import PrivacyCost, ProofOfWork
from feint.defenses.access._pate import ORDERS, epsilon, log_flip, renyi
from feint.errors import BadInput, NotFitted, ProofRequired
from feint.hashcash import Puzzle, digest, solve, zero_bits
from feint.ledger import Account, Ledger
from feint.query import Query
from feint.service import Defense, Ladder, Service

NOW = 1.8e9
VOTES = [[20, 5, 0], [9, 8, 8], [25, 0, 0], [13, 12, 0], [17, 4, 4]]


def slow_epsilon(votes: list[int], sigma: float, delta: float) -> float:
    """The theorem, order by order, in plain floats: no logarithms are taken of what they would rescue."""
    top = max(votes)
    others = sorted(votes)[:-1]
    q = sum(0.5 * math.erfc((top - n) / (2 * sigma)) for n in others)
    q = min(q, 1 - 1 / len(votes))
    mu2 = sigma * math.sqrt(math.log(1 / q))
    mu1 = mu2 + 1
    e1, e2 = mu1 / sigma**2, mu2 / sigma**2
    least = math.inf
    for order in ORDERS.tolist():
        bound = order / sigma**2
        if mu1 >= order and mu2 > 1:
            condition = math.exp((mu2 - 1) * e2) / (mu1 / (mu1 - 1) * mu2 / (mu2 - 1)) ** mu2
            if q <= condition and q * math.exp(e2) < 1:
                a = (1 - q) / (1 - (q * math.exp(e2)) ** ((mu2 - 1) / mu2))
                b = math.exp(e1) / q ** (1 / (mu1 - 1))
                tight = math.log((1 - q) * a ** (order - 1) + q * b ** (order - 1)) / (order - 1)
                bound = min(bound, tight)
        least = min(least, bound - math.log(delta) / (order - 1))
    return least


@pytest.mark.parametrize("sigma", [1.5, 2.0, 4.0, 10.0])
def test_the_privacy_cost_is_the_theorems(sigma):
    costs = epsilon(torch.tensor(VOTES), sigma, 1e-5)
    for votes, cost in zip(VOTES, costs.tolist(), strict=True):
        assert cost == pytest.approx(slow_epsilon(votes, sigma, 1e-5), rel=1e-9)


def test_clear_votes_cost_less_whatever_the_order_of_the_classes():
    votes = torch.tensor([[250 - n, n, 0, 0] for n in range(0, 126, 5)])
    costs = epsilon(votes, 10.0, 1e-5)
    assert (costs.diff() >= 0).all()
    assert costs[-1] > 3 * costs[0] > 0
    assert torch.allclose(epsilon(votes[:, [2, 1, 3, 0]], 10.0, 1e-5), costs)
    assert (renyi(log_flip(votes, 10.0), 10.0) <= ORDERS / 100).all()


def test_q_bounds_how_often_noise_flips_the_vote():
    votes, sigma = torch.tensor([[20, 15, 12]]), 4.0
    noise = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0))
    flipped = ((votes + sigma * noise).argmax(-1) != 0).double().mean()
    assert 0.8 * log_flip(votes, sigma).exp() < flipped <= log_flip(votes, sigma).exp()


def inputs(n: int, seed: int) -> Split:
    x = torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Split.of(x.numpy(), Linear()(x / 255).argmax(-1).numpy())


@pytest.fixture(scope="module")
def cost() -> PrivacyCost:
    return PrivacyCost(teachers=20, sigma=2.0).fit(Linear(), inputs(500, 0))


def test_teachers_are_nearest_neighbours_each_in_its_part(cost):
    z = Linear()(inputs(30, 1).inputs()).detach()
    own = z - z.mean(-1, keepdim=True)
    points, labels = cost.votes.tensors["points"], cost.votes.tensors["labels"]
    votes = torch.zeros(30, 3, dtype=torch.int64)
    for i, row in enumerate(own):
        for part, of in zip(points, labels, strict=True):
            votes[i, of[(part - row).norm(dim=-1).argmin()]] += 1
    assert torch.allclose(cost.cost(z), epsilon(votes, 2.0, 1e-5))


def test_an_honest_client_spends_what_is_expected_and_a_cheap_one_is_not_punished(cost):
    x, account = inputs(400, 2).inputs(), Account("honest")
    cost.observe(Query(x), Linear()(x).detach(), account)
    assert account.total("privacy") == pytest.approx(cost.expected(400), rel=0.2)
    cheap = Account("cheap")
    cheap.add_all({"privacy": 1.0, "privacy queries": 1000.0})
    assert cost.excess(cheap) == 0


def test_too_few_inputs_and_an_unfitted_price_are_refused():
    with pytest.raises(BadInput, match="give more"):
        PrivacyCost(teachers=500).fit(Linear(), inputs(300, 0))
    with pytest.raises(NotFitted, match="fit"):
        ProofOfWork().admit(Query(torch.zeros(1, 4), time=NOW), Account("a"))


def test_work_grows_with_the_excess_and_with_the_queries(cost):
    rule = ProofOfWork(cost=cost)
    assert rule.bits(1, 0.0) <= rule.bits(1, 100.0) <= rule.bits(1, 1000.0) == rule.bits(1, 1000.0)
    assert rule.bits(1, 0.0) + 8 == rule.bits(256, 0.0)
    assert rule.bits(1, 1e12) == rule.bits(10**9, 0.0) <= 33  # `most` seconds
    twice = replace(rule, table=[(bits, seconds / 2) for bits, seconds in rule.table])
    assert twice.bits(1, 0.0) == rule.bits(1, 0.0) + 1


def test_a_stamp_of_known_bytes():
    stamp = solve(Puzzle(12, "0" * 32, "1" * 32, 10**9), salt="salt")
    assert stamp.startswith(f"1:12:1000000000:{'0' * 32}:{'1' * 32}:salt:")
    assert hashlib.sha256(stamp.encode()).hexdigest().startswith("000")
    assert zero_bits(stamp) >= 12
    tried = (f"{stamp[: stamp.rindex(':') + 1]}{counter:x}" for counter in range(int(stamp.rpartition(":")[2], 16)))
    assert all(zero_bits(earlier) < 12 for earlier in tried)  # none before it would have done
    assert digest(b"a", b"b") != digest(b"ab", b"")


@pytest.fixture
def asked(cost) -> tuple[ProofOfWork, Query, Account, Puzzle]:
    """A cheap rule, a query, an account, and the puzzle that the rule sets them."""
    rule, query, account = (
        ProofOfWork(cost=cost, least=1e-4),
        Query(torch.rand(2, 4), "alice", time=NOW),
        Account("alice"),
    )
    with pytest.raises(ProofRequired, match="no stamp") as caught:
        rule.admit(query, account)
    return rule, query, account, caught.value.puzzle


def test_a_solved_puzzle_is_admitted_once(asked):
    rule, query, account, puzzle = asked
    stamped = replace(query, stamp=solve(puzzle))
    rule.admit(stamped, account)
    with pytest.raises(ProofRequired, match="used before"):
        rule.admit(stamped, account)
    rule.admit(replace(query, stamp=solve(puzzle), time=NOW + 1), account)  # another solution is new work


@pytest.mark.parametrize("step", [10, 10**9])
def test_a_stamp_is_good_once_whatever_the_clock_does(asked, step):
    rule, query, account, puzzle = asked
    stamped = replace(query, stamp=solve(puzzle))
    rule.admit(stamped, account)
    for n in range(1200):  # in the future, until what has expired by then is forgotten
        later = replace(query, time=NOW + rule.lifetime + step, stamp="")
        rule.admit(replace(later, stamp=solve(rule.puzzle(later, account), salt=f"{n}")), account)
    with pytest.raises(ProofRequired, match="stale") as caught:
        rule.admit(stamped, account)
    rule.admit(replace(query, stamp=solve(caught.value.puzzle)), account)  # who works anew is admitted


def test_every_flaw_has_its_own_reason(asked):
    rule, query, account, puzzle = asked
    stamp, other = solve(puzzle), replace(query, x=query.x.flip(0))
    forged = next(it for it in (f"{stamp[:-1]}{last}" for last in "0123456789abcdef") if zero_bits(it) < puzzle.bits)
    flaws = {
        "stale": replace(query, stamp=stamp, time=NOW + rule.lifetime + 1),
        "another query": replace(other, stamp=stamp),
        "too few": replace(query, stamp=solve(replace(puzzle, bits=puzzle.bits - 1))),
        "too long": replace(query, stamp=solve(replace(puzzle, expires=puzzle.expires + 1000))),
        "forged": replace(query, stamp=forged),
        "malformed": replace(query, stamp=stamp + " "),
    }
    for reason, flawed in flaws.items():
        with pytest.raises(ProofRequired, match=reason):
            rule.admit(flawed, account)
    with pytest.raises(ProofRequired, match="another client"):
        rule.admit(replace(query, client="bob", stamp=stamp), Account("bob"))
    rule.admit(replace(query, stamp=stamp), account)  # none of them used it up


def test_the_refusal_survives_a_pickle(asked):
    rule, query, account, puzzle = asked
    with pytest.raises(ProofRequired) as caught:
        rule.admit(query, account)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.puzzle == puzzle
    assert str(again) == str(caught.value)


def test_on_the_line_dear_queries_make_the_next_ones_dearer(cost):
    rule, ledger = ProofOfWork(cost=cost, least=1e-4, base=1.1, most=0.05), Ledger()
    service = Service(Linear(), Ladder([cost], [Defense()], at=[0], access=[rule]), ledger=ledger)

    def bits(client: str, x: torch.Tensor) -> int:
        with pytest.raises(ProofRequired) as caught:
            service(Query(x, client, time=NOW))
        service(Query(x, client, solve(caught.value.puzzle), NOW))
        return caught.value.puzzle.bits

    torch.manual_seed(0)
    honest = [bits("alice", inputs(20, seed).inputs()) for seed in (5, 6, 7)]
    thief = [bits("mallory", 0.01 * torch.rand(20, 1, 2, 2)) for _ in range(3)]
    assert honest[0] == thief[0]
    assert thief[2] > honest[2] + 2
