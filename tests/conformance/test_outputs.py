"""The contracts of the outputs room, over everything that it exports."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.problems import Linear, awkward_rows, order, simplex_rows
from torch import Tensor

from feint.defense import Bound
from feint.defenses import outputs
from feint.defenses.outputs import (
    APGP,
    EDM,
    GRAD2,
    KL,
    L1,
    L2,
    MAD,
    AdaptiveMisinformation,
    APGPClosedForm,
    Cosine,
    Gated,
    GaussianNoise,
    HighConfidence,
    InformationLaundering,
    LabelFlip,
    LabelOnly,
    MADArgmax,
    MinInnerProduct,
    Misinformation,
    ModelGuardS,
    ModelGuardW,
    Output,
    ReverseKL,
    ReverseSigmoid,
    Rounding,
    Temperature,
    TopK,
    UniformNoise,
    Watermark,
)
from feint.defenses.scores import MaxProbability
from feint.errors import BadInput, BadRecipe
from feint.ledger import Ledger
from feint.models.networks import Network
from feint.victims import Trained

HUNDRED, THOUSAND = (pytest.param(classes, marks=pytest.mark.slow) for classes in (100, 1000))
SIZES = 2, 3, 10, HUNDRED, THOUSAND


def own_network(classes: int, seed: int = 0) -> Trained:
    """A network that a defense brings along, for the inputs of these tests."""
    return Trained.of(Network("mlp", (1, 2, 2), classes).build(seed))


CASES: dict[str, Output] = {  # one line of test for a new method
    "APGP": APGP(steps=60),
    "APGP top-1": APGP(top=1, steps=60),
    "APGP top-3": APGP(top=3, distance=L1(), steps=60),
    "APGP half": APGP(strength=0.5, steps=60),
    "APGP half the way": APGP(top=1, steps=60, epsilon=0.5),
    "APGPClosedForm": APGPClosedForm(),
    "APGPClosedForm little": APGPClosedForm(top=1, epsilon=0.05),
    "APGPClosedForm top-1": APGPClosedForm(top=1),
    "APGPClosedForm top-3": APGPClosedForm(top=3, distance=L2()),
    "APGPClosedForm floor": APGPClosedForm(top=1, distance=ReverseKL(floor=1e-5)),
    "APGPClosedForm cosine": APGPClosedForm(distance=Cosine(), strength=0.3),
    "Misinformation": Misinformation(),
    "MAD": MAD(),
    "MADArgmax": MADArgmax(),
    "MADArgmax 2": MADArgmax(2.0),
    "MADArgmax 0.1": MADArgmax(0.1),
    "GRAD2": GRAD2(),
    "GRAD2 label": GRAD2(keep_label=True),
    "GRAD2 uncoordinated": GRAD2(0.1, MinInnerProduct(), keep_label=True),
    "GRAD2 watermark": GRAD2(2.0, Watermark(1), keep_label=True),
    "ModelGuardS": ModelGuardS(),
    "ModelGuardS full": ModelGuardS(0.1, most=2),
    "ModelGuardW": ModelGuardW(),
    "ModelGuardW 2": ModelGuardW(epsilon=2.0, margin=2e-6),
    "ModelGuardW 0.01": ModelGuardW(epsilon=0.01),
    "Gated": Gated(APGPClosedForm(top=1), score=MaxProbability(), threshold=0.5),
    "Gated softly": Gated(APGPClosedForm(), APGPClosedForm(strength=0.1), MaxProbability(), width=0.2, threshold=0.5),
    "GaussianNoise": GaussianNoise("secret"),
    "GaussianNoise loud": GaussianNoise("secret", scale=5.0),
    "AdaptiveMisinformation": AdaptiveMisinformation(),
    "AdaptiveMisinformation softly": AdaptiveMisinformation(tau=0.5, nu=3.0),
    "EDM": EDM(members=3),
    "HighConfidence": HighConfidence(),
    "HighConfidence most": HighConfidence(threshold=0.9),
    "HighConfidence least": HighConfidence(threshold=1e-6),
    "LabelFlip": LabelFlip("secret"),
    "InformationLaundering": InformationLaundering(),
    "InformationLaundering dear": InformationLaundering(price=5.0),
    "LabelOnly": LabelOnly(),
    "ReverseSigmoid": ReverseSigmoid(),
    "ReverseSigmoid harsh": ReverseSigmoid(beta=40.0, gamma=3.0),
    "Rounding": Rounding(),
    "Rounding 1": Rounding(decimals=1),
    "Rounding 6": Rounding(decimals=6),
    "Temperature": Temperature(),
    "Temperature 100": Temperature(temperature=100.0),
    "Temperature 0.01": Temperature(temperature=0.01),
    "TopK": TopK(),
    "TopK 1": TopK(k=1),
    "TopK 1000": TopK(k=1000),
    "UniformNoise": UniformNoise("secret"),
    "UniformNoise loud": UniformNoise("secret", scale=5.0),
}
IDENTITIES = {
    "InformationLaundering": InformationLaundering(price=0.0),
    "APGP": APGP(strength=0),
    "APGPClosedForm": APGPClosedForm(strength=0),
    "GaussianNoise": GaussianNoise("secret", scale=0),
    "AdaptiveMisinformation": AdaptiveMisinformation(tau=-1, misinformation=own_network(10)),
    "HighConfidence": HighConfidence(threshold=0),
    "ReverseSigmoid": ReverseSigmoid(beta=0),
    "GRAD2": GRAD2(epsilon=0.0),
    "MAD": MAD(epsilon=0.0),
    "MADArgmax": MADArgmax(epsilon=0.0),
    "ModelGuardS": ModelGuardS(epsilon=0.0),
    "ModelGuardW": ModelGuardW(epsilon=0.0),
    "Temperature": Temperature(temperature=1),
    "UniformNoise": UniformNoise("secret", scale=0),
}
WITHOUT_STRENGTH = {
    EDM,
    Gated,
    LabelFlip,
    LabelOnly,
    Misinformation,
    Rounding,
    TopK,
}  # no value of their fields is the identity

fitted_cases: dict[tuple[str, int], Output] = {}


def ready(name: str, classes: int) -> Output:
    """The case, fitted to rows of so many classes if it learns."""
    if (name, classes) not in fitted_cases:
        case = CASES[name]
        learn = getattr(case, "fit_answers", None)
        if isinstance(case, AdaptiveMisinformation | Misinformation):
            case = replace(case, misinformation=own_network(classes))
        if isinstance(case, GRAD2 | MAD | MADArgmax):
            case = replace(case, surrogate=own_network(classes, 1))
        if isinstance(case, EDM):
            members = tuple(own_network(classes, seed) for seed in range(case.members))
            case = replace(case, hash_model=own_network(7), ensemble=members)
        fitted_cases[name, classes] = learn(awkward_rows(classes)) if learn else case
    return fitted_cases[name, classes]


def inputs(p: Tensor) -> Tensor:
    """An input for each row, no two alike."""
    return torch.arange(4 * len(p)).remainder(256).div(255).reshape(-1, 1, 2, 2)


def on_a_line(defense: Output):
    """The defense as a service calls it: placed, where it leans on a ledger."""
    return defense.placed(Linear(), Ledger()) if isinstance(defense, Bound) else defense


def promised_ranks(defense: Output, classes: int) -> int:
    return {"order": classes, "label": 1, "": 0}.get(defense.preserves) or int(defense.preserves.partition("-")[2] or 0)


def test_every_method_has_a_case():
    methods = {it for it in map(outputs.__dict__.get, outputs.__all__) if issubclass(it, Output) and it is not Output}
    assert methods == {type(case) for case in CASES.values()}
    assert methods - WITHOUT_STRENGTH == {type(case) for case in IDENTITIES.values()}


@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_stay_on_the_simplex_and_what_is_promised_stays_exactly(name, classes, dtype):
    p, defense = awkward_rows(classes, dtype=dtype), ready(name, classes)
    q = defense(p.requires_grad_(), inputs(p))
    p = p.detach()
    assert (q.shape, q.dtype, q.device) == (p.shape, p.dtype, p.device)
    assert not q.requires_grad
    assert q.isfinite().all()
    assert (q >= 0).all()
    assert (q.double().sum(-1) - 1).abs().max() < 1e-4
    top = promised_ranks(defense, classes)
    read = torch.tensor(json.loads(json.dumps(q.float().tolist())), dtype=torch.float32)
    decimals = torch.tensor([[round(value, 6) for value in row] for row in read.tolist()], dtype=torch.float64)
    for seen in (q, read, decimals):
        assert torch.equal(order(seen)[:, :top], order(p)[:, :top])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@given(data=st.data(), classes=st.sampled_from([2, 3, 5]))
@settings(max_examples=60, deadline=None)
def test_ties_and_empty_batches(name, data, classes):
    p, defense = data.draw(simplex_rows(classes)), ready(name, classes)
    q = defense(p, inputs(p))
    assert q.shape == p.shape
    top = promised_ranks(defense, classes)
    assert torch.equal(order(q)[:, :top], order(p)[:, :top])


@pytest.mark.parametrize("classes", [2, 10, THOUSAND])
@pytest.mark.parametrize("name", CASES)
def test_a_batch_equals_its_rows_one_by_one(name, classes):
    p, defense = awkward_rows(classes), ready(name, classes)
    x = inputs(p)
    whole, single = on_a_line(defense), on_a_line(defense)
    one_by_one = torch.cat([single(p[i : i + 1], x[i : i + 1]) for i in range(len(p))])
    torch.testing.assert_close(whole(p, x), one_by_one, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", IDENTITIES)
def test_strength_zero_is_the_identity(name):
    p = awkward_rows(10)
    assert torch.equal(IDENTITIES[name](p, inputs(p)), p)


REFUSED = {
    "logits": torch.tensor([[-1.5, 0.5, 2.0, 0.0]]),
    "off the simplex": torch.full((4, 10), 0.2),
    "NaN": torch.full((4, 10), math.nan),
    "one row": torch.full((10,), 0.1),
    "whole numbers": torch.ones(4, 10, dtype=torch.int64),
    "half precision": torch.full((4, 10), 0.1, dtype=torch.float16),
    "negative": torch.tensor([[1.5, -0.5] + [0.0] * 8]),
}


@pytest.mark.parametrize("bad", REFUSED)
@pytest.mark.parametrize("name", CASES)
def test_anything_else_is_refused(name, bad):
    with pytest.raises(BadInput, match="expected"):
        ready(name, 10)(REFUSED[bad], inputs(REFUSED[bad]))


@pytest.mark.parametrize("name", ["APGP", "APGPClosedForm"])
def test_more_order_than_the_decimals_can_hold_is_refused(name):
    recipe = {"APGP": APGP, "APGPClosedForm": APGPClosedForm}[name](
        decimals=3, **({"steps": 1} if name == "APGP" else {})
    )
    recipe = recipe.fit_answers(awkward_rows(100)) if name == "APGP" else recipe
    with pytest.raises(BadRecipe, match="more decimals"):
        recipe(awkward_rows(100))


@pytest.mark.parametrize("decimals", [1, 2, 3, 4, 5, 6])
def test_the_order_shows_in_as_many_decimals_as_the_api_returns(decimals):
    classes = 4 if decimals == 1 else 10
    p = awkward_rows(classes)
    q = APGPClosedForm(decimals=decimals)(p)
    seen = torch.tensor([[round(value, decimals) for value in row] for row in q.tolist()])
    assert torch.equal(order(seen), order(p))


def test_distances_agree_with_their_prefix_view():
    p = awkward_rows(6).double()
    for distance in (KL(), ReverseKL(floor=1e-3), L1(), L2(), Cosine()):
        q = torch.ones(6, 6, dtype=torch.float64).tril()
        q = distance.floor + (1 - 6 * distance.floor) * q / q.sum(-1, keepdim=True)
        slow = torch.stack([distance(q, row.expand(6, 6)) for row in p])
        fast = distance.of_prefixes(p)
        assert torch.allclose(slow.gather(1, fast.argmax(-1, keepdim=True))[:, 0], slow.max(-1).values, atol=1e-9)


@pytest.mark.parametrize("top", [None, 1, 3])
def test_no_row_of_apgp_is_farther_than_its_budget(top):
    p = awkward_rows(5).double()
    budgets = (0.1, 0.5, 1.0, 1.5, 2.0)
    far, near = APGPClosedForm(top=top)(p), APGPClosedForm(top=top, epsilon=budgets)(p)
    spent, cap = (near - p).abs().sum(-1), torch.tensor(budgets, dtype=torch.float64)[p.argmax(-1)]
    assert (spent <= cap + 1e-12).all()
    wanted = torch.minimum((far - p).abs().sum(-1), cap)
    assert (spent >= wanted - 1e-4).all()  # and it is used up where it is the limit


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (lambda: APGPClosedForm(epsilon=2.5), "at most 2"),
        (lambda: APGPClosedForm(epsilon=0), "above 0"),
        (lambda: APGPClosedForm(epsilon=(1.0, 1.0))(awkward_rows(5)), "one a class"),
        (lambda: APGPClosedForm(epsilon=0.05)(awkward_rows(300)), "raise epsilon"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(recipe, says):
    with pytest.raises(BadInput, match=says):
        recipe()
