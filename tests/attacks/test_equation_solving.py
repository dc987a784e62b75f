"""Equation solving in d + 1 queries, and on answers without digits; retraining."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tests.support.problems import Linear
from tests.support.tables import TableVictim, made_table, random_rows, table
from tests.support.tables import victim_of as victim_on

from feint import data
from feint.attacks import EquationSolving, HardLabels, Retraining
from feint.attacks.parametric.experiment_design import WeighingDesign, flat_sequence
from feint.attacks.parametric.linear_parameters import classifier, parameters, with_head
from feint.attacks.parametric.row_design import RowDesign
from feint.attacks.seeds import attacker_seed
from feint.defenses.access import Budget
from feint.defenses.outputs import LabelOnly, Rounding, TopK
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Network
from feint.models.pretraining import copy_body
from feint.models.stored import Trained
from feint.models.training import Training, train
from feint.service import Defense, Service
from feint.victims import answers


def victim(shape=(1, 4, 4), classes=3, *, size=5.0, seed=0, name="linear"):
    """A model of the linear kinds whose parameters have the norm `size` in each class."""
    generator = torch.Generator().manual_seed(seed)
    d = math.prod(shape)
    weight = torch.randn(classes, d, generator=generator).double() * size / d**0.5
    return classifier(Network("linear", shape, classes), weight, torch.randn(classes, generator=generator).double())


def relative_error(stolen, true):
    """Of all parameters, up to the shift that the classes share."""
    a, b = (torch.cat([weight, bias[:, None]], 1) for weight, bias in (parameters(stolen), parameters(true)))
    a, b = a - a.mean(0), b - b.mean(0)
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize(("shape", "classes"), [((1, 1, 1), 2), ((1, 2, 2), 3), ((1, 8, 8), 10), ((3, 8, 8), 5)])
def test_softmax_regression_is_recovered_in_d_plus_1_queries(shape, classes):
    true = victim(shape, classes)
    oracle = Service(true).oracle(client="a", budget=math.prod(shape) + 1)
    assert relative_error(EquationSolving(Network("linear", shape, classes)).steal(oracle), true) < 1e-6
    assert oracle.asked == math.prod(shape) + 1
    assert oracle.transcript.light


@given(d=st.integers(1, 12), n=st.integers(1, 40), size=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_the_fast_solution_is_that_of_a_dense_least_squares(d, n, size):
    design = WeighingDesign.draw(Network("linear", (1, 1, d), 2), n, 0.5, torch.Generator().manual_seed(d))
    x = torch.cat(list(design.inputs(size))).double()
    assert x.shape == (n, d)
    assert x.min() >= 0
    assert x.max() <= 0.5
    z = torch.randn(n, 3, generator=torch.Generator().manual_seed(n)).double()
    centred = torch.cat([x - 0.25, x.new_ones(n, 1)], 1)  # the unknowns whose norm is the least
    if n > d:  # more equations than unknowns: nearly equal rows of a partial block take the norm into account
        wanted = torch.linalg.lstsq(centred, z, driver="gelsd").solution
        weight, bias = design.solve(z)
        assert torch.allclose(weight.T, wanted[:-1], atol=1e-6)
        assert torch.allclose(bias, wanted[-1] - 0.25 * wanted[:-1].sum(0), atol=1e-6)
    parameters = torch.randn(d + 1, 3, generator=torch.Generator().manual_seed(0)).double()
    rows = design.apply(parameters).flatten(0, 1)[:n]
    assert torch.allclose(rows, centred @ parameters, atol=1e-12)
    back = torch.zeros(len(design.order) * (d + 1), 3).double()
    back[:n] = z
    assert torch.allclose(design.adjoint(back.view(-1, d + 1, 3)), centred.T @ z, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 63, 64, 100, 784, 10_000])
def test_the_sequence_is_flat_in_frequency_and_low_in_its_peak(length):
    g = flat_sequence(length)
    assert g.abs().max() == 0.5
    assert (g * 256 == (g * 256).round()).all()
    spectrum = torch.fft.fft(g).abs()
    assert spectrum.min() > 0.8 * spectrum.max()
    assert spectrum.min() > 0.24 * length**0.5  # a Hadamard matrix, where there is one, has 1/2


def test_a_budget_below_the_least_is_refused_before_the_first_query():
    oracle = Service(victim()).oracle(client="a", budget=16)
    with pytest.raises(BadInput, match="at least 17"):
        EquationSolving(Network("linear", (1, 4, 4), 3)).steal(oracle)
    assert oracle.asked == 0


def test_a_refusal_below_the_least_gives_the_solution_of_least_norm():
    service = Service(victim(), Defense(access=[Budget(9)]))
    oracle = service.oracle(client="a", budget=17)
    network = Network("linear", (1, 4, 4), 3)
    stolen = EquationSolving(network).steal(oracle)
    x = torch.cat(
        list(WeighingDesign.draw(network, 17, 1.0, torch.Generator().manual_seed(attacker_seed(0))).inputs(9))
    )[:9].view(-1, 1, 4, 4)
    assert torch.allclose(stolen(x).softmax(-1), victim()(x).softmax(-1), atol=1e-5)
    centred = [weight - weight.mean(0) for weight in (parameters(stolen)[0], parameters(victim())[0])]
    assert centred[0].norm() < centred[1].norm()


def test_labels_only_are_refused_by_name():
    network = Network("linear", (1, 4, 4), 3)
    for attack, defense in (
        (EquationSolving(network), LabelOnly()),
        (EquationSolving(network).through(HardLabels()), None),
    ):
        oracle = Service(victim(), Defense(outputs=[defense] if defense else [])).oracle(client="a", budget=40)
        with pytest.raises(BadInput, match="LowdMeek"):
            attack.steal(oracle)


@pytest.mark.parametrize("defense", [Rounding(decimals=1), TopK(k=2)], ids=repr)
def test_zeros_leave_finite_parameters(defense):
    oracle = Service(victim(size=40.0), Defense(outputs=[defense])).oracle(client="a", budget=17)
    stolen = EquationSolving(Network("linear", (1, 4, 4), 3)).steal(oracle)
    assert all(tensor.isfinite().all() for tensor in stolen.state_dict().values())


def test_saturated_answers_are_asked_anew_with_smaller_inputs():
    true = victim(size=700.0)  # logits apart by hundreds: probabilities of zero
    network = Network("linear", (1, 4, 4), 3)
    errors = [
        relative_error(EquationSolving(network).steal(Service(true).oracle(client="a", budget=budget)), true)
        for budget in (17, 60)
    ]
    assert errors[1] < 1e-5  # the victim computes in float32, and its inputs are dark
    assert errors[0] > 1e-2


def test_more_queries_average_rounding_away():
    true = victim(size=2.0)
    network = Network("linear", (1, 4, 4), 3)
    service = Service(true, Defense(outputs=[Rounding(decimals=3)]))
    errors = [
        relative_error(EquationSolving(network).steal(service.oracle(client="a", budget=budget)), true)
        for budget in (17, 17 * 64)
    ]
    assert errors[1] < errors[0] / 4


def test_another_network_is_named():
    with pytest.raises(BadRecipe, match="'linear'"):
        EquationSolving(Network("mlp", (1, 4, 4), 3))


ENCODED = Network("lenet", (1, 8, 8), 4)
FEATURES = 84


@pytest.fixture(scope="module")
def encoder():
    """A public LeNet of digits."""
    digits = data.load("digits")
    return train(replace(ENCODED, classes=10), digits.train, training=Training(epochs=3, batch_size=32))


@pytest.fixture(scope="module")
def private(encoder):
    """The encoder with a private head of four classes."""
    model = ENCODED.build(7)
    copy_body(encoder, model)
    generator = torch.Generator().manual_seed(2)
    return with_head(model, torch.randn(4, FEATURES, generator=generator), torch.randn(4, generator=generator))


def test_a_private_head_of_a_public_encoder_takes_two_queries_a_feature(encoder, private):
    digits = data.load("digits")
    oracle = Service(private).oracle(client="a", budget=2 * FEATURES)
    stolen = EquationSolving(ENCODED, Trained.of(encoder), digits.pool).steal(oracle)
    assert oracle.asked == 2 * FEATURES
    labels = [answers(model, digits.test).argmax(-1) for model in (stolen, private)]
    assert (labels[0] == labels[1]).double().mean() >= 0.99


def test_an_encoder_without_inputs_is_asked_about_random_ones(encoder, private):
    oracle = Service(private).oracle(client="a", budget=2 * FEATURES)
    stolen = EquationSolving(ENCODED, Trained.of(encoder)).steal(oracle)
    x = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    assert (stolen(x).argmax(-1) == private(x).argmax(-1)).double().mean() >= 0.99


def test_another_network_than_the_encoders_is_refused_before_the_first_query(encoder, private):
    oracle = Service(private).oracle(client="a", budget=200)
    with pytest.raises(BadInput, match="a start of the network 'lenet'"):
        EquationSolving(replace(ENCODED, name="mlp"), Trained.of(encoder)).steal(oracle)
    assert oracle.asked == 0


def test_an_encoder_ends_in_a_linear_layer_with_biases(encoder, private):
    network = Network("resnet9_32", (1, 8, 8), 4)
    with pytest.raises(BadRecipe, match="'resnet9_32'; expected one that ends in a linear layer with biases"):
        EquationSolving(network, Trained.of(network.build())).steal(Service(private).oracle(client="a", budget=200))


def test_a_linear_model_takes_no_inputs():
    with pytest.raises(BadRecipe, match="inputs without an encoder"):
        EquationSolving(Network("linear", (1, 4, 4), 3), inputs=data.load("digits").pool)


@pytest.mark.parametrize("name", ["linear", "one_vs_rest"])
def test_retraining_finds_the_parameters_of_models_of_its_own_form(name):
    network = Network(name, (1, 2, 2), 3)
    model = network.build(7).eval()
    model.load_state_dict({key: tensor * 6 for key, tensor in model.state_dict().items()})
    oracle = Service(model).oracle(client="a", budget=60)
    stolen = Retraining(network).steal(oracle)
    x = torch.rand(500, 1, 2, 2, generator=torch.Generator().manual_seed(3))
    assert (stolen(x).softmax(-1) - model(x).softmax(-1)).abs().max() < 1e-5
    key = "body.0.1.weight" if name == "one_vs_rest" else "body.1.weight"
    states = (stolen.state_dict()[key], model.state_dict()[key])
    estimate, true = (weight - (0 if name == "one_vs_rest" else weight.mean(0)) for weight in states)
    assert (estimate - true).norm() / true.norm() < 1e-4


def test_retraining_a_perceptron_agrees_with_it():
    network = Network("mlp20", (1, 2, 2), 3)
    model = network.build(1).eval()
    model.load_state_dict({key: tensor * 3 for key, tensor in model.state_dict().items()})
    count = sum(weight.numel() for weight in model.parameters())
    stolen = Retraining(network, iterations=200).steal(Service(model).oracle(client="a", budget=2 * count))
    x = torch.rand(1000, 1, 2, 2, generator=torch.Generator().manual_seed(3))
    assert (stolen(x).argmax(-1) == model(x).argmax(-1)).double().mean() > 0.95


def test_decay_keeps_the_weights_small():
    norms = [
        Retraining(Network("linear", (1, 2, 2), 3), decay=decay)
        .steal(Service(Linear()).oracle(client="a", budget=60))
        .state_dict()["body.1.weight"]
        .norm()
        for decay in (0.0, 0.1)
    ]
    assert norms[1] < norms[0] / 2


@pytest.mark.parametrize(("name", "least"), [("german_credit", 49), ("adult", 101)])
def test_regression_on_a_table_takes_a_query_for_each_unknown(name, least):
    train, test = table(name)
    true = victim_on(LogisticRegression(max_iter=1000), train, scaled=True)
    network = Network("linear", train.domain, 2)
    oracle = Service(true).oracle(client="a", budget=least)
    stolen = EquationSolving(network).steal(oracle)
    assert oracle.asked == least
    for x in (test.inputs(), random_rows(train.domain)):
        assert (stolen(x).softmax(-1) - true(x).softmax(-1)).abs().max() < 5e-3  # 3e-4 to 3e-3 of adult, eight seeds
        assert (stolen(x).argmax(-1) == true(x).argmax(-1)).double().mean() > 0.999
    with pytest.raises(BadInput, match=f"at least {least}"):
        EquationSolving(network).steal(Service(true).oracle(client="a", budget=least - 1))


def test_missing_values_are_unknowns_too():
    data = made_table(optional=True)
    rows = torch.cat([data.inputs().nan_to_num(0), data.inputs().isnan()], 1).numpy()

    class Imputed(TableVictim):
        def forward(self, x):
            return super().forward(torch.cat([x.nan_to_num(0), x.isnan()], 1))

    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows[:, [0, 1, 3, 4, 5]], data.labels.numpy())
    true = Imputed(make_pipeline(FunctionTransformer(lambda x: x[:, [0, 1, 3, 4, 5]]), estimator), data.domain)
    oracle = Service(true).oracle(client="a", budget=30)
    stolen = EquationSolving(Network("linear", data.domain, 3)).steal(oracle)
    assert (stolen(data.inputs()).softmax(-1) - true(data.inputs()).softmax(-1)).abs().max() < 1e-5


def test_the_first_rows_of_a_design_determine_the_parameters():
    data = made_table(optional=True)
    design = RowDesign.draw(Network("linear", data.domain, 3), 500, 1.0, torch.Generator().manual_seed(0))
    assert design.least == 1 + 2 + 2 + 2 + 1  # bias, numbers and their indicators, two of three cities, the share
    assert torch.linalg.matrix_rank(design.features[: design.least]) == design.least
    assert torch.linalg.matrix_rank(design.features) == design.least
    small = RowDesign.draw(Network("linear", data.domain, 3), 500, 1 / 8, torch.Generator().manual_seed(0))
    assert small.x[:, 0].nan_to_num(150).sub(147.5).abs().max() <= 305 / 16


@pytest.mark.parametrize("name", ["linear", "mlp20"])
def test_retraining_takes_rows_of_a_table(name):
    data = made_table()
    true = victim_on(LogisticRegression(), data, scaled=True)
    stolen = Retraining(Network(name, data.domain, 3), iterations=200).steal(
        Service(true).oracle(client="a", budget=200)
    )
    x = random_rows(data.domain)
    assert (stolen(x).argmax(-1) == true(x).argmax(-1)).double().mean() > (0.99 if name == "linear" else 0.7)
