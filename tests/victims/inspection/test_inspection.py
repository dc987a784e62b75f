"""Inspection of raw models: the adapter under which a model is right is found, and the evidence says why."""

import re
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from tests.support.prototypes import CHANGES, CLASSES, NAMES, SHAPE, Nearest, Raw, logits, relabelled, samples

from feint.errors import BadInput
from feint.signature import Column, Columns, Tokens
from feint.victims import AdaptedModel, Metadata, TensorSpec, inspection, predict

SAMPLES = samples()
inspect_model = partial(inspection.inspect_model, seconds=600.0)  # as many samples on a slow or busy machine


def accuracy(raw, found, split=SAMPLES) -> float:
    """Accuracy of the adapted model, not that of the trial."""
    p = predict(AdaptedModel(raw, found.adapter), split.inputs())
    return (p.argmax(1) == split.labels).float().mean().item()


@pytest.mark.parametrize("words", CHANGES)
def test_scale_normalisation_and_order_of_colours_are_found(words):
    raw = Raw(lambda x: logits(CHANGES[words](x)))
    found = inspect_model(raw, SAMPLES)
    assert found.evidence[0] == f"accuracy 1.00 on 400 samples with NCHW, {words}"
    assert accuracy(raw, found) == 1


def test_evidence_names_the_accuracy_without_normalisation():
    found = inspect_model(Raw(lambda x: logits(CHANGES["ImageNet's mean and deviation, RGB"](x))), SAMPLES)
    plain = [line for line in found.evidence if line.endswith("with NCHW, 0 to 1, RGB")]
    assert len(plain) == 1
    assert float(plain[0][:4]) < 0.5


@pytest.mark.parametrize(
    ("shape", "dtype", "function", "words"),
    [
        ((None, 8, 8, 3), "uint8", lambda x: logits(x.permute(0, 3, 1, 2) / 255), "NHWC, 0 to 255, RGB"),
        ((None, 8, 8, 3), "float32", lambda x: logits(x.permute(0, 3, 1, 2)), "NHWC, 0 to 1, RGB"),
        ((None, None, None, None), "float32", lambda x: logits(x.permute(0, 3, 1, 2)), "NHWC, 0 to 1, RGB"),
        ((None, 192), "float32", lambda x: logits(x.reshape(-1, *SHAPE)), "flat, 0 to 1, RGB"),
        ((1, *SHAPE), "float32", logits, "NCHW, 0 to 1, RGB"),
        ((None, *SHAPE), "float16", lambda x: logits(x.float() / 255).half(), "NCHW, 0 to 255, RGB"),
        ((None, 3, 16, 16), "float32", lambda x: logits(x[:, :, ::2, ::2]), "NCHW, resized to 16×16, 0 to 1, RGB"),
    ],
)
def test_layout_type_and_size_are_found(shape, dtype, function, words):
    raw = Raw(function, shape, dtype)
    found = inspect_model(raw, SAMPLES)
    assert found.evidence[0].endswith(words)
    assert accuracy(raw, found) > 0.95


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: (y + 1) % CLASSES, "numbered from 1"),
        (lambda y: np.array([0, 2, 3, 4, 5, 6, 7, 8, 9, 1])[y], "as the answers match"),
        (lambda y: np.array([NAMES.index(name) for name in sorted(NAMES)])[y], "as the answers match"),
    ],
)
def test_orders_of_labels_are_found(change, words):
    split, raw = relabelled(SAMPLES, change), Raw(logits)
    found = inspect_model(raw, split)
    assert re.search(f"RGB, classes {words}", found.evidence[0])
    assert accuracy(raw, found, split) == 1


def test_labels_are_matched_by_the_models_own_names():
    order = sorted(range(CLASSES), key=lambda i: NAMES[i])
    raw = Raw(lambda x: logits(x)[:, order], classes=tuple(sorted(NAMES)))
    found = inspect_model(raw, SAMPLES, NAMES)
    assert found.evidence[0].endswith("classes by their names")
    assert found.adapter.classes == NAMES
    assert accuracy(raw, found) == 1


