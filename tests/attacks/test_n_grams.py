"""Texts and sequences recombined of a pool's n-grams."""

import numpy as np
import pytest
from tests.examples import DOMAINS, toy_on

from feint.attacks import NGramQueries
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Network
from feint.models.training import Training
from feint.service import Service
from feint.signature import Text

TEXT, TOKENS = Text(22), DOMAINS["Tokens"]
SENTENCES = ["to be or not to be", "that is a query", "to sleep, to dream", "nothing"]


def pool_of(texts, domain=TEXT):
    x = domain.from_strings(texts) if domain == TEXT else texts
    return Split.of(domain.encode(x), np.zeros(len(x), np.int64), domain=domain, name="plays")


def asked(attack, budget=400):
    oracle = Service(toy_on(attack.pool.domain)).oracle(client="a", budget=budget)
    attack.steal(oracle)
    attack.pool.domain.check(oracle.transcript.x.numpy())
    return oracle.transcript.x.numpy()


def network(domain=TEXT):
    return Network("mlp", domain, 3)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_queries_are_made_of_neighbouring_words(n):
    pool = pool_of(SENTENCES)
    texts = pool.domain.to_strings(asked(NGramQueries(pool, network(), Training(epochs=1), n=n)))
    known = [text.split() for text in SENTENCES]
    grams = {tuple(words[i : i + n]) for words in known for i in range(max(len(words) - n, 0) + 1)}
    assert {len(text.split()) for text in texts} <= {1, 2, 3, 4, 5, 6}  # of 22 bytes, in whole words
    assert {word for text in texts for word in text.split()} == {word for words in known for word in words}
    first = {tuple(text.split()[:n]) for text in texts if not text.startswith("nothing")}  # which is a gram of one word
    assert {gram for gram in first if len(gram) == n} <= grams
    assert len({*texts}) > 100  # of a pool of four
    assert not {*texts} <= {*SENTENCES}


def test_sequences_are_padded_and_hold_tokens_of_the_pool():
    rows = np.full((3, 12), 1)
    rows[0, :5], rows[1, :2], rows[2, :12] = 7, 9, np.arange(20, 32)
    x = asked(NGramQueries(pool_of(rows, TOKENS), network(TOKENS), Training(epochs=1)))
    assert {*x.flatten().tolist()} <= {1, 7, 9, *range(20, 32)}
    assert {int((row != 1).sum()) for row in x} == {2, 5, 12}
    assert all((row[(row != 1).sum() :] == 1).all() for row in x)


def test_a_pool_without_a_word_is_refused_before_the_first_query():
    oracle = Service(toy_on(TEXT)).oracle(client="a", budget=9)
    with pytest.raises(BadInput, match="without a word"):
        NGramQueries(pool_of(["", " "]), network()).steal(oracle)
    assert oracle.asked == 0
    with pytest.raises(BadRecipe, match="n=0"):
        NGramQueries(pool_of(SENTENCES), network(), n=0)
