"""The contracts of recipes, over every one there is."""

import dataclasses
import pickle

import pytest

import feint
from feint import attacks, defenses
from feint.attacks import (
    DFAL,
    DFME,
    DFMSHL,
    JBDA,
    MAZE,
    ActiveThief,
    Attack,
    Averaged,
    AwayFromLabel,
    DFALThenKCentre,
    Differences,
    EquationSolving,
    Evasive,
    HalfCosine,
    HardLabels,
    JacobianRow,
    KCentre,
    KnockoffNets,
    KnockoffNetsAdaptive,
    KnownParameters,
    LabelPathFinding,
    LensedAttack,
    LogitRow,
    LoopConfig,
    LowAndSlow,
    LowdMeek,
    MultiStep,
    NextClasses,
    PartialBayes,
    PartialBayesBound,
    PathFinding,
    RandomTargets,
    RankTargets,
    Recovered,
    Retraining,
    SeedSamples,
    Sharpened,
    Smoothed,
    Sybil,
    Timing,
    Tuned,
    Uncertainty,
)
from feint.data import Split
from feint.defenses.access import (
    PRADA,
    SEAT,
    Budget,
    GlobalBudget,
    PrivacyCost,
    ProofOfWork,
    RateLimit,
    Refuse,
    SequentialTest,
    TwoSample,
)
from feint.defenses.boundary import (
    AdversarialTraining,
    BoundaryConfusion,
    BoundaryProtection,
    NastyTeacher,
    OutlierExposure,
)
from feint.defenses.inputs import (
    APMSA,
    CW,
    FGSM,
    JPEG,
    PGD,
    BitDepth,
    Blur,
    DeepFool,
    InputLaundering,
    RandomResize,
    Ray,
)
from feint.defenses.outputs import (
    APGP,
    EDM,
    GRAD2,
    KL,
    L1,
    L2,
    MAD,
    AdaptiveMisinformation,
    AllOnes,
    AllParameters,
    APGPClosedForm,
    Cosine,
    Gated,
    GaussianNoise,
    HighConfidence,
    InformationLaundering,
    LabelFlip,
    LabelOnly,
    LastLayer,
    MADArgmax,
    MinInnerProduct,
    Misinformation,
    ModelGuardS,
    ModelGuardW,
    ReverseKL,
    ReverseSigmoid,
    Rounding,
    Temperature,
    TopK,
    UniformNoise,
    Watermark,
)
from feint.defenses.scores import Energy, MaxProbability
from feint.errors import BadRecipe, UnknownName
from feint.models.networks import Network
from feint.models.training import Training
from feint.recipes import registry
from feint.recipes.recipe import build, exported_recipes, from_table, parse, to_table
from feint.recipes.store import Weights
from feint.service import Defense, Ladder, SuspectedDefense
from feint.victims import Trained

