"""Probing of a detector: one account is spent, and the others stop before they are accused."""

import pytest
import torch
from tests.support.problems import Linear

from feint.attacks import DetectorProbing, Filler, Sybil
from feint.data import Split
from feint.defense import Defense, Ladder
from feint.defenses.access import Refuse, SequentialTest
from feint.defenses.outputs import LabelFlip
from feint.errors import BadRecipe, OverBudget
from feint.ledger import Ledger
from feint.service import Service

FLIPS, REFUSAL = Defense(outputs=[LabelFlip(key="of a test")]), Defense(access=[Refuse()])
VICTIM = Linear(64)


def inputs(n: int, seed: int, *, bright: bool) -> torch.Tensor:
    """Images of which the bright ones have the larger energy."""
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    energy = VICTIM(x).logsumexp(-1).detach()
    return x[energy.topk(n // 5, largest=bright).indices.sort().values]


def split(x: torch.Tensor) -> Split:
    values = (x * 255).round().to(torch.uint8)
    return Split.of(values.numpy(), torch.zeros(len(x), dtype=torch.int64).numpy())


ATTACK = inputs(2000, 0, bright=False)
ORDINARY = split(inputs(2500, 1, bright=True))


@pytest.fixture(scope="module")
def detector() -> SequentialTest:
    return SequentialTest().fit(VICTIM, split(torch.rand(1000, 1, 8, 8, generator=torch.Generator().manual_seed(2))))


def attempt(detector, policy, lens, budget=300, inputs=300):
    """Return the answers, the share of honest labels among them, the accused accounts, and the refusal."""
    ledger = Ledger()
    service = Service(VICTIM, Ladder([detector], [Defense(), policy]), ledger=ledger)
    oracle = lens(service.oracle(client="a", budget=budget))
    x, refusal = ATTACK[:inputs], None
    for part in x.split(2):
        if refusal is None:
            _, refusal = oracle.try_ask(part)
    p = oracle.transcript.p
    assert torch.equal(oracle.transcript.x, x[: len(p)])
    honest = (p.argmax(-1) == VICTIM(x[: len(p)]).argmax(-1)).double().mean().item()
    names = ["a", *(f"a-{i}" for i in range(1, lens.clients))]
    return len(p), honest, sum(ledger[name].total("rung") > 0 for name in names), refusal


@pytest.mark.parametrize("policy", [FLIPS, REFUSAL], ids=["flipped labels", "refusal"])
def test_only_the_probing_account_is_accused_and_no_answer_is_wrong(detector, policy):
    answered, honest, accused, refusal = attempt(detector, policy, DetectorProbing(clients=20))
    assert answered > 3 * 20
    assert (honest, accused) == (1, 1)
    assert isinstance(refusal, OverBudget)


def test_accounts_used_until_they_are_refused_are_accused_more_often(detector):
    answered, _, accused, _ = attempt(detector, REFUSAL, DetectorProbing(clients=20))
    as_many, _, naive, _ = attempt(detector, REFUSAL, Sybil(clients=20, burst=300), inputs=answered)
    assert as_many == answered
    assert naive >= 5 * accused


def test_without_controls_flipped_labels_are_not_noticed(detector):
    _, honest, _, refusal = attempt(detector, FLIPS, DetectorProbing(clients=20, controls=0))
    assert honest < 0.5
    assert refusal is None


def test_without_a_margin_accounts_are_accused_that_were_accused_sooner(detector):
    _, _, accused, _ = attempt(detector, REFUSAL, DetectorProbing(clients=20, margin=0.0))
    assert accused > 1


def test_the_filler_that_buys_most_answers_is_chosen(detector):
    fillers = Filler(ORDINARY, each=1, kinds=500, varied=True), Filler(ORDINARY, each=10, kinds=500, varied=True)
    none, chosen = (
        attempt(detector, FLIPS, DetectorProbing(clients=6, fillers=offered), budget=1500) for offered in ((), fillers)
    )
    assert chosen[0] > 2 * none[0]
    assert chosen[1] == 1


def test_an_account_that_is_never_accused_asks_everything():
    oracle = DetectorProbing(clients=3, most=10, controls=1)(Service(VICTIM).oracle(client="a", budget=300))
    assert len(oracle.ask(ATTACK[:200])) == 200
    assert 200 < oracle.asked < 210


def test_accounts_for_probing_alone_are_refused():
    with pytest.raises(BadRecipe, match="two accounts more than fillers"):
        DetectorProbing(clients=2, fillers=(Filler(ORDINARY),))
