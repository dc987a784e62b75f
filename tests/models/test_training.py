"""The training loop: same seed same weights, interrupted or not, and no peeking."""

import inspect
import io
import resource
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from feint.data import Split
from feint.errors import BadInput, BadRecipe, DamagedFile, Diverged, NotWritten
from feint.evaluation.training_time import TrainingSpeed
from feint.models import training, training_loop
from feint.models.cache import cached_in
from feint.models.checkpoint import TrainingState
from feint.models.networks import Classifier, Network
from feint.models.second_head import TURNS, WithSecondHead, own_labels, s4l
from feint.models.simplex import share_explained
from feint.models.training import Batch, Training, cross_entropy, learn, refine
from feint.models.training_loop import TrainingTask, _outlier_rows, fit
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Column, Columns

NETWORK = Network("lenet", (1, 8, 8), 3)
X = torch.randint(0, 256, (101, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
Y = X[:, 0, 0, 0].long() % 3
RECIPE = Training(epochs=4, batch_size=20, crop=1, flip=True, holdout=0.2)


class Stop(ProgressCallback):
    """Interrupts after so many epochs."""

    def __init__(self, after):
        self.after = after

    def step(self, what, done, total):
        if done == self.after:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch):
    """A checkpoint after every epoch, however short: what is interrupted has one."""
    monkeypatch.setattr(training_loop, "BETWEEN_CHECKPOINTS", 0.0)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_same_seed_same_weights_whatever_happened_before():
    first = learn(NETWORK, X, Y, RECIPE, seed=3)
    torch.manual_seed(99)
    assert same(first, learn(NETWORK, X, Y, RECIPE, seed=3))
    assert not same(first, learn(NETWORK, X, Y, RECIPE, seed=4))


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    learn(NETWORK, X, Y, RECIPE)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("holdout", [0.0, 0.2])  # the last weights, and the best ones
@pytest.mark.parametrize("after", [1, 3])
def test_interrupted_it_continues_to_the_same_weights(tmp_path, after, holdout):
    recipe = replace(RECIPE, holdout=holdout)
    whole = learn(NETWORK, X, Y, recipe)
    with cached_in(tmp_path), pytest.raises(KeyboardInterrupt):
        learn(NETWORK, X, Y, recipe, progress=Stop(after))
    epochs = []
    progress = ProgressCallback()
    progress.step = lambda what, done, total: epochs.append(done)
    with cached_in(tmp_path):
        assert same(whole, learn(NETWORK, X, Y, recipe, progress=progress))
        assert epochs == list(range(after + 1, 5))
        again = learn(NETWORK, X, Y, recipe, progress=progress)  # done already: loaded, not trained
    assert same(whole, again)
    assert epochs == list(range(after + 1, 5))
    assert len(list(tmp_path.iterdir())) == 1  # no checkpoint is left


def test_short_epochs_share_a_checkpoint(tmp_path, monkeypatch):
    class Clock:
        perf_counter, now = time.perf_counter, 0.0

        @classmethod
        def monotonic(cls):
            cls.now += 0.125
            return cls.now

    epochs = []
    monkeypatch.setattr(training_loop, "BETWEEN_CHECKPOINTS", 0.25)
    monkeypatch.setattr(training_loop, "time", Clock)
    monkeypatch.setattr(TrainingState, "save", lambda state, *_: epochs.append(state.epoch))
    with cached_in(tmp_path):
        learn(NETWORK, X, Y, replace(RECIPE, epochs=7))
    assert epochs == [2, 4, 6]


class Planted:
    """An object whose unpickling runs code, as a pickle from a stranger may."""

    def __reduce__(self):
        return Path.write_text, (Path("planted"), "")


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:100],
        lambda raw: raw[:-100],
        lambda raw: b"",
        lambda raw: saved([1]),
        lambda raw: saved({"model": {}}),
        lambda raw: saved(torch.load(io.BytesIO(raw)) | {"progress": {"epoch": 1, "steps": 2}}),
        lambda raw: saved(torch.load(io.BytesIO(raw)) | {"model": Network("mlp", (1, 8, 8), 3).build().state_dict()}),
        lambda raw: saved(Planted()),
    ],
    ids=["head", "no tail", "empty", "a list", "no weights", "another progress", "another network", "code"],
)
def test_a_broken_checkpoint_says_so(tmp_path, monkeypatch, spoil):
    monkeypatch.chdir(tmp_path)
    with cached_in(tmp_path), pytest.raises(KeyboardInterrupt):
        learn(NETWORK, X, Y, RECIPE, progress=Stop(1))
    (checkpoint,) = tmp_path.iterdir()
    checkpoint.write_bytes(spoil(checkpoint.read_bytes()))
    with cached_in(tmp_path), pytest.raises(DamagedFile, match="begin anew") as caught:
        learn(NETWORK, X, Y, RECIPE)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [checkpoint]  # nothing in it was run


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    path, model = tmp_path / "training.pt", NETWORK.build()
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    TrainingState(epoch=1).save(model, optimizer, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(NotWritten, match="File too large"):
            TrainingState(epoch=2).save(model, optimizer, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert TrainingState.resume(path, model, optimizer).epoch == 1
    assert list(tmp_path.iterdir()) == [path]


def test_patience_ends_a_training_that_no_longer_improves():
    noise = torch.randint(0, 3, (101,), generator=torch.Generator().manual_seed(1))
    epochs = []
    progress = ProgressCallback()
    progress.step = lambda what, done, total: epochs.append(done)
    learn(NETWORK, X, noise, Training(epochs=60, batch_size=20, holdout=0.4, patience=2), progress=progress)
    assert len(epochs) < 60


def test_few_answers_are_seen_often_enough():
    epochs = []
    progress = ProgressCallback()
    progress.step = lambda what, done, total: epochs.append(done)
    learn(NETWORK, X[:40], Y[:40], Training(epochs=3, batch_size=20, least_steps=15), progress=progress)
    assert len(epochs) == 8
    learn(NETWORK, X, Y, Training(epochs=3, batch_size=20, least_steps=15), progress=progress)
    assert len(epochs) == 8 + 3


@pytest.mark.slow
def test_the_holdout_keeps_the_best_epoch_not_the_last():
    """On pure noise every epoch makes the holdout worse; with a huge rate the kept weights are still early ones."""
    noise = torch.randint(0, 3, (101,), generator=torch.Generator().manual_seed(1))
    recipe = Training(epochs=30, batch_size=20, holdout=0.4, learning_rate=0.2)
    best, last = (
        learn(NETWORK, X, noise, recipe),
        learn(NETWORK, X, noise, Training(epochs=30, batch_size=20, learning_rate=0.2)),
    )
    spread = [model(X.float() / 255).softmax(-1).max(-1).values.mean().item() for model in (best, last)]
    assert spread[0] < spread[1]


@pytest.mark.parametrize("n", [1, 2, 3, 21])
def test_any_number_of_inputs_trains_a_network_with_batch_normalisation(n):
    model = learn(Network("resnet20", (1, 8, 8), 3), X[:n], Y[:n], Training(epochs=1, batch_size=2))
    assert all(values.isfinite().all() for values in model.state_dict().values())


def test_soft_and_hard_targets_say_the_same_when_they_are_the_same():
    soft = torch.nn.functional.one_hot(Y, 3).float()
    a, b = (learn(NETWORK, X, targets, Training(epochs=2, bfloat16=False)) for targets in (Y, soft))
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)


def test_uint8_and_float_inputs_are_the_same():
    a, b = (learn(NETWORK, x, Y, Training(epochs=2)) for x in (X, X.float() / 255))
    assert same(a, b)


def test_targets_of_another_size_are_refused():
    with pytest.raises(BadInput, match="targets"):
        learn(NETWORK, X, torch.ones(101, 4) / 4, RECIPE)
    with pytest.raises(BadInput, match="targets"):
        learn(NETWORK, X, Y[:5], RECIPE)


def outlier_loss(model, batch: Batch):
    """Cross-entropy on both streams; every row of the shorter one is seen, and as many as of the other."""
    assert len(batch.x) == len(batch.outliers) == len(batch.outlier_targets)
    return cross_entropy(model, batch) + cross_entropy(model, Batch(batch.outliers, batch.outlier_targets))


def test_a_loss_of_its_own_continues_to_the_same_weights_and_losses(tmp_path):
    recipe, start, beside = replace(RECIPE, holdout=0), NETWORK.build(1), (255 - X[:30], Y[:30])
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}

    def run(directory, name="both", progress=NO_PROGRESS):
        with cached_in(directory):
            return refine(start, X, Y, recipe, loss=outlier_loss, name=name, outliers=beside, progress=progress)

    whole, losses = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Stop(2))
    for _ in range(2):  # continued, then loaded
        again, same_losses = run(tmp_path)
        assert same(whole, again)
        assert same_losses == losses
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    run(tmp_path, "another loss")
    assert len(list(tmp_path.iterdir())) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in start.state_dict().items())


