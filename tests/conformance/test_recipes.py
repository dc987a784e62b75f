"""The contracts of recipes, over every one there is."""

import dataclasses
import math
import pickle
from dataclasses import fields, replace

import pytest
from tests import examples
from tests.examples import DETECTORS, DIGITS, INPUTS, OUTPUTS, POOL, RULES

import feint
from feint import attacks
from feint.attacks import Attack, HardLabels, KnockoffNets, LensedAttack
from feint.defense import Defense, Ladder
from feint.errors import BadRecipe, UnknownName
from feint.models.networks import Network
from feint.models.training import Training
from feint.recipes import registry
from feint.recipes.recipe import build, from_table, parse, to_table

CASES = examples.every_recipe()
EXPORTED = {name: getattr(attacks, name) for name in attacks.__all__}
ATTACKS = [name for name, kind in EXPORTED.items() if isinstance(kind, type) and issubclass(kind, Attack)]

WORDS = {type(case).__name__: type(case) for case in CASES}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case).__name__)
def test_four_ways_to_say_the_same(case):
    assert pickle.loads(pickle.dumps(case)) == case
    assert eval(repr(case), dict(WORDS)) == case
    assert parse(repr(case), WORDS) == case
    assert from_table(to_table(case), WORDS) == case


@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case).__name__)
def test_it_is_frozen_and_an_unknown_field_is_refused(case):
    fields = dataclasses.fields(case)
    if fields:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(case, fields[0].name, None)
    with pytest.raises(BadRecipe, match="nonsense"):
        from_table(to_table(case) | {"nonsense": 1}, WORDS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case).__name__)
def test_a_value_of_another_type_is_refused_when_the_recipe_is_made_and_not_later(case):
    """`MeanDiscrepancy(window=2.5)` was fitted for minutes before torch refused it."""
    for field in dataclasses.fields(case):
        if field.init and field.type in (int, float, str, bool):
            wrong = 2.5 if field.type is int else ["a"]
            with pytest.raises(BadRecipe, match=f"{field.name} = "):
                from_table(to_table(case) | {field.name: wrong}, WORDS)


def defense_of(room, recipe, **values):
    """Return a defense of a recipe of a room, with other values of its fields."""
    step = replace(recipe, **values)
    if room is DETECTORS:
        return Ladder([step], [Defense(), Defense()])
    return Defense(**{"access" if room is RULES else "inputs" if room is INPUTS else "outputs": [step]})


