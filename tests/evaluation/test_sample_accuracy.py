"""Wrong set-ups of a model are stopped with their likely cause, and right ones pass."""

import shlex

import numpy as np
import pytest
import torch
from tests.support.prototypes import CHANGES, CLASSES, NAMES, Nearest, Raw, logits, relabelled, samples

from feint.data import Split
from feint.errors import BadInput
from feint.evaluation import sample_accuracy
from feint.evaluation.sample_accuracy import check_accuracy
from feint.signature import Pixels
from feint.victims import AdaptedModel, Adapter, FromAnswers, PixelInputs

SAMPLES = samples()


@pytest.fixture(autouse=True)
def _time(monkeypatch):
    monkeypatch.setattr(sample_accuracy, "SECONDS", 600.0)  # as many samples on a slow or busy machine


def test_a_model_that_is_right_passes():
    measured = check_accuracy(Nearest(), SAMPLES, classes=NAMES)
    assert measured.accuracy == pytest.approx(1.0)
    assert measured.balanced_accuracy == pytest.approx(1.0)
    assert measured.majority == pytest.approx(0.1)
    assert measured.count == 400
    assert measured.notes == ()


@pytest.mark.parametrize("words", CHANGES)
def test_a_wrong_adapter_is_stopped_with_the_right_one(words):
    with pytest.raises(
        BadInput, match=rf"cnn\.onnx, right on \d+\.\d% of 400 samples of photos, and on .*{words}; "
    ) as wrong:
        check_accuracy(Nearest(CHANGES[words]), SAMPLES, place="cnn.onnx", data="photos")
    assert "feint inspect cnn.onnx --data photos writes it; or --expect-accuracy 0." in str(wrong.value)


def test_the_command_of_a_remedy_is_typed_as_it_is_printed():
    with pytest.raises(BadInput) as wrong:
        check_accuracy(
            Nearest(next(iter(CHANGES.values()))), SAMPLES, place="my cnn.onnx", data="my photos", label="Klasse"
        )
    command = ["feint", "inspect", "my cnn.onnx", "--data", "my photos", "--label", "Klasse"]
    assert shlex.split(str(wrong.value).partition("says so; ")[2].partition(" writes it")[0]) == command


def test_a_wrong_model_file_is_stopped_with_the_right_adapter():
    raw = Raw(lambda x: logits(x / 255))
    model = AdaptedModel(raw, Adapter(Pixels((3, 8, 8)), NAMES, PixelInputs("x")))
    with pytest.raises(BadInput, match=r"and on 100\.0% with NCHW, 0 to 255, RGB"):
        check_accuracy(model, SAMPLES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: (y + 1) % CLASSES, "classes numbered from 1"),  # labels 1…9, or a background class
        (lambda y: np.argsort(np.argsort([str(k + 1) for k in range(CLASSES)]))[y], "classes "),  # folders 1, 10, 2
        (lambda y: np.array([sorted(NAMES).index(name) for name in NAMES])[y], "classes as the answers match"),
    ],
)
def test_a_wrong_order_of_labels_is_stopped(change, words):
    with pytest.raises(BadInput, match=rf"and on 100\.0% with .*{words}"):
        check_accuracy(Nearest(), relabelled(SAMPLES, change))


def test_unseen_last_class_does_not_hide_labels_from_1():
    seen = SAMPLES.take(np.flatnonzero(SAMPLES.labels.numpy() < 9), part="seen")
    with pytest.raises(BadInput, match=r"right on 0\.0% of 360 samples .*and on 100\.0% with .*numbered from 1"):
        check_accuracy(Nearest(), relabelled(seen, lambda y: y + 1))


def test_labels_that_the_model_cannot_give_are_refused():
    with pytest.raises(BadInput, match=r"labels up to 10 of .* and answers of 10 classes"):
        check_accuracy(Nearest(), relabelled(SAMPLES, lambda y: y + 1))


def test_chance_is_stopped():
    with pytest.raises(BadInput, match=r"where always '\d' would be right on 10\.0%: no better than chance"):
        check_accuracy(Nearest(lambda x: torch.full_like(x, 0.5)), SAMPLES)


def test_images_clipped_to_white_are_stopped():
    white = Split.of(np.full_like(SAMPLES.values, 255), SAMPLES.labels.numpy())  # 16-bit files, read wrongly
    with pytest.raises(BadInput, match="no better than chance"):
        check_accuracy(Nearest(), white)


def test_one_sided_samples_are_said():
    y = SAMPLES.labels.numpy()
    rows = np.concatenate([np.repeat(np.flatnonzero(y == 3), 15), np.flatnonzero(y != 3)[:18]])
    weak = Nearest(lambda x: torch.where((x[:, :1] * 255).round() % 2 == 0, x, 0.5))
    measured = check_accuracy(weak, SAMPLES.take(rows, part="one-sided"), classes=NAMES)
    assert measured.accuracy < measured.majority
    assert measured.majority == pytest.approx(600 / 618)
    (note,) = measured.notes
    assert "where always 'three' would be right on 97.1%; the mean over the classes is" in note


def test_samples_of_one_class_are_refused():
    with pytest.raises(BadInput, match="all of one class"):
        check_accuracy(Nearest(), relabelled(SAMPLES, np.zeros_like))


def test_the_owners_expectation_decides():
    wrong = Nearest(CHANGES["0 to 255, RGB"])
    low = check_accuracy(wrong, SAMPLES, expected=0.05)
    assert low.accuracy < 0.2
    with pytest.raises(BadInput, match=r"and on 100\.0% with NCHW, 0 to 255, RGB"):
        check_accuracy(wrong, SAMPLES, expected=0.93)
    noisy = samples(noise=0.9)
    with pytest.raises(
        BadInput, match=r"right on \d\d\.\d% of 400 samples of SAMPLES; expected 100\.0% \(--expect-accuracy\)"
    ):
        check_accuracy(Nearest(), noisy, expected=1.0)


@pytest.mark.parametrize("expected", [-0.1, 93, float("nan")])
def test_an_expectation_is_a_share(expected):
    with pytest.raises(BadInput, match=r"a share from 0 to 1, like 0\.93; divide percent by 100"):
        check_accuracy(Nearest(), SAMPLES, expected=expected)


def test_nothing_more_is_asked_of_a_paid_model():
    asked = []

    def ask(x):
        asked.append(len(x))
        return logits(x).softmax(1).roll(1, 1), None

    model = FromAnswers(ask, name="api", domain=SAMPLES.domain, classes=CLASSES)
    with pytest.raises(BadInput, match="classes numbered one too low"):
        check_accuracy(model, SAMPLES)
    assert asked == [200]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x * 0.25 + 0.45, "ImageNet|the samples"),
        (lambda x: x / 255, "0 to 255, RGB"),
        (lambda x: (x + 1) / 2, "-1 to 1, RGB"),
        (lambda x: x.flip(1), "0 to 1, BGR"),
    ],
)
def test_a_published_network_on_real_images(real_data, change, words):
    from feint.data import load
    from feint.models.networks import Network
    from feint.victims import load_published

    network = load_published(real_data / "weights_cifar10_resnet20.npz", Network("resnet20", (3, 32, 32), 10))
    data = load("cifar10")
    test = data.test.take(np.arange(500), part="first")

    class Wrong(torch.nn.Module):
        def forward(self, x):
            return network(change(x))

    with pytest.raises(BadInput, match=rf"right on .*, and on (8|9)\d\.\d% with .*({words})"):
        check_accuracy(Wrong(), test, classes=data.classes)
