"""Campaigns: many accounts of one attacker, each with too few queries to be accused by themselves."""

import functools
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor, nn

from feint.defense import bind
from feint.defenses.access.cohort import Cohort
from feint.defenses.access.sequential_test import SequentialTest
from feint.errors import BadRecipe
from feint.fitting import FitContext, Fittable
from feint.ledger import Account, Ledger
from feint.pipeline import QueryLike
from feint.query import Query


@dataclass(frozen=True)
class Campaign(Fittable):
    """Evidence over many accounts: an alarm for newcomers, probation while it lasts, and e-BH over all clients.

    A ladder's `campaign` is fitted to one query of each of thousands of newcomers of the last period, clients who
    have sent fewer than `newcomers` queries, so that cameras and classes are those of real newcomers.

    **Alarm.** A newcomer is bet on at the turns k = 1, 2, 4, 8, by the mean payment to their first k queries. So
    newcomers need be independent of each other, not their queries. The bets, p-values and prices are those of
    `SequentialTest`. At each turn every bet has a CUSUM over newcomers i, and the alarm begins where one of K turns
    has::

        C_i = max(C_(i−1), 1) · mean_(j ≤ k) b(p_ij) / price(b),    Σ_b w_b C_i(b) ≥ K · run_length.

    Each turn has an e-detector (Shin, Ramdas and Rinaldo, NEJSDS 2024): among n honest newcomers there are at most
    n / `run_length` false alarms in expectation (with probability 1 − `delta` of the test over calibration sets). The
    sums of a turn begin anew after its alarm, and an alarm ends when it was not renewed for `hours`.

    **Probation.** During an alarm a newcomer's query gets the answer of `rung` if the newcomer's queries until then
    are improbable: if Fisher's combination of their p-values is below `probation`, which is so for that share of honest
    newcomers' queries if they are independent. All other queries of newcomers, and all clients known longer, are
    answered as ever.

    **Named clients.** Of every client the present value of the ladder's e-process is an e-value, and e-BH (Wang and
    Ramdas, JRSS-B 2022) names those that are too large for all to be honest: at any time the expected share of
    honest clients among the named is at most `fdr`. A named client is answered by `rung`.

    Composed for this project (docs/background/design/evidence.md); it is not a method of these papers.

    Attributes:
        test: Test whose score, p-values, bets and prices are used; its `alpha` is not.
        newcomers: Number of a client's first queries, 1 or more.
        run_length: Least mean number of honest newcomers until a false alarm, above 1.
        hours: Hours after which an alarm ends that nothing renews, above 0.
        probation: Level of probation, from 0 to 1.
        fdr: False discovery rate of the named clients, between 0 and 1.
        rung: Rung of the ladder for queries on probation and for named clients, 1 or more.
    """

    cite: ClassVar[str] = "shin2024edetectors"
    test: SequentialTest = SequentialTest()
    newcomers: int = 10
    run_length: float = 1e7
    hours: float = 24.0
    probation: float = 0.01
    fdr: float = 0.05
    rung: int = 1

    def __post_init__(self) -> None:
        if not (self.newcomers >= 1 and self.run_length > 1 and self.hours > 0 and self.rung >= 1):
            raise BadRecipe(repr(self), "newcomers ≥ 1, run_length > 1, hours > 0 and rung ≥ 1", "change it")
        if not (0 <= self.probation <= 1 and 0 < self.fdr < 1):
            raise BadRecipe(repr(self), "0 ≤ probation ≤ 1 and 0 < fdr < 1", "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this campaign fitted to newcomers' queries, one of each newcomer; errors are those of the test."""
        return replace(self, test=self.test.fit_from(context))

    def bind(self, model: nn.Module, ledger: Ledger) -> "BoundCampaign":
        """Return the campaign on a line, whose score may read what the model computes for the logits anyway."""
        return BoundCampaign(self, bind(self.test.ranked_score, model, ledger))

    def assign(self, query: Query, z: Tensor, account: Account, rung: int) -> np.ndarray:
        """Return the rung of each input of a query, and update the evidence over all accounts.

        `NotFitted` is raised without calibration, and `BadInput` for logits of another number of classes.

        Args:
            query: The query.
            z: The model's undefended logits, (N, K).
            account: The client's account, after its detectors have read the query.
            rung: The client's own rung.

        Returns:
            Rungs, (N,) int.
        """
        return self.assign_with(self.test.ranked_score, query, z, account, rung)

    def assign_with(self, score: Any, query: Query, z: Tensor, account: Account, rung: int) -> np.ndarray:
        """Return the rungs as `assign` does, with `score` in place of the test's own, to which it is bound."""
        return self.cohort().assign(self.test.statistics(score, query, z), query, account, rung)

    def alarmed(self, query: QueryLike, account: Account) -> bool | None:
        """Return whether there is an alarm, None for a client who is no newcomer."""
        return self.cohort().alarmed(query, account)

    def cohort(self) -> Cohort:
        """Return the running part, for a service with or without torch."""
        return _cohort(self)


@functools.lru_cache(maxsize=8)
def _cohort(campaign: Campaign) -> Cohort:
    return Cohort.of(vars(campaign), campaign.test.martingale())


@dataclass(frozen=True)
class BoundCampaign:
    """Campaign on a line.

    Attributes:
        campaign: The campaign.
        score: Its score, bound to the model.
    """

    campaign: Campaign
    score: Any

    @property
    def rung(self) -> int:
        """Rung of the inputs that it suspects."""
        return self.campaign.rung

    def assign(self, query: Query, z: Tensor, account: Account, rung: int) -> np.ndarray:
        """Return the rung of each input, as `Campaign.assign`."""
        return self.campaign.assign_with(self.score, query, z, account, rung)

    def alarmed(self, query: QueryLike, account: Account) -> bool | None:
        """Return whether there is an alarm, as `Campaign.alarmed`."""
        return self.campaign.alarmed(query, account)
