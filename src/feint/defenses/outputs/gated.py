"""Gate between two output defenses: gentle for ordinary queries, harsh for suspicious ones."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.defense import OutputDefense, bind
from feint.defenses.access.martingale import LAST_BITS
from feint.defenses.outputs.output import Output, check_simplex
from feint.defenses.outputs.rounding import Rounding
from feint.defenses.scores import Energy, Score, calibrate
from feint.errors import BadRecipe, NotFitted
from feint.fitting import FitContext, Fittable
from feint.ledger import Ledger
from feint.models.simplex import log_probabilities
from feint.victims import logits


@dataclass(frozen=True)
class Gated(Output, Fittable):
    """Answers of `gentle` and `harsh`, mixed by how suspicious a query looks.

    The score s is low for suspicious queries::

        q = (1 − a) gentle(p) + a harsh(p),    a = 1 / (1 + exp((s(x) − threshold) / width))

    `fit` sets the threshold to the quantile of benign scores at `share`, and the scale of `width` to their standard
    deviation.

    Adaptive misinformation (Kariyappa and Qureshi, CVPR 2020) is one instance: a switch on the largest probability
    before a misleading model. A gate in front of other defenses is of this project and not a method of that paper. A
    score of logits, such as the energy, needs the model: the gate then has to be bound by a service (`bind`).

    Attributes:
        harsh: Defense for suspicious queries.
        gentle: Defense for ordinary ones. The default is the clean answer in the 6 decimals that an API returns.
        score: Score of a query; `fit` replaces the energy by the largest probability for a model that returns
            probabilities.
        share: Share of ordinary queries that the harsh answer may reach, in [0, 1].
        width: Width of the transition in standard deviations. 0 is a switch; a score that equals the threshold but for
            its last bits counts as ordinary.
        threshold: Score at which a is ½, set by `fit`.
        scale: Unit of `width`, set by `fit`.
    """

    cite: ClassVar[str] = "kariyappa2020defending"
    harsh: Output
    gentle: Output = Rounding(decimals=6)
    score: Score = Energy()
    share: float = 0.05
    width: float = 0.0
    threshold: float | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and self.width >= 0 and self.scale > 0):
            raise BadRecipe(repr(self), "0 ≤ share ≤ 1, width ≥ 0 and scale > 0", "change it")

    @property
    def preserves(self) -> str:
        return min(self.gentle.preserves, self.harsh.preserves, key=ranks_kept)

    def fit_from(self, context: FitContext) -> Self:
        """Return this gate with the threshold for benign `inputs`, on which the victim was not trained."""
        score, values = calibrate(self.score, context)
        ordinary = values.double()
        cut = torch.quantile(ordinary, self.share, interpolation="lower")
        return replace(self, score=score, threshold=cut.item(), scale=max(ordinary.std().item(), 1e-12))

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if not self.score.of_probabilities:
            raise NotFitted(f"{self.score!r} without the model's logits", "a gate on a line", "give it to a Service")
        z = log_probabilities(p)
        return self._mix(p, p if x is None else x, z, self.gentle, self.harsh)

    def bind(self, model: nn.Module, ledger: Ledger) -> OutputDefense:
        """Return this gate bound to `model` and `ledger`, with its two defenses bound as well."""
        gentle, harsh = (bind(step, model, ledger) for step in (self.gentle, self.harsh))

        @torch.no_grad()
        def perturb(p: Tensor, x: Tensor) -> Tensor:
            check_simplex(p)
            empty = not torch.compiler.is_exporting() and not len(p)
            return p if empty else self._mix(p, x, logits(model, x), gentle, harsh)

        return perturb

    def _mix(self, p: Tensor, x: Tensor, z: Tensor, gentle: OutputDefense, harsh: OutputDefense) -> Tensor:
        """Return each row mixed by its share; a defense sees only the rows in which it has a share."""
        share = self._suspicion(self.score(x, z)).to(p.dtype)[:, None]
        if torch.compiler.is_exporting():  # a graph has no branches
            return (1 - share) * gentle(p, x) + share * harsh(p, x)
        q = torch.zeros_like(p)
        for step, part in ((gentle, 1 - share), (harsh, share)):
            rows = part[:, 0].nonzero()[:, 0]
            if len(rows):
                q[rows] += part[rows] * step(p[rows], x[rows])
        return q

    def _suspicion(self, score: Tensor) -> Tensor:
        """Return a for each score, from 0 for ordinary to 1 for suspicious queries.

        Args:
            score: Scores, (N,).

        Returns:
            The share of the harsh answer, (N,).

        Raises:
            NotFitted: without a threshold.
        """
        if self.threshold is None:
            raise NotFitted(f"{self!r}", "a threshold", "fit it to a victim and benign inputs, or name one")
        if self.width == 0:
            return (score < self.threshold - LAST_BITS * max(abs(self.threshold), 1)).to(score.dtype)
        return ((self.threshold - score) / (self.width * self.scale)).sigmoid()


def ranks_kept(preserves: str) -> float:
    """Return how many of the first ranks the promise `preserves` covers."""
    known = {"": 0.0, "label": 1.0, "order": float("inf")}
    return known[preserves] if preserves in known else float(preserves.removeprefix("top-"))
