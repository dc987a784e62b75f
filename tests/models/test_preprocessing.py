"""Preprocessing: what a network gets of a row of a table."""

import numpy as np
import pytest
import torch

from feint.errors import BadInput
from feint.models import stored
from feint.models.networks import Network
from feint.models.preprocessing import features
from feint.models.training import Training, learn
from feint.signature import Column, Columns, Text

PUBLISHED = Columns((
    Column("age", optional=True, mean=40.0, deviation=10.0),
    Column("job", ("clerk", "cook", "none"), optional=True),
    Column("sum", mean=1e6, deviation=1e3),
))  # fmt: skip
X = torch.tensor([[50.0, 1, 1e6 + 500], [torch.nan, torch.nan, 1e6], [30.0, 2, 1e6 - 2e3]], dtype=torch.float64)


def test_features_are_standardised_numbers_then_categories_then_missing_values():
    layer = features(PUBLISHED)
    expected = [[1, 0.5, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1], [-1, -2, 0, 0, 1, 0, 0]]
    assert layer.features == 7
    torch.testing.assert_close(layer(X), torch.tensor(expected, dtype=torch.float32))
    assert not layer.state_dict()  # the recipe publishes it


def test_what_the_domain_does_not_publish_comes_from_the_training_and_is_stored(tmp_path):
    domain = Columns((Column("age", optional=True), Column("flat"), Column("empty", optional=True)))
    x = torch.tensor([[10.0, 7, torch.nan], [torch.nan, 7, torch.nan], [30.0, 7, torch.nan]], dtype=torch.float64)
    model = learn(Network("mlp", domain, 2), x, torch.tensor([0, 1, 1]), Training(epochs=1))
    assert model.preprocessing.mean.tolist() == [20.0, 7.0, 0.0]
    assert model.preprocessing.deviation.tolist() == [10.0, 1.0, 1.0]
    assert model.preprocessing(x).isfinite().all()
    stored.save(tmp_path / "copy", model)
    assert torch.equal(stored.load(tmp_path / "copy")(x), model(x))


def test_a_gradient_reaches_numbers():
    x = X.clone().requires_grad_()
    Network("mlp", PUBLISHED, 3).build()(x).logsumexp(1).sum().backward()
    assert x.grad is not None
    assert (x.grad[[0, 2]][:, [0, 2]] != 0).all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", ["linear", "one_vs_rest", "mlp20", "mlp"])
def test_networks_learn_a_rule_on_columns(name):
    random = np.random.default_rng(0)
    x = torch.from_numpy(np.stack([random.normal(40, 10, 600), random.integers(0, 3, 600), np.full(600, 1e6)], 1))
    labels = ((x[:, 0] > 40) & (x[:, 1] != 2)).long()
    model = learn(Network(name, PUBLISHED, 2), x[:400], labels[:400], Training(epochs=40, learning_rate=0.05))
    assert (model(x[400:]).argmax(1) == labels[400:]).float().mean() > 0.85  # two thirds are of class 0


@pytest.mark.parametrize(("name", "domain"), [("lenet", PUBLISHED), ("tree", Text(8)), ("resnet20", (30,))])
def test_a_network_of_other_inputs_is_refused(name, domain):
    with pytest.raises(BadInput, match=f"the network '{name}' for .* expected one of"):
        Network(name, domain, 2)
