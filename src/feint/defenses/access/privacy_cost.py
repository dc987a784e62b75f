"""Privacy cost of a client's queries, above that of an honest client's."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from feint.defenses.access.martingale import LAST_BITS
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext, Fittable, learned_by
from feint.ledger import Account
from feint.pipeline import QueryLike
from feint.recipes.store import Weights

if TYPE_CHECKING:  # methods that use logits import torch themselves: `ProofOfWork` reads an account without it
    from torch import Tensor

COST, QUERIES = "privacy", "privacy queries"


@dataclass(frozen=True)
class PrivacyCost(Fittable):
    """Detector that adds up the privacy cost of a client's queries, as PATE counts it (Dziedzic et al., ICLR 2022).

    An input on which teachers disagree reveals more. Its cost is the ε, at `delta`, of the label that the teachers'
    votes and Gaussian noise of deviation `sigma` choose. As in the paper each query's ε is added, which is no composed
    guarantee but a price.

    No teachers are trained here (the paper's kNN variant, in a form chosen here). The inputs of `fit` are divided at
    random into `teachers` parts, and each part votes the label of its nearest neighbour among the model's centred
    logits, the first of equally near ones. So one training input moves one vote, as in PATE.

    Another part of the inputs is queried as an honest client would, and a line is fitted to its cost::

        expected(n) = slope · n + intercept
        evidence    = (cost − expected(n)) / (tolerance · expected(max(n, 100)))    after n queries, at least 0

    `ProofOfWork` turns the same excess into bits.

    Attributes:
        teachers: Parts that vote, 2 or more.
        sigma: Deviation of the noise, above 0.
        delta: δ at which ε is measured, between 0 and 1.
        tolerance: Excess that accuses, as a share of the expected cost, above 0.
        held: Share of the inputs of `fit` on which the honest cost is measured, between 0 and 1.
        votes: The teachers' logits and labels and the honest line, set by `fit`.
    """

    cite: ClassVar[str] = "dziedzic2022increasing"
    servable: ClassVar[bool] = True
    teachers: int = 250
    sigma: float = 10.0
    delta: float = 1e-5
    tolerance: float = 1.0
    held: float = 0.2
    votes: Weights | None = None

    def __post_init__(self) -> None:
        if self.teachers < 2 or self.sigma <= 0 or not 0 < self.delta < 1 or self.tolerance <= 0:
            known = "teachers ≥ 2, sigma > 0, 0 < delta < 1, tolerance > 0"
            raise BadRecipe(repr(self), known, "change it")
        if not 0 < self.held < 1:
            raise BadRecipe(f"held={self.held}", "a share between 0 and 1, to measure honest cost on", "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with teachers made of the labelled inputs, and an honest client's line.

        Raises:
            BadInput: if there are too few inputs for the teachers.
        """
        import torch

        from feint.victims import logits

        inputs = context.inputs
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(context.seed))
        held = max(2, round(self.held * len(inputs)))
        each = (len(inputs) - held) // self.teachers
        if each < 1:
            raise BadInput(
                f"{len(inputs)} inputs", f"more than {self.teachers + held}: one a teacher, and others", "give more"
            )
        voters, honest = order[held : held + each * self.teachers], order[:held]
        z = torch.cat(
            [centred(logits(context.victim, inputs.inputs(rows))) for rows in torch.cat([voters, honest]).split(500)]
        )
        tensors = {
            "points": z[: len(voters)].view(self.teachers, each, -1).contiguous(),
            "labels": inputs.labels[voters].view(self.teachers, each),
        }
        fitted = replace(self, votes=Weights.of(tensors))
        curve = fitted.cost(z[len(voters) :]).cumsum(0)
        queries = torch.arange(1, held + 1).double()
        deviation = queries - queries.mean()
        slope = (deviation * curve).sum() / deviation.square().sum()
        line = torch.stack([slope, curve.mean() - slope * queries.mean()])
        line = line.round(decimals=9)  # the same on every machine
        return replace(self, votes=Weights.of(tensors | {"line": line}))

    def cost(self, z: "Tensor") -> "Tensor":
        """Return the privacy cost of inputs.

        Args:
            z: The model's undefended logits, (N, K).

        Returns:
            ε of each input, (N,) float64.

        Raises:
            BadInput: if the number of classes is not the fitted one.
        """
        import torch

        from feint.defenses.access._pate import epsilon

        points, labels = self._learned["points"], self._learned["labels"]
        teachers, each, classes = points.shape
        if z.shape[-1] != classes:
            raise BadInput(f"logits of {z.shape[-1]} classes", f"the {classes} fitted to", "fit it to this victim")
        if not len(z):
            return z.new_zeros(0).double()
        rows = centred(z.cpu())
        exact = "donot_use_mm_for_euclid_dist"  # a product's distance from a point to itself is 1e-4 of its length
        distance = torch.cdist(rows, points.view(-1, classes), compute_mode=exact).view(-1, teachers, each)
        slack = LAST_BITS * rows.abs().amax(-1).clamp_min(1)[:, None, None]
        near = (distance <= distance.amin(-1, keepdim=True) + slack).int().argmax(-1)  # argmax: the first one
        votes = labels[torch.arange(teachers), near]
        return epsilon(torch.nn.functional.one_hot(votes, classes).sum(1), self.sigma, self.delta)

    def excess(self, account: Account) -> float:
        """Return the client's cost so far above that of an honest client, at least 0.

        A client who queries cheaply is not punished, though the paper's absolute value would.
        """
        return max(0.0, account.total(COST) - self.expected(account.total(QUERIES)))

    def expected(self, queries: float) -> float:
        """Return the cost of an honest client's first `queries` queries."""
        slope, intercept = self._learned["line"].tolist()
        return max(0.0, slope * queries + intercept) if queries else 0.0

    def observe(self, query: QueryLike, z: "Tensor", account: Account) -> float:
        """Add the cost of a query with logits `z` (N, K) to the account, and return the evidence."""
        account.add_all({COST: self.cost(z).sum().item(), QUERIES: len(query)})
        return self.excess(account) / (self.tolerance * self.expected(max(account.total(QUERIES), 100)))

    @property
    def _learned(self) -> "dict[str, Tensor]":
        return dict(learned_by(self, self.votes, "teachers and a curve"))


def centred(z: "Tensor") -> "Tensor":
    """Return logits (N, K) less their mean, which softmax does not see."""
    return (z - z.mean(-1, keepdim=True)).float()
