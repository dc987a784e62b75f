"""Two owners mark models of one task in the same way: the mark of one is not claimed at the other's model."""

from dataclasses import replace

import pytest
import torch
from tests.support.suspects import repeating

from feint.defense import Defense
from feint.defenses.boundary import ClassFeatureWatermark, MarginWatermark
from feint.defenses.outputs import Marked
from feint.errors import BadRecipe
from feint.models.training import Training, train
from feint.ownership import claim_accounts, marked_by_account, trained_mark
from feint.ownership.carried import require_own
from feint.ownership.selection import labels_of
from feint.ownership.survival import Policy, judge
from feint.query import Query
from feint.service import Service

LONG = Training(epochs=40)
POLICY = Policy(most_false=0.9)
MARGIN = MarginWatermark(count=60, draw=1, step=0.0, training=LONG, from_scratch=True)
CLASSES = ClassFeatureWatermark(count=200, draw=1, target=None, training=Training(epochs=10))


@pytest.fixture(scope="module")
def innocents(victim, digits):
    """Models without a mark, and one whose owner marks it, too."""
    return [train(victim.network, digits.train, training=Training(epochs=10), seed=seed) for seed in range(11, 15)]


@pytest.fixture(scope="module")
def outliers(digits):
    """Digits upside down, of which models without a mark give the label of none."""
    x = digits.domain.encode(digits.pool.inputs().flip(-2).numpy())
    return digits.pool.of(x, digits.pool.labels.numpy(), domain=digits.domain, name="upside down")


def claimed(recipe, other, victim, innocents, digits, outliers):
    """Whether the mark of `recipe` in the victim is claimed at it, and at a model that is marked by `other`."""
    *controls, second = innocents
    marked, _ = recipe.retrain(victim, digits.train, outliers=outliers)
    second_marked, _ = other.retrain(second, digits.train, outliers=outliers, seed=5)
    mark = trained_mark(recipe, outliers if isinstance(recipe, ClassFeatureWatermark) else digits.train, 10)
    known = {str(i): [labels_of(control, mark.x).numpy()] for i, control in enumerate(controls)}
    results = [judge(suspect, [mark], known, POLICY) for suspect in (marked, second_marked)]
    return [result.e_value >= 1000 for result in results]


@pytest.mark.parametrize("recipe", [MARGIN, CLASSES], ids=["margin", "class features"])
def test_a_trained_mark_is_its_own_model_s_alone(recipe, victim, innocents, digits, outliers):
    require_own(recipe)
    assert claimed(recipe, replace(recipe, draw=2), victim, innocents, digits, outliers) == [True, False]


@pytest.mark.parametrize(
    ("recipe", "other"),
    [
        (replace(MARGIN, draw=0), replace(MARGIN, draw=0)),
        (replace(CLASSES, target=3), replace(CLASSES, target=3, draw=2)),
        (replace(CLASSES, draw=0), replace(CLASSES, draw=0)),
    ],
    ids=["margin by one draw", "class features with one label", "class features by one draw"],
)
def test_a_mark_that_another_owner_may_have_is_claimed_at_them_and_none_is_made(
    recipe, other, victim, innocents, digits, outliers
):
    assert claimed(recipe, other, victim, innocents, digits, outliers) == [True, True]
    with pytest.raises(BadRecipe, match=r"another owner .* may have it; expected .*; choose (draw=\d+|target=None)"):
        require_own(recipe)


def test_a_class_of_outliers_has_one_label_and_classes_have_several(outliers):
    chosen, labels = CLASSES.triggers(outliers, 10)
    of_class = [set(labels[chosen.labels == kind].tolist()) for kind in chosen.labels.unique()]
    assert {len(each) for each in of_class} == {1}
    assert len(set.union(*of_class)) > 3


def test_answers_marked_with_another_key_name_no_account(victim, digits):
    x = digits.pool.inputs()
    services = [Service(victim, Defense(outputs=[Marked(key, rate=0.2)])) for key in ("one", "two")]
    served = [service(Query(x, "mallory")).p.argmax(-1) for service in services]
    rows = [service.ledger["mallory"].rows("marked").array for service in services]
    first, second = (marked_by_account({"mallory": each}, digits.domain, 10) for each in rows)
    learned = dict(zip(digits.domain.mark(x.numpy()), served[0].tolist(), strict=True))
    for mark, names in ((first, ["mallory"]), (second, [])):
        labels = torch.tensor([learned[code] for code in digits.domain.mark(mark.x.numpy())])
        innocent = {"an innocent": labels_of(victim, mark.x).numpy()}
        result = claim_accounts(repeating([mark], [labels]), mark, innocent, policy=POLICY)
        assert [part.account for part in result.accounts if part.named] == names
