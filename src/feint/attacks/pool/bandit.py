"""The policy of KnockoffNets adaptive: a gradient bandit over the classes of a pool, in two levels."""

from collections import deque

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 100  # answers that a mean looks back on, the paper's Δ


class Bandit:
    """A gradient bandit (Sutton and Barto, 2018, §2.8) whose arms are classes in groups, drawn without replacement.

    π(z) = softmax(H)(group of z) · softmax(h over that group)(z). Drawn z and rewarded r, both levels move by
    (r − r̄) (1[i = z] − π(i)) / N(z)^decay, where N(z) counts how often z was drawn on that level and r̄ is the mean
    of the last 100 rewards. An arm that has nothing left to give is no longer drawn.
    """

    def __init__(self, labels: Tensor, groups: Tensor, *, decay: float, seed: int) -> None:
        """`labels` (N,) says to which arm each row of the pool belongs, `groups` (arms,) to which group each arm."""
        self._generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(labels), generator=self._generator)
        self._waiting: list[list[int]] = [[] for _ in groups]
        for row, arm in zip(order.tolist(), labels[order].tolist(), strict=True):
            self._waiting[arm].append(row)
        self._groups, self._member = groups, F.one_hot(groups).bool()
        self._fine = torch.zeros(len(groups), dtype=torch.double)
        self._coarse = torch.zeros(self._member.shape[1], dtype=torch.double)
        self._drawn = torch.zeros_like(self._fine), torch.zeros_like(self._coarse)
        self._rewards: deque[float] = deque(maxlen=WINDOW)
        self._decay = decay

    def policy(self) -> Tensor:
        """π (arms,), a distribution on the arms that have something left."""
        within, between = self._levels()
        return within * between[self._groups]

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` rows of the pool, none of which was drawn before, and the arm of each."""
        drawn: list[tuple[int, int]] = []
        while len(drawn) < count:
            arms = torch.multinomial(
                self.policy(), count - len(drawn), replacement=True, generator=self._generator
            ).tolist()
            drawn += [(self._waiting[arm].pop(), arm) for arm in arms if self._waiting[arm]]
        rows, arms = torch.tensor(drawn).unbind(1)
        return rows, arms

    def learn(self, arms: Tensor, rewards: Tensor) -> None:
        """Move towards the arms (n,) whose rewards (n,) were above the mean, all from the policy as it is."""
        within, between = self._levels()
        for arm, reward in zip(arms.tolist(), rewards.tolist(), strict=True):
            self._rewards.append(reward)
            gain, group = reward - sum(self._rewards) / len(self._rewards), int(self._groups[arm])
            beside = self._member[:, group] * within
            for level, chosen, policy, drawn in (
                (self._fine, arm, beside, self._drawn[0]),
                (self._coarse, group, between, self._drawn[1]),
            ):
                drawn[chosen] += 1
                step = gain / drawn[chosen] ** self._decay
                level -= step * policy
                level[chosen] += step

    def _levels(self) -> tuple[Tensor, Tensor]:
        """π of each arm within its group, and of each group."""
        some = torch.tensor([bool(rows) for rows in self._waiting])
        fine = self._fine.masked_fill(~some, -torch.inf).exp()
        total = (self._member * fine[:, None]).sum(0)
        return fine / total.clamp_min(torch.finfo(total.dtype).tiny)[self._groups], self._coarse.masked_fill(
            total == 0, -torch.inf
        ).softmax(0)
