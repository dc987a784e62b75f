"""NGramQueries: texts and sequences recombined of the n-grams of a public pool."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.iterative import train_once
from feint.attacks.probing import BATCH, check
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Columns, Domain, Pixels, Text, Tokens

Pieces = list[Any]  # words of a text, or tokens of a sequence


@dataclass(frozen=True)
class NGramQueries(Attack):
    """Sequences of random n-grams of a pool: with n = 1 the RANDOM queries of Krishna et al. (ICLR 2020).

    A query is as long as a random text of `pool`. It consists of `n` neighbouring words at a time, each from a random
    place of a random text; of a sequence of tokens, of tokens. The paper draws single words uniformly from the 10,000
    commonest of Wikipedia; here they are as frequent as in the pool, and longer pieces keep some of the grammar. Many
    queries can be made of few texts. The surrogate is trained with the cross-entropy to the answers.

    Raises `BadInput` if the pool holds no word.

    Args:
        pool: Texts or sequences of the attacker.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training; None for `default_training`.
        n: Words or tokens in a piece, 1 or more.
    """

    cite: ClassVar[str] = "krishna2020thieves"
    domains: ClassVar[tuple[type[Domain], ...]] = (Tokens, Text)
    instead: ClassVar[Mapping[type[Domain], str]] = {Columns: "Marginals", Pixels: "KnockoffNets"}
    pool: Split
    surrogate: Network
    training: Training | None = None
    n: int = 2

    def __post_init__(self) -> None:
        if self.n < 1:
            raise BadRecipe(f"n={self.n}", "1 or more", "change it")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate, most=1)
        total, batches = oracle.left, self._queries(oracle.left, np.random.default_rng(seed))
        return train_once(
            oracle, batches, total, network=self.surrogate, training=self.training, seed=seed, progress=progress
        )

    def _queries(self, count: int, random: np.random.Generator) -> Iterator[Tensor]:
        """Yield `count` recombined inputs in batches."""
        domain = self.pool.domain
        split, join = PIECES[type(domain)]
        texts = [pieces for pieces in split(domain, self.pool.inputs().numpy()) if pieces]
        if not texts:
            raise BadInput(f"the pool {self.pool.name!r} without a word", "texts", "bring another pool")
        for start in range(0, count, BATCH):
            drawn = [self._recombine(texts, random) for _ in range(min(BATCH, count - start))]
            yield torch.from_numpy(join(domain, drawn))

    def _recombine(self, texts: Sequence[Pieces], random: np.random.Generator) -> Pieces:
        length, pieces = len(texts[int(random.integers(len(texts)))]), list[Any]()
        while len(pieces) < length:
            text = texts[int(random.integers(len(texts)))]
            start = random.integers(max(len(text) - self.n, 0) + 1)
            pieces += text[start : start + self.n]
        return pieces[:length]


def _words(domain: Text, x: np.ndarray) -> list[Pieces]:
    return [text.split() for text in domain.to_strings(x)]


def _text(domain: Text, words: Sequence[Pieces]) -> np.ndarray:
    return domain.from_strings([_fitting(pieces, domain.length) for pieces in words], cut=True)


def _fitting(words: Pieces, length: int) -> str:
    """Return the first words, as many as fit into `length` bytes, but one or more."""
    ends = np.cumsum([len(word.encode()) + 1 for word in words]) - 1
    return " ".join(words[: max(int((ends <= length).sum()), 1)])


def _tokens(domain: Tokens, x: np.ndarray) -> list[Pieces]:
    return [row[row != domain.padding].tolist() for row in x]


def _sequence(domain: Tokens, tokens: Sequence[Pieces]) -> np.ndarray:
    x = np.full((len(tokens), domain.length), domain.padding, domain.dtype)
    for row, pieces in zip(x, tokens, strict=True):
        row[: len(pieces)] = pieces
    return x


PIECES: dict[type[Domain], tuple[Callable[..., list[Pieces]], Callable[..., np.ndarray]]] = {
    Text: (_words, _text),
    Tokens: (_tokens, _sequence),
}