def test_classes_are_called_as_the_model_calls_their_scores():
    split = relabelled(SAMPLES, lambda y: (y + 1) % CLASSES)  # class k of the samples is the model's class k - 1
    raw = Raw(logits, classes=NAMES)
    found = inspect_model(raw, split, NAMES)
    assert found.adapter.classes == (NAMES[-1], *NAMES[:-1])
    assert accuracy(raw, found, split) == 1


def test_classes_by_which_samples_are_labelled_keep_their_names():
    order = [*range(1, CLASSES), 0]  # the model's names are those of other scores
    raw = Raw(lambda x: logits(x)[:, order], classes=NAMES)
    found = inspect_model(raw, SAMPLES, NAMES, named=True)
    assert found.adapter.classes == NAMES
    assert accuracy(raw, found) == 1


def test_inputs_that_hold_no_samples_are_refused_with_another_remedy_than_an_inspection():
    crops = Raw(lambda x: logits(x[:, 0]), (None, 5, *SHAPE))
    with pytest.raises(BadInput, match=r"expected inputs that hold images, one each; .*package\.module:function"):
        inspect_model(crops, SAMPLES)


def test_accuracy_that_may_be_chance_stands_beside_the_mean_over_the_classes():
    generator = torch.Generator().manual_seed(0)
    raw = Raw(lambda x: logits(x) / 40 + torch.rand(len(x), CLASSES, generator=generator))
    (line,) = [line for line in inspect_model(raw, SAMPLES, expected=0.1).evidence if line.startswith("always")]
    assert re.search(r"would be right on 0\.10; the mean over the classes is 0\.\d\d", line)
    assert inspect_model(Raw(logits), SAMPLES).evidence[-1].endswith("right on 0.10")


def test_a_background_class_comes_last():
    raw = Raw(lambda x: torch.nn.functional.pad(logits(x), (1, 0), value=-1e3))
    found = inspect_model(raw, SAMPLES, NAMES)
    assert found.evidence[0].endswith("classes from the model's second score on")
    assert found.adapter.classes == (*NAMES, "0")
    assert accuracy(raw, found) == 1


@pytest.mark.parametrize(
    ("output", "values"),
    [
        (lambda z: z, "logits"),
        (lambda z: z.softmax(1), "probabilities"),
        (lambda z: z.log_softmax(1), "log-probabilities"),
        (lambda z: z.argmax(1), "labels"),
        (lambda z: z.argmax(1).float()[:, None].long() + 1, "labels"),
        (lambda z: np.array(NAMES, object)[z.argmax(1).numpy()], "labels"),
    ],
)
def test_kinds_of_scores_are_told_apart(output, values):
    raw = Raw(lambda x: output(logits(x)))
    found = inspect_model(raw, SAMPLES, NAMES)
    assert found.adapter.outputs.values == values
    assert accuracy(raw, found) == 1


def test_a_second_softmax_is_said():
    found = inspect_model(Raw(lambda x: (9 * logits(x)).softmax(1).softmax(1)), SAMPLES)
    assert any("none is above 0.23: a softmax of a softmax" in line for line in found.evidence)
    found = inspect_model(Raw(lambda x: (9 * logits(x)).softmax(1)), SAMPLES)
    assert not any("softmax of a softmax" in line for line in found.evidence)