@pytest.mark.parametrize(
    "wrong", [math.inf, -math.inf, math.nan, 10**400, True], ids=["inf", "-inf", "nan", "huge", "True"]
)
@pytest.mark.parametrize("case", [*RULES, *DETECTORS, *INPUTS, *OUTPUTS])
def test_no_number_of_a_step_is_infinite_nor_a_boolean(case, wrong):
    """As a file gives it, and as Python does: where the step is made, or at the latest where it becomes a defense."""
    room = next(room for room in (RULES, DETECTORS, INPUTS, OUTPUTS) if case in room)
    recipe = room[case].recipe
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if not field.init or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        with pytest.raises(BadRecipe):
            from_table(to_table(recipe) | {field.name: wrong}, WORDS)
        with pytest.raises(BadRecipe):
            defense_of(room, recipe, **{field.name: wrong})


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("Budget(1e400)", BadRecipe, "queries = inf of Budget; expected a finite number"),
        ("Budget(-1e400)", BadRecipe, "queries = -inf of Budget; expected a finite number"),
        (f"Budget(1{'0' * 400})", BadRecipe, "queries = a number of 1329 bits of Budget"),
        ("Budget(True)", BadRecipe, "queries = True of Budget; expected a whole number"),
        ("RateLimit(1e300)", BadRecipe, "1e-9 to 1e9"),
        ("RateLimit(1e-300)", BadRecipe, "1e-9 to 1e9"),
        ("ProofOfWork(most=1e300)", BadRecipe, "1e-9 to 1e9"),
        ("APGP(tpo=1)", BadRecipe, "did you mean 'top'"),
        ("APGPP()", UnknownName, "did you mean 'APGP'"),
        ("APGP(top=", BadRecipe, "brackets"),
        ("APGP(top=__import__('os'))", UnknownName, "__import__"),
        ("APGP(top=1 + 1)", BadRecipe, "plain values"),
        ("APGP(top='one')", BadRecipe, "top = 'one' of APGP"),
        ("APGP(top=1.5)", BadRecipe, "expected a whole number or nothing; mend top"),
        ("SequentialTest(slices='classes')", BadRecipe, "expected a list, each a text or nothing; mend slices"),
        ("Combined([SequentialTest()], [1, '2'])", BadRecipe, "weights = "),
        ("APGP(top=0)", BadRecipe, "the label"),
        ("APGP(decimals=9)", BadRecipe, "1 to 6"),
        ("APGP(strength=1.5)", BadRecipe, "identity"),
        ("APGP(steps=0)", BadRecipe, "steps"),
        ("GaussianNoise()", BadRecipe, "key"),
        ("GaussianNoise('')", BadRecipe, "a secret"),
        ("GaussianNoise('k', scale=-1)", BadRecipe, "identity"),
        ("UniformNoise('')", BadRecipe, "a secret"),
        ("UniformNoise('k', scale=-1)", BadRecipe, "identity"),
        ("HighConfidence(threshold=1.5)", BadRecipe, "probability"),
        ("HighConfidence(threshold=-0.1)", BadRecipe, "probability"),
        ("ReverseSigmoid(beta=-1)", BadRecipe, "identity"),
        ("ReverseSigmoid(gamma=0)", BadRecipe, "gamma > 0"),
        ("Rounding(decimals=0)", BadRecipe, "1 to 6"),
        ("Rounding(decimals=7)", BadRecipe, "1 to 6"),
        ("Temperature(temperature=0)", BadRecipe, "0.01 to 100"),
        ("TopK(k=0)", BadRecipe, "the label"),
        ("ReverseKL()", BadRecipe, "without limit"),
        ("Budget()", BadRecipe, "queries"),
        ("Budget(1, 'day', 3)", BadRecipe, "at most 2"),
        ("Budget(-1)", BadRecipe, "0 or more"),
        ("OutlierExposure(weight=-1)", BadRecipe, "at least 0"),
        ("AdversarialTraining(radius=2)", BadRecipe, "at most 1"),
        ("AdversarialTraining(steps=0)", BadRecipe, "at least 1"),
        ("BoundaryConfusion(clusters=0)", BadRecipe, "at least 1"),
        ("BoundaryProtection(penalty=-1)", BadRecipe, "at least 0"),
        ("NastyTeacher(temperature=0)", BadRecipe, "more than 0"),
        ("APMSA(steps=-1)", BadRecipe, "identity"),
        ("APMSA(gap=0)", BadRecipe, "6 decimals"),
        ("BitDepth(0)", BadRecipe, "1 to 16"),
        ("Blur(-1)", BadRecipe, "identity"),
        ("JPEG(0)", BadRecipe, "1 \\(coarse"),
        ("RandomResize('')", BadRecipe, "empty key"),
        ("RandomResize('k', 0)", BadRecipe, "identity"),
        ("InformationLaundering(-1)", BadRecipe, "identity"),
        ("InputLaundering('k', 1)", BadRecipe, "2 to 256"),
        ("FGSM(0)", BadRecipe, "above 0"),
        ("CW(weight=-1)", BadRecipe, "0 or more"),
        ("GlobalBudget(-1)", BadRecipe, "0 or more"),
        ("RateLimit(0)", BadRecipe, "rate > 0"),
        ("RateLimit(1, burst=0)", BadRecipe, "burst"),
        ("PrivacyCost(teachers=1)", BadRecipe, "teachers"),
        ("PrivacyCost(held=0)", BadRecipe, "share"),
        ("ProofOfWork(base=0.9)", BadRecipe, "base"),
        ("ProofOfWork(table=((1, 0.1),))", BadRecipe, "two or more"),
        ("SEAT(quantile=0)", BadRecipe, "quantile"),
        ("SEAT(radius=2)", BadRecipe, "radius"),
        ("TwoSample(window=1)", BadRecipe, "window"),
        ("PRADA(delta=1)", BadRecipe, "between 0 and 1"),
        ("PRADA(window=100)", BadRecipe, "more than 100"),
        ("AdaptiveMisinformation(tau=3)", BadRecipe, "largest probability"),
        ("AdaptiveMisinformation(nu=0)", BadRecipe, "nu > 0"),
        ("EDM(members=1)", BadRecipe, "members ≥ 2"),
        ("JacobianRow(step=0)", BadRecipe, "a step above 0"),
        ("LogitRow(alternate=0)", BadRecipe, "alternates after 1 round"),
        ("AwayFromLabel(step=2)", BadRecipe, "at most 1"),
        ("RandomTargets(copies=0)", BadRecipe, "1 copy"),
        ("NextClasses(radius=0)", BadRecipe, "a radius"),
        ("Averaged(0)", BadRecipe, "1 or more"),
        ("Recovered(SuspectedDefense(Defense()), 0, 0, shadows=0)", BadRecipe, "shadows and steps"),
        ("PartialBayes(SuspectedDefense(Defense()), 0, 0, samples=0)", BadRecipe, "samples"),
        ("PartialBayesBound(SuspectedDefense(Defense()), 0, samples=0)", BadRecipe, "samples"),
        ("KnownParameters(Temperature(), 0)", BadRecipe, "one-hot"),
        ("Timing(0)", BadRecipe, "1 repeat or more"),
        ("RankTargets(0)", BadRecipe, "one-hot"),
        ("Sharpened(0)", BadRecipe, "1e-6 or more"),
        ("Smoothed(0)", BadRecipe, "1 repeat or more"),
        ("LowAndSlow(0)", BadRecipe, "above 0"),
        ("Sybil(0)", BadRecipe, "one or more clients"),
        ("ActiveThief(1, 1, first=1.0)", BadRecipe, "first < 1"),
        ("ActiveThief(1, 1, rounds=0)", BadRecipe, "rounds ≥ 1"),
        ("DFAL(steps=0)", BadRecipe, "one or more steps"),
        ("DFALThenKCentre(factor=0)", BadRecipe, "a factor of 1"),
        ("KnockoffNetsAdaptive(1, 1, round=1)", BadRecipe, "round ≥ 2"),
        ("KnockoffNetsAdaptive(1, 1, hierarchy=(-1,))", BadRecipe, "counted from 0"),
        ("Evasive(1, 1, share=1.0)", BadRecipe, "share < 1"),
        ("Tuned(1, 1, holdout=1.0)", BadRecipe, "holdout < 1"),
        ("Tuned(1, 1, trial=0)", BadRecipe, "trial ≤ 1"),
        ("Tuned(1, 1, temperatures=(-1,))", BadRecipe, "label alone"),
        ("Tuned(1, 1, learning_rates=(0,))", BadRecipe, "above 0"),
        ("EquationSolving(Network('mlp', (1, 8, 8), 10))", BadRecipe, "'linear'"),
        ("LowdMeek(Split('digits', 'pool', 'ab'), Network('linear', (1, 8, 8), 10), seeds=1)", BadRecipe, "seeds"),
        ("PathFinding(Network('mlp', (1, 8, 8), 10))", BadRecipe, "'tree'"),
        ("PathFinding(Network('tree', (1, 8, 8), 10), 0)", BadRecipe, "1e-6"),
        ("Retraining(Network('mlp', (1, 8, 8), 10), 0)", BadRecipe, "iterations"),
        ("LoopConfig(batch_size=1)", BadRecipe, "batch_size ≥ 2"),
        ("LoopConfig(memory=10)", BadRecipe, "memory ≥ batch_size"),
        ("LoopConfig(surrogate_rate=0)", BadRecipe, "above 0"),
        ("LoopConfig(momentum=1)", BadRecipe, "momentum < 1"),
        ("MultiStep((0.5, 1.5))", BadRecipe, "between 0 and 1"),
        ("Differences(directions=0)", BadRecipe, "directions ≥ 1"),
        ("Differences(epsilon=0)", BadRecipe, "epsilon > 0"),
        ("Differences(floor=0)", BadRecipe, "0 < floor"),
        ("DFMSHL(surrogate=Network('mlp', (1, 8, 8), 10), diversity=-1)", BadRecipe, "0 or more"),
        ("Training(rotation=0)", BadRecipe, "above 0"),
        ("Training(patience=1)", BadRecipe, "holdout"),
        ("Training(epochs=-1)", BadRecipe, "epochs"),
    ],
)
def test_a_wrong_recipe_says_what_to_do(text, error, says):
    with pytest.raises(error, match=says) as caught:
        parse(text, WORDS)
    assert "\n" not in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_given_fields_fill_the_gaps_and_no_more():
    knockoff = parse(
        "KnockoffNets(training=Training(epochs=1))", WORDS, pool=POOL, surrogate=DIGITS, training=Training()
    )
    assert knockoff == KnockoffNets(POOL, DIGITS, Training(epochs=1))
    assert parse("HardLabels", WORDS, pool=POOL) == HardLabels()


