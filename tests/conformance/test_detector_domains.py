"""Contracts of detectors on rows, tokens and texts, behind a model of logits and one of probabilities."""

import functools

import numpy as np
import pytest
import torch
from tests import examples
from tests.support.problems import LinearOn
from torch import nn

from feint.data import Split
from feint.defense import Defense, Ladder, bind
from feint.defenses.access import PRADA, SEAT, SequentialTest
from feint.defenses.outputs import Gated, LabelOnly
from feint.defenses.scores import MaxProbability
from feint.errors import BadInput
from feint.fitting import Fittable
from feint.ledger import Account, Ledger
from feint.query import Query
from feint.service import Service
from feint.signature import Column, Columns, Text, Tokens
from feint.victims import FromProbabilities, logits

NUMBERS = [Column(f"n{i}", low=-3.0 * s, high=3.0 * s, mean=0.0, deviation=s) for i, s in enumerate((1, 10, 1e3) * 3)]
CITY = Column("city", ("a", "b", "c"), optional=True, shares=(0.5, 0.3, 0.2), missing=0.1)
DOMAINS = {"Columns": Columns((*NUMBERS, CITY)), "Tokens": Tokens(30, 40), "Text": Text(60)}
OF_INPUTS = "PRADA", "SEAT"
CASES = [
    (name, domain, probabilities)
    for name in examples.DETECTORS
    for domain in DOMAINS
    for probabilities in (False, True)
    if not (probabilities and name in OF_INPUTS)
]


class Probabilities(nn.Module):
    """A model whose answers are probabilities."""

    def __init__(self, model: LinearOn) -> None:
        super().__init__()
        self.model, self.domain = model, model.domain

    def forward(self, x):
        return self.model(x).softmax(-1)


@functools.cache
def victim(domain: str, probabilities: bool) -> nn.Module:
    model = LinearOn(DOMAINS[domain], 4).eval()
    return FromProbabilities(Probabilities(model)).eval() if probabilities else model


def honest(domain: str, n: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(DOMAINS[domain].sample(n, seed))


def copies(domain: str, n: int, seed: int) -> torch.Tensor:
    """An attacker's queries: honest ones, and the same with one small change each."""
    x = honest(domain, n // 2, seed)
    near = x.clone()
    near[:, 4] = near[:, 4] + 0.01 if x.is_floating_point() else near[:, 5]
    return torch.cat([x, near])


def unsure(domain: str, n: int, seed: int) -> torch.Tensor:
    """An attacker's queries: inputs near the mean, of which the model has nothing to say."""
    model = victim(domain, False)
    noise = 0.03 * np.random.default_rng(seed).normal(size=(n, len(model.mean)))
    return torch.from_numpy(DOMAINS[domain].clip(model.mean.numpy() + noise * model.deviation.numpy()))


@functools.cache
def ready(name: str, domain: str, probabilities: bool):
    """The detector as a ladder has it: fitted if it learns, and bound to its model."""
    detector, x = examples.DETECTORS[name].recipe, honest(domain, 1200, 1)
    model, kind = victim(domain, probabilities), DOMAINS[domain]
    if isinstance(detector, Fittable):
        labels = logits(model, x).argmax(-1).numpy()
        detector = detector.fit(model, Split.of(kind.encode(x.numpy()), labels, domain=kind, name="honest"))
    return bind(detector, model, Ledger())


def observe(name: str, domain: str, probabilities: bool, x: torch.Tensor, account: Account) -> float:
    z = logits(victim(domain, probabilities), x)
    return ready(name, domain, probabilities).observe(Query(x, account.client), z, account)


@pytest.mark.parametrize(("name", "domain", "probabilities"), CASES)
def test_a_batch_equals_its_rows_one_by_one(name, domain, probabilities):
    x, batch, rows = honest(domain, 150, 3), Account("a"), Account("a")
    together = observe(name, domain, probabilities, x, batch)
    assert np.isfinite(together)
    for row in x:
        one_by_one = observe(name, domain, probabilities, row[None], rows)
    assert together == pytest.approx(one_by_one, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "domain", "probabilities"), [(name, *case) for name, *case in CASES if name != "PRADA"]
)
def test_attackers_are_accused_and_honest_clients_are_not(name, domain, probabilities):
    ask = copies if name in OF_INPUTS else unsure
    assert observe(name, domain, probabilities, ask(domain, 300, 4), Account("attacker")) >= 1
    for seed in range(100, 103):
        assert observe(name, domain, probabilities, honest(domain, 300, seed), Account("honest")) < 1


def test_distances_of_small_steps_through_a_table_are_less_normal_than_those_of_honest_rows():
    attacker, client = Account("attacker"), Account("honest")
    stolen = observe("PRADA", "Columns", False, copies("Columns", 300, 4), attacker)
    assert stolen > 1 > observe("PRADA", "Columns", False, honest("Columns", 300, 5), client)


def test_a_service_gives_its_domain_to_the_detectors_of_a_ladder():
    model = victim("Columns", False)
    ladder = Ladder([PRADA()], [Defense(), Defense(outputs=[LabelOnly()])])
    service = Service(model, ladder)
    assert service.line.detectors == (PRADA(domain=DOMAINS["Columns"]),)
    assert service.defense == ladder
    service(Query(honest("Columns", 120, 0), client="a"))
    assert service.ledger["a"].total("evidence") > 0


def test_the_energy_of_probabilities_says_nothing_and_the_largest_one_takes_its_place():
    model, kind = victim("Columns", True), DOMAINS["Columns"]
    split = Split.of(kind.sample(300, 1), np.zeros(300, np.int64), domain=kind)
    assert SequentialTest().fit(model, split).score == MaxProbability()
    assert Gated(LabelOnly()).fit(model, split).score == MaxProbability()

    class Labels(Probabilities):
        def forward(self, x):
            return torch.eye(4)[self.model(x).argmax(-1)]

    with pytest.raises(BadInput, match="PRADA or SEAT"):
        SequentialTest().fit(FromProbabilities(Labels(model.model.model)).eval(), split)


def test_repeats_are_no_hits_and_inputs_that_are_all_alike_no_calibration():
    account, x = Account("a"), honest("Columns", 1, 0)
    assert observe("SEAT", "Columns", False, x.expand(200, -1).contiguous(), account) == 0
    kind = DOMAINS["Columns"]
    same = Split.of(kind.encode(x.expand(50, -1).numpy()), np.zeros(50, np.int64), domain=kind)
    with pytest.raises(BadInput, match="all alike"):
        SEAT().fit(victim("Columns", False), same)


def test_a_fitted_detector_refuses_another_table():
    x = honest("Columns", 3, 0)[:, :4]
    with pytest.raises(BadInput, match="expected"):
        ready("SEAT", "Columns", False).observe(Query(x), torch.zeros(3, 4), Account("a"))
    assert isinstance(ready("SEAT", "Columns", False), SEAT)
