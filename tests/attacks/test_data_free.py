"""The data-free attacks: gradients, cost in queries, replay memory, and resuming."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests import examples
from tests.examples import NETWORK, SMALL
from tests.support.problems import Linear
from tests.support.variance import assert_weights_close
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from feint.attacks import DFME, DFMSHL, MAZE, Differences, HalfCosine, HardLabels, LoopConfig, MultiStep
from feint.attacks.data_free.dfme import divergence, l1_of_logits
from feint.attacks.data_free.dfms import mean_information
from feint.attacks.data_free.generators import Discriminator, ImageGenerator, squash, synthetic_images
from feint.attacks.data_free.loop import LoopState
from feint.attacks.data_free.replay import ReplayMemory
from feint.attacks.data_free.zeroth_order import forward_differences, unit_directions
from feint.defenses.access import Budget
from feint.defenses.outputs import Rounding
from feint.errors import BadInput, Refused
from feint.models.networks import Classifier
from feint.oracle import CountingOracle
from feint.service import Defense, Service
from feint.transcript import Transcript

DATA_FREE = ["DFME", "DFMSHL", "MAZE"]
THREE = replace(SMALL, surrogate_steps=3, replay_steps=1)
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 5, 7)]


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bumpy(x: Tensor) -> Tensor:
    return (x.flatten(1).sin().cumsum(1) ** 2).sum(1)


@pytest.mark.slow
def test_forward_differences_converge_to_the_gradient():
    x = torch.randn(3, 1, 2, 3, dtype=torch.float64, generator=random(), requires_grad=True)
    (exact,) = torch.autograd.grad(bumpy(x).sum(), x)
    for directions in (100, 10_000):
        estimate = forward_differences(bumpy, x.detach(), directions=directions, step=1e-6, random=random())
        expected = ((6 - 1) / directions) ** 0.5  # E ‖d (g·u) u − g‖² = (d − 1) ‖g‖², d = 6
        assert expected / 4 < (estimate - exact).norm() / exact.norm() < 2 * expected


def test_for_a_linear_function_any_step_gives_the_slope_in_the_directions_that_were_drawn():
    slope, x = torch.randn(2, 5, dtype=torch.float64, generator=random()), torch.zeros(2, 5, dtype=torch.float64)
    u = unit_directions(x, directions=4, random=random(1))
    expected = 5 / 4 * torch.einsum("mnd,nd,mne->ne", u, slope, u)
    for step in (1e-3, 10.0):
        estimate = forward_differences(
            lambda z: (z * slope.repeat(5, 1)).sum(1) + 7, x, directions=4, step=step, random=random(1)
        )
        assert torch.allclose(estimate, expected)
    line = forward_differences(lambda z: 3 * z[:, 0], x[:, :1], directions=1, step=0.5, random=random())
    assert torch.allclose(line, torch.full_like(line, 3))  # in one dimension there is only one direction


def test_all_directions_are_one_batch_after_the_inputs_themselves():
    asked = []
    x = torch.rand(3, 1, 2, 2, generator=random())
    forward_differences(lambda z: asked.append(z) or z.sum((1, 2, 3)), x, directions=4, step=0.1, random=random())
    (batch,) = asked
    assert batch.shape == (15, 1, 2, 2)
    assert torch.equal(batch[:3], x)
    assert torch.allclose((batch[3:] - x.repeat(4, 1, 1, 1)).flatten(1).norm(dim=1), torch.tensor(0.1))


def test_logits_are_recovered_up_to_a_shift_and_an_answer_of_zero_is_floored():
    z = torch.randn(6, 4, dtype=torch.float64, generator=random())
    centred = z - z.mean(-1, keepdim=True)
    assert l1_of_logits((z + 5).softmax(-1), centred, floor=1e-9).abs().max() < 1e-9
    assert torch.allclose(l1_of_logits(z.softmax(-1), centred + 2, floor=1e-9), torch.tensor(2.0, dtype=torch.float64))
    certain = torch.tensor([[1.0, 0.0, 0.0]])
    assert l1_of_logits(certain, torch.zeros(1, 3), floor=1e-4).isfinite().all()
    assert torch.allclose(divergence(certain, torch.zeros(1, 3), floor=1e-4), torch.tensor(3.0).log())
    p = z.softmax(-1)
    expected = F.kl_div(z.log_softmax(-1).roll(1, 0), p, reduction="none").sum(1)
    assert torch.allclose(divergence(p, z.roll(1, 0), floor=1e-9), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_generator_discriminator_and_synthetic_images_take_any_shape(shape):
    with torch.random.fork_rng(devices=[]):
        generator, judge = ImageGenerator(shape, latent=5, width=4), Discriminator(shape, width=4)
    x = squash(generator(torch.randn(6, 5, generator=random())))
    synthetic = synthetic_images(6, shape, random=random())
    for images in (x, synthetic):
        assert images.shape == (6, *shape)
        assert images.min() >= 0
        assert images.max() <= 1
        assert images.flatten(1).var(0).mean() > 1e-3
    assert judge(x).shape == (6,)
    assert torch.equal(synthetic, synthetic_images(6, shape, random=random()))


@pytest.mark.parametrize(
    ("attack", "turn"),
    [
        (
            DFME(NETWORK, replace(SMALL, surrogate_steps=3, generator_steps=2), Differences(directions=4)),
            4 * (2 * 5 + 3),
        ),
        (MAZE(NETWORK, replace(SMALL, surrogate_steps=3), Differences(directions=4)), 4 * (5 + 2)),
        (DFMSHL(NETWORK, replace(SMALL, surrogate_steps=3), warm_up=0, start=0), 4 * 3),
    ],
)
@pytest.mark.slow
def test_iteration_of_a_data_free_attack_costs_the_queries_of_its_formula(attack, turn):
    with pytest.raises(BadInput, match=f"at least {turn}, one turn"):
        attack.steal(oracle := Service(Linear()).oracle(client="a", budget=turn - 1))
    assert oracle.asked == 0
    for budget in (turn, 2 * turn - 1):
        attack.steal(oracle := Service(Linear()).oracle(client="a", budget=budget))
        assert oracle.asked == turn
        assert oracle.refusal is None


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_FREE)
def test_an_interrupted_attack_resumes_from_its_transcript(name, tmp_path):
    service, sent = Service(Linear()), []

    def until(limit):
        def send(query):
            sent.append(len(query))
            if sum(sent) > limit:
                raise KeyboardInterrupt
            return service(query)

        return send

    oracle = CountingOracle(until(70), budget=120)
    with pytest.raises(KeyboardInterrupt):
        examples.ATTACKS[name].recipe.steal(oracle)
    oracle.transcript.save(tmp_path / "transcript.safetensors")
    past = Transcript.load(tmp_path / "transcript.safetensors")
    assert 0 < len(past) <= 70
    sent.clear()
    again = CountingOracle(until(120 - len(past)), budget=120, past=past)
    resumed = examples.ATTACKS[name].recipe.steal(again)
    assert sum(sent) == again.asked - len(past)
    whole = examples.ATTACKS[name].recipe.steal(Service(Linear()).oracle(client="a", budget=120))
    assert_weights_close(resumed.state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", DATA_FREE)
def test_no_inputs_are_kept_and_the_random_state_is_unchanged(name):
    state = torch.get_rng_state()
    oracle = Service(Linear()).oracle(client="a", budget=60)
    examples.ATTACKS[name].recipe.steal(oracle)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(BadInput, match="answers only"):
        _ = oracle.transcript.x


def test_the_memory_is_a_uniform_sample_of_bounded_size():
    counts, images = torch.zeros(100), torch.arange(100.0)[:, None]
    for seed in range(200):
        memory = ReplayMemory(10, random(seed))
        for part in images.split(4):
            memory.offer(part, 2 * part)
        assert len(memory) == 10
        x, p = (torch.cat(parts) for parts in zip(*memory.shuffled(4, 3), strict=True))
        assert torch.equal(p, 2 * x)
        assert len(x.unique()) == len(x) == 10  # each once
        counts[x[:, 0].long()] += 1
    assert (counts.view(10, 10).sum(1) / 2000 - 0.1).abs().max() < 0.02


def test_maze_trains_its_generator_by_sgd_and_the_others_by_adam():
    def optimizer(game):
        return LoopState(game, NETWORK, distance=lambda p, z: z.sum(1), seed=0).generator_optimizer

    sgd = optimizer(MAZE(NETWORK).game)
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (1e-4, 0.9, 5e-4)
    assert isinstance(optimizer(DFME(NETWORK).game), torch.optim.Adam)
    assert isinstance(optimizer(DFMSHL(NETWORK).game), torch.optim.Adam)


@pytest.mark.parametrize(("attack", "training"), [(MAZE, True), (DFME, False)])
def test_the_surrogate_of_maze_is_in_training_mode_while_its_slope_is_measured(attack, training):
    modes = set()

    def record(module, _):
        if isinstance(module, Classifier) and not torch.is_grad_enabled():
            modes.add(module.training)

    with register_module_forward_pre_hook(record):
        attack(NETWORK, SMALL).steal(Service(Linear()).oracle(client="a", budget=100))
    assert modes == {training}


def test_a_replayed_batch_holds_single_images_of_the_last_batches_of_all_turns():
    state = LoopState(replace(SMALL, replay_steps=1), NETWORK, distance=lambda p, z: z.sum(1), seed=0)
    replayed = []
    state.surrogate_step = lambda x, p: replayed.append(x[:, 0, 0, 0])
    for turn in range(8):
        state.replay(torch.full((4, 1, 2, 2), float(turn)), torch.zeros(4, 3))
    assert max(len(batch.unique()) for batch in replayed) > 1
    assert all(batch.max() <= turn for turn, batch in enumerate(replayed))
    state.config = replace(state.config, replay_steps=100)
    replayed.clear()
    state.replay(torch.full((4, 1, 2, 2), 8.0), torch.zeros(4, 3))
    assert len(replayed) == 9  # all that there is, once


@pytest.mark.parametrize("name", ["DFME", "MAZE"])
def test_labels_alone_are_refused_by_name_and_rounded_answers_are_not(name):
    oracle = Service(Linear()).oracle(client="a", budget=60)
    with pytest.raises(BadInput, match="DFMSHL"):
        examples.ATTACKS[name].recipe.through(HardLabels()).steal(oracle)
    rounded = Service(Linear(), Defense(outputs=[Rounding(2)])).oracle(client="a", budget=60)
    assert all(weight.isfinite().all() for weight in examples.ATTACKS[name].recipe.steal(rounded).state_dict().values())


def test_mean_information_has_a_finite_slope_at_saturated_logits():
    z = torch.randn(6, 4, dtype=torch.float64, generator=random(), requires_grad=True)
    a = z.softmax(-1).mean(0)
    assert torch.allclose(mean_information(z), (a * a.log()).sum())
    assert torch.autograd.gradcheck(mean_information, z)
    sure = (1000 * F.one_hot(torch.tensor([0, 1, 1]), 4)).float().requires_grad_()  # no share of classes 2 and 3
    (slope,) = torch.autograd.grad(mean_information(sure), sure)
    assert slope.isfinite().all()


def test_labels_alone_are_enough_for_dfms():
    probabilities, labels = (
        attack.steal(Service(Linear()).oracle(client="a", budget=60)).state_dict()
        for attack in (examples.ATTACKS["DFMSHL"].recipe, examples.ATTACKS["DFMSHL"].recipe.through(HardLabels()))
    )
    assert all(torch.equal(a, b) for a, b in zip(probabilities.values(), labels.values(), strict=True))


@pytest.mark.parametrize("name", DATA_FREE)
def test_answers_of_a_refused_batch_are_learned(name):
    def stolen(limit):
        service = Service(Linear(), Defense(access=[Budget(limit)]))
        return examples.ATTACKS[name].recipe.steal(service.oracle(client="a", budget=200)).state_dict()

    few, more = stolen(30), stolen(31)
    assert not all(torch.equal(few[key], more[key]) for key in few)


@pytest.mark.parametrize("name", DATA_FREE)
def test_a_spent_budget_is_refused(name):
    oracle = Service(Linear()).oracle(client="a", budget=5)
    oracle.ask(torch.rand(5, 1, 2, 2, generator=random()))
    with pytest.raises(Refused):
        examples.ATTACKS[name].recipe.steal(oracle)


def test_schedules_fall_with_the_budget_that_is_spent():
    steps = MultiStep((0.1, 0.5), by=0.3)
    assert [steps.factor(spent) for spent in (0.0, 0.1, 0.49, 0.5)] == pytest.approx([1, 0.3, 0.3, 0.09])
    assert [HalfCosine().factor(spent) for spent in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.5, 0])
    state = LoopState(LoopConfig(2, memory=2, schedule=steps), NETWORK, distance=lambda p, z: z.sum(1), seed=0)
    state.set_learning_rates(0.6)
    assert state.surrogate_optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.09)
    assert state.generator_optimizer.param_groups[0]["lr"] == pytest.approx(1e-4 * 0.09)
