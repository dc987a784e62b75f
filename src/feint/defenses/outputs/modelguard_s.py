"""ModelGuard-S: answers from a codebook that all clients share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from feint.defenses.outputs.output import Output, check_simplex
from feint.defenses.outputs.ranks import SLACK
from feint.errors import in_range
from feint.ledger import Ledger, Rows

CHUNK = 1000  # rows looked up at once: with a full codebook the distances take 40 MB
STEP = SLACK * 1e-6  # by which a label stands above the others, so that it survives rounding to 6 decimals


@dataclass(frozen=True)
class ModelGuardS(Output):
    """An ordered incremental vector quantiser: few answers for many queries (Tang et al., USENIX Security 2024).

    Each class has a list of centroids. An answer `p` becomes the *first* centroid of its label within `epsilon` in L1;
    where there is none, `p` itself is appended to the list and returned. An attacker learns about each answer only in
    which cell it lies. `epsilon` in [0, 2]; 0 is the identity. Centroids are kept in float32, with 1.1·10⁻⁶ moved to
    the label, so that ties show the same label to everyone; by up to twice that an answer may be farther than ε.

    The codebook is a part of the ledger: the same for all clients and replicas, in the order in which they asked, and
    only ever appended to, so that a repeated query is answered as before. It holds at most `most` centroids, a number
    chosen here. When it is full, a query without a centroid near it gets the nearest one of its label, farther than ε,
    or the label alone: never the clean answer. Called without a service, each call begins with an empty codebook.
    """

    cite: ClassVar[str] = "tang2024modelguard"
    epsilon: float = 1.0
    most: int = 10_000

    def __post_init__(self) -> None:
        in_range(self, "epsilon", "0 (the identity) to 2, the largest L1 distance", 0, 2)
        in_range(self, "most", "0 centroids (labels alone) or more", 0)

    @property
    def preserves(self) -> str:
        return "label"

    def bind(self, model: nn.Module, ledger: Ledger) -> Callable[[Tensor, Tensor | None], Tensor]:
        """This defense with the codebook that `ledger` keeps for its `epsilon`."""

        @torch.no_grad()
        def answer(p: Tensor, x: Tensor | None = None) -> Tensor:
            check_simplex(p)
            return self._look_up(p, ledger.shared.rows(f"ModelGuardS {self.epsilon} {p.shape[-1]}"))

        return answer

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        return self._look_up(p, Rows())

    def _look_up(self, p: Tensor, codebook: Rows) -> Tensor:
        """The answers (N, K) to the rows `p` (N, K), in their order; new ones are appended to the codebook."""
        if self.epsilon == 0 or not len(p):
            return p
        looked_up = [self._quantised(_labelled(rows), codebook) for rows in p.split(CHUNK)]
        return torch.cat(looked_up).to(p)

    def _quantised(self, rows: Tensor, codebook: Rows) -> Tensor:
        seen = codebook.tensor
        distance = _distance(rows, seen)
        new = rows[(distance > self.epsilon).all(-1)]
        if len(new):
            codebook.append(new[_leaders(new, self.epsilon)], most=self.most)
        # Read again: of two replicas that append the same answer at once, both then use the earlier one.
        centroids = codebook.tensor
        if not len(centroids):
            return _one_hot(rows)
        distance = torch.cat([distance, _distance(rows, centroids[len(seen) :])], -1)
        near = distance <= self.epsilon
        chosen = torch.where(near.any(-1), near.int().argmax(-1), distance.argmin(-1))  # argmax: the first one
        known = distance.gather(-1, chosen[:, None]).isfinite()
        return torch.where(known, centroids[chosen], _one_hot(rows))


def _labelled(p: Tensor) -> Tensor:
    """Rows in float32 whose largest value is alone: the first of the largest in `p`."""
    raised = (1 - STEP) * p.cpu()
    raised.scatter_add_(-1, p.cpu().argmax(-1, keepdim=True), torch.full_like(raised[:, :1], STEP))
    return raised.float()


def _one_hot(rows: Tensor) -> Tensor:
    return torch.zeros_like(rows).scatter_(-1, rows.argmax(-1, keepdim=True), 1.0)


def _distance(rows: Tensor, centroids: Tensor) -> Tensor:
    """L1 (N, n) between rows and centroids; infinite where their labels differ."""
    distance = torch.full((len(rows), len(centroids)), torch.inf)
    if len(centroids):
        labels, theirs = rows.argmax(-1), centroids.argmax(-1)
        for label in labels.unique():
            mine, others = (labels == label).nonzero(), (theirs == label).nonzero()[:, 0]
            distance[mine, others] = torch.cdist(rows[mine[:, 0]], centroids[others], p=1.0)
    return distance


def _leaders(rows: Tensor, epsilon: float) -> list[int]:
    """The rows that none before them is near to, which one by one would be appended. A loop over these alone."""
    near, free = _distance(rows, rows) <= epsilon, torch.ones(len(rows), dtype=torch.bool)
    leaders: list[int] = []
    while free.any():
        leaders.append(int(free.int().argmax()))
        free &= ~near[leaders[-1]]
        free[leaders[-1]] = False
    return leaders