@pytest.mark.parametrize("values", ["sigmoid", "sigmoid-logit"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_score_of_two_classes(values, shape):
    domain = Columns((Column("a"), Column("b")))
    x = np.random.default_rng(0).normal(size=(300, 2))
    from feint.data import Split

    split = Split.of(x, (x.sum(1) > 0).astype(int), domain=domain)

    def score(x):
        z = 3 * x.sum(1).reshape(shape)
        return z.sigmoid() if values == "sigmoid" else z

    raw = Raw(score, (None, 2), outputs=(TensorSpec("y", "float32", (None,) if shape == (-1,) else (None, 1)),))
    found = inspect_model(raw, split)
    assert found.adapter.outputs.values == values
    assert accuracy(raw, found, split) > 0.99


def test_one_probability_may_exceed_1_by_rounding():
    split = relabelled(SAMPLES, lambda y: (y < CLASSES // 2).astype(int))

    def score(x):
        p = (9 * logits(x)).softmax(1)[:, : CLASSES // 2].sum(1, keepdim=True)
        return p * (1 + 2e-7)

    found = inspect_model(Raw(score, outputs=(TensorSpec("y", "float32", (None, 1)),)), split)
    assert found.adapter.outputs.values == "sigmoid"
    assert found.accuracy == 1


def test_two_classes_may_be_exchanged():
    split = relabelled(SAMPLES, lambda y: (y < CLASSES // 2).astype(int))
    raw = Raw(lambda x: (9 * logits(x)).softmax(1).reshape(-1, 2, CLASSES // 2).sum(2), classes=("low", "high"))
    found = inspect_model(raw, split, ("low", "high"))
    assert found.evidence[0].endswith("classes exchanged")
    assert found.adapter.classes == ("high", "low")


def test_standardised_columns_are_found():
    from feint.data import Split

    x = np.random.default_rng(0).normal([50, 1e4], [10, 3e3], (400, 2))
    z = (x - x.mean(0)) / x.std(0)
    domain = Columns.describe({"age": x[:, 0], "income": x[:, 1]})
    split = Split.of(x, (np.abs(z[:, 0] - z[:, 1]) < 0.8).astype(int), domain=domain)
    raw = Raw(
        lambda x: 40 * (0.8 - (x[:, 0] - x[:, 1]).abs()), (None, 2), outputs=(TensorSpec("y", "float32", (None,)),)
    )
    found = inspect_model(raw, split)
    assert found.evidence[0].endswith("standardised columns")
    assert accuracy(raw, found, split) > 0.95


def test_whole_numbers_with_names_are_columns_and_others_tokens(tmp_path):
    x = np.random.default_rng(0).integers(0, 90, (200, 2))
    y = (x[:, 0] > 40).astype(int)
    raw = Raw(
        lambda x: (x[:, 0] > 40).float(), (None, 2), "int64", outputs=(TensorSpec("y", "float32", (None,)),)
    )  # fmt: skip
    rows = "\n".join(f"{a},{b},{label}" for (a, b), label in zip(x, y, strict=True))
    (tmp_path / "rows.csv").write_text(f"age,visits,label\n{rows}\n")
    split = inspection.read_samples(raw, str(tmp_path / "rows.csv")).split
    assert split.domain.names == ("age", "visits")
    assert inspect_model(raw, split).accuracy == 1
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    assert isinstance(inspection.read_samples(raw, str(tmp_path / "rows.npz")).split.domain, Tokens)


def test_the_output_with_the_scores_is_found():
    random = torch.rand(192, CLASSES, generator=torch.Generator().manual_seed(2))
    outputs = tuple(TensorSpec(name, "float32", (None, CLASSES)) for name in ("features", "y"))
    raw = Raw(lambda x: {"features": x.flatten(1) @ random, "y": logits(x)}, outputs=outputs)
    found = inspect_model(raw, SAMPLES)
    assert found.adapter.outputs.tensor == "y"
    assert any(re.match(r"0\.\d\d by the output features", line) for line in found.evidence)


def test_adapters_that_fit_alike_are_named_and_the_commonest_is_chosen():
    raw = Raw(lambda x: logits(x if x.max() <= 1 else x / 255))
    found = inspect_model(raw, SAMPLES)
    assert found.evidence[0].endswith("0 to 1, RGB")
    assert any(line.startswith("fit alike: NCHW, 0 to 255, RGB") for line in found.evidence)


def test_sigmoids_of_several_labels_are_refused():
    with pytest.raises(BadInput, match=r"whose rows sum to .*: a sigmoid for each label"):
        inspect_model(Raw(lambda x: (logits(x) / 40 + 0.7).sigmoid()), SAMPLES)


def test_stated_probabilities_whose_rows_do_not_sum_to_1_are_refused():
    raw = Raw(lambda x: logits(x).sigmoid())
    raw.metadata = Metadata(values="probabilities")
    with pytest.raises(BadInput, match=r"stated as probabilities, whose rows sum to .*; expected rows that sum to 1"):
        inspect_model(raw, SAMPLES)
    raw = Raw(lambda x: logits(x).softmax(1))
    raw.metadata = Metadata(values="probabilities")
    assert inspect_model(raw, SAMPLES).accuracy == 1


def test_a_model_that_is_never_right_is_refused_unless_expected():
    raw = Raw(lambda x: torch.randn(len(x), CLASSES, generator=torch.Generator().manual_seed(len(x))))
    with pytest.raises(BadInput, match=r"of 400 samples at best .*always '\d' would be right on 0\.10"):
        inspect_model(raw, SAMPLES)
    assert inspect_model(raw, SAMPLES, expected=0.1).accuracy < 0.2


def test_a_slow_model_of_rare_classes_is_not_taken_for_chance_on_a_few_samples():
    clock = [0.0]  # the model is slow by this clock, and not by the machine's
    rare = relabelled(SAMPLES, lambda y: (y == 3).astype(int))

    def slow(x):
        clock[0] += 0.1 * len(x)
        recognised = (logits(x).argmax(1) == 3) & (x.flatten(1).sum(1) * 1000 % 3 < 1)
        return recognised.float()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", lambda: clock[0])
        found = inspect_model(Raw(slow), rare, seconds=10.0)
    assert len(found.trials[0].right) > 24
    assert 0.9 < found.accuracy < 0.97


def test_samples_of_one_class_are_refused():
    with pytest.raises(BadInput, match="400 samples, all of one class"):
        inspect_model(Raw(logits), relabelled(SAMPLES, np.zeros_like))


def test_more_classes_than_scores_are_refused():
    split = relabelled(SAMPLES, lambda y: y + 5)
    with pytest.raises(BadInput, match=r"answers of 10 classes .* for samples of 15"):
        inspect_model(Raw(logits), split)


def test_a_slow_model_is_tried_on_fewer_samples_in_the_time():
    import time

    rows = []

    def slow(x):
        rows.append(len(x))
        time.sleep(0.002 * len(x))
        return logits(x / 255)

    found = inspect_model(Raw(slow), SAMPLES, seconds=1.0)
    assert found.evidence[0].endswith("0 to 255, RGB")
    assert len(found.trials[0].right) < 400
    assert sum(rows) < 5000  # about 14 candidates of 24 samples at least, and once more for the best


def test_a_sample_is_tried_once_under_an_adapter():
    import time

    asked = Counter()

    def slow(x):
        asked.update(row.numpy().tobytes() for row in x)
        time.sleep(0.002 * len(x))
        return logits(x / 255)

    found = inspect_model(Raw(slow), SAMPLES, seconds=1.0)
    counts = {len(trial.right) for trial in found.trials}
    assert len(counts) > 1  # in stages
    candidates = {trial.candidate for trial in found.trials}
    assert sum(asked.values()) - len(asked) <= len(candidates) + 8  # one sample of each is tried, and 8 of one timed


def test_a_published_network_is_found_on_real_images(real_data):
    from feint.data import load
    from feint.models.networks import Network
    from feint.victims import load_published

    body = load_published(real_data / "weights_cifar10_resnet20.npz", Network("resnet20", (3, 32, 32), 10)).body.eval()
    test = load("cifar10").test.take(np.arange(600), part="first")
    raw = Raw(lambda x: body(x), (None, 3, 32, 32))
    found = inspect_model(raw, test, load("cifar10").classes)
    assert "ImageNet's mean and deviation, RGB" in found.evidence[0]
    assert accuracy(raw, found, test) == pytest.approx(0.91, abs=0.03)


def test_modules_of_torch_are_inspected():
    from feint.victims import TorchModel

    raw = TorchModel(Nearest(CHANGES["-1 to 1, BGR"]))
    found = inspect_model(raw, SAMPLES)
    assert found.evidence[0].endswith("NCHW, -1 to 1, BGR")
