"""Hashed n-grams: every one is counted, and the classifier of them answers as scikit-learn does."""

import itertools
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression, Ridge

from feint.models import stored
from feint.models.estimator_body import linear_parameters, ridge_parameters
from feint.models.networks import Network
from feint.models.ngrams import HashedNGrams
from feint.models.training import Training, learn
from feint.signature import Text, Tokens

TEXTS = ["The cat saw the other CAT, the fat one!", "naïve 猫 naïve", "", "a", "aaaaaa", "x" * 60, "ends with word"]


def grams_of(text):
    """Words, pairs of words and byte 4-grams of a text, counted the plain way."""
    code = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in text.encode())
    words = re.findall(rb"[a-z0-9\x80-\xff]+", code)
    counts = Counter(("word", word) for word in words)
    counts += Counter(("pair", *pair) for pair in pairwise(words))
    return counts + Counter(("bytes", code[i : i + 4]) for i in range(len(code) - 3))


def test_a_text_has_its_words_pairs_of_words_and_byte_ngrams():
    domain = Text(60)
    feature, count = HashedNGrams(domain, bits=24).counts(torch.from_numpy(domain.from_strings(TEXTS)))
    for text, row in zip(TEXTS, count, strict=True):
        assert sorted(row[row > 0].tolist()) == sorted(grams_of(text).values())
    same = {int(f) for f, c in zip(feature[0], count[0], strict=True) if c}
    alone, there = HashedNGrams(domain, bits=24).counts(torch.from_numpy(domain.from_strings(["of the other cat"])))
    assert len(same & {int(f) for f in alone[there > 0]}) >= 3 + 1 + 6  # the other cat, a pair, bytes within it


def test_a_sequence_has_its_ngrams_and_where_it_starts():
    domain = Tokens(6, 300, padding=299)
    x = torch.tensor([[7, 8, 7, 8, 299, 299], [299] * 6, [8, 7, 8, 7, 299, 299]])
    feature, count = HashedNGrams(domain, bits=24).counts(x)
    ones, twos, threes, fours, starts = [2, 2], [2, 1], [1, 1], [1], [1] * 4
    assert sorted(count[0][count[0] > 0].tolist()) == sorted([*ones, *twos, *threes, *fours, *starts])
    assert not count[1].any()
    assert {*feature[0][count[0] > 0].tolist()} != {*feature[2][count[2] > 0].tolist()}


def test_rows_are_of_length_one_and_rare_ngrams_weigh_more():
    domain = Text(40)
    x = torch.from_numpy(domain.from_strings(["same cat", "same dog", "same bird", ""]))
    ngrams = HashedNGrams(domain)
    ngrams.adapt(x)
    _, value = ngrams(x)
    torch.testing.assert_close(value.norm(dim=1), torch.tensor([1.0, 1, 1, 0]))
    same, count = ngrams.counts(torch.from_numpy(domain.from_strings(["same"])))
    assert (ngrams.idf[same[count > 0]] == ngrams.idf[ngrams.idf > 0].min()).all()


def test_what_no_input_had_makes_a_row_no_shorter():
    domain = Text(60)
    ngrams = HashedNGrams(domain)
    ngrams.adapt(torch.from_numpy(domain.from_strings(["a cat", "the dog"])))
    plain, strange = (ngrams(torch.from_numpy(domain.from_strings([text]))) for text in ("cat", "cat zqzqzq"))
    weights = {int(feature): value.item() for feature, value in zip(*(part[0] for part in strange), strict=True)}
    for feature, value in zip(*(part[0] for part in plain), strict=True):
        assert weights[int(feature)] == pytest.approx(value.item())


