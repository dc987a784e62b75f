"""Sequential test of a client's queries, valid after every query and for as long as the client stays."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from feint import victims
from feint.data import Split
from feint.defenses.access import slices
from feint.defenses.access._bets import DRAWS, levels, payments, prices
from feint.defenses.access._ranks import LEAST, RankInClass, by_class, places_of
from feint.defenses.access.detector import CalibratedDetector
from feint.defenses.access.martingale import Martingale, places, wealth
from feint.defenses.access.slices import NOTHING_READ
from feint.defenses.scores import Energy, Score, calibrate, scores
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext, Fittable
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes.store import Weights
from feint.victims import logits


@dataclass(frozen=True)
class SequentialTest(CalibratedDetector):
    """Test martingale of conformal p-values: an honest client is ever accused with probability at most `alpha`.

    The score s of a query is compared with those of n benign inputs: k = 1 + #{c_i ≤ s}, p = k / (n + 1). Scores that
    only the last bits of an output keep apart count as equal, so that p is never too small. A bet is a falling function
    b of p, sold at a price that a benign client is expected not to win back. Evidence is the mean over bets, and over
    the queries with which each may have begun, of the winnings::

        M_t = Σ_j w_j mean_b Π_(j ≤ i ≤ t) b(p_i) / price(b),    evidence = log M_t / log(1/alpha),    Σ_j w_j = 1.

    The owner has one calibration set, and p is uniform only on average over many. The mean payment of a bet *given* the
    set is Σ_k b(p_k) D_k with D uniform on the simplex of n + 1 gaps, whatever the scores' distribution. The price is a
    quantile of that, for all bets at once right with probability 1 − `delta`. By Ville's inequality M then ever reaches
    1/alpha with probability ≤ alpha, whenever one looks (+ delta, once, for the calibration set).

    Bets are ε p^(ε−1), steps that pay c below a level θ and (1 − cθ)/(1 − θ) above it, and steps that pay 1 above a
    second level, from which the most ordinary queries pay nothing back. With `outliers` in `fit`
    there are also 1 − π + π h(p) with h learned from them, for clients who send a share π of such queries. A score that
    learns itself (`LearnedScore`) takes a third of the inputs and half of the outliers; the rest calibrates the test.

    **Slices.** No client's queries are drawn from the calibration set. The owner names what else is ordinary, in
    `slices`: one half of the inputs then calibrates the p-values, and the price of a bet is the largest of the
    quantiles over the calibration set and over the other half as each slice has it. A client who mixes these slices, in
    any order, wins no bet in expectation. "classes" takes p within the class that the model predicts, so that a client
    who asks about one class alone is ordinary; one class of another slice is not covered. `risks` tells who would be
    accused.

    **Bursts.** The frames of one scene are no independent draws. With `burst` m every bet is taken to the power 1/m,
    and evidence is log M_t / log(m/alpha): the promise then holds for clients whose queries come in bursts of up to m
    in a row that depend on each other in any way, while the bursts are independent. It takes about m times the queries
    to accuse.

    Near copies of a client's recent inputs count once. A service runs a `Martingale`: one number for each bet in the
    account. Composed for this project (docs/background/design/evidence.md) from conformal test martingales (Vovk,
    Nouretdinov and Gammerman, ICML 2003); it is not a method of that paper.

    Attributes:
        score: Score of a query, low where it is suspicious; `fit` replaces the energy by the largest probability for a
            model that returns probabilities.
        alpha: Probability with which an honest client may ever be accused.
        delta: Probability with which the calibration set may break that promise.
        tolerance: Factor t ≥ 1: prices hold for honest clients whose scores may be as low as any level up to t times as
            often as the calibration set's.
        slices: What is ordinary beside the calibration set: "classes", changes of the inputs such as "jpeg" or
            "jpeg:75" (`feint.defenses.access.slices`), and data sets.
        burst: Largest number m ≥ 1 of queries in a row that depend on each other.
        benign: Scores of `inputs` and `outliers`, p-values of slices, the number of classes, and the prices for this
            `delta` and `tolerance`, set by `fit`.
    """

    former_fields: ClassVar[Mapping[str, str]] = {"block": ""}  # in recipes until 0.2
    cite: ClassVar[str] = "vovk2003testing"
    score: Score = Energy()
    alpha: float = 1e-3
    delta: float = 5e-3
    tolerance: float = 1.0
    slices: tuple[str, ...] | None = None
    burst: int = 1
    benign: Weights | None = None

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 < self.delta < 1 and self.tolerance >= 1 and self.burst >= 1):
            raise BadRecipe(repr(self), "0 < alpha, delta < 1, tolerance ≥ 1 and burst ≥ 1", "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this test calibrated on benign inputs; outliers, if there are any, add the learned bets.

        Raises:
            BadInput: if there are fewer than 100 inputs, or, with slices, 200; or fewer than 2 outliers, or than 100
                different inputs of a slice that is a file or a data set.
        """
        least = 200 if self.slices else 100
        if len(context.inputs) < least:
            raise BadInput(f"{len(context.inputs)} benign inputs", f"{least} or more, better thousands", "give it more")
        if context.outliers is not None and len(context.outliers) < 2:
            raise BadInput(f"{len(context.outliers)} outliers", "2 or more, better thousands", "give it more, or none")
        names = [name for name in dict.fromkeys(self.slices or ()) if name != slices.CLASSES]
        others = slices.read_others(names, context.inputs, context.slices)  # errors before the first pass
        unranked, context = _learned_score(self.score, context)
        victim, inputs = context.victim.eval(), context.inputs
        first = second = inputs
        if self.slices:
            first, second = (inputs.take(slice(i, None, 2), part=f"{inputs.part}, half {i}") for i in (0, 1))
        classes = logits(victim, inputs.inputs(slice(0, 1))).shape[1]
        score, s = calibrate(unranked, replace(context, inputs=first))
        learned = {"inputs": s.sort().values, "classes": torch.tensor(classes)}
        if slices.CLASSES in (self.slices or ()):
            learned |= by_class(s, victims.answers(victim, first).argmax(-1), classes)
        ranked = replace(self, score=score, benign=Weights.of(learned)).ranked_score
        for title, part in (titled for name in names for titled in slices.slices(name, second, others)):
            learned[f"slice/{title}"] = scores(ranked, victim, part, context.progress).sort().values
        if context.outliers is not None:
            learned["outliers"] = scores(ranked, victim, context.outliers, context.progress).sort().values
        unpriced = replace(self, score=score, benign=Weights.of(learned))
        learned["prices"] = _largest_prices(unpriced, _paid(unpriced)[0])
        learned["priced_for"] = torch.tensor([self.delta, self.tolerance], dtype=torch.float64)
        return replace(unpriced, benign=Weights.of(learned))

    @property
    def ranked_score(self) -> Score:
        """The number that ranks a query: the score, or its p-value within the predicted class."""
        learned = self.learned
        if "class_scores" not in learned:
            return self.score
        return RankInClass(self.score, learned)

    def risks(
        self,
        victim: nn.Module,
        inputs: Split,
        progress: ProgressCallback = NO_PROGRESS,
        *,
        columns: bool = False,
        read: Mapping[str, Split] = NOTHING_READ,
        classes: Sequence[str] = (),
    ) -> list["SliceRisk"]:
        """Return for each known slice whether a client who sends nothing else would be accused.

        Args:
            victim: The model that the test was fitted to.
            inputs: Benign inputs that the test was not fitted to, or else the same.
            progress: Progress callback.
            columns: Whether each column of a table at its commonest value is tried, at one pass each.
            read: Inputs of slices that are data sets or files and were read before, by name.
            classes: Names of the classes; numbers by default.

        Returns:
            The risks: of the inputs as they are, of each predicted class, of each change of the domain and of each
            further slice of the recipe. Where a client is accused who sends one class of a priced slice alone, which
            no price covers, that of the class that is accused first. Of columns that are not priced those accused.
        """
        ranked, bare = self.ranked_score, self._without_slices() if self.slices else self
        ordinary = scores(ranked, victim, inputs, progress)
        p = victims.answers(victim, inputs)
        called = classes or range(p.shape[1])
        risks = [self._risk(slices.UNCHANGED, ordinary, priced=True)]
        for name in dict.fromkeys([*slices.known(inputs.domain, of_columns=columns), *(self.slices or ())]):
            for title, part in () if name == slices.CLASSES else slices.slices(name, inputs, read):
                s, priced = scores(ranked, victim, part, progress), f"slice/{title}" in self.learned
                risk = self._risk(title, s, priced=priced)
                risk = replace(risk, undeclared=bare._risk(title, s, priced=False).queries) if priced else risk
                if priced or risk.queries < math.inf or not title.startswith(slices.CONSTANT):
                    # The labels of another data set are not those of this task.
                    changed = slices.is_change(name, inputs.domain)
                    names = called if changed else range(int(part.labels.max()) + 1)
                    risks += [risk, *(self._first_class(title, s, part, names) if priced else ())]
        predicted = p.argmax(-1)
        for label in predicted.unique().tolist():
            s = ordinary[predicted == label]
            risk = self._risk(f"class {called[label]}", s, priced="class_scores" in self.learned)
            risks.append(replace(risk, label=label))
        return risks

    def _without_slices(self) -> "SequentialTest":
        """Return this test with the prices that it would have if nothing but the calibration set were ordinary."""
        learned = {name: t for name, t in self.learned.items() if not name.startswith(("slice/", "price"))}
        return replace(self, slices=None, benign=Weights.of(learned))

    def _first_class(self, title: str, s: Tensor, part: Split, called: Sequence[object]) -> list["SliceRisk"]:
        """Return the risk of the class that is accused first among clients of one class of a slice, none for none."""
        numbers = part.labels.bincount()
        large = (numbers >= LEAST).nonzero().flatten().tolist()
        each = [
            self._risk(f"{title}, class {called[label]} alone", s[part.labels == label], priced=False)
            for label in large
        ]
        accused = [replace(risk, of=title) for risk in each if risk.queries < math.inf]
        return sorted(accused, key=lambda risk: risk.queries)[:1] if len(large) > 1 else []

    def _risk(self, title: str, s: Tensor, *, priced: bool) -> "SliceRisk":
        wins, weights = self.wins(s)
        growth = wins.mean(0)
        needed = (math.log(2 / self._level) - weights.log()) / growth
        queries = needed[growth > 0].min().item() if (growth > 0).any() else math.inf
        inputs = self.learned["inputs"].numpy()
        p = (places(inputs, s.numpy()) + 1) / (len(inputs) + 1)
        return SliceRisk(title, priced, queries, -np.log(p).mean().item())

    def wins(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log wins of the bets.

        `NotFitted` is raised without calibration.

        Args:
            scores: Scores of queries, (…).

        Returns:
            The logarithm of what each bet wins at each score, (…, bets), and the bets' weights, (bets,).
        """
        log_wins, weights = _log_wins(self)
        return log_wins[torch.from_numpy(places(self.learned["inputs"].numpy(), scores.numpy()))], weights

    def replay(self, scores: Tensor) -> Tensor:
        """Return the evidence of simulated clients.

        Args:
            scores: Scores of the queries of N clients, (N, T), none of them a repeat.

        Returns:
            The evidence after each query, (N, T).
        """
        wins, weights = self.wins(scores)
        before = np.full(wins.shape[-1], -np.inf)
        values = torch.from_numpy(wealth(wins.numpy(), before, 0)) + weights.log()
        return values.logsumexp(-1) / -math.log(self._level)

    def martingale(self) -> Martingale:
        """Return the bets at their prices, as arrays, which a service runs with or without torch."""
        log_wins, weights = _log_wins(self)
        return Martingale(self.learned["inputs"].numpy(), log_wins.numpy(), weights.numpy(), self._level)

    @property
    def _level(self) -> float:
        """The level at which evidence is 1."""
        return self.alpha / self.burst


def _learned_score(score: Score, context: FitContext) -> tuple[Score, FitContext]:
    """Return the score, trained if it learns, and the context without the inputs and outliers that trained it."""
    if not isinstance(score, Fittable):
        return score, context
    third = np.arange(len(context.inputs)) % 3 == 0
    training = replace(context, inputs=context.inputs.take(third, part=f"{context.inputs.part}, to learn from"))
    rest = replace(context, inputs=context.inputs.take(~third, part=f"{context.inputs.part}, the rest"))
    if (outliers := context.outliers) is not None:
        even, odd = (outliers.take(slice(i, None, 2), part=f"{outliers.part}, half {i}") for i in (0, 1))
        training, rest = replace(training, outliers=even), replace(rest, outliers=odd)
    return score.fit_from(training), rest


@functools.lru_cache(maxsize=8)
def _log_wins(test: SequentialTest) -> tuple[Tensor, Tensor]:
    """Return what each bet wins at each p-value, and the bets' weights.

    The prices are those of `fit`: simulating them for six slices takes 13 s, which no process that serves the test
    should spend again. They are simulated where the test has another `delta` or `tolerance` since.

    Returns:
        The logarithm of payment over price, of which a burst wins no more than one query, (n + 1, bets), and the
        weights, (bets,).
    """
    paid, weights = _paid(test)
    fitted = test.learned.get("priced_for")
    known = fitted is not None and fitted.tolist() == [test.delta, test.tolerance]
    known = known and len(test.learned["prices"]) == len(weights)  # fits until 0.1 have fewer bets
    price = test.learned["prices"] if known else _largest_prices(test, paid)
    return (paid / price).log() / test.burst, weights


def _paid(test: SequentialTest) -> tuple[Tensor, Tensor]:
    """Return what each bet pays at each p-value, (n + 1, bets), and the bets' weights, (bets,)."""
    tensors = test.learned
    n = len(tensors["inputs"])
    p = (levels(n) * test.tolerance).clamp_max(1)
    outliers = tensors.get("outliers")
    ranks = None if outliers is None else torch.searchsorted(tensors["inputs"], outliers, right=True)
    return payments(p, ranks)


def _largest_prices(test: SequentialTest, paid: Tensor) -> Tensor:
    """Return the price of each bet: the largest over the calibration set, or its classes, and the slices."""
    tensors = test.learned
    n, counts = len(paid) - 1, tensors.get("class_counts")
    samples = [p for name, p in tensors.items() if name.startswith("slice/")]
    sets = [torch.arange(n + 1)] if counts is None else [places_of(int(count), n) for count in counts.unique()]
    delta = test.delta / (len(samples) + (1 if counts is None else len(counts)))
    draws = max(DRAWS, math.ceil(10 / delta))
    price = torch.stack([prices(paid[ranks], delta, test.tolerance, draws) for ranks in sets]).amax(0)
    for sample in samples:  # a gap of the sample holds no score below its lower end
        ranks = torch.from_numpy(places(tensors["inputs"].numpy(), sample.numpy()))
        gaps = torch.cat([torch.zeros(1, dtype=torch.int64), ranks.sort().values])
        price = torch.maximum(price, prices(paid[gaps], delta, 1.0, draws))
    return price


@dataclass(frozen=True)
class SliceRisk:
    """What becomes of an honest client who sends one slice alone.

    Attributes:
        name: Name of the slice.
        priced: Whether the prices of the bets cover it.
        queries: Queries after which the client is accused, on average; infinite where the evidence does not grow.
        surprise: Mean of −log p: 1 for the calibration set. `feint shadow` prints that of a service's clients.
        label: Predicted class of all its inputs, where that is what makes the slice.
        of: Declared slice of which these are the inputs of one class, or "".
        undeclared: Of a priced slice the queries after which such a client is accused where no slice is declared: what
            its price forgives, also to an attacker who sends inputs like these.
    """

    name: str
    priced: bool
    queries: float
    surprise: float
    label: int | None = None
    of: str = ""
    undeclared: float = math.inf
