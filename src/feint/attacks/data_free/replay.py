"""Replay memory of answered images."""

from collections.abc import Iterator

import torch
from torch import Tensor


class ReplayMemory:
    """Reservoir sample of answered images: each image offered so far is held with the same probability.

    Args:
        size: Images that it holds at most.
        random: Generator of all random choices.
    """

    def __init__(self, size: int, random: torch.Generator) -> None:
        self._size, self._random, self._offered = size, random, 0
        self._x, self._p = torch.empty(0), torch.empty(0)

    def __len__(self) -> int:
        return min(self._size, self._offered)

    def offer(self, x: Tensor, p: Tensor) -> None:
        """Offer images `x` (n, C, H, W) and the answers `p` (n, K) to them."""
        if not self._offered:  # of all images at once: a memory that grew would be copied again and again
            self._x, self._p = (rows.new_empty(self._size, *rows.shape[1:]) for rows in (x, p))
        count = torch.arange(self._offered, self._offered + len(x))
        drawn = (torch.rand(len(x), generator=self._random, dtype=torch.double) * (count + 1)).long()
        place = torch.where(count < self._size, count, drawn)
        rows = {at: row for row, at in enumerate(place.tolist()) if at < self._size}  # of equal places the last one
        target, source = torch.tensor(list(rows), dtype=torch.long), torch.tensor(list(rows.values()), dtype=torch.long)
        self._x[target], self._p[target] = x[source], p[source]
        self._offered += len(x)

    def shuffled(self, size: int, batches: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield at most so many batches of images with their answers, in random order, each image at most once."""
        for rows in torch.randperm(len(self), generator=self._random)[: size * batches].split(size):
            yield self._x[rows], self._p[rows]