def test_the_plain_loss_refines_new_weights_as_learn_does():
    recipe = replace(RECIPE, holdout=0)
    refined, _ = refine(NETWORK.build(3), X, Y, recipe, loss=cross_entropy, name="plain", seed=3)
    assert same(learn(NETWORK, X, Y, recipe, seed=3), refined)


def test_the_shorter_stream_goes_round_evenly():
    steps = torch.arange(101).tensor_split(6)
    rows = _outlier_rows(steps, (X[:30], Y[:30]))
    assert [len(part) for part in rows] == [len(part) for part in steps]
    assert set(torch.cat(rows).bincount(minlength=30).tolist()) == {3, 4}
    assert len(torch.cat(_outlier_rows(steps, (X.repeat(5, 1, 1, 1), Y))).unique()) == 101


def test_outliers_of_another_size_are_refused():
    with pytest.raises(BadInput, match="targets"):
        refine(NETWORK.build(), X, Y, Training(), loss=cross_entropy, name="", outliers=(X[:3], Y[:2]))


def test_the_loop_takes_no_test_set():
    assert not {name for name in inspect.signature(training.learn).parameters if "test" in name}


TURNING = replace(RECIPE, rotation=1.0)


def test_with_a_rotation_loss_it_continues_to_the_same_weights_and_the_head_is_gone(tmp_path):
    whole = learn(NETWORK, X, Y, TURNING)
    with cached_in(tmp_path), pytest.raises(KeyboardInterrupt):
        learn(NETWORK, X, Y, TURNING, progress=Stop(2))
    for _ in range(2):  # continued, then loaded
        with cached_in(tmp_path):
            again = learn(NETWORK, X, Y, TURNING)
        assert same(whole, again)
        assert isinstance(again, Classifier)
        assert not again.training
        assert again.state_dict().keys() == NETWORK.build().state_dict().keys()
    assert not same(whole, learn(NETWORK, X, Y, RECIPE))


