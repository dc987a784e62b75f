"""Selections of active learning, each against a slow form of its definition."""

import pytest
import torch
from tests.examples import NETWORK, PROXY, pool
from tests.support.problems import Linear, LinearOnImages

from feint import Defense, Service
from feint.attacks import DFAL, ActiveThief, DFALThenKCentre, KCentre, Uncertainty
from feint.attacks.pool.active_thief import _UnaskedRows
from feint.attacks.pool.selection import Candidates, deepfool_distance
from feint.errors import BadInput
from feint.models.networks import Network
from feint.models.training import Training
from feint.victims import Trained

SELECTIONS = [Uncertainty(), KCentre(), DFAL(), DFALThenKCentre()]


def candidates(n: int = 60) -> Candidates:
    surrogate, split = NETWORK.build(3).eval(), pool(n + 10)
    with torch.no_grad():
        p = surrogate(split.inputs()).softmax(-1)
    return Candidates(surrogate, p[10:], p[:10], lambda rows: split.inputs(rows + 10))


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda selection: type(selection).__name__)
def test_a_selection_returns_distinct_rows(selection):
    for count in (1, 20, 60):
        chosen = selection.choose(count, candidates())
        assert len(chosen.unique()) == len(chosen) == count


def test_the_most_uncertain_are_chosen():
    among = candidates()
    entropy = [-sum(v * torch.tensor(v).log().item() for v in row) for row in among.p.tolist()]
    assert set(Uncertainty().choose(7, among).tolist()) == set(sorted(range(60), key=lambda i: -entropy[i])[:7])


def test_k_centre_takes_the_furthest_from_all_so_far():
    among = candidates()
    centres, slow = list(among.asked), []
    for _ in range(15):
        distance = torch.stack([torch.stack([(row - centre).norm() for centre in centres]).min() for row in among.p])
        slow.append(int(distance.argmax()))
        centres.append(among.p[slow[-1]])
    assert KCentre().choose(15, among).tolist() == slow


def test_k_centre_of_equal_inputs_takes_none_twice():
    among = candidates()
    same = Candidates(among.surrogate, among.p[:1].expand(9, -1), among.p[:1], among.inputs)
    assert sorted(KCentre().choose(9, same).tolist()) == list(range(9))


@pytest.mark.slow
def test_the_distance_to_a_linear_boundary_is_exact():
    """For softmax regression the nearest rival's boundary is margin / ‖w_m − w_r‖ away; DeepFool goes a little past."""
    victim, x = LinearOnImages(), pool(50).inputs() * 0.2 + 0.4
    z = victim(x)
    best = z.topk(2).indices
    between = victim.weight[best[:, 0]] - victim.weight[best[:, 1]]
    exact = (z.topk(2).values @ torch.tensor([1.0, -1.0])) / between.norm(dim=1)
    distance = deepfool_distance(victim, x, 5)  # pyright: ignore[reportArgumentType]
    near = exact < 0.1  # so near that no pixel becomes black or white on the way
    assert near.sum() > 5
    torch.testing.assert_close(distance[near], 1.3 * exact[near], rtol=1e-3, atol=1e-5)


def test_rows_not_chosen_move_behind_the_rest():
    unasked = _UnaskedRows(torch.arange(10, 20))
    assert unasked.take(torch.tensor([3, 0]), 5).tolist() == [13, 10]
    assert unasked.rows.tolist() == [15, 16, 17, 18, 19, 11, 12, 14]


def test_a_proxy_chooses_all_but_the_first_before_the_first_query():
    def entropy(x):
        return torch.special.entr(PROXY.model(x).softmax(-1)).sum(-1)

    oracle = Service(Linear()).oracle(client="a", budget=50)
    ActiveThief(pool(), NETWORK, Training(epochs=1), Uncertainty(), proxy=PROXY).steal(oracle)
    x, asked = pool().inputs(), oracle.transcript.x
    left = [row for row in x if not (asked == row).flatten(1).all(1).any()]
    assert len(left) == 250
    assert entropy(asked[5:]).min() >= entropy(torch.stack(left)).max()
    assert entropy(asked[:5]).min() < entropy(asked[5:]).min()


def test_a_proxy_takes_inputs_of_the_pool():
    other = Trained.of(Network("mlp", (1, 3, 3), 3).build())
    with pytest.raises(BadInput, match="which the proxy takes"):
        ActiveThief(pool(), NETWORK, proxy=other).steal(Service(Linear()).oracle(client="a", budget=50))


@pytest.mark.slow
@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda selection: type(selection).__name__)
def test_the_budget_is_spent_in_rounds_on_different_inputs(selection):
    sizes = []

    class Counting:
        def admit(self, query, account):
            sizes.append(len(query.x))

    oracle = Service(Linear(), Defense(access=[Counting()])).oracle(client="a", budget=101)
    ActiveThief(pool(), NETWORK, Training(epochs=2), selection, rounds=4, among=50).steal(oracle)
    assert sizes == [10, 23, 23, 23, 22]
    assert len(oracle.transcript.x.flatten(1).unique(dim=0)) == 101
