"""Lenses that evade services which remember their clients: by which account asks, when, and what between.

They leave the answers as they are.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.lenses.lens import Lens, PointwiseLens
from feint.attacks.surrogates import logits
from feint.attacks.variation import altered, varied
from feint.data import Split
from feint.errors import BadInput, BadRecipe, Refused
from feint.models.stored import Trained
from feint.oracle import Oracle, OracleWrapper, concatenate
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.transcript import checksums


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


@dataclass(frozen=True)
class Filler(PointwiseLens):
    """Ordinary queries between those that matter, so that the evidence against the client falls again.

    Padding an attack with what looks ordinary is mimicry (Wagner and Soto, CCS 2002). A detector that pays ordinary
    queries back never accuses a client of whose queries few enough are out of place. Here `each` fillers precede every
    input: copies of the first `kinds` inputs of `ordinary`, drawn at random, of which images have one pixel changed by
    one level, so that no two are equal. The answers to fillers are dropped.

    Against the sequential test as it was until near copies counted once, 69 % of fillers from 20 images were enough to
    ask 10,000 inputs of CIFAR-100 without evidence. `varied` copies do not count as near (`feint.attacks.variation`).
    With a `proxy` twice as many are made, and those are sent to which it gives the larger energy log Σ exp z_k.

    How much is hidden depends on the images: three sets of 20 drawn at random, six varied fillers for each input and a
    ResNet-56 as proxy gave one account 10,000, 10,000 and 34 answers to CIFAR-100 before the sequential test accused
    it, where no filler gives 12, and varied fillers of the first set without a proxy 21 (20 streams of a published
    ResNet-20 for each set, no slices).

    Args:
        ordinary: Inputs of the victim's task, of which a few are enough.
        each: Fillers for each input, 1 or more.
        kinds: Number of inputs of which fillers are copies, 1 or more.
        seed: Seed of the copies.
        varied: Whether images are shifted, turned, zoomed and mirrored, and other inputs mixed.
        flip: Whether varied images may be mirrored.
        proxy: Model of the victim's task that chooses among varied copies, or None.
    """

    cite: ClassVar[str] = "wagner2002mimicry"
    rereads: ClassVar[bool] = False
    ordinary: Split
    each: int = 3
    kinds: int = 20
    seed: int = 0
    varied: bool = False
    flip: bool = True
    proxy: Trained | None = None

    def __post_init__(self) -> None:
        if self.each < 1 or self.kinds < 1:
            raise BadRecipe(repr(self), "one or more fillers for each input, of one or more kinds", "change it")
        if self.proxy is not None and not self.varied:
            raise BadRecipe(repr(self), "a proxy with varied fillers: the others look alike to it", "set varied=True")

    @property
    def cost(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return 1 + self.each

    def send(self, x: Tensor) -> Tensor:
        kinds = self.ordinary.inputs(slice(0, self.kinds))
        if kinds.shape[1:] != x.shape[1:] or kinds.dtype != x.dtype:
            raise BadInput(
                f"fillers of shape {tuple(kinds.shape[1:])} and type {kinds.dtype} between inputs {tuple(x.shape[1:])}",
                "ordinary inputs of the same domain", "choose others",
            )  # fmt: skip
        key = (self.seed * 1_000_003 + int(checksums(x).sum())) % 2**63  # other fillers with every batch
        random = torch.Generator().manual_seed(key)
        fillers = self._fillers(kinds, len(x) * self.each, random)
        return torch.cat([fillers.unflatten(0, (len(x), self.each)), x[:, None]], 1).flatten(0, 1)

    def read(self, p: Tensor) -> Tensor:
        return p.unflatten(0, (-1, self.cost))[:, -1]

    def _fillers(self, kinds: Tensor, count: int, random: torch.Generator) -> Tensor:
        """Return copies (count, …), the more ordinary half of varied ones if there is a proxy."""
        domain = self.ordinary.domain
        if not self.varied:
            return altered(kinds, count, domain, random)
        if self.proxy is None:
            return varied(kinds, count, domain, random, flip=self.flip)
        fillers = varied(kinds, 2 * count, domain, random, flip=self.flip)
        energy = logits(self.proxy.model, fillers).logsumexp(-1)
        return fillers[energy.topk(count).indices.sort().values]