def test_the_rotation_loss_is_that_of_the_four_turns():
    model = WithSecondHead(NETWORK.build(2), TURNS, 0).eval()
    batch = Batch(X[:9].float() / 255, Y[:9])
    z, slow = cross_entropy(model, batch), 0.0
    torch.testing.assert_close(model(batch.x), model.both(batch.x)[0])
    for turn in range(4):
        turned = torch.stack([torch.from_numpy(np.rot90(image.numpy(), turn, (1, 2)).copy()) for image in batch.x])
        slow += torch.nn.functional.cross_entropy(model.both(turned)[1], torch.full((9,), turn)) / 4
    torch.testing.assert_close(s4l(model, batch, weight=0.5), z + 0.5 * slow)


def test_rotations_of_a_second_stream_are_learned_in_place_of_those_of_the_batch():
    model = WithSecondHead(NETWORK.build(0), TURNS, 0).eval()
    images = X[:9].float() / 255
    batch, others = Batch(images[:5], Y[:5]), Batch(images[5:], Y[5:9])
    beside = replace(batch, outliers=others.x, outlier_targets=torch.zeros(4))
    turns = s4l(model, others, weight=0.5) - cross_entropy(model, others)
    torch.testing.assert_close(s4l(model, beside, weight=0.5), cross_entropy(model, batch) + turns)


def test_a_training_with_a_rotation_loss_turns_the_unlabelled_inputs():
    pool = Split.of(X.numpy(), Y.numpy())
    one, whole = learn(NETWORK, X[:20], Y[:20], TURNING), learn(NETWORK, X[:20], Y[:20], TURNING, pool=pool)
    assert not same(one, whole)
    assert same(learn(NETWORK, X[:20], Y[:20], RECIPE), learn(NETWORK, X[:20], Y[:20], RECIPE, pool=pool))


def test_rotations_are_learned():
    """Images that are bright at the top: how they were turned is plain to see."""
    x = torch.zeros(60, 1, 8, 8, dtype=torch.uint8)
    x[:, :, :3] = 255
    model = WithSecondHead(NETWORK.build(), TURNS, 0)
    recipe = Training(epochs=20, batch_size=20, rotation=1.0)
    fit(model, TrainingTask(x, Y[:60], recipe, 0, partial(s4l, weight=1.0)), ProgressCallback(), None)
    for turn in range(4):
        assert (model.both(x.float().rot90(turn, (2, 3)) / 255)[1].argmax(-1) == turn).all()


