"""Texts and sequences recombined of a pool's n-grams."""

import numpy as np
import pytest
from tests.examples import DOMAINS, toy_on

from feint.attacks import NGrams
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Network
from feint.models.training import Training
from feint.service import Service

SENTENCES = ["to be or not to be", "that is a query", "to sleep, to dream", "nothing"]


def pool_of(kind, texts):
    domain = DOMAINS[kind]
    x = domain.from_strings(texts) if kind == "Text" else texts
    return Split.of(domain.encode(x), np.zeros(len(x), np.int64), domain=domain, name="plays")


def asked(attack, budget=400):
    oracle = Service(toy_on(attack.pool.domain)).oracle(client="a", budget=budget)
    attack.steal(oracle)
    attack.pool.domain.check(oracle.transcript.x.numpy())
    return oracle.transcript.x.numpy()


def network(kind):
    return Network("mlp", DOMAINS[kind], 3)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_queries_are_made_of_neighbouring_words(n):
    pool = pool_of("Text", SENTENCES)
    texts = pool.domain.to_strings(asked(NGrams(pool, network("Text"), Training(epochs=1), n=n)))
    known = [text.split() for text in SENTENCES]
    grams = {tuple(words[i : i + n]) for words in known for i in range(max(len(words) - n, 0) + 1)}
    assert {len(text.split()) for text in texts} <= {len(words) for words in known}
    assert {tuple(text.split()[:n]) for text in texts if len(text.split()) > n} <= {gram for gram in grams if gram} | {
        gram + other[: n - len(gram)] for gram in grams for other in grams if len(gram) < n
    }
    assert len({*texts}) > 100  # of a pool of four
    assert not {*texts} <= {*SENTENCES}


def test_sequences_are_padded_and_hold_tokens_of_the_pool():
    rows = np.full((3, 12), 1)
    rows[0, :5], rows[1, :2], rows[2, :12] = 7, 9, np.arange(20, 32)
    x = asked(NGrams(pool_of("Tokens", rows), network("Tokens"), Training(epochs=1)))
    assert {*x.flatten().tolist()} <= {1, 7, 9, *range(20, 32)}
    assert {int((row != 1).sum()) for row in x} == {2, 5, 12}
    assert all((row[(row != 1).sum() :] == 1).all() for row in x)


def test_a_pool_without_a_word_is_refused_before_the_first_query():
    oracle = Service(toy_on(DOMAINS["Text"])).oracle(client="a", budget=9)
    with pytest.raises(BadInput, match="without a word"):
        NGrams(pool_of("Text", ["", " "]), network("Text")).steal(oracle)
    assert oracle.asked == 0
    with pytest.raises(BadRecipe, match="n=0"):
        NGrams(pool_of("Text", SENTENCES), network("Text"), n=0)
