"""Networks: sizes of the literature, and the published victim."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from feint import victims
from feint.errors import BadInput, DamagedFile, MissingData, UnknownName
from feint.models import networks
from feint.models.networks import Network
from feint.signature import Pixels

PARAMETERS = {  # He et al. 2016 (0.27, 0.46, 0.85 M), Ma et al. 2021 (11.17, 23.52 M), Xie et al. 2017, Zagoruyko 2016
    "resnet9_16": 153_872,
    "resnet9_32": 611_872,
    "resnet9_32_mirrored": 611_872,
    "resnet9_32_shrunk": 611_872,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet56": 853_018,
    "resnet18": 11_173_962,
    "resnet50": 23_520_842,
    "resnext29": 4_775_754,
    "wrn16_4": 2_748_890,
    "wrn40_2": 2_243_546,
    "wrn28_10": 36_479_194,
    "vgg16_bn": 14_724_042,
    "lenet": 136_886,
    "mlp": 411_146,
    "mlp20": 61_670,
    "tree": 0,
    "boosted_trees": 0,
    "random_forest": 0,
    "logistic": 30_730,
    "linear": 30_730,
    "one_vs_rest": 30_730,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, architecture in networks.ARCHITECTURES.items() if architecture.takes(Pixels((3, 32, 32)))]
)
def test_sizes_are_those_of_the_literature(name):
    model = Network(name, (3, 32, 32), 10).build()
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)], ids=str)
@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet20", "wrn16_4"])
def test_any_image_goes_in_and_logits_come_out(name, shape):
    assert Network(name, shape, 7).build().eval()(torch.rand(2, *shape)).shape == (2, 7)


def test_weights_come_from_the_seed_alone():
    network = Network("lenet", (1, 8, 8), 3)
    a, b, c = (network.build(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["body.0.weight"], c["body.0.weight"])


def test_a_classifier_goes_to_another_process_as_its_recipe_and_weights():
    model = Network("lenet", (1, 28, 28), 10).build(seed=3)
    for mode in (True, False):
        again = pickle.loads(pickle.dumps(model.train(mode)))
        assert again.network == model.network
        assert again.training == mode
        assert victims.fingerprint(again) == victims.fingerprint(model)


def test_an_unknown_network_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'resnet20'"):
        Network("resnet-20", (3, 32, 32), 10)


def test_inputs_of_another_shape_are_refused():
    with pytest.raises(BadInput, match=r"\(N, 1, 8, 8\)"):
        Network("mlp", (1, 8, 8), 3).build()(torch.rand(2, 1, 9, 9))


def test_damaged_or_foreign_weights_are_refused(tmp_path):
    network = Network("resnet20", (3, 32, 32), 10)
    with pytest.raises(MissingData):
        victims.load_published(tmp_path / "none.npz", network)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DamagedFile, match="do not fit"):
        victims.load_published(tmp_path / "other.npz", network)
    (tmp_path / "broken.npz").write_bytes(b"PK broken")
    with pytest.raises(DamagedFile):
        victims.load_published(tmp_path / "broken.npz", network)


def test_a_pickle_is_never_loaded(tmp_path):
    np.savez(tmp_path / "pickled.npz", a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DamagedFile, match="pickle"):
        victims.load_published(tmp_path / "pickled.npz", Network("resnet20", (3, 32, 32), 10))


@pytest.mark.slow
def test_the_published_victim_is_as_good_as_it_says(real_data):
    from feint import data
    from feint.evaluation.metrics import stealer_accuracy

    weights = real_data / "weights_cifar10_resnet20.npz"
    if not weights.exists() or not (real_data / "cifar10").is_dir():
        pytest.skip("FEINT_DATA holds no published victim")
    images = data.load("cifar10")
    model = victims.load_published(weights, networks.get("resnet20", images))
    test = images.test.take(slice(0, 2500), part="test, first 2,500")  # of all 10,000 it is right on 91.73%
    assert stealer_accuracy(model, test) == 2302 / 2500  # no two probabilities are nearer than 0.002


def test_lenet_pools_before_relu_and_nothing_is_lost():
    pooled = Network("lenet", (1, 8, 8), 3).build(0)
    usual = copy.deepcopy(pooled)
    layers = list(usual.body)
    for pool, relu in ((1, 2), (4, 5)):
        assert isinstance(layers[pool], nn.MaxPool2d)
        layers[pool], layers[relu] = layers[relu], layers[pool]
    usual.body = nn.Sequential(*layers)
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = [model(x).logsumexp(1).sum() for model in (pooled, usual)]
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses)
    for ours, theirs in zip(pooled.parameters(), usual.parameters(), strict=True):
        assert ours.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


def test_a_mirrored_network_answers_with_the_mean_of_both_images():
    network = Network("resnet9_32_mirrored", (3, 16, 16), 5)
    model, plain = network.build(2), replace(network, name="resnet9_32").build(2)
    model.load_state_dict(plain.state_dict())
    x = torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = model.eval()(x)
        mean = (plain.eval()(x).softmax(-1) + plain(x.flip(-1)).softmax(-1)) / 2
    torch.testing.assert_close(z.exp(), mean)
    torch.testing.assert_close(z, model(x.flip(-1)))


@pytest.mark.parametrize(
    ("shape", "size"), [((3, 224, 224), (32, 32)), ((1, 48, 192), (16, 64)), ((3, 20, 24), (20, 24))], ids=str
)
def test_a_shrunk_network_sees_the_means_of_areas(shape, size):
    model, plain = Network("resnet9_32_shrunk", shape, 5).build(2), Network("resnet9_32", (shape[0], *size), 5).build(2)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    height, width = shape[1] // size[0], shape[2] // size[1]
    areas = x.unflatten(3, (size[1], width)).unflatten(2, (size[0], height)).mean((3, 5))
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), plain.eval()(areas))


def test_a_mirrored_network_is_trained_on_single_images():
    network = Network("resnet9_32_mirrored", (3, 16, 16), 5)
    model, plain = network.build(2), replace(network, name="resnet9_32").build(2)
    x = torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.train()(x), plain.train()(x))
