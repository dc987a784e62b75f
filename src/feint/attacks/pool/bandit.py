"""Policy of KnockoffNets adaptive: a gradient bandit over the classes of a pool, on two levels."""

from collections import deque

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 100  # rewards or answers in a running mean, the paper's Δ


class Bandit:
    """Gradient bandit (Sutton and Barto, 2018, §2.8) whose arms are classes in groups, drawn without replacement.

        π(z) = softmax(H)(group of z) · softmax(h over that group)(z)

    After z is drawn and rewarded with r, both levels move by (r − r̄) (1[i = z] − π(i)) / N(z)^decay. N(z) counts how
    often z was drawn on that level, and r̄ is the mean of the last 100 rewards. An arm without rows left is no longer
    drawn.

    Args:
        labels: Arm (N,) of each row of the pool.
        groups: Group (arms,) of each arm.
        decay: Exponent of N(z).
        seed: Seed of the draws.
        proportional: Whether the policy begins with the shares of groups and arms in the pool, so that each row is as
            likely; else it is uniform over groups, and over the arms of a group.
    """

    def __init__(self, labels: Tensor, groups: Tensor, *, decay: float, seed: int, proportional: bool = False) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(labels), generator=self._generator)
        self._remaining: list[list[int]] = [[] for _ in groups]
        for row, arm in zip(order.tolist(), labels[order].tolist(), strict=True):
            self._remaining[arm].append(row)
        self._groups, self._member = groups, F.one_hot(groups).bool()
        self._fine = torch.zeros(len(groups), dtype=torch.double)
        self._coarse = torch.zeros(self._member.shape[1], dtype=torch.double)
        if proportional:
            sizes = labels.bincount(minlength=len(groups)).double()
            self._fine = sizes.clamp_min(1).log()  # arms without rows are not drawn
            self._coarse = (self._member * sizes[:, None]).sum(0).clamp_min(1).log()
        self._counts = torch.zeros_like(self._fine), torch.zeros_like(self._coarse)
        self._rewards: deque[float] = deque(maxlen=WINDOW)
        self._decay = decay

    def policy(self) -> Tensor:
        """Return π (arms,), a distribution over the arms that have rows left."""
        within, between = self._levels()
        return within * between[self._groups]

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw `count` rows of the pool, none of which was drawn before.

        Args:
            count: Number of rows.

        Returns:
            The rows (count,) and the arm (count,) of each.
        """
        drawn: list[tuple[int, int]] = []
        while len(drawn) < count:
            arms = torch.multinomial(
                self.policy(), count - len(drawn), replacement=True, generator=self._generator
            ).tolist()
            drawn += [(self._remaining[arm].pop(), arm) for arm in arms if self._remaining[arm]]
        rows, arms = torch.tensor(drawn).unbind(1)
        return rows, arms

    def learn(self, arms: Tensor, rewards: Tensor) -> None:
        """Move the policy, as it was before, toward the arms (n,) whose `rewards` (n,) are above the mean."""
        within, between = self._levels()
        for arm, reward in zip(arms.tolist(), rewards.tolist(), strict=True):
            self._rewards.append(reward)
            gain, group = reward - sum(self._rewards) / len(self._rewards), int(self._groups[arm])
            siblings = self._member[:, group] * within
            for level, chosen, policy, counts in (
                (self._fine, arm, siblings, self._counts[0]),
                (self._coarse, group, between, self._counts[1]),
            ):
                counts[chosen] += 1
                step = gain / counts[chosen] ** self._decay
                level -= step * policy
                level[chosen] += step

    def _levels(self) -> tuple[Tensor, Tensor]:
        """Return π of each arm within its group, and π of each group."""
        available = torch.tensor([bool(rows) for rows in self._remaining])
        fine = self._fine.masked_fill(~available, -torch.inf).exp()
        total = (self._member * fine[:, None]).sum(0)
        return fine / total.clamp_min(torch.finfo(total.dtype).tiny)[self._groups], self._coarse.masked_fill(
            total == 0, -torch.inf
        ).softmax(0)
