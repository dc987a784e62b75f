"""One example of every method, for the contracts of its room, the tests of recipes and the docs."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tests.support.problems import Letters, Linear, OnRows, Steps, StepsOnRows, edge_case_rows
from torch import nn

from feint import victims
from feint.attacks import (
    DFAL,
    DFME,
    DFMSHL,
    JBDA,
    MAZE,
    ActiveThief,
    AugmentedSeeds,
    Averaged,
    AwayFromLabel,
    Blended,
    DetectorProbing,
    DFALThenKCentre,
    Differences,
    EquationSolving,
    Evasive,
    Filler,
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
    Marginals,
    MultiStep,
    NearCopies,
    NextClasses,
    NGramQueries,
    PartialBayes,
    PartialBayesBound,
    Pasted,
    PathFinding,
    RaisedEnergy,
    RandomTargets,
    RankTargets,
    Recovered,
    Retraining,
    SeedSamples,
    Sharpened,
    Smoothed,
    Subtracted,
    Surrogate,
    Sybil,
    Timing,
    TopDownPathFinding,
    Tuned,
    Uncertainty,
    Uniform,
)
from feint.data import Split
from feint.defenses.access import (
    ADD,
    PRADA,
    SEAT,
    Budget,
    Campaign,
    Combined,
    GlobalBudget,
    MeanDiscrepancy,
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
    ClassFeatureWatermark,
    MarginWatermark,
    NastyTeacher,
    OutlierExposure,
)
from feint.defenses.boundary.nasty_teacher import divergence
from feint.defenses.feature_scores import LearnedScore, Mahalanobis
from feint.defenses.inputs import (
    APMSA,
    CW,
    FGSM,
    JPEG,
    PGD,
    BitDepth,
    Blur,
    Coarsening,
    DeepFool,
    Discretization,
    InputLaundering,
    RandomResize,
    Ray,
    TextNormalization,
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
    Marked,
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
from feint.defenses.scores import Energy, MaxProbability
from feint.models.networks import Network
from feint.models.training import Pretrained, Training
from feint.recipes.store import Weights
from feint.service import Defense, Ladder, SuspectedDefense
from feint.signature import Column, Columns, Domain, Pixels, Text, Tokens
from feint.victims import Trained


@dataclass(frozen=True)
class Example:
    """One method, as the tests of its room and those of recipes use it.

    Attributes:
        recipe: A method that a test can run; what it learns is fitted by `fitted`, or in the test.
        identity: The same method at the strength that changes nothing; None where it has none.
        variants: Further recipes that keep the same contracts, by what they are called in a test's name.
        spelled: Recipes that are only written and read back, in order to spell every kind of field.
        fitted: Makes of a recipe and a number of classes one that has learned.
        exports: Where an output defense goes: "alone" into a graph, "with its model", or "" if it stays in torch.
        shared: Whether an access rule treats all clients as one.
        stamped: Whether what an access rule admits carries a stamp.
        accused: The queries that a detector accuses: "copies" or "dark".
        raises: Function of (model, old model, inputs, outliers) that grows when a boundary defense is trained.
        without: Fields that take a boundary defense's own term away.
        tree: Whether an attack steals decision trees.
        rereads_all: Whether a lens reads all answers anew once it has learned.
        domain: Domain, by its name in `DOMAINS`, on which an input defense is tested.
    """

    recipe: Any
    identity: Any = None
    variants: Mapping[str, Any] = field(default_factory=dict)
    spelled: tuple[Any, ...] = ()
    fitted: Callable[[Any, int], Any] | None = None
    exports: str = "alone"
    shared: bool = False
    stamped: bool = False
    accused: str = "copies"
    raises: Callable[..., Any] | None = None
    without: Mapping[str, Any] = field(default_factory=dict)
    tree: bool = False
    rereads_all: bool = False
    domain: str = "Pixels"


Examples = dict[str, Example]


def by_name(*examples: Example) -> Examples:
    """Return the examples by the names of their methods."""
    return {type(example.recipe).__name__: example for example in examples}


def cases(examples: Examples) -> dict[str, Any]:
    """Return every recipe that the contracts of a room are tested on, by the name of its test."""
    return {
        f"{name} {variant}".strip(): recipe
        for name, example in examples.items()
        for variant, recipe in {"": example.recipe, **example.variants}.items()
    }


def identities(examples: Examples) -> dict[str, Any]:
    """Return the recipes that change nothing, by the names of their methods."""
    return {name: example.identity for name, example in examples.items() if example.identity is not None}


def page_of(room: Examples) -> str:
    """Return the page of docs/ whose tables list the methods of a room."""
    return "attacks" if room is ATTACKS or room is LENSES else "defenses"


def every_recipe() -> list[Any]:
    """Return all recipes that are written and read back: of each method the spelled ones, and all parts."""
    methods = [example for room in ROOMS for example in room.values()]
    spelled = [recipe for example in methods for recipe in example.spelled or (example.recipe,)]
    return [*spelled, *PARTS]


def own_network(classes: int, seed: int = 0) -> Trained:
    """A network that a defense brings along, for the inputs of these tests."""
    return Trained.of(Network("mlp", (1, 2, 2), classes).build(seed))


def members_of(recipe: EDM, classes: int) -> tuple[Trained, ...]:
    """The networks that an ensemble brings along."""
    return tuple(own_network(classes, seed) for seed in range(recipe.members))


def pool(n: int = 300) -> Split:
    images = torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Split.of(images.numpy(), torch.zeros(n, dtype=torch.int64).numpy(), name="noise")


def unsure_of_outliers(model, old, inputs, outliers):
    return -victims.answers(model, outliers).max(-1).values.mean()


def away_from_the_old_model(model, old, inputs, outliers):
    with torch.no_grad():
        return divergence(model(inputs.inputs()), old(inputs.inputs()), 4.0)


def right_all_around(model, old, inputs, outliers):
    x, y = inputs.inputs(), inputs.labels
    with torch.random.fork_rng():
        torch.manual_seed(0)
        near = STURDY.worst(model, x, y)
    assert (near - x).abs().max() <= STURDY.radius + 1e-6
    assert near.amin() >= 0
    assert near.amax() <= 1
    return (model(near).argmax(-1) == y).float().mean()


def knows_its_mark(model, old, inputs, outliers):
    chosen, labels = MARGIN.triggers(inputs, 10)
    return (victims.answers(model, chosen).argmax(-1) == labels).float().mean()


def knows_its_classes(model, old, inputs, outliers):
    chosen, labels = CLASSES.triggers(outliers, 10)
    return (victims.answers(model, chosen).argmax(-1) == labels).float().mean()


def elsewhere_on_outliers(model, old, inputs, outliers):
    before, now = (victims.answers(network, outliers).argmax(-1) for network in (old, model))
    return (before != now).float().mean()


def flat(model, old, inputs, outliers):
    x = inputs.inputs().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(x), inputs.labels, reduction="sum"), x)
    return -slope.flatten(1).norm(dim=-1).mean()


DOMAINS = {
    type(domain).__name__: domain
    for domain in (
        Pixels((3, 4, 4)),
        Columns(
            (
                Column("age", integer=True, low=17, high=90, mean=38.6, deviation=13.7),
                Column("income", optional=True, mean=2.5e4, deviation=8e3, missing=0.1),
                Column("city", ("Oslo", "Wien", "京都"), shares=(0.5, 0.3, 0.2)),
                Column("member", ("False", "True"), optional=True, shares=(0.95, 0.05)),
            )
        ),
        Tokens(12, 50, padding=1),
        Text(24),
    )
}


def pool_of(kind: str, n: int = 300, *, published: bool = True) -> Split:
    """Random inputs of an example of a domain, with labels of no meaning."""
    domain = DOMAINS[kind]
    x = domain.sample(n, 1, published=published)
    return Split.of(domain.encode(x), np.arange(n) % 3, domain=domain, name="noise")


def on(recipe: Any, kind: str) -> Any:
    """Return an attack with a surrogate, a pool and a proxy for the example of another domain."""
    if isinstance(recipe, LensedAttack):
        return replace(recipe, attack=on(recipe.attack, kind))
    pools = {name: pool_of(kind) for name in ("pool", "natural") if hasattr(recipe, name)}
    surrogate = replace(recipe.surrogate, domain=DOMAINS[kind])
    proxy = {"proxy": Trained.of(surrogate.build(0))} if getattr(recipe, "proxy", None) else {}
    return replace(recipe, surrogate=surrogate, **pools, **proxy)


def inputs_for(attack: Any, n: int = 400) -> Split:
    """Random inputs of the domain of an attack, of ranges alone where the attack asks for such inputs."""
    domain = attack.surrogate.domain
    if domain == NETWORK.domain:
        return pool(n)
    return pool_of(type(domain).__name__, n, published=not isinstance(attack, (Uniform, Retraining)))


def attack_cases() -> dict[str, Any]:
    """Return every attack on the inputs of its example and on those of all other domains that it takes."""
    examples = {}
    for name, recipe in cases(ATTACKS).items():
        home = type(recipe.surrogate.domain)
        others = [kind.__name__ for kind in recipe.domains if kind is not home]
        examples |= {name: recipe} | {f"{name} {kind}": on(recipe, kind) for kind in others}
    return examples


TINY = Training(epochs=1, batch_size=32, learning_rate=0.02)
MARGIN = MarginWatermark(count=10, batch=5, steps=2, training=TINY)
CLASSES = ClassFeatureWatermark(count=40, training=TINY)
STURDY = AdversarialTraining(radius=0.15, step=0.1, steps=2, training=TINY)
NOISE = Split.of(np.random.default_rng(0).integers(0, 256, (20, 1, 2, 2), np.uint8), np.arange(20) % 3)
WINDOW = 300  # of detectors: far below the queries asked in their tests
POOL = Split("digits", "held_out", "0123456789abcdef")  # a handle that no test opens
DIGITS = Network("mlp", (1, 8, 8), 10)
LEARNED = Trained(DIGITS, Weights("ab"))
KNOCKOFF = KnockoffNets(POOL, DIGITS, Training(epochs=3, holdout=0.1, patience=2))
NETWORK = Network("mlp", (1, 2, 2), 3)
TREE = Network("tree", (1, 2, 2), 3)
SOFTMAX_REGRESSION = Network("linear", (1, 2, 2), 3)
NATURAL = Split.of(255 - pool().values, torch.zeros(300, dtype=torch.int64).numpy(), name="natural")
TRAINING = Training(epochs=40, batch_size=32)
PROXY = Trained.of(NETWORK.build(0))
SHORT = Training(epochs=15, batch_size=32)
SMALL = LoopConfig(4, latent=8, width=8, replay_steps=40, surrogate_rate=0.03)
SUSPECTED = SuspectedDefense(Defense(outputs=[Temperature(3.0)]))
BRIEF = Training(epochs=2, batch_size=32)

OUTPUTS = by_name(
    Example(
        APGP(steps=60),
        identity=APGP(strength=0),
        variants={
            "top-1": APGP(top=1, steps=60),
            "top-3": APGP(top=3, distance=L1(), steps=60),
            "half": APGP(strength=0.5, steps=60),
            "half the way": APGP(top=1, steps=60, epsilon=0.5),
        },
        spelled=(APGP(top=3, distance=L1(), hidden=(8,), generator=Weights("ab")),),
        fitted=lambda recipe, k: recipe.fit_answers(edge_case_rows(k)),
    ),
    Example(
        APGPClosedForm(),
        identity=APGPClosedForm(strength=0),
        variants={
            "little": APGPClosedForm(top=1, epsilon=0.05),
            "top-1": APGPClosedForm(top=1),
            "top-3": APGPClosedForm(top=3, distance=L2()),
            "floor": APGPClosedForm(top=1, distance=ReverseKL(floor=1e-5)),
            "cosine": APGPClosedForm(distance=Cosine(), strength=0.3),
        },
        spelled=(APGPClosedForm(top=1, distance=ReverseKL(floor=0.001), strength=0.25, epsilon=(0.5, 2.0)),),
    ),
    Example(
        Misinformation(),
        spelled=(Misinformation(Training(epochs=1)),),
        fitted=lambda recipe, k: replace(recipe, misinformation=own_network(k)),
        exports="with its model",
    ),
    Example(
        MAD(),
        identity=MAD(epsilon=0.0),
        spelled=(MAD(0.5, AllParameters(), network=DIGITS),),
        fitted=lambda recipe, k: replace(recipe, surrogate=own_network(k, 1)),
        exports="with its model",
    ),
    Example(
        MADArgmax(),
        identity=MADArgmax(epsilon=0.0),
        variants={"2": MADArgmax(2.0), "0.1": MADArgmax(0.1)},
        spelled=(MADArgmax(0.5, surrogate=LEARNED),),
        fitted=lambda recipe, k: replace(recipe, surrogate=own_network(k, 1)),
        exports="with its model",
    ),
    Example(
        GRAD2(),
        identity=GRAD2(epsilon=0.0),
        variants={
            "label": GRAD2(keep_label=True),
            "uncoordinated": GRAD2(0.1, MinInnerProduct(), keep_label=True),
            "watermark": GRAD2(2.0, Watermark(1), keep_label=True),
        },
        spelled=(GRAD2(0.5, Watermark(1), network=DIGITS, surrogate=LEARNED),),
        fitted=lambda recipe, k: replace(recipe, surrogate=own_network(k, 1)),
        exports="",
    ),
    Example(
        ModelGuardS(),
        identity=ModelGuardS(epsilon=0.0),
        variants={"full": ModelGuardS(0.1, most=2)},
        spelled=(ModelGuardS(epsilon=0.5, most=100),),
        exports="",
    ),
    Example(
        ModelGuardW(),
        identity=ModelGuardW(epsilon=0.0),
        variants={"2": ModelGuardW(epsilon=2.0, margin=2e-6), "0.01": ModelGuardW(epsilon=0.01)},
        spelled=(ModelGuardW(epsilon=0.5, margin=1e-3),),
        exports="",
    ),
    Example(
        Gated(APGPClosedForm(top=1), score=MaxProbability(), threshold=0.5),
        variants={
            "softly": Gated(APGPClosedForm(), APGPClosedForm(strength=0.1), MaxProbability(), width=0.2, threshold=0.5)
        },
        spelled=(Gated(LabelOnly(), TopK(3), MaxProbability(), width=0.5, threshold=0.3),),
    ),
    Example(
        GaussianNoise("secret"),
        identity=GaussianNoise("secret", scale=0),
        variants={"loud": GaussianNoise("secret", scale=5.0)},
        spelled=(GaussianNoise("secret", scale=0.1),),
        exports="",
    ),
    Example(
        AdaptiveMisinformation(),
        identity=AdaptiveMisinformation(tau=-1, misinformation=own_network(10)),
        variants={"softly": AdaptiveMisinformation(tau=0.5, nu=3.0)},
        spelled=(AdaptiveMisinformation(tau=0.9, misinformation=LEARNED),),
        fitted=lambda recipe, k: replace(recipe, misinformation=own_network(k)),
        exports="with its model",
    ),
    Example(
        EDM(members=3),
        spelled=(EDM(members=2, hash_model=LEARNED, ensemble=(LEARNED, LEARNED)),),
        fitted=lambda recipe, k: replace(recipe, hash_model=own_network(7), ensemble=members_of(recipe, k)),
        exports="",
    ),
    Example(
        HighConfidence(),
        identity=HighConfidence(threshold=0),
        variants={"most": HighConfidence(threshold=0.9), "least": HighConfidence(threshold=1e-6)},
        spelled=(HighConfidence(threshold=0.5),),
    ),
    Example(LabelFlip("secret"), spelled=(LabelFlip("secret", near=2, share=0.5),), exports=""),
    Example(
        Marked("secret", rate=0.3),
        identity=Marked("secret", rate=0.0),
        variants={"often": Marked("secret", rate=0.5), "unsure": Marked("secret", rate=0.9, margin=0.9)},
        spelled=(Marked("secret", rate=0.01, most=5, margin=0.25),),
        exports="",
    ),
    Example(
        InformationLaundering(),
        identity=InformationLaundering(price=0.0),
        variants={"dear": InformationLaundering(price=5.0)},
        spelled=(InformationLaundering(price=0.3, kernel=Weights("ab")),),
        fitted=lambda recipe, k: recipe.fit_answers(edge_case_rows(k)),
    ),
    Example(LabelOnly(), spelled=(LabelOnly(),)),
    Example(
        ReverseSigmoid(),
        identity=ReverseSigmoid(beta=0),
        variants={"harsh": ReverseSigmoid(beta=40.0, gamma=3.0)},
        spelled=(ReverseSigmoid(beta=0.5, gamma=0.2),),
    ),
    Example(
        Rounding(), variants={"1": Rounding(decimals=1), "6": Rounding(decimals=6)}, spelled=(Rounding(decimals=2),)
    ),
    Example(
        Temperature(),
        identity=Temperature(temperature=1),
        variants={"100": Temperature(temperature=100.0), "0.01": Temperature(temperature=0.01)},
        spelled=(Temperature(temperature=4.0),),
    ),
    Example(TopK(), variants={"1": TopK(k=1), "1000": TopK(k=1000)}, spelled=(TopK(k=5),)),
    Example(
        UniformNoise("secret"),
        identity=UniformNoise("secret", scale=0),
        variants={"loud": UniformNoise("secret", scale=5.0)},
        spelled=(UniformNoise("secret", scale=0.1),),
        exports="",
    ),
)

INPUTS = by_name(
    Example(
        APMSA(),
        identity=APMSA(steps=0),
        variants={
            "FGSM": APMSA(step=FGSM(step=0.05)),
            "PGD": APMSA(step=PGD(step=0.05, radius=0.5)),
            "CW": APMSA(step=CW(learning_rate=0.05)),
            "DeepFool": APMSA(step=DeepFool(), gap=0.1),
            "constant": APMSA(steps=8, refinements=10, constant_time=True),
        },
        spelled=(APMSA(step=PGD(step=0.01), steps=9, constant_time=True),),
    ),
    Example(Coarsening(least=0.25), identity=Coarsening(least=0), spelled=(Coarsening(least=0.05),), domain="Columns"),
    Example(
        Discretization(grid=0.2),
        identity=Discretization(grid=0),
        spelled=(Discretization(grid=0.05),),
        domain="Columns",
    ),
    Example(
        TextNormalization(),
        identity=TextNormalization(unicode=False, space=False, case=False),
        spelled=(TextNormalization(case=False),),
        domain="Text",
    ),
    Example(BitDepth(bits=2), identity=BitDepth(bits=8), spelled=(BitDepth(bits=4),)),
    Example(Blur(sigma=1.0), identity=Blur(sigma=0), spelled=(Blur(sigma=0.8),)),
    Example(
        InputLaundering("secret").fit_inputs(torch.linspace(0, 1, 100)[None]),
        identity=InputLaundering("secret", price=0.0),
        spelled=(InputLaundering("secret", levels=4),),
    ),
    Example(JPEG(quality=50), spelled=(JPEG(quality=50),)),
    Example(
        RandomResize(key="secret", least=0.5),
        identity=RandomResize(key="secret", least=1.0),
        spelled=(RandomResize(key="secret", least=0.7),),
    ),
)

RULES = by_name(
    Example(Budget(25), spelled=(Budget(10),)),
    Example(GlobalBudget(25), spelled=(GlobalBudget(1000),), shared=True),
    Example(RateLimit(0.001, burst=25), spelled=(RateLimit(0.5, burst=3),)),
    Example(Refuse(), spelled=(Refuse(),), shared=True),
    Example(
        ProofOfWork(cost=PrivacyCost(teachers=2).fit(Linear(), NOISE)),
        spelled=(ProofOfWork(cost=PrivacyCost(votes=Weights("ab")), base=1.18, table=((10, 0.001), (20, 1.0))),),
        stamped=True,
    ),
)

DETECTORS = by_name(
    Example(
        ADD(window=8, on="logits", dimensions=3),
        spelled=(ADD(window=32, alpha=0.01, benign=Weights("ab")),),
        accused="dark",
    ),
    Example(
        MeanDiscrepancy(window=25),
        spelled=(
            MeanDiscrepancy(window=300, dimensions=3, benign=Weights("ab")),
            MeanDiscrepancy(window=300, score=Energy(), benign=Weights("ab")),
        ),
        accused="dark",
    ),
    Example(
        Combined([SequentialTest(), ADD(8, on="logits", dimensions=3), MeanDiscrepancy(25)]),
        spelled=(Combined([SequentialTest(alpha=0.01, benign=Weights("ab"))], weights=[2.0], alpha=0.01),),
        accused="dark",
    ),
    Example(PRADA(window=WINDOW), spelled=(PRADA(delta=0.95, window=800),)),
    Example(
        PrivacyCost(teachers=50, sigma=2.0, tolerance=0.2),
        spelled=(PrivacyCost(teachers=50, sigma=2.0, votes=Weights("ab")),),
        accused="dark",
    ),
    Example(
        SEAT(network="mlp", training=Training(least_steps=150, epochs=1, batch_size=64), memory=WINDOW, allowed=20),
        spelled=(SEAT(memory=100, encoder=Trained(DIGITS, Weights("ab")), calibration=Weights("ab")),),
    ),
    Example(
        SequentialTest(),
        spelled=(SequentialTest(score=Energy(2.0), alpha=0.01, burst=3, benign=Weights("ab")),),
        accused="dark",
    ),
    Example(
        TwoSample(window=60, reference=300, draws=200),
        spelled=(TwoSample(window=50, benign=Weights("ab")),),
        accused="dark",
    ),
)

BOUNDARY = by_name(
    Example(
        OutlierExposure(training=TINY),
        spelled=(OutlierExposure(weight=0.5),),
        raises=unsure_of_outliers,
        without={"weight": 0},
    ),
    Example(
        NastyTeacher(weight=0.1, training=TINY),
        spelled=(NastyTeacher(temperature=20.0, training=Training(epochs=1), from_scratch=True),),
        raises=away_from_the_old_model,
        without={"weight": 0},
    ),
    Example(
        STURDY,
        variants={"one step": replace(STURDY, steps=1)},
        spelled=(AdversarialTraining(radius=0.1, steps=1),),
        raises=right_all_around,
        without={"radius": 0},
    ),
    Example(
        MARGIN,
        spelled=(MarginWatermark(count=20, draw=3),),
        raises=knows_its_mark,
        without={"weight": 0},
    ),
    Example(
        CLASSES,
        spelled=(ClassFeatureWatermark(count=20, target=3),),
        raises=knows_its_classes,
        without={"weight": 0},
    ),
    Example(
        BoundaryConfusion(clusters=5, training=TINY),
        spelled=(BoundaryConfusion(clusters=7),),
        raises=elsewhere_on_outliers,
        without={"weight": 0},
    ),
    Example(
        BoundaryProtection(training=TINY),
        spelled=(BoundaryProtection(penalty=0.5),),
        raises=flat,
        without={"penalty": 0},
    ),
)

ATTACKS = by_name(
    Example(
        DFME(NETWORK, replace(SMALL, surrogate_rate=0.1)),
        spelled=(DFME(DIGITS, LoopConfig(64, schedule=MultiStep((0.2, 0.6))), Differences(floor=1e-4)),),
    ),
    Example(
        DFMSHL(NETWORK, replace(SMALL, replay_steps=10, surrogate_rate=0.1), warm_up=3),
        spelled=(DFMSHL(DIGITS, diversity=100.0),),
    ),
    Example(
        MAZE(NETWORK, replace(SMALL, replay_steps=20, surrogate_rate=0.2), Differences(directions=2)),
        spelled=(MAZE(DIGITS, LoopConfig(128, replay_steps=3, schedule=HalfCosine())),),
    ),
    Example(
        Marginals(Network("mlp", DOMAINS["Columns"], 3), TRAINING),
        spelled=(Marginals(Network("mlp", DOMAINS["Columns"], 2), Training(epochs=3)),),
    ),
    Example(Uniform(NETWORK, TRAINING), spelled=(Uniform(DIGITS, Training(epochs=3)),)),
    Example(
        EquationSolving(SOFTMAX_REGRESSION),
        spelled=(
            EquationSolving(Network("linear", (1, 8, 8), 10)),
            EquationSolving(DIGITS, encoder=LEARNED, inputs=POOL),
        ),
    ),
    Example(
        ActiveThief(pool(), NETWORK, TRAINING, KCentre(), rounds=1),
        variants={"with a proxy": ActiveThief(pool(), NETWORK, TRAINING, KCentre(), proxy=PROXY)},
        spelled=(
            ActiveThief(POOL, DIGITS, proxy=LEARNED),
            ActiveThief(
                POOL, DIGITS, selection=DFALThenKCentre(DFAL(steps=3), factor=2), first=0.2, rounds=4, among=100
            ),
        ),
    ),
    Example(
        Evasive(pool(), NETWORK, TRAINING, NATURAL, share=0.3, rounds=1),
        variants={
            "with a proxy": Evasive(
                pool(), NETWORK, TRAINING, share=0.0, among=1, proxy=PROXY, disguise=RaisedEnergy(steps=2)
            ),
        },
        spelled=(
            Evasive(POOL, DIGITS, natural=POOL, share=0.25, rounds=3, among=5),
            Evasive(POOL, DIGITS, proxy=LEARNED, disguise=RaisedEnergy()),
            Evasive(POOL, DIGITS, disguise=Blended(POOL, share=0.3)),
        ),
    ),
    Example(KnockoffNets(pool(), NETWORK, TRAINING), spelled=(KNOCKOFF,)),
    Example(
        NGramQueries(pool_of("Text"), Network("mlp", DOMAINS["Text"], 3), TRAINING),
        spelled=(NGramQueries(POOL, Network("mlp", DOMAINS["Text"], 3), n=3),),
    ),
    Example(
        LabelPathFinding(pool(), TREE, epsilon=0.01, seeds=5),
        spelled=(LabelPathFinding(POOL, Network("tree", (1, 8, 8), 10), epsilon=1e-3, seeds=7),),
        tree=True,
    ),
    Example(
        LowdMeek(pool(), SOFTMAX_REGRESSION, epsilon=0.01, seeds=20),
        spelled=(LowdMeek(POOL, Network("linear", (1, 8, 8), 10), epsilon=1e-3, seeds=7),),
    ),
    Example(
        PathFinding(TREE, epsilon=0.01), spelled=(PathFinding(Network("tree", (1, 8, 8), 10), epsilon=1e-3),), tree=True
    ),
    Example(
        TopDownPathFinding(Network("tree", DOMAINS["Columns"], 3), epsilon=0.01),
        spelled=(TopDownPathFinding(Network("tree", DOMAINS["Columns"], 3), epsilon=1e-3, stops_at_missing=True),),
        tree=True,
    ),
    Example(Retraining(SOFTMAX_REGRESSION, iterations=20), spelled=(Retraining(DIGITS, iterations=7, decay=0.1),)),
    Example(
        AugmentedSeeds(pool(), NETWORK, TRAINING, seeds=200),
        spelled=(AugmentedSeeds(POOL, DIGITS, seeds=7, flip=False),),
    ),
    Example(
        JBDA(pool(), NETWORK, SHORT, seeds=30),
        spelled=(JBDA(POOL, DIGITS, augmentation=JacobianRow(step=0.2, alternate=3), seeds=20, rounds=4),),
    ),
    Example(
        SeedSamples(pool(), NETWORK, SHORT, step=FGSM(8 / 255), chunk=60),
        spelled=(SeedSamples(POOL, DIGITS, step=CW(learning_rate=0.01), steps=200, between=Training(epochs=1)),),
    ),
    Example(
        KnockoffNetsAdaptive(pool(), NETWORK, TRAINING),
        spelled=(KnockoffNetsAdaptive(POOL, DIGITS, hierarchy=(0, 0, 1), decay=1.0, round=32),),
    ),
    Example(
        KnockoffNets(pool(), NETWORK, TRAINING).through(HardLabels(), Averaged(repeats=2)),
        spelled=(KNOCKOFF.through(HardLabels(), Averaged()),),
    ),
    Example(
        Tuned(pool(), NETWORK, TRAINING, temperatures=(0.1,), learning_rates=(0.3,), augmentations=()),
        spelled=(
            Tuned(POOL, DIGITS, Training(epochs=2), temperatures=(0.5, 0.0), augmentations=((1, True),), trial=0.5),
            Tuned(POOL, DIGITS, Training(auxiliary=0.5), starts=(Pretrained("cifar100/train", seed=1), LEARNED)),
        ),
    ),
)

LENSES = by_name(
    Example(Averaged(repeats=3), spelled=(Averaged(repeats=4),)),
    Example(HardLabels(), spelled=(HardLabels(),)),
    Example(KnownParameters(Temperature(3.0)), spelled=(KnownParameters(ReverseSigmoid(beta=0.2), concentration=3.0),)),
    Example(Timing(repeats=2), spelled=(Timing(repeats=2, most=0.3),), rereads_all=True),
    Example(LowAndSlow(per_second=100.0, burst=5), spelled=(LowAndSlow(per_second=0.5, burst=3),)),
    Example(
        PartialBayes(SUSPECTED, pool(), NETWORK, BRIEF),
        spelled=(PartialBayes(SuspectedDefense(Defense(outputs=[APGP()])), POOL, DIGITS, samples=3),),
        rereads_all=True,
    ),
    Example(
        PartialBayesBound(SUSPECTED, Trained.of(NETWORK.build())),
        spelled=(PartialBayesBound(SuspectedDefense(Defense(outputs=[APGP()])), LEARNED, concentration=4.0),),
        rereads_all=True,
    ),
    Example(
        Recovered(SUSPECTED, pool(), NETWORK, BRIEF, shadows=1, pairs=100, steps=20),
        spelled=(Recovered(SuspectedDefense(Defense(inputs=[APMSA()])), POOL, DIGITS, Training(epochs=3), shadows=3),),
        rereads_all=True,
    ),
    Example(RankTargets(concentration=3.0), spelled=(RankTargets(concentration=2.0),)),
    Example(NearCopies(repeats=2), spelled=(NearCopies(repeats=64, changed=1, seed=3),)),
    Example(Sharpened(temperature=0.5), spelled=(Sharpened(temperature=0.01),)),
    Example(Smoothed(repeats=2, crop=1), spelled=(Smoothed(repeats=2, crop=2, flip=False, seed=3),)),
    Example(Subtracted(first=50), spelled=(Subtracted(level=0.1, first=20),), rereads_all=True),
    Example(Sybil(clients=3, burst=2), spelled=(Sybil(clients=7),)),
    Example(
        DetectorProbing(clients=3, controls=0),
        spelled=(DetectorProbing(margin=0.2, every=5, most=100, fillers=(Filler(POOL), Filler(POOL, varied=True))),),
    ),
    Example(
        Filler(NATURAL, each=2),
        variants={"varied": Filler(NATURAL, each=2, varied=True)},
        spelled=(Filler(POOL, each=1, kinds=5), Filler(POOL, varied=True, flip=False, proxy=LEARNED)),
    ),
)

PARTS = (  # what methods are made of: only the contracts of recipes look at these
    *DOMAINS.values(),
    Column("age", low=0.0),
    Surrogate(
        Network("mlp", (1, 8, 8), 10),
        Training(optimizer="adamw", learning_rate=0.001),
    ),
    Pretrained("cifar100/train", Training(epochs=3), seed=2),
    KL(),
    ReverseKL(floor=1e-3),
    L1(),
    L2(),
    Cosine(),
    AllOnes(),
    AllParameters(),
    LastLayer(),
    MinInnerProduct(),
    Watermark(seed=7),
    Energy(),
    LearnedScore(hidden=8, on="logits"),
    Mahalanobis(ridge=0.2),
    MaxProbability(),
    Ladder([SequentialTest()], [Defense(), Defense(access=[Refuse()])]),
    Campaign(SequentialTest(alpha=0.01, benign=Weights("ab")), newcomers=5),
    CW(weight=0.5),
    DeepFool(),
    FGSM(step=0.25),
    PGD(radius=0.1),
    Ray(overshoot=1.5),
    Trained(DIGITS, Weights("ab")),
    SuspectedDefense(Defense(outputs=[APGP(top=1)]), leaked=True),
    Differences(directions=3),
    LoopConfig(latent=10),
    HalfCosine(),
    MultiStep((0.5, 0.8), by=0.1),
    AwayFromLabel(step=0.05),
    JacobianRow(),
    LogitRow(alternate=1),
    NextClasses(copies=2),
    RandomTargets(radius=0.2, steps=3),
    DFAL(steps=2),
    DFALThenKCentre(factor=3),
    KCentre(),
    Uncertainty(),
    Blended(POOL),
    Pasted(POOL, share=0.2),
    RaisedEnergy(FGSM(0.1), steps=2),
    Defense(access=[Budget(3)], outputs=[APGP(), APGPClosedForm(top=2)]),
    Training(rotation=1.0),
    DIGITS,
    POOL,
    Weights("ab"),
    LEARNED,
)

ROOMS = OUTPUTS, INPUTS, RULES, DETECTORS, BOUNDARY, ATTACKS, LENSES

OUTPUT_CASES = cases(OUTPUTS)


@cache
def fitted_output(name: str, classes: int) -> Output:
    """Return the output defense of `OUTPUT_CASES`, fitted to `classes` classes if it learns."""
    case = OUTPUT_CASES[name]
    fitted = OUTPUTS[type(case).__name__].fitted
    return fitted(case, classes) if fitted else case


def ladder_of(names: Iterable[str], classes: int) -> Ladder:
    """Return a ladder with a rung for each output defense: one graph, since each takes seconds to export."""
    rungs = [Defense(outputs=[fitted_output(name, classes)]) for name in names]
    return Ladder([], rungs, at=range(len(rungs)))


def toy_on(domain: Domain, *, tree: bool = False) -> nn.Module:
    """Return a toy on the inputs of a domain: a softmax regression, or a decision tree where there is one."""
    if isinstance(domain, Columns):
        return StepsOnRows(domain) if tree else OnRows(domain)
    if isinstance(domain, Pixels):
        return Steps() if tree else Linear(math.prod(domain.shape))
    return Letters(domain)


def victim_of(name: str) -> nn.Module:
    """Return the toy that the attack of this name, with that of its domain, can steal."""
    return toy_on(attack_cases()[name].surrogate.domain, tree=ATTACKS[name.partition(" ")[0]].tree)