def test_rotation_loss_refuses_inputs_and_networks_without_rotations():
    with pytest.raises(BadInput, match="square"):
        learn(Network("mlp", (1, 4, 8), 3), X[:, :, :4], Y, TURNING)
    with pytest.raises(BadInput, match="ends in a linear layer"):
        learn(Network("one_vs_rest", (1, 8, 8), 3), X, Y, TURNING)
    with pytest.raises(BadRecipe, match="rotation"):
        refine(NETWORK.build(), X, Y, Training(rotation=1.0), loss=cross_entropy, name="")


AUXILIARY = replace(RECIPE, auxiliary=0.5)


def test_the_loss_of_own_labels_is_that_of_both_streams():
    model = WithSecondHead(NETWORK.build(2), 7, 0).eval()
    x, others = (part.float() / 255 for part in X[:9].split(5))
    own = torch.tensor([6, 5, 0, 1])
    expected = cross_entropy(model, Batch(x, Y[:5])) + 0.5 * torch.nn.functional.cross_entropy(
        model.both(others)[1], own
    )
    torch.testing.assert_close(own_labels(model, Batch(x, Y[:5], others, own), weight=0.5), expected)


def test_the_second_head_learns_the_labels_of_the_pool_and_is_gone():
    """Images of the pool are bright or dark; the targets of the few answers tell nothing of it."""
    bright = torch.arange(60) % 2
    values = (bright * 255).to(torch.uint8).view(-1, 1, 1, 1).expand(60, 1, 8, 8)
    headed, recipe = WithSecondHead(NETWORK.build(), 2, 0), Training(epochs=20, batch_size=20, auxiliary=1.0)
    task = TrainingTask(X[:60], Y[:60], recipe, 0, partial(own_labels, weight=1.0), (values, bright))
    fit(headed, task, ProgressCallback(), None)
    assert (headed.both(values.float() / 255)[1].argmax(-1) == bright).all()
    pool = Split.of(values.numpy(), bright.numpy())
    model = learn(NETWORK, X, Y, AUXILIARY, pool=pool)
    assert model.state_dict().keys() == NETWORK.build().state_dict().keys()
    assert not same(model, learn(NETWORK, X, Y, RECIPE, pool=pool))
    assert not same(model, learn(NETWORK, X, Y, AUXILIARY, pool=Split.of(values.numpy(), 1 - bright.numpy())))


def test_a_second_head_fits_a_network_whose_logits_are_scaled():
    network = Network("resnet9_32", (1, 8, 8), 3)
    model = WithSecondHead(network.build(), 5, 0).eval()
    z, others = model.both(X[:4].float() / 255)
    torch.testing.assert_close(z, model(X[:4].float() / 255))
    assert others.shape == (4, 5)


def test_own_labels_need_a_pool_and_no_other_second_head():
    with pytest.raises(BadRecipe, match="auxiliary without a pool"):
        learn(NETWORK, X, Y, AUXILIARY)
    for change in ({"rotation": 1.0}, {"mixup": 0.2}):
        with pytest.raises(BadRecipe, match="auxiliary beside rotation or mixup"):
            replace(AUXILIARY, **change)


@pytest.mark.parametrize("n", [15, 40, 101])
def test_the_images_that_a_training_sees_are_known_beforehand(n):
    epochs, progress, recipe = [], ProgressCallback(), Training(epochs=3, batch_size=20, least_steps=15)
    progress.step = lambda what, done, total: epochs.append(done)
    learn(NETWORK, X[:n], Y[:n], recipe, progress=progress)
    assert recipe.inputs_seen(n) == pytest.approx(n * len(epochs), rel=0.1)


@pytest.mark.parametrize("optimizer", [None, "adamw"])
def test_either_optimizer_continues_to_the_same_weights(optimizer, tmp_path):
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=0.01)
    whole = learn(NETWORK, X, Y, recipe)
    with cached_in(tmp_path), pytest.raises(KeyboardInterrupt):
        learn(NETWORK, X, Y, recipe, progress=Stop(2))
    with cached_in(tmp_path):
        assert same(whole, learn(NETWORK, X, Y, recipe))
    other = replace(recipe, optimizer=None if optimizer else "adamw")
    assert not same(whole, learn(NETWORK, X, Y, other))


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(BadRecipe, match="optimizer='adam'; expected 'adamw'"):
        Training(optimizer="adam")


def test_weights_that_are_not_finite_are_no_result(tmp_path):
    with cached_in(tmp_path), pytest.raises(Diverged, match="expected a learning rate below 1e\\+09"):
        learn(NETWORK, X, Y, Training(epochs=5, learning_rate=1e9))
    assert all(path.suffix == ".pt" for path in tmp_path.iterdir())  # a checkpoint at most


