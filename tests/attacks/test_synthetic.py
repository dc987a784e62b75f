"""JBDA with its augmentations, and the seed-sample family."""

import pytest
import torch
import torch.nn.functional as F
from tests.examples import NETWORK, SHORT, pool, pool_of
from tests.support.problems import Linear, LinearOnImages, OnRows
from tests.support.variance import assert_weights_close

from feint.attacks import (
    DFAL,
    JBDA,
    ActiveThief,
    AwayFromLabel,
    HardLabels,
    JacobianRow,
    KnockoffNets,
    LogitRow,
    NextClasses,
    RandomTargets,
    SeedSamples,
)
from feint.attacks.seeds import attacker_seed
from feint.attacks.synthetic.augmentations import KnownAnswers
from feint.attacks.synthetic.descent import descend, log_odds
from feint.attacks.synthetic.seed_samples import least_confident
from feint.data import Split
from feint.errors import BadInput, BadRecipe, OverBudget
from feint.models.networks import Network
from feint.models.perturbation import CW, FGSM, PGD, margin_of
from feint.models.training import Training, learn
from feint.oracle import CountingOracle, OracleWrapper
from feint.progress import ProgressCallback
from feint.query import Answer
from feint.service import Service
from feint.signature import Column, Columns
from feint.victims import fingerprint

SURROGATE = NETWORK.build(3)
X = pool().inputs(slice(0, 40))
LABEL = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(2))


def augment(recipe, model=SURROGATE, x=X, label=LABEL, after=0, seed=0):
    return recipe.augment(model, KnownAnswers(x, label), after, torch.Generator().manual_seed(seed))


def row_by_row(value, model=SURROGATE):
    """The gradient of `value(z, label)` at each input by itself, in float64."""
    model, rows = model.double(), []
    for x, label in zip(X.double(), LABEL, strict=True):
        x = x[None].requires_grad_()
        rows.append(torch.autograd.grad(value(model(x)[0], label), x)[0])
    model.float()
    return torch.cat(rows)


@pytest.mark.parametrize(
    ("recipe", "value"),
    [
        (JacobianRow(), lambda z, y: z.softmax(-1)[y]),
        (JacobianRow(), lambda z, y: -F.cross_entropy(z, y)),  # jb-self
        (LogitRow(), lambda z, y: z[y]),
        (AwayFromLabel(), F.cross_entropy),
    ],
)
def test_a_row_moves_along_the_signs_of_its_gradient(recipe, value):
    expected = (X + 0.1 * row_by_row(value).sign()).clamp(0, 1)
    assert torch.allclose(augment(recipe), expected.float(), atol=1e-6)


def test_the_sign_alternates_after_every_so_many_rounds():
    up, down = augment(JacobianRow()), augment(AwayFromLabel())
    for after, expected in enumerate([up, up, down, down, up]):
        assert torch.equal(augment(JacobianRow(alternate=2), after=after), expected)
    assert not torch.equal(augment(LogitRow(alternate=1), after=1), augment(LogitRow(alternate=1), after=2))


def test_a_row_moves_where_the_probability_rounds_to_one():
    sure = LinearOnImages()
    with torch.no_grad():
        sure.weight *= 1000
    label = sure(X).argmax(-1)
    assert (sure(X).softmax(-1).amax(-1) == 1).float().mean() > 0.9
    assert (augment(AwayFromLabel(), sure, label=label) != X).flatten(1).any(-1).all()


def test_log_odds_are_those_of_the_label():
    z = torch.randn(50, 5, dtype=torch.float64)
    label = torch.arange(50) % 5
    p = z.softmax(-1).gather(1, label[:, None])[:, 0]
    assert torch.allclose(log_odds(z, label), torch.log(p / (1 - p)))


@pytest.mark.parametrize("recipe", [RandomTargets(), NextClasses(copies=2), RandomTargets(copies=1, radius=0.3)])
def test_iterated_steps_stay_within_their_radius(recipe):
    new = augment(recipe)
    assert len(new) == recipe.copies * len(X)
    gone = (new - X.repeat_interleave(recipe.copies, 0)).abs()
    assert gone.max() <= recipe.radius + 1e-6
    assert 0 <= new.min() <= new.max() <= 1
    assert gone.flatten(1).amax(-1).median() > recipe.radius / 2