def test_words_alone_are_the_words():
    domain = Text(60)
    _, count = HashedNGrams(domain, bits=24, words_only=True).counts(torch.from_numpy(domain.from_strings(TEXTS)))
    for text, row in zip(TEXTS, count, strict=True):
        words = [n for (kind, *_), n in grams_of(text).items() if kind == "word"]
        assert sorted(row[row > 0].tolist()) == sorted(words)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_ridge_regression_is_that_of_scikit_learn_on_logarithms(classes):
    random = np.random.default_rng(0)
    x, p = random.normal(size=(80, 5)), random.dirichlet(np.ones(classes), 80)
    p[0] = np.eye(classes)[0]
    weight, bias = ridge_parameters(csr_matrix(x), torch.from_numpy(p), strength=2.0, seed=0)
    logits = np.log(np.maximum(p, 1e-3))
    expected = Ridge(alpha=2.0).fit(x, logits - logits.mean(1, keepdims=True)).predict(x)
    np.testing.assert_allclose(torch.from_numpy(x).float() @ weight.T + bias, expected, atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_parameters_are_those_of_scikit_learn_on_rows_for_each_class(classes):
    random = np.random.default_rng(0)
    x, p = random.normal(size=(80, 5)), torch.from_numpy(random.dirichlet(np.ones(classes), 80))
    weight, bias = linear_parameters(csr_matrix(x), p, strength=2.0, seed=0)
    repeated, labels = np.tile(x, (classes, 1)), np.arange(classes).repeat(80)
    estimator = LogisticRegression(C=2.0, max_iter=1000).fit(repeated, labels, sample_weight=p.T.numpy().ravel())
    ours = (torch.from_numpy(x).float() @ weight.T + bias).softmax(1)
    np.testing.assert_allclose(ours, estimator.predict_proba(x), atol=2e-3)


def spam(n, seed=0):
    """Texts whose class is one word, and sequences likewise: padding, and noise on both sides."""
    random = np.random.default_rng(seed)
    words = ["ham", "tea", "sun", "walk", "blue", "house"]
    labels = random.integers(0, 2, n)
    texts = [
        " ".join([*random.choice(words, random.integers(2, 6)), ("free", "home")[label], *random.choice(words, 2)])
        for label in labels
    ]
    return texts, torch.from_numpy(labels)


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        *itertools.product([Text(60), Tokens(60, 256)], ["ngrams", "logistic", "linear", "mlp", "textcnn"]),
        (Text(60), "bag_of_words"),
    ],
)
def test_surrogates_of_sequences_learn_and_are_stored(domain, name, tmp_path):
    texts, labels = spam(240)
    x = torch.from_numpy(Text(60).from_strings(texts))
    x = x if isinstance(domain, Text) else x.long()
    training = Training(epochs=20, batch_size=32, learning_rate=5e-3, optimizer="adamw")
    model = learn(Network(name, domain, 2), x[:160], labels[:160], training, seed=1)
    assert (model(x[160:]).argmax(1) == labels[160:]).float().mean() > 0.8
    again = learn(Network(name, domain, 2), x[:160], labels[:160], training, seed=1)
    assert stored.fingerprint(again) == stored.fingerprint(model)
    stored.save(tmp_path / "copy", model)
    torch.testing.assert_close(stored.load(tmp_path / "copy")(x), model(x))
    assert model(x[:0]).shape == (0, 2)


def test_probabilities_make_a_better_copy_of_a_text_classifier_than_labels():
    texts, labels = spam(900)
    domain = Text(60)
    x = torch.from_numpy(domain.from_strings(texts))
    lengths = (x != 0).sum(1) / 20
    score = (labels * 2.0 - 1) + lengths - lengths.mean()
    p = torch.stack([-score, score], 1).softmax(1)
    network = Network("ngrams", domain, 2)
    soft, hard = (
        (learn(network, x[:200], targets[:200], Training())(x[200:]).softmax(1) - p[200:]).square().mean()
        for targets in (p, p.argmax(1))
    )
    assert soft < 0.6 * hard


def test_probabilities_teach_the_words_that_change_no_label():
    random = np.random.default_rng(0)
    words = [f"word{i}" for i in range(30)]
    worth = dict(zip(words, random.normal(size=30), strict=True))
    texts = [list(random.choice(words, 6, replace=False)) for _ in range(900)]
    score = torch.tensor([sum(worth[word] for word in text) / 6**0.5 for text in texts])
    x = torch.from_numpy(Text(60).from_strings([" ".join(text) for text in texts]))
    p = torch.stack([4 - score, 0 * score], 1).softmax(1)  # of all that are asked the first class is the surer one
    assert not p.argmax(1).any()

    def correlation(name):
        z = learn(Network(name, Text(60), 2), x[:600], p[:600], Training())(x[600:])
        return torch.corrcoef(torch.stack([z[:, 1] - z[:, 0], score[600:]]))[0, 1]

    assert correlation("bag_of_words") > 0.99
    assert correlation("ngrams") < 0.99