POOL = Split("digits", "held_out", "0123456789abcdef")
NETWORK = Network("mlp", (1, 8, 8), 10)
KNOCKOFF = KnockoffNets(POOL, NETWORK, Training(epochs=3, holdout=0.1, patience=2))
TRAINED = Trained(NETWORK, Weights("ab"))
CASES = [
    KL(),
    ReverseKL(floor=1e-3),
    L1(),
    L2(),
    Cosine(),
    APGP(top=3, distance=L1(), hidden=(8,), generator=Weights("ab")),
    APGPClosedForm(top=1, distance=ReverseKL(floor=0.001), strength=0.25, epsilon=(0.5, 2.0)),
    AdaptiveMisinformation(tau=0.9, misinformation=TRAINED),
    EDM(members=2, hash_model=TRAINED, ensemble=(TRAINED, TRAINED)),
    Misinformation(Training(epochs=1)),
    AllOnes(),
    AllParameters(),
    LastLayer(),
    MAD(0.5, AllParameters(), network=NETWORK),
    MADArgmax(0.5, surrogate=TRAINED),
    MinInnerProduct(),
    Watermark(seed=7),
    GRAD2(0.5, Watermark(1), network=NETWORK, surrogate=TRAINED),
    ModelGuardS(epsilon=0.5, most=100),
    ModelGuardW(epsilon=0.5, margin=1e-3),
    Gated(LabelOnly(), TopK(3), MaxProbability(), width=0.5, threshold=0.3),
    GaussianNoise("secret", scale=0.1),
    HighConfidence(threshold=0.5),
    LabelFlip("secret", near=2),
    InformationLaundering(price=0.3, kernel=Weights("ab")),
    InputLaundering("secret", levels=4),
    LabelOnly(),
    ReverseSigmoid(beta=0.5, gamma=0.2),
    Rounding(decimals=2),
    Temperature(temperature=4.0),
    TopK(k=5),
    UniformNoise("secret", scale=0.1),
    Budget(10),
    Refuse(),
    SequentialTest(score=Energy(2.0), alpha=0.01, benign=Weights("ab")),
    Energy(),
    MaxProbability(),
    Ladder([SequentialTest()], [Defense(), Defense(access=[Refuse()])]),
    OutlierExposure(weight=0.5),
    AdversarialTraining(radius=0.1, steps=1),
    BoundaryConfusion(clusters=7),
    BoundaryProtection(penalty=0.5),
    NastyTeacher(temperature=20.0, training=Training(epochs=1), from_scratch=True),
    APMSA(step=PGD(step=0.01), steps=9, constant_time=True),
    BitDepth(bits=4),
    Blur(sigma=0.8),
    CW(weight=0.5),
    DeepFool(),
    FGSM(step=0.25),
    JPEG(quality=50),
    PGD(radius=0.1),
    RandomResize(key="secret", least=0.7),
    Ray(overshoot=1.5),
    GlobalBudget(1000),
    RateLimit(0.5, burst=3),
    PrivacyCost(teachers=50, sigma=2.0, votes=Weights("ab")),
    ProofOfWork(cost=PrivacyCost(votes=Weights("ab")), base=1.18, table=((10, 0.001), (20, 1.0))),
    PRADA(delta=0.95, window=800),
    SEAT(memory=100, encoder=Trained(NETWORK, Weights("ab")), calibration=Weights("ab")),
    TwoSample(window=50, benign=Weights("ab")),
    Trained(NETWORK, Weights("ab")),
    HardLabels(),
    Averaged(repeats=4),
    KnownParameters(ReverseSigmoid(beta=0.2), concentration=3.0),
    Timing(repeats=2, most=0.3),
    SuspectedDefense(Defense(outputs=[APGP(top=1)]), leaked=True),
    PartialBayes(SuspectedDefense(Defense(outputs=[APGP()])), POOL, NETWORK, samples=3),
    PartialBayesBound(SuspectedDefense(Defense(outputs=[APGP()])), TRAINED, concentration=4.0),
    Recovered(SuspectedDefense(Defense(inputs=[APMSA()])), POOL, NETWORK, Training(epochs=3), shadows=3),
    RankTargets(concentration=2.0),
    Sharpened(temperature=0.01),
    Smoothed(repeats=2, crop=2, flip=False, seed=3),
    LowAndSlow(per_second=0.5, burst=3),
    Sybil(clients=7),
    EquationSolving(Network("linear", (1, 8, 8), 10)),
    LabelPathFinding(POOL, Network("tree", (1, 8, 8), 10), epsilon=1e-3, seeds=7),
    LowdMeek(POOL, Network("linear", (1, 8, 8), 10), epsilon=1e-3, seeds=7),
    PathFinding(Network("tree", (1, 8, 8), 10), epsilon=1e-3),
    Retraining(NETWORK, iterations=7, decay=0.1),
    DFME(NETWORK, LoopConfig(64, schedule=MultiStep((0.2, 0.6))), Differences(floor=1e-4)),
    DFMSHL(NETWORK, diversity=100.0),
    MAZE(NETWORK, LoopConfig(128, replay_steps=3, schedule=HalfCosine())),
    Differences(directions=3),
    LoopConfig(latent=10),
    HalfCosine(),
    MultiStep((0.5, 0.8), by=0.1),
    JBDA(POOL, NETWORK, augmentation=JacobianRow(step=0.2, alternate=3), seeds=20, rounds=4),
    AwayFromLabel(step=0.05),
    JacobianRow(),
    LogitRow(alternate=1),
    NextClasses(copies=2),
    RandomTargets(radius=0.2, steps=3),
    SeedSamples(POOL, NETWORK, step=CW(learning_rate=0.01), steps=200, between=Training(epochs=1)),
    KNOCKOFF,
    KNOCKOFF.through(HardLabels(), Averaged()),
    ActiveThief(POOL, NETWORK, selection=DFALThenKCentre(DFAL(steps=3), factor=2), first=0.2, rounds=4, among=100),
    DFAL(steps=2),
    DFALThenKCentre(factor=3),
    KCentre(),
    KnockoffNetsAdaptive(POOL, NETWORK, hierarchy=(0, 0, 1), decay=1.0, round=32),
    Uncertainty(),
    Evasive(POOL, NETWORK, natural=POOL, share=0.25, rounds=3, among=5),
    Tuned(POOL, NETWORK, Training(epochs=2), temperatures=(0.5, 0.0), augmentations=((1, True),), trial=0.5),
    Defense(access=[Budget(3)], outputs=[APGP(), APGPClosedForm(top=2)]),
    Training(rotation=1.0),
    NETWORK,
    POOL,
    Weights("ab"),
    TRAINED,
]
WORDS = {type(case).__name__: type(case) for case in CASES}


