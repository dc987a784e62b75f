"""Probing of a detector with one account, so that the other accounts stop before they are accused."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.lenses.evasion import Filler
from feint.attacks.lenses.lens import Lens, LensedOracle, require_cost
from feint.errors import BadRecipe, OverBudget, Refused
from feint.oracle import Oracle, OracleWrapper, concatenate
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.transcript import Transcript

CHANGED = 0.1  # least change of a probability that counts as another answer


@dataclass(frozen=True)
class DetectorProbing(Lens):
    """Accounts that stop before they are accused, after another one has found out when that is.

    Reverse engineering of a detector by queries, after Lowd and Meek (KDD 2005); not a method of that paper. An account
    asks `every` inputs at a time, and after them its first `controls` inputs again. A refusal, or another answer to a
    known input, tells that it is accused; the answers since the last control are not used, and are asked again. Every
    other account then asks a share 1 − `margin` of the inputs that were answered honestly, and is left for the next.

    With `fillers` a further account is spent on each, and that filler is used, or none, with which the other accounts
    get most answers from the rest of the budget. An account that is not accused within `most` inputs ends the probing,
    and there is no limit then. When all accounts are used up, the rest is refused with `OverBudget`.

    It saves accounts, not answers. Against the sequential test on CIFAR-10 with a ladder that refuses, 100 accounts got
    600 to 692 answers and 4 to 11 were accused; used one by one until refused, 1,012 to 1,144 and all 100. Where the
    ladder flips labels, 606 to 707 answers, of which 95 to 99 % were honest, and 5 to 13 accused (three seeds, a
    published ResNet-20, CIFAR-100, 2,000 queries at most).

    Args:
        clients: Number of accounts, more than those that are spent.
        margin: Share of the honest inputs that the other accounts do not ask, at least 0 and below 1: the moment
            differs between accounts.
        every: Inputs that are asked at a time, 1 or more; the controls follow them.
        controls: Inputs that are asked again, 0 or more; with 0 only a refusal is noticed.
        most: Inputs of a probing account.
        fillers: Fillers to choose from, beside none.
    """

    cite: ClassVar[str] = "lowd2005adversarial"
    rereads: ClassVar[bool] = False
    clients: int = 10
    margin: float = 0.5
    every: int = 2
    controls: int = 2
    most: int = 500
    fillers: tuple[Filler, ...] = ()

    def __post_init__(self) -> None:
        if self.clients < len(self.fillers) + 2 or not 0 <= self.margin < 1:
            raise BadRecipe(repr(self), "0 ≤ margin < 1, and two accounts more than fillers", "change them")
        if min(self.every, self.most) < 1 or self.controls < 0:
            raise BadRecipe(repr(self), "every and most ≥ 1, and controls ≥ 0", "change them")

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        return _ProbingOracle(oracle, self)


@dataclass(frozen=True, eq=False)
class _Way:
    """One way of asking: with a filler or without, and how many inputs an account may ask.

    Attributes:
        oracle: The oracle behind, seen through the filler if there is one.
        cost: Queries for an input.
        limit: Inputs that an account asks before it is left.
    """

    oracle: Oracle
    cost: int
    limit: float = math.inf

    def worth(self, accounts: int, budget: int) -> float:
        """Return how many answers so many accounts get for the budget."""
        return min(accounts * self.limit, budget // self.cost)


class _ProbingOracle(OracleWrapper):
    """Oracle that probes with its first accounts and then goes through the others, each up to the limit."""

    def __init__(self, oracle: Oracle, lens: DetectorProbing) -> None:
        super().__init__(oracle)
        for filler in lens.fillers:
            require_cost(oracle, filler)
        self._lens, self._transcript = lens, Transcript()
        self._ways = [_Way(oracle, 1), *(_Way(LensedOracle(oracle, filler), filler.cost) for filler in lens.fillers)]
        self._untried, self._tried = [*self._ways], list[_Way]()
        self._way, self._account = self._untried[0], 0
        self._begin()

    @property
    def transcript(self) -> Transcript:
        return self._transcript

    @property
    def left(self) -> int:
        return self._oracle.left // self._way.cost

    def keep_answers_only(self) -> None:
        for way in self._ways:
            way.oracle.keep_answers_only()
        self._transcript.keep_answers_only()

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        answers, rest, refusal = [], x, None
        while len(rest) and self._account < self._lens.clients:
            p, refusal = self._probe(rest) if self._untried else self._ask(rest)
            self._transcript.record(rest[: len(p)], p)
            answers.append(p)
            rest = rest[len(p) :]
            if refusal is not None and self._oracle.left < self._way.cost:
                break
        if not len(rest):
            return concatenate(answers), None
        return concatenate(answers), refusal or OverBudget(
            f"{len(rest)} more inputs after {self._lens.clients} accounts", "inputs within their limits", "use more"
        )

    def _begin(self) -> None:
        """Turn to the present account, which has asked nothing yet."""
        self._asked, self._known = 0, None

    def _next_account(self) -> None:
        self._account += 1
        self._begin()

    def _probe(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        """Ask the next inputs with a probing account; return the answers that a control shows to be honest."""
        self._oracle.use_account(self._account)
        count = max(self._lens.every, self._lens.controls) if self._known is None else self._lens.every
        p, refusal = self._way.oracle.try_ask(x[:count])
        if refusal is None and not self._answers_as_before(x[: len(p)], p):
            self._end_probe(accused=True)
            return p[:0], None
        self._asked += len(p)
        if refusal is not None and self._oracle.left >= self._way.cost:
            self._end_probe(accused=True)
        elif self._asked >= self._lens.most:
            self._end_probe(accused=False)
        return p, refusal

    def _answers_as_before(self, x: Tensor, p: Tensor) -> bool:
        """Return whether the account's first inputs get their first answers; store them where it has none yet."""
        if self._known is None:
            self._known = x[: self._lens.controls], p[: self._lens.controls]
            return True
        controls, before = self._known
        if not len(controls):
            return True
        now, refusal = self._oracle.try_ask(controls)
        changed = (now - before[: len(now)]).abs() > CHANGED if len(now) else torch.zeros(1)
        return not changed.any() and (refusal is None or not self._oracle.left)

    def _end_probe(self, *, accused: bool) -> None:
        """Turn to the next way, or to the best one when all were tried or one is never accused."""
        limit = max(1, math.floor((1 - self._lens.margin) * self._asked)) if accused else math.inf
        way = self._untried.pop(0)
        self._tried.append(_Way(way.oracle, way.cost, limit))
        if accused:
            self._next_account()
        else:
            self._untried.clear()
        if not self._untried:
            accounts, budget = self._lens.clients - self._account, self._oracle.left
            self._way = max(self._tried, key=lambda way: way.worth(accounts, budget))
        else:
            self._way = self._untried[0]

    def _ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        """Ask the next inputs with the present account, up to its limit."""
        self._oracle.use_account(self._account)
        if self._way.limit < math.inf:  # evidence is counted for a whole batch before its first answer
            x = x[: min(self._lens.every, int(self._way.limit) - self._asked)]
        p, refusal = self._way.oracle.try_ask(x)
        self._asked += len(p)
        if (refusal is not None and self._oracle.left >= self._way.cost) or self._asked >= self._way.limit:
            self._next_account()
        return p, refusal
