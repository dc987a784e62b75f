"""Inputs of the owner, as their model takes them: domain and classes are the model's, whatever the set calls them."""

import pytest
import torch
from torch import nn

from feint.cli.common import named_network, owner_split, task_inputs
from feint.cli.out import continued, is_finished
from feint.data import Split, pools
from feint.errors import BadInput, NotWritten
from feint.models.networks import Network
from feint.signature import Column, Columns, Pixels

NAMES = tuple("9876543210")


class NamedModel(nn.Module):
    """Model whose classes have names, in an order of its own."""

    def __init__(self, domain, class_names):
        super().__init__()
        self.domain, self.class_names = domain, class_names


@pytest.fixture
def reversed_model(digits):
    return NamedModel(digits.domain, NAMES)


def test_labels_of_a_named_set_are_matched_with_the_names_of_classes(digits, reversed_model):
    inputs = task_inputs("digits", reversed_model)
    assert torch.equal(inputs.train.labels, 9 - digits.train.labels)
    assert torch.equal(inputs.held_out.labels, 9 - digits.test.labels)
    assert inputs.classes == NAMES
    split, classes = owner_split("digits/test:1/2", reversed_model)
    assert torch.equal(split.labels, 9 - digits.test.share(1, 2).labels)
    assert classes == NAMES


def test_a_set_in_the_models_own_order_is_the_set_itself(digits):
    inputs = task_inputs("digits", NamedModel(digits.domain, NAMES[::-1]))
    assert [inputs.train, inputs.pool, inputs.held_out] == [digits.train, digits.pool, digits.test]
    assert inputs.classes == digits.classes


def test_all_parts_of_a_named_set_have_the_models_size(digits):
    inputs = task_inputs("digits", NamedModel(Pixels((1, 6, 6)), NAMES))
    assert {split.shape for split in (inputs.train, inputs.pool, inputs.held_out)} == {(1, 6, 6)}
    assert torch.equal(inputs.train.labels, 9 - digits.train.labels)


@pytest.mark.parametrize("names", [("cat", "dog"), ("0", "1", "cat")], ids=["other names", "some names"])
def test_a_named_set_of_other_classes_is_an_error(digits, names):
    with pytest.raises(BadInput, match="label"):
        task_inputs("digits", NamedModel(digits.domain, names))


def test_a_named_set_of_another_domain_is_an_error():
    with pytest.raises(BadInput, match="which the model takes"):
        task_inputs("digits", NamedModel(Columns((Column("age"),)), NAMES))


def test_labels_of_another_sets_pool_are_an_error(reversed_model, monkeypatch, digits):
    strange = Split.of(digits.train.values[:30], torch.arange(30).numpy(), domain=digits.domain, name="other")
    monkeypatch.setattr(pools, "parse_split", lambda place: strange)
    with pytest.raises(BadInput, match=r"labels up to 29.*10 classes"):
        owner_split("digits/pool", reversed_model)


def test_samples_of_the_owner_show_inputs_and_classes_of_a_network_that_is_named(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("a,b,kind\n1,2,x\n3,4,y\n5,7,z\n")
    network = named_network("logistic", str(file), "kind")
    assert network is not None
    assert (network.domain.shape, network.classes) == ((2,), 3)
    assert named_network("mlp", None, domain=network.domain, classes=4) == Network("mlp", network.domain, 4)
    with pytest.raises(BadInput, match="name them: --data NAME"):
        named_network("mlp", None)


def test_nobody_is_asked_whose_answers_cannot_be_kept(tmp_path):
    (tmp_path / "file").write_text("")
    answers = tmp_path / "file/transcript.safetensors"
    with pytest.raises(NotWritten), continued(lambda _: pytest.fail("asked"), answers, "somebody"):
        pass


def test_a_place_that_cannot_be_written_is_refused_before_its_content_is_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritten, match="room and permission"):
        is_finished(tmp_path / "file" / "fitted", "")