def test_next_classes_take_steps_of_the_length_that_is_stated():
    near = augment(NextClasses(copies=1, steps=3, step=0.01))
    assert (near - X).abs().max() == pytest.approx(0.03)  # MAD's steps
    assert (augment(NextClasses(copies=1, steps=3)) - X).abs().max() == pytest.approx(0.1)  # the radius


def test_random_targets_differ_between_copies_and_generators():
    first, second, third = augment(RandomTargets()).unflatten(0, (-1, 3)).unbind(1)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert torch.equal(augment(RandomTargets(), seed=4), augment(RandomTargets(), seed=4))
    assert not torch.equal(augment(RandomTargets(), seed=4), augment(RandomTargets(), seed=5))


def test_of_two_classes_the_next_one_is_the_only_random_target():
    model, label = LinearOnImages(classes=2), LABEL.clamp(max=1)
    assert torch.equal(
        augment(RandomTargets(copies=1), model, label=label), augment(NextClasses(copies=1), model, label=label)
    )


def test_next_classes_gain_probability_in_their_order():
    model = LinearOnImages()
    before = model(X).softmax(-1)
    after = model(augment(NextClasses(copies=2), model)).softmax(-1).unflatten(0, (-1, 2))
    for row in range(len(X)):
        order = [k for k in before[row].argsort(descending=True).tolist() if k != LABEL[row]]
        for copy, target in enumerate(order):
            assert after[row, copy, target] > before[row, target]
    with pytest.raises(BadRecipe, match="at least 4"):
        JBDA(pool(), NETWORK, augmentation=NextClasses(copies=3))


def test_descent_begins_after_the_noise():
    noise = torch.full_like(X, 0.05)
    moved = descend(SURROGATE, X, lambda z, i: log_odds(z, LABEL[i]), PGD(0.001, 0.5), steps=3, noise=noise)
    assert (moved - (X + noise).clamp(0, 1)).abs().max() <= 0.003 + 1e-6


class Strict(OracleWrapper):
    """Whoever asks more than is left has miscounted."""

    def try_ask(self, x):
        assert len(x) <= self.left
        return super().try_ask(x)


class Recorded(ProgressCallback):
    """Every batch of queries, by its size, and every training, by its epochs."""

    def __init__(self):
        super().__init__()
        self.asked, self.trainings = [], []

    def step(self, what, done, total):
        if what == "asking":
            self.asked.append(done)
        elif done == total:
            self.trainings.append(total)


def test_jbda_grows_by_its_rounds_and_then_by_its_reservoir():
    progress = Recorded()
    oracle = Service(Linear()).oracle(client="a", budget=100)
    JBDA(pool(), NETWORK, Training(epochs=1), seeds=10, reservoir=15, reservoir_after=2).steal(
        oracle, progress=progress
    )
    assert progress.asked == [10, 20, 40, 55, 70, 85, 100]
    assert len(progress.trainings) == 7
    x = oracle.transcript.x.flatten(1)
    for start, stop in ((10, 20), (20, 40), (40, 55), (85, 100)):
        nearest = (x[start:stop, None] - x[None, :start]).abs().amax(-1).amin(-1)
        assert nearest.max() <= 0.1 + 1e-6


@pytest.mark.parametrize(
    ("recipe", "asked"),
    [
        ({"rounds": 2}, [10, 20, 40]),
        ({"rounds": 0}, [10]),
        ({"augmentation": RandomTargets()}, [10, 40, 99]),
        ({"augmentation": NextClasses(copies=2), "reservoir": 20, "reservoir_after": 0}, [10, 30, 70, 99]),
    ],
)
def test_jbda_ends_with_its_rounds_or_its_budget(recipe, asked):
    progress = Recorded()
    oracle = Strict(Service(Linear()).oracle(client="a", budget=99))
    JBDA(pool(), NETWORK, Training(epochs=1), seeds=10, **recipe).steal(oracle, progress=progress)
    assert progress.asked == asked


@pytest.mark.parametrize(("budget", "seeds", "message"), [(9, 10, "at least 10"), (400, 301, "301")])
def test_too_few_seeds_are_refused_before_the_first_query(budget, seeds, message):
    oracle = Service(Linear()).oracle(client="a", budget=budget)
    with pytest.raises(BadInput, match=message):
        JBDA(pool(), NETWORK, seeds=seeds).steal(oracle)
    assert oracle.asked == 0


