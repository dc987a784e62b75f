"""Directories of Hugging Face as victims: loaded from disk, without remote code and pickles."""

import json
import pickle

import pytest
import torch

from feint import victims
from feint.errors import BadInput, DamagedFile
from feint.signature import Pixels, Text

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the library
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TEXTS = ["good film", "bad", "a film so good that it has more tokens than the model takes " * 3]


def tokenizer():
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    model.train_from_iterator(TEXTS, tokenizers.trainers.WordLevelTrainer(special_tokens=special))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model, model_max_length=16, **names)


def text_config(**options):
    return transformers.BertConfig(vocab_size=64, max_position_embeddings=16, **SIZES, **options)


@pytest.fixture
def text_folder(tmp_path):
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(text_config(id2label={0: "neg", 1: "neu", 2: "pos"}))
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_a_classifier_of_texts_answers_as_transformers_does(text_folder):
    victim = victims.load_any(text_folder, domain=Text(250))
    assert (victim.domain, victim.class_names) == (Text(250), ("neg", "neu", "pos"))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(text_folder).eval()
    tokens = tokenizer()(TEXTS, padding=True, truncation=True, return_tensors="pt")
    x = torch.from_numpy(victim.domain.from_strings(TEXTS))
    assert torch.allclose(victims.predict(victim, x), model(**tokens).logits.softmax(1), atol=1e-5)
    assert torch.equal(pickle.loads(pickle.dumps(victim))(x), victim(x))


def test_the_fingerprint_depends_on_the_weights(text_folder):
    before = victims.fingerprint(victims.load_any(text_folder))
    assert victims.fingerprint(victims.load_any(text_folder)) == before
    torch.manual_seed(1)
    transformers.BertForSequenceClassification(text_config(num_labels=3)).save_pretrained(text_folder)
    assert victims.fingerprint(victims.load_any(text_folder)) != before


def image_folder(folder, **settings):
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=5, **SIZES)
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    defaults = {"do_resize": True, "size": size, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(defaults | settings))
    return model


@pytest.mark.parametrize(
    ("settings", "prepare"),
    [
        ({}, lambda x: (x - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)),
        ({"do_normalize": False}, lambda x: x),
        ({"do_normalize": False, "do_rescale": False}, lambda x: x * 255),
        ({"do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True}, lambda x: 2 * x - 1),
    ],
)
def test_a_classifier_of_images_takes_what_its_preprocessor_says(settings, prepare, tmp_path):
    model = image_folder(tmp_path, **settings)
    victim = victims.load_any(tmp_path)
    assert victim.domain == Pixels((3, 32, 32))
    assert victim.class_names == ("0", "1", "2", "3", "4")
    x = torch.from_numpy(victim.domain.sample(3, 0)).requires_grad_()
    assert torch.allclose(victim(x), model(pixel_values=prepare(x)).logits, atol=1e-4)
    victim(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert torch.equal(pickle.loads(pickle.dumps(victim))(x), victim(x))


def test_images_of_another_size_are_resized_as_the_preprocessor_does(tmp_path):
    image_folder(tmp_path)
    victim = victims.load_any(tmp_path, domain=Pixels((3, 48, 40)))
    assert victims.predict(victim, torch.rand(2, 3, 48, 40)).shape == (2, 5)


@pytest.mark.parametrize(
    ("architecture", "options", "says"),
    [
        ("BertForSequenceClassification", {"num_labels": 1}, "regression"),
        ("BertForSequenceClassification", {"problem_type": "multi_label_classification"}, "multi-label"),
        ("BertForTokenClassification", {}, "token classification"),
        ("BertForMaskedLM", {}, "generation"),
        ("BertModel", {}, "embedding"),
    ],
)
def test_what_is_no_classifier_is_refused_with_what_it_is(architecture, options, says, tmp_path):
    getattr(transformers, architecture)(text_config(**options)).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=says):
        victims.load_any(tmp_path)


def test_remote_code_and_pickled_weights_are_not_loaded(text_folder):
    weights = text_folder / "model.safetensors"
    torch.save({}, text_folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(DamagedFile, match="safetensors"):
        victims.load_any(text_folder)
    config = json.loads((text_folder / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoModelForSequenceClassification": "code.Model"}}
    (text_folder / "config.json").write_text(json.dumps(config))
    (text_folder / "code.py").write_text("raise SystemExit('remote code was run')")
    with pytest.raises(DamagedFile):
        victims.load_any(text_folder)
    (text_folder / "config.json").write_text("{")
    with pytest.raises(DamagedFile, match="JSON"):
        victims.load_any(text_folder)
