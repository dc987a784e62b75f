"""The springboard: what a surrogate enables, on models where the answer is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.examples import DOMAINS
from tests.support.problems import LinearOn

from feint import Defense, Matrix, Training
from feint.attacks import KnockoffNets
from feint.data import Split
from feint.defenses.access import Budget
from feint.defenses.outputs import APGPClosedForm
from feint.errors import BadRecipe
from feint.evaluation import probes
from feint.evaluation.transfer import Springboard, adversarial, true_positives
from feint.models.perturbation import FGSM, PGD
from feint.models.tree import Tree
from feint.service import Service

RADIUS = 32


class Blind(torch.nn.Module):
    """A model that knows its training inputs by heart, and nothing else."""

    def __init__(self, split):
        super().__init__()
        self.known = {image.tobytes(): int(label) for image, label in zip(split.values, split.labels, strict=True)}

    def forward(self, x):
        rows = [self.known.get(np.round(image.detach().numpy() * 255).astype(np.uint8).tobytes()) for image in x]
        return torch.tensor([[9.0 * (k == row) for k in range(10)] for row in rows])


@pytest.fixture(scope="module")
def springboard(digits):
    return Springboard(digits.train, radius=RADIUS, steps=4, most=150)


def test_the_victim_itself_is_the_best_springboard(springboard, victim, digits, network):
    own = springboard.scores(victim, Service(victim), digits.test)
    other = springboard.scores(network.build().eval(), Service(victim), digits.test)
    assert own["transfer_pgd"] >= own["transfer_fgsm"] > 0.3 > own["transfer_random"]
    assert own["transfer_pgd"] > other["transfer_pgd"]
    assert own["transfer_random"] == other["transfer_random"]


def test_examples_stay_within_the_radius(victim, digits):
    x, y = digits.test.inputs(slice(0, 300)), digits.test.labels[:300]  # more than a batch
    for step, steps in ((FGSM(0.1), 1), (PGD(0.025, 0.1), 10)):
        moved = adversarial(victim, x, y, step, steps=steps)
        assert (moved - x).abs().max() <= 0.1 + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1


def test_surrogate_that_memorised_the_training_inputs_has_membership_auroc_1(springboard, victim, digits):
    scores = springboard.scores(Blind(digits.train), Service(victim), digits.test)
    assert scores["membership_auroc"] == scores["membership_tpr"] == 1
    assert {"transfer_random", "transfer_n"} <= scores.keys()
    assert not {"transfer_fgsm", "transfer_pgd"} & scores.keys()  # it has no gradient: missing, not 0


def test_a_tree_has_no_gradient(springboard, victim, digits):
    scores = springboard.scores(Tree(64, 10), Service(victim), digits.test)
    assert "transfer_pgd" not in scores
    assert scores["membership_auroc"] == 0.5


def test_without_members_there_is_no_membership(victim, digits):
    scores = Springboard(radius=RADIUS).scores(victim, Service(victim), digits.test)
    assert not any(name.startswith("membership") for name in scores)


def test_the_service_is_not_billed_and_its_defense_counts(springboard, victim, digits):
    service = Service(victim, Defense(access=[Budget(1)], outputs=[APGPClosedForm(top=1)]))
    scores = springboard.scores(victim, service, digits.test)
    assert service.ledger.queries == 0
    assert scores == springboard.scores(victim, Service(victim), digits.test)  # the label is kept


@pytest.mark.slow
@given(
    arrays.arrays(float, st.integers(1, 60), elements=st.floats(-3, 3, width=16)),
    arrays.arrays(float, st.integers(1, 300), elements=st.floats(-3, 3, width=16)),
    st.floats(0.001, 0.5),
)
def test_true_positives_are_those_of_the_best_threshold(inside, outside, rate):
    best = max(
        float((inside > cut).mean())
        for cut in [-9.0, *inside, *outside]
        if (outside > cut).sum() <= rate * len(outside) + 1e-9
    )
    assert true_positives(torch.tensor(inside), torch.tensor(outside), rate) == pytest.approx(best)


def test_the_springboard_is_off_unless_asked_for(victim, digits, network, springboard):
    def rows(**more):
        attacks = {"knockoff": KnockoffNets(digits.pool, network, Training(epochs=2))}
        matrix = Matrix(
            victim, digits.test, attacks=attacks, defenses={"none": Defense()}, budgets=[50], seeds=[0], **more
        )
        return [row for row in matrix.run() if row.attack]

    (off,), (on,) = rows(), rows(springboard=springboard)
    assert "springboard" not in off.recipe
    assert on.recipe["springboard"]["radius"] == RADIUS
    assert off.fingerprint != on.fingerprint
    assert {name: on.scores[name] for name in off.scores} == off.scores
    assert {"transfer_fgsm", "transfer_pgd", "membership_auroc"} <= on.scores.keys() - off.scores.keys()
    assert on.asked == 50  # what is tried on the surrogate is no query of the theft


@pytest.mark.parametrize("field", [{"radius": 0}, {"radius": 255}, {"steps": 0}, {"most": 0}])
def test_a_springboard_that_tries_nothing_is_refused(field):
    with pytest.raises(BadRecipe):
        Springboard(**field)


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_downstream_attacks_on_every_domain(domain):
    """The surrogate is the victim itself, so that steps down its margin mislead it more than random ones."""
    victim = LinearOn(domain).eval()
    x = domain.sample(300, 1)
    labels = victim(torch.from_numpy(x)).argmax(-1).numpy()
    test = Split.of(domain.encode(x), labels, domain=domain, name="sampled")
    scores = Springboard(members=test, radius=32).scores(victim, Service(victim), test)
    assert scores["membership_auroc"] == pytest.approx(0.5)
    if domain.differentiable:
        assert scores["transfer_pgd"] > scores["transfer_random"] + 0.1
        step = PGD(8 / 255, 32 / 255)
        moved = adversarial(victim, torch.from_numpy(x), torch.from_numpy(labels), step, steps=10, domain=domain)
        domain.check(moved.numpy())
    else:
        assert not any(name.startswith("transfer") for name in scores)


def test_a_test_row_counts_as_overlap_wherever_it_is_the_same_query():
    domain = DOMAINS["Columns"]
    x = domain.sample(30, 1)
    labels = np.zeros(30, np.int64)
    near = np.nextafter(x, 1e9)  # the same but for the last bit
    split, other = (
        Split.of(domain.encode(rows), labels[: len(rows)], domain=domain, name="a") for rows in (near[:12], x + 1)
    )
    test = Split.of(domain.encode(x), labels, domain=domain, name="b")
    assert probes.overlap([split], test) == 12
    assert probes.overlap([other], test) == 0