@pytest.mark.parametrize("name", ATTACKS)
def test_the_command_line_completes_every_attack(name):
    if name in ("Attack", "LensedAttack"):
        return
    body = {"EquationSolving": "linear", "LowdMeek": "linear", "PathFinding": "tree", "LabelPathFinding": "tree"}
    body["TopDownPathFinding"] = "tree"
    network = Network(body.get(name, "mlp"), (1, 8, 8), 10)
    made = registry.parse(name, pool=POOL, surrogate=network, training=Training(epochs=3))
    assert type(made).__name__ == name
    assert made.surrogate == network
    assert getattr(made, "training", Training(epochs=3)) == Training(epochs=3)


def test_inside_a_recipe_given_fields_fill_only_what_must_be_there():
    defaults = {"pool": POOL, "surrogate": DIGITS, "training": Training(epochs=9)}
    text = "LensedAttack(KnockoffNets(), (HardLabels(),))"
    expected = KnockoffNets(POOL, DIGITS).through(HardLabels())
    assert parse(text, WORDS | {"LensedAttack": LensedAttack}, **defaults) == expected
    table = {"kind": "LensedAttack", "attack": {"kind": "KnockoffNets"}, "lenses": [{"kind": "HardLabels"}]}
    assert from_table(table, WORDS | {"LensedAttack": LensedAttack}, **defaults) == expected
    assert from_table(table["attack"], WORDS, **defaults) == KnockoffNets(POOL, DIGITS, Training(epochs=9))


def test_data_in_a_recipe_is_a_handle():
    with pytest.raises(BadRecipe, match="handle"):
        to_table(build("Defense", {"outputs": [lambda p, x: p]}, WORDS))
    assert feint.Defense().outputs == ()