@pytest.mark.slow
def test_random_samples_in_chunks_are_knockoffnets():
    def stolen(attack):
        return attack.steal(Service(Linear()).oracle(client="a", budget=120), seed=4).state_dict()

    in_chunks = stolen(SeedSamples(pool(), NETWORK, SHORT, chunk=50))
    assert_weights_close(in_chunks, stolen(KnockoffNets(pool(), NETWORK, SHORT)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "radius"),
    [
        ({"step": FGSM(8 / 255)}, 8 / 255),
        ({"step": PGD(2 / 255, 8 / 255), "steps": 10, "start": 8 / 255}, 8 / 255),
        ({"step": CW(0.01), "steps": 200}, 1.0),
    ],
)
def test_samples_are_moved_from_the_pool_after_the_first_chunk(recipe, radius):
    attack = SeedSamples(pool(), NETWORK, SHORT, chunk=40, **recipe)
    oracle = Service(Linear()).oracle(client="a", budget=80)
    attack.steal(oracle, seed=2)
    random = Service(Linear()).oracle(client="a", budget=80)
    KnockoffNets(pool(), NETWORK, SHORT).steal(random, seed=2)
    moved = (oracle.transcript.x - random.transcript.x).abs().flatten(1).amax(-1)
    assert (moved[:40] == 0).all()
    assert (moved[40:] > 0).all()
    assert moved.max() <= radius + 1e-6
    if radius == 1:  # as little beyond the first surrogate's boundary as a step of Adam goes
        surrogate = KnockoffNets(pool(), NETWORK, SHORT).steal(Service(Linear()).oracle(client="a", budget=40), seed=2)
        before, after = (surrogate(x[40:]) for x in (random.transcript.x, oracle.transcript.x))
        assert (before.argmax(-1) != after.argmax(-1)).float().mean() > 0.9
        assert margin_of(after, before.argmax(-1)).mean() > -0.3 * margin_of(before, before.argmax(-1)).mean()


def test_a_row_below_the_floor_stops():
    """Each row ends where it would alone, walked by a loop that anyone can read."""
    label = SURROGATE(X).argmax(-1)
    moved = descend(SURROGATE, X, lambda z, i: margin_of(z, label[i]), PGD(0.03, 0.9), steps=12, floor=0.0)
    for row in range(len(X)):
        x = X[row : row + 1].clone()
        for _ in range(12):
            x = x.detach().requires_grad_()
            z = SURROGATE(x)[0]
            others = torch.cat([z[: label[row]], z[label[row] + 1 :]])
            if z[label[row]] < others.max():
                break
            x = (x - 0.03 * torch.autograd.grad(z[label[row]] - others.max(), x)[0].sign()).clamp(0, 1)
        assert torch.allclose(moved[row], x[0], atol=1e-5)


def test_of_the_candidates_the_least_confident_are_asked():
    chosen = least_confident(SURROGATE, X, 7)
    sure = [SURROGATE(x[None]).softmax(-1).max().item() for x in X]
    expected = sorted(sorted(range(40), key=lambda row: sure[row])[:7])
    assert torch.equal(chosen, X[expected])
    oracle = Service(Linear()).oracle(client="a", budget=90)
    SeedSamples(pool(), NETWORK, SHORT, chunk=40, candidates=4).steal(oracle)
    assert oracle.asked == 90
    oracle = Service(Linear()).oracle(client="a", budget=120)
    with pytest.raises(BadInput, match="pool of 300"):
        SeedSamples(pool(), NETWORK, SHORT, chunk=40, candidates=4).steal(oracle)
    assert oracle.asked == 0


@pytest.mark.slow
def test_surrogates_between_continue_and_the_last_is_trained_from_scratch():
    between = Training(epochs=2, batch_size=32)
    progress, oracle = Recorded(), Service(Linear()).oracle(client="a", budget=120)
    surrogate = SeedSamples(pool(), NETWORK, SHORT, step=FGSM(0.1), chunk=40, between=between).steal(
        oracle, progress=progress
    )
    assert progress.trainings == [15, 2, 2, 15]
    alone = learn(NETWORK, oracle.transcript.x, oracle.transcript.p, SHORT, seed=attacker_seed(0))
    assert fingerprint(surrogate) == fingerprint(alone)
    with pytest.raises(BadRecipe, match="holdout"):
        JBDA(pool(), NETWORK, between=Training(holdout=0.1))


