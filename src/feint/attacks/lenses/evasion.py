"""Lenses that evade services which remember their clients, by which account asks, and when.

They leave the answers as they are.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.attacks.lenses.lens import Lens
from feint.errors import BadRecipe, Refused
from feint.oracle import Oracle, OracleWrapper, concatenate
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class Sybil(Lens):
    """Queries spread over several accounts, which take turns (Douceur, IPTPS 2002).

    Each account asks the same share, so that what a service remembers of a single client stays small. An account that
    is refused is given up, and the others go on.

    Args:
        clients: Number of accounts.
        burst: Queries that an account asks in a row.
    """

    cite: ClassVar[str] = "douceur2002sybil"
    rereads: ClassVar[bool] = False
    clients: int = 10
    burst: int = 1

    def __post_init__(self) -> None:
        if self.clients < 1 or self.burst < 1:
            raise BadRecipe(repr(self), "one or more clients, and one or more queries in a row", "change it")

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        return _RoundRobinOracle(oracle, self)


class _RoundRobinOracle(OracleWrapper):
    def __init__(self, oracle: Oracle, sybil: Sybil) -> None:
        super().__init__(oracle)
        self._burst, self._accounts, self._turn, self._inside = sybil.burst, list(range(sybil.clients)), 0, 0

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        answers, rest, refusal = [], x, None
        while len(rest) and self._accounts:
            self._turn %= len(self._accounts)
            self._oracle.use_account(self._accounts[self._turn])
            p, refusal = self._oracle.try_ask(rest[: self._burst - self._inside])
            answers.append(p)
            rest, self._inside = rest[len(p) :], self._inside + len(p)
            if refusal is not None:
                if not self._oracle.left:  # the budget is spent: no other account would get more
                    break
                del self._accounts[self._turn]
                self._inside = 0
            elif self._inside == self._burst:
                self._turn, self._inside = self._turn + 1, 0
        return concatenate(answers), refusal if len(rest) else None


@dataclass(frozen=True)
class LowAndSlow(Lens):
    """Queries paced below the limit of a rate rule or a window.

    Waiting is free if the service is in this process, and real against a URL. Not a method of that paper, which
    describes the token bucket that the lens stays under (Turner, IEEE Communications Magazine 1986).

    Args:
        per_second: Queries a second in the long run.
        burst: Most queries at once.
    """

    cite: ClassVar[str] = "turner1986directions"
    rereads: ClassVar[bool] = False
    per_second: float = 1.0
    burst: int = 1

    def __post_init__(self) -> None:
        if not self.per_second > 0 or self.burst < 1:
            raise BadRecipe(repr(self), "a rate above 0 and one or more queries at once", "change it")

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        return _PacedOracle(oracle, self)


class _PacedOracle(OracleWrapper):
    def __init__(self, oracle: Oracle, pace: LowAndSlow) -> None:
        super().__init__(oracle)
        self._pace = pace

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        answers = []
        for batch in x.split(self._pace.burst):
            if self._oracle.asked and len(batch):
                self._oracle.wait(len(batch) / self._pace.per_second)
            p, refusal = self._oracle.try_ask(batch)
            answers.append(p)
            if refusal is not None:
                break
        else:
            refusal = None
        return concatenate(answers), refusal