def test_every_recipe_has_a_case():
    exported = exported_recipes(attacks, defenses.access, defenses.boundary, defenses.inputs, defenses.outputs)
    assert set(exported.values()) - {LensedAttack} <= {type(case) for case in CASES}


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


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("APGP(tpo=1)", BadRecipe, "did you mean 'top'"),
        ("APGPP()", UnknownName, "did you mean 'APGP'"),
        ("APGP(top=", BadRecipe, "brackets"),
        ("APGP(top=__import__('os'))", UnknownName, "__import__"),
        ("APGP(top=1 + 1)", BadRecipe, "plain values"),
        ("APGP(top='one')", BadRecipe, "not supported"),
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
        ("Budget(1, 2)", BadRecipe, "at most 1"),
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
        ("LogitRow(alternate=0)", BadRecipe, "alternates"),
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
        "KnockoffNets(training=Training(epochs=1))", WORDS, pool=POOL, surrogate=NETWORK, training=Training()
    )
    assert knockoff == KnockoffNets(POOL, NETWORK, Training(epochs=1))
    assert parse("HardLabels", WORDS, pool=POOL) == HardLabels()


@pytest.mark.parametrize("name", [it for it in attacks.__all__ if issubclass(getattr(attacks, it), Attack)])
def test_the_command_line_completes_every_attack(name):
    if name in ("Attack", "LensedAttack"):
        return
    body = {"EquationSolving": "linear", "LowdMeek": "linear", "PathFinding": "tree", "LabelPathFinding": "tree"}
    network = Network(body.get(name, "mlp"), (1, 8, 8), 10)
    made = registry.parse(name, pool=POOL, surrogate=network, training=Training(epochs=3))
    assert (type(made).__name__, made.surrogate) == (name, network)
    assert getattr(made, "training", Training(epochs=3)) == Training(epochs=3)


def test_inside_a_recipe_given_fields_fill_only_what_must_be_there():
    given = {"pool": POOL, "surrogate": NETWORK, "training": Training(epochs=9)}
    text = "LensedAttack(KnockoffNets(), (HardLabels(),))"
    expected = KnockoffNets(POOL, NETWORK).through(HardLabels())
    assert parse(text, WORDS | {"LensedAttack": LensedAttack}, **given) == expected
    table = {"kind": "LensedAttack", "attack": {"kind": "KnockoffNets"}, "lenses": [{"kind": "HardLabels"}]}
    assert from_table(table, WORDS | {"LensedAttack": LensedAttack}, **given) == expected
    assert from_table(table["attack"], WORDS, **given) == KnockoffNets(POOL, NETWORK, Training(epochs=9))


def test_data_in_a_recipe_is_a_handle():
    with pytest.raises(BadRecipe, match="handle"):
        to_table(build("Defense", {"outputs": [lambda p, x: p]}, WORDS))
    assert feint.Defense().outputs == ()