class Gone(Exception):
    """The server goes away."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        JBDA(pool(), NETWORK, SHORT, seeds=10, augmentation=RandomTargets(), reservoir=10),
        SeedSamples(pool(), NETWORK, SHORT, step=PGD(0.01), steps=3, start=0.03, chunk=20, candidates=2),
        JBDA(pool(), NETWORK, SHORT, seeds=10).through(HardLabels()),
    ],
    ids=["JBDA", "SeedSamples", "Through"],
)
def test_an_interrupted_attack_resumes_from_its_transcript(attack):
    """It asks only what was not answered. Where signs of gradients decide the queries, the last bits of the answers
    that came in other batches can move one: the same answers make the same weights, others nearly the same model."""
    counts, victim = [0], Linear()

    def send(query):
        counts[0] += len(query)
        if counts[0] > limit:
            raise Gone
        return Answer(victim(query.x).softmax(-1).detach())

    limit = 1000
    whole = attack.steal(CountingOracle(send, budget=100), seed=3)
    counts[0], limit = 0, 61
    broken = CountingOracle(send, budget=100, batch_size=7)
    with pytest.raises(Gone):
        attack.steal(broken, seed=3)
    counts[0], limit = 0, 1000
    resumed = CountingOracle(send, budget=100, past=broken.transcript)
    surrogate = attack.steal(resumed, seed=3)
    assert counts[0] == 100 - len(broken.transcript)
    x = pool().inputs()
    assert (surrogate(x).argmax(-1) == whole(x).argmax(-1)).float().mean() > 0.95
    counts[0] = 0
    replayed = attack.steal(CountingOracle(send, budget=100, past=resumed.transcript), seed=3)
    assert fingerprint(replayed) == fingerprint(surrogate)
    assert counts[0] == 0


def test_a_budget_that_ends_inside_a_chunk_raises_nothing():
    service = Service(Linear())
    oracle = service.oracle(client="a", budget=55)
    SeedSamples(pool(), NETWORK, SHORT, step=FGSM(0.1), chunk=50).steal(oracle)
    assert oracle.asked == 55
    with pytest.raises(OverBudget):
        SeedSamples(pool(), NETWORK, SHORT).steal(oracle)


ROWS = pool_of("Columns")


@pytest.mark.parametrize(
    "recipe",
    [JacobianRow(), LogitRow(), AwayFromLabel(), RandomTargets(), NextClasses(2)],
    ids=lambda r: type(r).__name__,
)
def test_rows_of_a_table_move_along_their_numbers_and_stay_valid(recipe):
    model = Network("mlp", ROWS.domain, 3).build(0)
    x = ROWS.inputs()
    new = recipe.augment(model, KnownAnswers(x, ROWS.labels), 0, torch.Generator().manual_seed(0))
    ROWS.domain.check(new.numpy())
    old = x.repeat_interleave(recipe.copies, 0)
    apart = (new - old).abs()
    assert 5 < apart[:, 0].max() <= 0.1 * (90 - 17) + 0.5
    assert apart[:, 1].nan_to_num().max() > 1000
    assert torch.equal(new[:, 2:].nan_to_num(), old[:, 2:].nan_to_num())  # one-hot categories have no slope
    assert torch.equal(new.isnan(), old.isnan())


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        (lambda pool, forest: JBDA(pool, forest, SHORT, seeds=20), "trained in steps"),
        (lambda pool, forest: SeedSamples(pool, forest, SHORT, step=FGSM(0.1), chunk=20), "trained in steps"),
        (lambda pool, forest: ActiveThief(pool, forest, SHORT, DFAL()), "no slope in these rows.*use Uncertainty"),
    ],
    ids=["JBDA", "SeedSamples", "DFAL"],
)
def test_a_surrogate_without_a_slope_is_refused_before_the_first_query(attack, named):
    oracle = Service(OnRows(ROWS.domain)).oracle(client="a", budget=60)
    with pytest.raises(BadInput, match=named):
        attack(pool_of("Columns"), Network("random_forest", ROWS.domain, 3)).steal(oracle)
    assert oracle.asked == 0


def test_a_table_without_numbers_has_no_slope():
    domain = Columns((Column("city", ("Oslo", "Wien")), Column("member", ("no", "yes"))))
    split = Split.of(domain.sample(60, 0), torch.zeros(60).numpy(), domain=domain)
    with pytest.raises(BadInput, match="inputs with numbers"):
        JBDA(split, Network("mlp", domain, 3), SHORT, seeds=20).steal(Service(Linear()).oracle(client="a", budget=60))
