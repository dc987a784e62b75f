"""Lenses, against properties, brute force and defenses with known answers."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from tests.support.problems import Linear, edge_case_rows, order, simplex_rows

from feint.attacks import (
    HardLabels,
    KnownParameters,
    PartialBayes,
    PartialBayesBound,
    RankTargets,
    Recovered,
    Sharpened,
    Smoothed,
    Subtracted,
    Timing,
)
from feint.attacks.lenses import recovered as recovered_lens
from feint.attacks.lenses.fitted_lens import FittedOracle
from feint.attacks.lenses.known_parameters import Curve
from feint.attacks.lenses.partial_bayes import look_up, table_decoder
from feint.data import Split
from feint.defenses.inputs import Blur
from feint.defenses.outputs import APGP, MAD, APGPClosedForm, GaussianNoise, LabelOnly, ReverseSigmoid, Temperature
from feint.errors import BadInput
from feint.models.cache import cached_in
from feint.models.networks import Network
from feint.models.training import Training, train
from feint.oracle import CountingOracle
from feint.query import Answer
from feint.service import Defense, Service, SuspectedDefense
from feint.victims import Trained


def images(n: int, size: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


@given(simplex_rows(5))
def test_sharpening_keeps_the_order_and_approaches_the_label(p):
    sharp = Sharpened(0.5).read(p)
    assert torch.allclose(sharp.sum(-1), torch.ones(len(p)))
    assert torch.allclose(sharp, p**2 / (p**2).sum(-1, keepdim=True), atol=1e-6)
    assert torch.allclose(Sharpened(1.0).read(p), p, atol=1e-6)
    alone = (p == p.amax(-1, keepdim=True)).sum(-1) == 1
    assert torch.allclose(Sharpened(0.001).read(p)[alone], HardLabels().read(p)[alone], atol=1e-6)


def test_a_low_temperature_separates_nearly_uniform_answers():
    p = torch.tensor([[0.10002, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.09998]])
    assert Sharpened(1e-5).read(p)[0, 0] > 0.999


@pytest.mark.parametrize("classes", [2, 5])
def test_rank_targets_depend_on_the_order_alone(classes):
    p = edge_case_rows(classes)
    targets = RankTargets().read(p)
    assert torch.allclose(targets.sum(-1), torch.ones(len(p)), atol=1e-5)
    moved = p.double() ** 0.5  # an increasing map
    assert torch.allclose(RankTargets().read(moved).float(), targets)
    for row, target in zip(p, targets, strict=True):
        for i in range(classes):
            for j in range(classes):
                assert (target[i] > target[j]) == (row[i] > row[j]) or abs(target[i] - target[j]) < 1e-9
                assert row[i] != row[j] or target[i] == target[j]


def test_rank_targets_are_the_order_statistics_of_the_prior():
    """Under the uniform prior these are known: E p_(r) = (1/K) Σ_(j ≥ r) 1/j."""
    k = 6
    exact = torch.tensor([sum(1 / j for j in range(r, k + 1)) / k for r in range(1, k + 1)])
    p = torch.tensor([[0.05, 0.3, 0.1, 0.25, 0.2, 0.1001]])
    targets = RankTargets(concentration=float(k)).read(p)[0]
    assert torch.allclose(targets[order(p)[0]], exact, atol=1e-3)


def test_rank_targets_undo_what_an_order_preserving_defense_erased():
    p = (torch.randn(500, 10, generator=torch.Generator().manual_seed(0)) * 4).softmax(-1)
    q = APGPClosedForm()(p)
    before, after = (q - p).abs().sum(-1).mean(), (RankTargets().read(q) - p).abs().sum(-1).mean()
    labels = (HardLabels().read(q) - p).abs().sum(-1).mean()
    assert after < labels < before


def test_smoothing_averages_augmented_copies_and_keeps_the_global_random_state():
    x, state = images(6), torch.get_rng_state()
    sent = Smoothed(repeats=3, crop=1).send(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert sent.shape == (18, 1, 4, 4)
    assert torch.equal(sent, Smoothed(repeats=3, crop=1).send(x))
    assert not torch.equal(sent, Smoothed(repeats=3, crop=1, seed=1).send(x))
    assert not torch.equal(sent, x.repeat_interleave(3, 0))
    assert torch.equal(Smoothed(repeats=3, crop=0, flip=False).send(x), x.repeat_interleave(3, 0))
    with pytest.raises(BadInput, match="use Averaged"):
        Smoothed().send(torch.rand(3, 5))


def test_smoothing_sees_through_noise_that_is_keyed_to_the_query():
    """The victim sees sums of pixels, which mirroring leaves: repeats would get the same noise, copies do not."""

    class Sums(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.flatten(1).mean(1) * 4, 2 - x.flatten(1).mean(1), x.flatten(1).mean(1) * 0], 1)

    x = images(400, seed=3)
    clean = Sums()(x).softmax(-1)
    noisy = Service(Sums(), Defense(outputs=[GaussianNoise("key", scale=0.2)]))
    once = noisy.oracle(client="a", budget=10_000).ask(x)
    mirrored = torch.cat([x, x.flip(-1)])
    both = noisy.oracle(client="b", budget=10_000).ask(mirrored).unflatten(0, (2, -1)).mean(0)
    smooth = Smoothed(repeats=16, crop=0)(noisy.oracle(client="c", budget=10_000)).ask(x)
    assert (smooth - clean).abs().mean() < 0.9 * (once - clean).abs().mean()
    assert (smooth - both).abs().mean() < (smooth - once).abs().mean()


def test_the_transcript_of_a_lens_holds_its_answers():
    oracle = Sharpened(0.5)(Service(Linear()).oracle(client="a", budget=9))
    p = oracle.ask(torch.rand(4, 1, 2, 2))
    assert torch.equal(oracle.transcript.p, p)


NETWORK = Network("mlp", (1, 2, 2), 3)
TRAINING = Training(epochs=15, batch_size=32)


def noise(n: int = 300) -> Split:
    pixels = torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Split.of(pixels.numpy(), (torch.arange(n) % 5).numpy(), name="noise")


def suspect(*steps) -> SuspectedDefense:
    return SuspectedDefense(Defense(outputs=steps))


def recovered(rehearsal, **more) -> Recovered:
    return Recovered(
        rehearsal, noise(), NETWORK, TRAINING, pairs=300, **{"steps": 100, "shadows": 2, "own_labels": False} | more
    )


def mean_distance(lens, defense, n=200):
    pool, victim = noise(), Linear()
    x = pool.inputs(slice(0, n))
    oracle = lens(Service(victim, defense).oracle(client="a", budget=n))
    oracle.ask(x)
    return (oracle.transcript.p - victim(x).softmax(-1)).abs().sum(-1).mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("step", [Temperature(8.0), APGP(top=1, steps=50)], ids=["temperature", "learned"])
def test_fitted_lenses_undo_the_defense(step, monkeypatch):
    monkeypatch.setattr(Recovered, "_helps", lambda *_: True)  # whether to restore at all is tested below
    suspected, defense = suspect(step), Defense(outputs=[step]).fit(Linear(), noise())
    raw = mean_distance(Sharpened(1.0), defense)
    for lens in (recovered(suspected, steps=300), PartialBayes(suspected, noise(), NETWORK, TRAINING)):
        assert mean_distance(lens, defense) < 0.6 * raw
    assert mean_distance(PartialBayesBound(suspected, trained()), defense) < 2  # a victim of its own: any rows


def trained() -> Trained:
    return Trained.of(NETWORK.build())


@pytest.mark.slow
def test_input_defenses_are_simulated_for_recovered_and_refused_by_partial_bayes():
    suspected = SuspectedDefense(Defense(inputs=[Blur(0.5)]))
    assert mean_distance(recovered(suspected), Defense()) < 2
    with pytest.raises(BadInput, match="Recovered"):
        mean_distance(PartialBayes(suspected, noise(), NETWORK, TRAINING), Defense())


def test_look_up_is_the_mean_over_all_near_samples_of_the_same_label():
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(300, 3, generator=generator)
    clean /= clean.sum(1, keepdim=True)
    perturbed = clean.sqrt() / clean.sqrt().sum(1, keepdim=True)
    answers = torch.rand(20, 3, generator=generator)
    answers /= answers.sum(1, keepdim=True)
    for answer, mean in zip(answers, look_up(answers, perturbed, clean), strict=True):
        rows = [i for i in range(300) if perturbed[i].argmax() == answer.argmax()]
        distance = [(perturbed[i] - answer).abs().sum().item() for i in rows]
        near = [i for i, d in zip(rows, distance, strict=True) if d <= max(0.01, min(distance)) + 1e-7]
        assert torch.allclose(mean, clean[near].mean(0), atol=1e-5)
    assert torch.equal(look_up(answers, perturbed[:0], clean[:0]), answers)


def test_look_up_compares_all_samples_where_the_defense_moves_labels():
    class Moved:
        def perturb(self, p, x):
            return p.roll(1, -1)

    centres = torch.eye(3) * 0.7 + 0.1
    decode = table_decoder(Moved(), torch.zeros(3, 1), centres, samples=50, concentration=20.0, seed=0)
    assert torch.equal(decode(centres.roll(1, -1)).argmax(-1), centres.argmax(-1))


def test_shadows_learn_classes_of_the_pool_by_its_own_labels():
    x, labels = noise().inputs(slice(0, 20)), torch.zeros(20, dtype=torch.int64)
    lens = recovered(suspect(Temperature(4.0)), own_labels=True)
    shares = [lens._shadow_inputs(x, labels, seed) for seed in range(20)]
    assert all(sorted(share.labels.unique().tolist()) == [0, 1, 2] for share in shares)
    assert {len(share) for share in shares} == {180}  # three of five classes, of 60 rows each
    assert len({share.fingerprint for share in shares}) > 10
    answered = replace(lens, own_labels=False)._shadow_inputs(x, labels, 0)
    assert (len(answered), answered.labels.unique().tolist()) == (10, [0])


def test_a_restorer_that_does_not_help_on_the_victim_is_not_used(monkeypatch):
    monkeypatch.setattr(recovered_lens, "restorer", lambda *_, **__: lambda p: p.roll(1, -1))
    assert mean_distance(recovered(suspect(Temperature(4.0)), shadows=1), Defense()) < 1e-6


@pytest.mark.parametrize("epsilon", [0.5, 0.9, 1.4])
def test_a_constant_that_is_added_to_one_class_is_subtracted(epsilon):
    p = torch.rand(400, 6, generator=torch.Generator().manual_seed(0)) ** 30
    p[:, 3:] = 0
    p /= p.sum(-1, keepdim=True)
    corner = torch.zeros(400, 6)
    corner[torch.arange(400), torch.where(torch.arange(400) % 5 == 0, 4, 3)] = 1  # two corners, one of them rare
    q = MAD(epsilon=epsilon).towards(corner, p)
    left = (Subtracted().decoder(q)(q) - p).abs().sum(-1)
    assert left.mean() < 0.02 * epsilon


def test_answers_to_which_nothing_is_added_stay_nearly_as_they_are():
    p = torch.rand(400, 5, generator=torch.Generator().manual_seed(0)) ** 30
    p /= p.sum(-1, keepdim=True)
    assert (Subtracted().decoder(p)(p) - p).abs().sum(-1).mean() < 0.01


def test_a_fitted_oracle_passes_answers_through_until_it_has_fitted_once():
    learned = []

    def learn(x, p):
        learned.append(len(x))
        return lambda q: q.flip(-1)

    oracle = FittedOracle(Service(Linear()).oracle(client="a", budget=100), Sharpened(), 20, learn)
    x = noise().inputs(slice(0, 60))
    clean = Linear()(x).softmax(-1).detach()
    assert torch.allclose(oracle.ask(x[:10]), clean[:10])
    assert len(oracle.transcript) == 10
    assert not learned
    assert torch.allclose(oracle.transcript.p, clean[:10].flip(-1))
    oracle.keep_answers_only()
    assert torch.allclose(oracle.ask(x[10:30]), clean[10:30].flip(-1))
    assert torch.allclose(oracle.ask(x[30:]), clean[30:].flip(-1))
    assert torch.allclose(oracle.transcript.p, clean.flip(-1))
    assert learned == [10, 20]


@pytest.mark.slow
def test_fitted_lenses_are_deterministic_in_their_seed(monkeypatch):
    monkeypatch.setattr(Recovered, "_helps", lambda *_: True)
    first, again, other = (mean_distance(recovered(suspect(Temperature(4.0)), seed=s), Defense()) for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("own_labels", [True, False])
def test_shadows_that_depend_on_no_answer_are_trained_once_for_all_thefts(own_labels, monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(Recovered, "_helps", lambda *_: True)
    monkeypatch.setattr(
        recovered_lens, "train", lambda *args, **options: trained.append(args) or train(*args, **options)
    )
    lens = recovered(suspect(Temperature(4.0)), own_labels=own_labels, steps=5)
    alone = mean_distance(lens, Defense(), n=30)
    with cached_in(tmp_path):
        assert [mean_distance(lens, Defense(), n=n) for n in (30, 30)] == [alone] * 2
        mean_distance(lens, Defense(), n=20)
    assert len(trained) == 2 * (2 if own_labels else 4)


def test_bad_input_to_fitted_lenses():
    lens = recovered(suspect(Temperature(4.0)))
    with pytest.raises(BadInput, match="HardLabels"):
        mean_distance(lens, Defense(outputs=[LabelOnly()]))
    with pytest.raises(BadInput, match="at least 8"):
        mean_distance(lens, Defense(), n=7)
    four = Recovered(suspect(Temperature(4.0)), noise(), Network("mlp", (1, 2, 2), 4), TRAINING)
    with pytest.raises(BadInput, match="3 classes and a surrogate of 4"):
        mean_distance(four, Defense())


def test_only_a_lens_with_the_victim_is_an_upper_bound():
    assert PartialBayesBound.upper_bound
    assert not any(lens.upper_bound for lens in (HardLabels, PartialBayes, Recovered, Sharpened, Smoothed))


@pytest.mark.parametrize(
    "defense", [Temperature(5.0), Temperature(0.5), ReverseSigmoid(0.5, 1.0), ReverseSigmoid(0.4, 2.0)]
)
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_known_parameters_undo_a_map_that_is_one_to_one(defense, classes):
    p = (torch.randn(60, classes, generator=torch.Generator().manual_seed(0)) * 4).softmax(-1)
    assert (KnownParameters(defense).read(defense(p)) - p).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 0.1), (0.21, 0.2)])
def test_where_several_answers_explain_a_row_a_likely_one_is_found(beta, gamma):
    defense = ReverseSigmoid(beta, gamma)
    p = (torch.randn(60, 10, generator=torch.Generator().manual_seed(0)) * 4).softmax(-1)
    q = defense(p)
    estimate = KnownParameters(defense).read(q)
    assert ((defense(estimate) - q).abs().amax(-1) < 1e-3).float().mean() > 0.9
    assert (estimate.argmax(-1) == p.argmax(-1)).float().mean() > 0.9
    assert (estimate - p).abs().sum(-1).mean() < 0.4 * (q - p).abs().sum(-1).mean()


def test_of_two_classes_the_branch_is_that_of_the_prior():
    """By hand: of all (a, 1 − a) that the defense maps to one answer, the likeliest by prior and stretch."""
    defense = ReverseSigmoid(1.0, 0.1)
    a = torch.linspace(1e-6, 1 - 1e-6, 400_001, dtype=torch.float64)
    q = defense(torch.stack([a, 1 - a], 1))[:, 0]
    for answer in (0.2, 0.3, 0.42, 0.77):
        crossings = ((q[:-1] - answer) * (q[1:] - answer) <= 0).nonzero()[:, 0]
        stretch = ((q[crossings + 1] - q[crossings]) / (a[1] - a[0])).abs()
        weight = (a[crossings] * (1 - a[crossings])) ** (0.5 - 1) / stretch
        estimate = KnownParameters(defense).read(torch.tensor([[answer, 1 - answer]], dtype=torch.float64))[0, 0]
        assert estimate == pytest.approx(a[crossings[weight.argmax()]].item(), abs=1e-3)


def test_the_weight_of_a_solution_is_the_prior_by_the_volume_that_the_map_stretches():
    defense = ReverseSigmoid(1.0, 0.4)
    curve = Curve.of(defense)
    for row in (torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2).softmax(-1):

        def mapped(free):
            q = defense.elementwise(torch.cat([free, 1 - free.sum(0, keepdim=True)]))
            return (q / q.sum())[:-1]

        steps = torch.eye(4, dtype=torch.float64) * 1e-7
        jacobian = torch.stack([(mapped(row[:-1] + step) - mapped(row[:-1] - step)) / 2e-7 for step in steps])
        expected = (2 / 5 - 1) * row.log().sum() - jacobian.det().abs().log()
        f = defense.elementwise(row)
        weight = curve.log_weight(row[None].numpy(), (f / f.sum()).numpy(), f.sum()[None].numpy(), 2.0)
        assert weight[0] == pytest.approx(expected.item(), abs=0.02)


def test_bad_input_to_known_parameters():
    class Zigzag:
        def elementwise(self, p):
            return 1.1 * p + (30 * p).sin() / 10

    with pytest.raises(BadInput, match="PartialBayes"):
        KnownParameters(Zigzag()).read(torch.tensor([[0.4, 0.6]]))
    with pytest.raises(BadInput, match="HardLabels"):
        KnownParameters(Temperature()).read(torch.eye(3))


@pytest.mark.slow
@pytest.mark.parametrize("constant", [False, True])
def test_timing_separates_slow_answers_and_nothing_at_constant_time(constant, monkeypatch):
    clock, dice = [0.0], random.Random(0)
    monkeypatch.setattr("feint.attacks.lenses.timing.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def slow(query):
        clock[0] += (0.012 if constant or query.x.mean() > 0.5 else 0.0) + dice.expovariate(1000)
        return Answer(torch.tensor([[0.5, 0.3, 0.2]]).expand(len(query.x), -1))

    x = torch.tensor([0.2, 0.8] * 20).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    oracle = Timing(repeats=2)(CountingOracle(slow, budget=100))
    oracle.ask(x)
    p = oracle.transcript.p
    assert oracle.asked == 80
    assert (p.argmax(-1) == 0).all()
    gap = (p[1::2, 0].mean() - p[::2, 0].mean()).item()
    assert abs(gap) < 0.08 if constant else gap > 0.12  # 1/6 where every rank is right


def test_timing_rereads_all_answers_and_stops_at_a_refusal():
    oracle = Timing(repeats=2)(Service(Linear(), Defense()).oracle(client="a", budget=11))
    p, refusal = oracle.try_ask(noise().inputs(slice(0, 9)))
    assert refusal is not None
    assert len(p) == len(oracle.transcript) == 5
    assert oracle.try_ask(noise().inputs(slice(0, 0)))[0].shape[0] == 0
