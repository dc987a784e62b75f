"""PRADA: normality of the distances between a client's queries, which synthetic queries lack."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from feint.defenses.access._shapiro import shapiro_w
from feint.defenses.access._windows import pieces
from feint.defenses.input_distances import InputDistance, distance_in
from feint.errors import BadRecipe
from feint.ledger import Account, Ledger
from feint.query import Query
from feint.signature import Domain, domain_like
from feint.victims import domain_of

ENOUGH, LEAST, EVERY = 10, 100, 10  # distances of a class that count; pooled values for a test; queries between two


@dataclass(frozen=True)
class PRADA:
    """Detector of query distances that are not normally distributed (Juuti et al., EuroS&P 2019).

    Each class c that the model predicts has a growing set. A query's distance d is that to the nearest member of its
    class's set: L2 for images, Gower's for rows of a table, and Jaccard's of n-grams for tokens and texts
    (`feint.defenses.input_distances`). The query joins the set where d > T_c, and then T_c = max(T_c, mean − deviation
    of the members' d). After every 10 queries the distances of all classes with at least 10 of them are pooled, and
    those 3 deviations from the mean are dropped. Where more than 100 are left, W is their Shapiro–Wilk statistic::

        evidence = max over the tests so far of (1 − W) / (1 − delta), at least 1 when some W ≤ delta

    Two rules were chosen here. The first member of a set counts with distance 0 in T_c. After `window` queries of a
    client its sets and distances begin anew, which bounds its memory to `window` inputs.

    Replicas that share a ledger are one detector. Ledgers that were apart are merged by appending their rows. Distances
    between the halves were never measured, so the merged statistic is that of both halves' distances pooled. It is the
    same only where they share no class.

    Rows of a table that repeat have no normal distances either: there `delta` has to be tuned all the more.

    Attributes:
        delta: Largest W that accuses, between 0 and 1, to be tuned on honest clients; published values are 0.9 to 0.96.
            Nothing else is learned.
        window: Queries of a client after which its sets begin anew, more than 100.
        domain: Domain of the inputs. None for that of the model, which a service binds; without one, what the inputs
            tell of it.
    """

    cite: ClassVar[str] = "juuti2019prada"
    delta: float = 0.9
    window: int = 5000
    domain: Domain | None = None

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise BadRecipe(f"delta={self.delta}", "a W between 0 and 1, as 0.9", "tune it on honest clients")
        if self.window <= LEAST:
            raise BadRecipe(f"window={self.window}", f"more than {LEAST} queries", "remember more")

    def bind(self, model: nn.Module, ledger: Ledger) -> Self:
        """Return this detector for the domain of `model`."""
        return self if self.domain is not None else replace(self, domain=domain_of(model))

    def observe(self, query: Query, z: Tensor, account: Account) -> float:
        """Record the query's inputs under the classes that `z` (N, K) predicts, and return the evidence."""
        distance = distance_in(self.domain or domain_like(query.values))
        x, predicted = distance.rows(query.x), z.argmax(-1).cpu()
        for before, piece in pieces(account, "PRADA", len(query), window=self.window):
            stops = self._remember(x[piece], predicted[piece], before, account, distance)
            account.add("PRADA", 0.0, floor=self._evidence(account.rows("PRADA").tensor, stops))
        return account.total("PRADA")

    def _remember(
        self, x: Tensor, predicted: Tensor, before: int, account: Account, distance: InputDistance
    ) -> list[int]:
        """Store members and distances of the queries `x` (n, d) after the first `before`.

        Returns:
            The number of known distances after each tenth of the client's queries.
        """
        nearest = torch.empty(len(x))
        for c in predicted.unique().tolist():
            mine, members = predicted == c, account.rows(f"PRADA {c}")
            nearest[mine], joins = grow(members.tensor, x[mine], distance)
            entries = torch.cat([nearest[mine, None].nan_to_num(posinf=0.0), x[mine]], -1)
            members.append(entries[joins], most=self.window)
        measured, log = nearest.isfinite(), account.rows("PRADA")  # the first of a class has no distance
        known = len(log) + measured.cumsum(0)
        log.append(torch.stack([predicted, nearest], -1)[measured], most=self.window)
        return known[(before + 1 + torch.arange(len(x))) % EVERY == 0].tolist()

    def _evidence(self, log: Tensor, stops: list[int]) -> float:
        """Return the largest evidence over the first `stops` rows of the log (n, 2) of classes and distances."""
        if not stops or len(log) <= LEAST:
            return 0.0
        order = log[:, 1].argsort()
        values, counted = log[order, 1].double().numpy(), counted_from(log[:, 0])[order].numpy()
        pools = (within(values[counted < stop]) for stop in sorted(set(stops)))
        worst = min((shapiro_w(pool) for pool in pools if len(pool) > LEAST), default=1.0)
        return (1 - worst) / (1 - self.delta)


def counted_from(classes: Tensor) -> Tensor:
    """Return for each row the index of the row from which on it counts.

    A row counts from itself on, or from the tenth row of its class where that is later.
    """
    since = torch.arange(len(classes))
    for c in classes.unique():
        mine = (classes == c).nonzero()[:, 0]
        since[mine[:ENOUGH]] = mine[ENOUGH - 1] if len(mine) >= ENOUGH else len(classes)
    return since


def within(values: np.ndarray) -> np.ndarray:
    """Return the `values`, rising, that are less than 3 deviations from their mean."""
    if not len(values):
        return values
    mean, reach = values.mean(), 3 * values.std()
    return values[np.searchsorted(values, mean - reach, "right") : np.searchsorted(values, mean + reach)]


def grow(members: Tensor, x: Tensor, distance: InputDistance) -> tuple[Tensor, Tensor]:
    """Measure the distance of each row to the set before it, and select the rows that join the set.

    The set changes from row to row, but distances do not: they are measured all at once, and each row that joins
    lowers those after it.

    Args:
        members: Rows of the set behind the distance at which each joined, (m, 1 + d).
        x: New rows, (n, d), in their order.
        distance: Distance between rows.

    Returns:
        The distances (n,), infinite to an empty set, and which rows join (n,) bool.
    """
    past = members[:, 1:]
    nearest = distance.between(x, past).amin(-1).numpy() if len(past) else np.full(len(x), np.inf, np.float32)
    among, joins = distance.between(x, x).numpy(), np.zeros(len(x), bool)
    threshold = Threshold(members[:, 0].tolist() if len(members) else ())
    for i in range(len(x)):
        d = nearest.item(i)
        if d > threshold.value or not threshold.count:
            joins[i] = True
            threshold.add(d if threshold.count else 0.0)
            np.minimum(nearest[i + 1 :], among[i, i + 1 :], out=nearest[i + 1 :])
    return torch.from_numpy(nearest), torch.from_numpy(joins)


class Threshold:
    """T_c = max over all additions of mean − deviation of the distances at which the members joined."""

    def __init__(self, joined: Iterable[float]) -> None:
        self.value, self.count, self._total, self._squares = 0.0, 0, 0.0, 0.0
        for d in joined:
            self.add(d)

    def add(self, d: float) -> None:
        """Add the distance of a member that joined."""
        self.count, self._total, self._squares = self.count + 1, self._total + d, self._squares + d * d
        mean = self._total / self.count
        self.value = max(self.value, mean - math.sqrt(max(self._squares / self.count - mean * mean, 0.0)))
