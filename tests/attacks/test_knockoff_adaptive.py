"""The gradient bandit over a pool's classes, against its formulas."""

import pytest
import torch
from tests.examples import NETWORK, pool
from tests.support.problems import Linear

from feint import Service
from feint.attacks import KnockoffNetsAdaptive
from feint.attacks.pool.bandit import Bandit
from feint.attacks.pool.knockoff_adaptive import Rewards
from feint.data import Split
from feint.errors import BadInput
from feint.models.training import Training

GROUPS = torch.tensor([0, 1, 0, 2, 1])


def bandit(n: int = 1000, **options) -> Bandit:
    return Bandit(torch.arange(n) % 5, GROUPS, **{"decay": 1.0, "seed": 0} | options)


def test_an_unrewarded_policy_is_uniform_over_groups_and_within_them():
    torch.testing.assert_close(bandit().policy(), torch.tensor([1, 1, 1, 2, 1]).double() / 6)


def test_a_proportional_policy_begins_with_the_shares_of_the_pool():
    labels = torch.tensor([0] * 10 + [1] * 20 + [2] * 30 + [4] * 40)  # the third group has no rows
    one = Bandit(labels, GROUPS, decay=1.0, seed=0, proportional=True)
    torch.testing.assert_close(one.policy(), torch.tensor([0.1, 0.2, 0.3, 0.0, 0.4]).double())


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_step_of_the_policy_is_the_formula(decay):
    """One level, arms in groups of their own: H_z += g (1 − π(z)), the others −= g π, g = (r − r̄) / N(z)^decay."""
    single = Bandit(torch.arange(300) % 3, torch.arange(3), decay=decay, seed=0)
    h, n, rewards = torch.zeros(3, dtype=torch.double), torch.zeros(3), []
    for arm, reward in [(0, 1.0), (1, 0.0), (0, 0.7), (2, 0.9), (0, 0.1)]:
        policy = h.softmax(0)
        single.learn(torch.tensor([arm]), torch.tensor([reward], dtype=torch.double))
        n[arm] += 1
        rewards.append(reward)
        gain = (reward - sum(rewards) / len(rewards)) / n[arm] ** decay
        h = h - gain * policy
        h[arm] += gain
        torch.testing.assert_close(single.policy(), h.softmax(0))


def test_the_bandit_prefers_rewarded_arms_and_draws_no_row_twice():
    one, drawn = bandit(decay=0.5), []
    for _ in range(5):
        rows, arms = one.draw(40)
        assert torch.equal(rows % 5, arms)
        one.learn(arms, (arms == 2).double())
        drawn.append(arms)
    assert (drawn[0] == 2).float().mean() < 0.5 < (drawn[-1] == 2).float().mean()
    everything = torch.cat([bandit(30).draw(30)[0]])
    assert torch.equal(everything.sort().values, torch.arange(30))


def test_an_empty_arm_is_no_longer_drawn():
    labels = torch.tensor([0] + [1] * 20 + [3] * 20)  # two arms have no rows at all
    one = Bandit(labels, GROUPS, decay=1.0, seed=0)
    rows, arms = one.draw(41)
    assert arms.bincount().tolist() == [1, 20, 0, 20]
    assert len(rows.unique()) == 41


def test_rewards_are_those_of_the_paper():
    p = torch.rand(250, 3, generator=torch.Generator().manual_seed(0)).softmax(-1)
    rewards = Rewards(KnockoffNetsAdaptive(pool(), NETWORK), 0)
    x = pool().inputs(slice(0, 250))
    diversities = [rewards.diversity(part) for part in p.split(64)]
    slow = [(p[t] - p[max(0, t - 99) : t + 1].mean(0)).clamp_min(0).sum() for t in range(250)]
    torch.testing.assert_close(torch.cat(diversities), torch.stack(slow))
    scaled = torch.cat([rewards(*part) for part in zip(x.split(50), p.split(50), strict=True)])
    assert ((scaled >= 0) & (scaled <= 1)).all()


def test_useless_classes_are_asked_less():
    """Three classes of images on which the victim has something to say, and seven of grey ones, all alike."""
    images, labels = pool(300).values.copy(), torch.arange(300) % 10
    images[labels.numpy() > 2] = 128
    split = Split.of(images, labels.numpy())
    attack = KnockoffNetsAdaptive(split, NETWORK, Training(epochs=1), round=8)
    oracle = Service(Linear()).oracle(client="a", budget=120)
    attack.steal(oracle)
    grey = (oracle.transcript.x == oracle.transcript.x[:, :1, :1, :1]).flatten(1).all(1)
    assert grey.float().mean() < 0.6  # of 0.7 in the pool


def test_a_hierarchy_must_know_every_class():
    labelled = Split.of(pool(40).values, (torch.arange(40) % 4).numpy())
    oracle = Service(Linear()).oracle(client="a", budget=10)
    with pytest.raises(BadInput, match="a hierarchy of 3 classes and a pool of 4"):
        KnockoffNetsAdaptive(labelled, NETWORK, hierarchy=(0, 0, 1)).steal(oracle)
    assert oracle.asked == 0
