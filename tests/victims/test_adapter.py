"""Adapters: what a model gets of a query, what its answer becomes, and what does not fit."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from feint import victims
from feint.errors import BadInput, BadRecipe
from feint.signature import Column, Columns, Pixels, Text, Tokens
from feint.victims import Adapter, ClassOutputs, ColumnInputs, PixelInputs, TensorSpec, TextInputs, TokenInputs
from feint.victims.raw import Metadata, RawModel

IMAGES = Pixels((3, 4, 4))
TABLE = Columns(
    (Column("age", optional=True), Column("job", ("boss", "clerk", "none")), Column("owner", ("False", "True")))
)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}


def images(n=2):
    return torch.from_numpy(IMAGES.sample(n, 0))


def encode(inputs, x, domain=IMAGES):
    return inputs.encode(x, domain)[""]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (PixelInputs(), lambda x: x),
        (PixelInputs(layout="NHWC"), lambda x: x.permute(0, 2, 3, 1)),
        (PixelInputs(layout="flat"), lambda x: x.reshape(len(x), -1)),
        (PixelInputs(low=-1.0), lambda x: 2 * x - 1),
        (PixelInputs(channels="BGR"), lambda x: x[:, [2, 1, 0]]),
        (PixelInputs(high=255.0, dtype="uint8"), lambda x: (x * 255).round()),
        (PixelInputs(**IMAGENET), lambda x: (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
            / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)),
        (PixelInputs(high=255.0, channels="BGR", mean=(104.0, 117.0, 124.0), deviation=(1.0, 1.0, 1.0)),
            lambda x: x[:, [2, 1, 0]] * 255 - torch.tensor([104.0, 117.0, 124.0]).view(3, 1, 1)),
    ],
    ids=["plain", "NHWC", "flat", "-1 to 1", "BGR", "uint8", "ImageNet", "Caffe"],
)  # fmt: skip
def test_images_are_laid_out_scaled_and_normalised(inputs, expected):
    assert torch.allclose(encode(inputs, images()).float(), expected(images()).float(), atol=1e-4)


def test_images_are_resized_in_size_and_stay_in_range():
    x = encode(PixelInputs(size=(2, 6)), images())
    assert x.shape == (2, 3, 2, 6)
    assert 0 <= x.min() <= x.max() <= 1
    assert torch.allclose(x.mean((2, 3)), images().mean((2, 3)), atol=0.1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int32", "int64"])
def test_the_type_is_the_models(dtype):
    assert encode(PixelInputs(high=255.0, dtype=dtype), images()).dtype == getattr(torch, dtype)


ROWS = torch.tensor([[30.0, 1, 1], [np.nan, 2, 0]], dtype=torch.float64)


def test_columns_are_codes_one_hot_or_names_in_a_matrix_or_apart():
    assert torch.equal(encode(ColumnInputs(), ROWS, TABLE)[0], ROWS[0])
    one_hot = encode(ColumnInputs(categories="one-hot", dtype="float32"), ROWS, TABLE)
    assert one_hot[0].tolist() == [30, 0, 1, 0, 0, 1]
    names = encode(ColumnInputs(categories="names"), ROWS, TABLE)
    assert names[0].tolist() == [30, "clerk", True]
    assert np.isnan(names[1, 0])
    assert names[1, 1:].tolist() == ["none", False]
    apart = ColumnInputs(form="tensors", categories="names", names=("a", "b", "c")).encode(ROWS, TABLE)
    assert list(apart) == ["a", "b", "c"]
    assert apart["a"].shape == apart["b"].shape == (2, 1)
    rows = encode(ColumnInputs(form="rows", categories="names"), ROWS, TABLE)
    assert rows[0] == {"age": 30, "job": "clerk", "owner": True}
    frame = encode(ColumnInputs(form="frame", categories="names"), ROWS, TABLE)
    assert list(frame.columns) == ["age", "job", "owner"]


def test_columns_are_standardised():
    domain = Columns((Column("a"), Column("b")))
    x = torch.tensor([[3.0, 10.0]], dtype=torch.float64)
    assert encode(ColumnInputs(mean=(1.0, 4.0), deviation=(2.0, 3.0)), x, domain).tolist() == [[1, 2]]


def test_tokens_get_a_mask_to_the_last_one_and_types():
    domain = Tokens(4, 9, padding=1)
    values = TokenInputs("ids", "mask", "types", dtype="int32").encode(
        torch.tensor([[3, 1, 5, 1], [1, 1, 1, 1]]), domain
    )
    assert values["mask"].tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]
    assert values["types"].sum() == 0
    assert {value.dtype for value in values.values()} == {torch.int32}


def test_texts_become_strings():
    x = torch.from_numpy(Text(12).from_strings(["", "été", "a b"]))
    assert encode(TextInputs(), x, Text(12)).tolist() == ["", "été", "a b"]


P = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("outputs", "values", "expected"),
    [
        (ClassOutputs(), P.log().clamp_min(-80), P),
        (ClassOutputs(values="log-probabilities"), P.log().clamp_min(-80), P),
        (ClassOutputs(values="probabilities"), P, P),
        (ClassOutputs(values="probabilities"), P[:, :, None, None], P),
        (ClassOutputs(values="probabilities"), P.half(), P),
        (ClassOutputs(values="probabilities", order=(2, 0, 1)), P, P[:, [2, 0, 1]]),
        (ClassOutputs(values="decisions"), P, P.softmax(1)),
        (ClassOutputs(values="labels"), torch.tensor([2, 0]), torch.tensor([[0, 0, 1.0], [1, 0, 0]])),
        (ClassOutputs(values="labels"), torch.tensor([[2.0], [0.0]]), torch.tensor([[0, 0, 1.0], [1, 0, 0]])),
        (ClassOutputs(values="labels", labels=("1", "2", "3")), torch.tensor([2, 3]), torch.eye(3)[[1, 2]]),
        (ClassOutputs(values="labels", labels=("b", "a", "c")), np.array(["a", "c"], object), torch.eye(3)[[1, 2]]),
        (ClassOutputs(values="labels", labels=("True", "False", "?")), torch.tensor([True, False]), torch.eye(3)[:2]),
    ],
    ids=lambda value: str(value) if isinstance(value, ClassOutputs) else "",
)  # fmt: skip
def test_answers_of_every_kind_become_probabilities_of_classes(outputs, values, expected):
    assert torch.allclose(outputs.decode(values, 3).softmax(1), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
@pytest.mark.parametrize("values", ["sigmoid", "sigmoid-logit", "decisions"])
def test_one_score_is_that_of_the_second_class(values, shape):
    z = torch.tensor([0.0, 3.0]).reshape(shape)
    score = z.sigmoid() if values == "sigmoid" else z
    p = ClassOutputs(values=values).decode(score, 2).softmax(1)
    assert torch.allclose(p[:, 1], torch.tensor([0.5, 0.9526]), atol=1e-4)


@pytest.mark.parametrize("values", ["sigmoid-logit", "decisions"])
def test_energy_of_one_margin_is_certainty_of_either_class(values):
    energies = ClassOutputs(values=values).decode(torch.linspace(-6, 6, 13), 2).logsumexp(1)
    assert torch.allclose(energies, energies.flip(0))
    assert (energies[6:].diff() > 0).all()


@pytest.mark.parametrize("values", ["probabilities", "log-probabilities"])
def test_energy_of_rounded_probabilities_is_not_their_rounding(values):
    p = torch.linspace(0.05, 0.95, 7)
    rounded = torch.stack([p, 1 - p], 1).mul(0.994).round(decimals=3)
    answers = rounded if values == "probabilities" else rounded.log()
    assert ClassOutputs(values=values).decode(answers, 2).logsumexp(1).abs().max() < 1e-6


def test_a_class_that_the_data_do_not_have_is_left_out_and_the_others_share_its_part():
    p = ClassOutputs(values="probabilities", order=(1, 2)).decode(P[:1], 2).softmax(1)
    assert torch.allclose(p, torch.tensor([[0.375, 0.625]]))


@pytest.mark.parametrize(
    ("outputs", "values", "says"),
    [
        (ClassOutputs(values="probabilities"), P * 2, "no probabilities"),
        (ClassOutputs(values="probabilities"), P * float("nan"), "no probabilities"),
        (ClassOutputs(), P[:, :2], "of 3 classes"),
        (ClassOutputs(values="sigmoid"), P, "3 scores"),
        (ClassOutputs(), np.array(["a", "b"], object), "labels"),
        (ClassOutputs(values="labels"), torch.tensor([1, 7]), "label '7'"),
        (ClassOutputs(values="labels", labels=("a", "b", "c")), np.array(["a", "z"], object), "label 'z'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_does_not_fit_is_refused(outputs, values, says):
    with pytest.raises(BadInput, match=says):
        outputs.decode(values, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PixelInputs(layout="CHWN"),
        lambda: PixelInputs(channels="GRB"),
        lambda: PixelInputs(dtype="float31"),
        lambda: PixelInputs(mean=(0.5,)),
        lambda: PixelInputs(mean=(0.5,), deviation=(0.0,)),
        lambda: PixelInputs(size=(3,)),
        lambda: ColumnInputs(form="list"),
        lambda: ColumnInputs(form="tensors", categories="one-hot"),
        lambda: ClassOutputs(values="score"),
        lambda: Adapter(IMAGES, ("a", "b"), ColumnInputs()),
        lambda: Adapter(IMAGES, ("a",), PixelInputs()),
        lambda: Adapter(IMAGES, ("a", "a"), PixelInputs()),
        lambda: Adapter(IMAGES, ("a", "b"), PixelInputs(), ClassOutputs(order=(1, 0, 2))),
    ],
)
def test_a_recipe_with_an_unknown_value_is_refused(make):
    with pytest.raises(BadRecipe):
        make()


class Echo(RawModel):
    """Model that returns its input, flattened, as scores."""

    place, digest, metadata = "echo", "0" * 64, Metadata()

    def __init__(self, dtype="float32", shape=(None, 3, 4, 4), outputs=("scores",)):
        self.inputs = (TensorSpec("x", dtype, shape),)
        self.outputs = tuple(TensorSpec(name, "float32", (None, 48)) for name in outputs)

    def run(self, arrays):
        assert str(arrays["x"].dtype) == self.inputs[0].dtype
        assert self.batch in (None, len(arrays["x"]))
        return {spec.name: arrays["x"].reshape(len(arrays["x"]), -1).astype(np.float32) for spec in self.outputs}


CLASSES = tuple(map(str, range(48)))


@pytest.mark.parametrize(
    ("raw", "inputs", "outputs", "says"),
    [
        (Echo(), PixelInputs("y"), ClassOutputs(), r"inputs y.*expected x: float32 \(\?, 3, 4, 4\)"),
        (Echo(), PixelInputs(layout="NHWC"), ClassOutputs(), r"shape \('N', 4, 4, 3\)"),
        (Echo(), PixelInputs(layout="flat"), ClassOutputs(), r"shape \('N', 48\)"),
        (Echo(), PixelInputs(dtype="float64"), ClassOutputs(), r"x as float64"),
        (Echo("string", (None, 3, 4, 4)), PixelInputs(), ClassOutputs(), r"x as numbers"),
        (Echo(), PixelInputs(), ClassOutputs("logits"), r"output 'logits'.*one of scores"),
        (Echo(shape=(None, 3, 2, 2)), PixelInputs(), ClassOutputs(), r"shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_adapter_that_does_not_fit_its_model_is_refused(raw, inputs, outputs, says):
    with pytest.raises(BadInput, match=says):
        victims.AdaptedModel(raw, Adapter(IMAGES, CLASSES, inputs, outputs))


def test_an_output_must_be_named_where_there_are_several():
    model = victims.AdaptedModel(Echo(outputs=("a", "b")), Adapter(IMAGES, CLASSES, PixelInputs()))
    with pytest.raises(BadInput, match="one of a, b"):
        model(images())


@pytest.mark.parametrize("batch", [None, 1, 2, 4])
@pytest.mark.parametrize("n", [0, 1, 4, 5])
def test_a_fixed_batch_is_filled_and_nothing_of_it_is_left(batch, n):
    model = victims.AdaptedModel(Echo(shape=(batch, 3, 4, 4)), Adapter(IMAGES, CLASSES, PixelInputs()))
    assert torch.equal(
        model(images(n)) if n else model(images(1)[:0]), images(n).flatten(1) if n else torch.zeros(0, 48)
    )


class Counting(Echo):
    """Model that keeps what it was asked, and gives no two answers alike."""

    def __init__(self, repeatable=True):
        super().__init__()
        self.repeatable, self.rows = repeatable, []

    def run(self, arrays):
        self.rows.append(len(arrays["x"]))
        return {"scores": super().run(arrays)["scores"] + sum(self.rows)}


def remembering(raw, size):
    model = victims.AdaptedModel(raw, Adapter(IMAGES, CLASSES, PixelInputs()))
    model.remember(size)
    return model


def test_a_model_that_remembers_is_run_on_new_inputs_alone():
    raw = Counting()
    model, x = remembering(raw, 2**20), images(5)
    first = model(x[:3])
    assert torch.equal(model(x[[1, 4, 1, 3, 4]])[[0, 2]], first[[1, 1]])
    assert raw.rows == [3, 2]
    assert model(torch.nextafter(x[:1], torch.tensor(2.0))).ne(first[0]).any()  # less than marks tell apart
    assert raw.rows == [3, 2, 1]


def test_a_model_remembers_no_more_than_it_may():
    raw = Counting()
    model, x = remembering(raw, 4 * (4 * 48 + 300)), images(40)
    for batch in x.split(10):
        model(batch)
    model(x[-4:])  # all that were kept
    assert raw.rows == [10] * 4
    model(x[-8:])
    assert raw.rows == [10] * 4 + [4]
    assert len(model._answers) <= 12  # the last batch is dropped before the next one


def test_answers_that_may_differ_are_not_remembered():
    raw = Counting(repeatable=False)
    model = remembering(raw, 2**20)
    model(images()), model(images())
    assert raw.rows == [2, 2]


def test_the_fingerprint_depends_on_the_model_and_on_its_adapter():
    adapters = [Adapter(IMAGES, CLASSES, PixelInputs(low=low)) for low in (0.0, -1.0)]
    other = Echo()
    other.digest = "1" * 64
    prints = {victims.fingerprint(victims.AdaptedModel(raw, one)) for raw in (Echo(), other) for one in adapters}
    assert len(prints) == 4


def test_weights_of_any_type_have_a_fingerprint():
    kinds = torch.bfloat16, torch.float16, torch.float64
    prints = {victims.fingerprint(nn.Linear(2, 2).to(dtype)) for dtype in kinds}
    assert len(prints) == 3


def test_gradients_pass_the_adapter_of_a_torch_module_alone():
    adapter = Adapter(IMAGES, ("a", "b"), PixelInputs(layout="flat", **IMAGENET))
    for raw, keeps in ((victims.TorchModel(nn.Linear(48, 2)), True), (Echo(shape=(None, 48)), False)):
        adapter = Adapter(IMAGES, CLASSES if not keeps else ("a", "b"), adapter.inputs)
        model, x = victims.AdaptedModel(raw, adapter), images().requires_grad_()
        assert model(x).requires_grad is keeps
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_queries_of_another_domain_are_refused():
    model = victims.AdaptedModel(Echo(), Adapter(IMAGES, CLASSES, PixelInputs()))
    for x in (torch.rand(2, 3, 5, 5), torch.rand(2, 3, 4, 4).double(), torch.zeros(2, 3, 4, 4, dtype=torch.uint8)):
        with pytest.raises(BadInput, match="expected"):
            model(x)


def test_labels_are_reordered_by_name():
    adapter = Adapter(IMAGES, ("a", "b"), PixelInputs(), ClassOutputs(values="labels", labels=("no", "yes")))
    assert adapter.with_classes(["b", "a"]).outputs.labels == ("yes", "no")
    scores = Adapter(IMAGES, ("a", "b"), PixelInputs(), ClassOutputs(order=(4, 2))).with_classes(["b", "a"])
    assert (scores.classes, scores.outputs.order) == (("b", "a"), (2, 4))