TABLE = Network("boosted_trees", Columns((Column("a", mean=0.0, deviation=1.0), Column("b", tuple("xyz")))), 3)
ROWS = torch.tensor([[i / 10, i % 3] for i in range(60)], dtype=torch.float64)


@pytest.mark.parametrize("change", [{"crop": 1}, {"flip": True}, {"rotation": 1.0}], ids=str)
@pytest.mark.parametrize(
    ("network", "x"),
    [(replace(TABLE, name="mlp"), ROWS), (replace(NETWORK, name="random_forest"), X)],
    ids=["columns", "forest"],
)
def test_only_images_that_a_network_sees_in_steps_are_augmented(network, x, change):
    with pytest.raises(BadRecipe, match="crop, flip or rotation for the network"):
        learn(network, x, Y[: len(x)], Training(epochs=1, **change))


def test_what_scikit_learn_fits_is_cached_too(tmp_path, monkeypatch):
    with cached_in(tmp_path):
        first = learn(TABLE, ROWS, Y[:60], Training())
        monkeypatch.setattr(type(first.body), "fit", None)
        assert same(first, learn(TABLE, ROWS, Y[:60], Training()))


def test_a_forest_cannot_be_refined():
    forest = learn(TABLE, ROWS, Y[:60], Training())
    with pytest.raises(BadInput, match="one with a gradient"):
        refine(forest, ROWS, Y[:60], Training(), loss=cross_entropy, name="")


STRONG = replace(RECIPE, cutout=3, mixup=0.4, smoothing=0.1, average=0.3)


@pytest.mark.parametrize("change", [{}, {"holdout": 0}], ids=["the best", "the last"])
def test_with_averaged_weights_it_continues_to_the_same_weights(tmp_path, change):
    recipe = replace(STRONG, **change)
    whole = learn(NETWORK, X, Y, recipe)
    with cached_in(tmp_path), pytest.raises(KeyboardInterrupt):
        learn(NETWORK, X, Y, recipe, progress=Stop(2))
    with cached_in(tmp_path):
        assert same(whole, learn(NETWORK, X, Y, recipe))


@pytest.mark.parametrize("field", ["cutout", "mixup", "smoothing", "average"])
def test_each_part_of_a_strong_training_changes_the_weights(field):
    assert not same(learn(NETWORK, X, Y, STRONG), learn(NETWORK, X, Y, replace(STRONG, **{field: None})))


def test_the_average_over_less_than_a_step_is_the_last_step():
    plain = replace(RECIPE, holdout=0)
    assert same(learn(NETWORK, X, Y, plain), learn(NETWORK, X, Y, replace(plain, average=0.01)))


@pytest.mark.parametrize("field", ["cutout", "mixup", "smoothing", "average", "explained"])
def test_numbers_of_a_training_are_in_their_ranges(field):
    with pytest.raises(BadRecipe, match=f"{field}=-1"):
        Training(**{field: -1})


def test_a_training_ends_when_enough_is_explained():
    epochs, progress = [], ProgressCallback()
    progress.step = lambda what, done, total: epochs.append(done)
    recipe = Training(epochs=200, batch_size=20, learning_rate=0.05, explained=0.5)
    model = learn(NETWORK, X, Y, recipe, progress=progress)
    assert len(epochs) < 200
    rows = torch.nn.functional.one_hot(Y, 3).float()
    with torch.no_grad():
        assert share_explained(rows, model(X.float() / 255).softmax(-1)) >= 0.5


@pytest.mark.parametrize("change", [{"mixup": 0.2}, {"smoothing": 0.1}], ids=str)
def test_a_loss_of_its_own_gets_the_targets_as_they_are(change):
    def loss(model, batch):
        return cross_entropy(model, batch)

    with pytest.raises(BadRecipe, match="targets as they are"):
        refine(NETWORK.build(), X, Y, Training(epochs=1, **change), loss=loss, name="own")


def test_each_epoch_tells_its_inputs_and_seconds():
    speed, recipe = TrainingSpeed(ProgressCallback()), replace(RECIPE, holdout=0)
    assert speed.per_second is None
    learn(NETWORK, X, Y, recipe, progress=speed)
    epochs = []
    progress = ProgressCallback()
    progress.trained = lambda inputs, seconds: epochs.append((inputs, seconds > 0))
    learn(NETWORK, X, Y, recipe, progress=progress)
    assert epochs == [(len(X), True)] * recipe.epochs
    assert speed.per_second > 0


def test_the_speed_of_a_training_is_that_of_all_its_epochs():
    speed = TrainingSpeed(ProgressCallback())
    speed.trained(100, 1.0)
    speed.trained(200, 3.0)
    assert speed.per_second == 75
