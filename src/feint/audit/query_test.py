"""Test of queries that suits a model: of the scores that its inputs allow, the one that is hardest to hide from."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from feint.audit.samples import Outliers
from feint.data import Split
from feint.data.made_up import made_up
from feint.defenses.access import SequentialTest
from feint.defenses.access.dilution import unaccused_share
from feint.defenses.scores import scores
from feint.errors import BadInput
from feint.progress import ProgressCallback
from feint.recipes import registry
from feint.signature import Columns

ANSWERS = "Energy()"
UNTAUGHT = "Mahalanobis()"  # of features; it needs no outliers, of which only tables have some for every owner
LEARNED = 'LearnedScore("features")'
OF_ROWS = LEARNED, 'LearnedScore("inputs")'
READ = {ANSWERS: "answers", UNTAUGHT: "features", LEARNED: "learned", OF_ROWS[1]: "inputs"}  # by each score
OUTLIERS = "marginals"  # rows that every owner of a table has, as `feint fit --outliers` names them
DRAW = 1  # seed of the outliers, that of `feint fit`; attackers draw others


@dataclass(frozen=True)
class ChosenTest:
    """Test of queries that was chosen for a model.

    Attributes:
        test: The fitted test.
        score: Recipe of its score.
        outliers: What the score learns from, as `feint fit --outliers` takes it; None for nothing.
        tried: For each score that was tried the largest share of queries out of place that it overlooks, whatever the
            others are (`unaccused_share`).
    """

    test: SequentialTest
    score: str
    outliers: str | None
    tried: Mapping[str, float]

    @property
    def recipe(self) -> str:
        """Recipe of the test, as `feint fit` takes it."""
        return "SequentialTest()" if self.score == ANSWERS else f"SequentialTest({self.score})"

    @property
    def overlooked(self) -> float:
        """Share of queries out of place below which an attacker who knows the test is accused by chance alone."""
        return min(self.tried.values())

    @property
    def sees(self) -> bool:
        """Whether an account is accused that sends nothing but queries out of place."""
        return self.overlooked < 1


def choose_test(
    victim: nn.Module,
    inputs: Split,
    attack: Split,
    outliers: Outliers | None = None,
    *,
    remote: bool,
    progress: ProgressCallback,
) -> ChosenTest:
    """Fit a sequential test by each score that the model and its inputs allow, and return the hardest to hide from.

    The scores are judged by the share of queries out of place with which no bet grows: those of an attacker without
    inputs of the task, who knows the test and fills up with queries of the ranks that serve best. No attacker who hides
    among inputs of the task, or among copies of a few, has a larger share. Judged by those inputs themselves, the
    energy of a published ResNet-20 on CIFAR-10 would be taken, with 0.043 before the 0.049 of `Mahalanobis`; against
    who knows the test it has 0.162, and `Mahalanobis` 0.105 (1,000 images of CIFAR-100).

    Args:
        victim: Model to defend.
        inputs: Benign inputs, to which each test is fitted.
        attack: Inputs that the attacker asks about.
        outliers: Inputs of another task from which a score may learn; None for rows that are drawn by the statistics of
            each column of a table, and nothing elsewhere.
        remote: Whether the model is elsewhere, and is asked about nothing more than answers' own score needs.
        progress: Callback of the fits.

    Returns:
        The test. Of scores that see as much it has the first: the answers' own, then those of features and rows.
        `BadInput` is raised where no score can be had: there are too few inputs, or the model returns labels alone.
    """
    fitted: dict[str, SequentialTest] = {}
    tried: dict[str, float] = {}
    unfit: list[BadInput] = []
    learns_from: dict[str, Split | None] = {ANSWERS: None}
    if not remote:
        if isinstance(inputs.domain, Columns):
            outliers = outliers or Outliers(OUTLIERS, made_up(inputs, OUTLIERS, DRAW))
            learns_from |= dict.fromkeys(OF_ROWS, outliers.inputs)
        else:
            learns_from |= {UNTAUGHT: None} | ({LEARNED: outliers.inputs} if outliers else {})
    for score, others in learns_from.items():
        try:
            test = SequentialTest(registry.parse(score)).fit(victim, inputs, outliers=others, progress=progress)
        except BadInput as error:  # trees have no features, and labels alone no energy
            unfit.append(error)
            continue
        odd = scores(test.ranked_score, victim, attack, progress)
        fitted[score], tried[score] = test, unaccused_share(test, odd)
    if not fitted:
        raise unfit[0]
    best = min(tried, key=tried.__getitem__)
    return ChosenTest(fitted[best], best, outliers.place if outliers and learns_from[best] is not None else None, tried)
