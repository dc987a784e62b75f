"""Random numbers keyed by bytes and the owner's secret, in numpy: a gateway without torch draws them, too."""

import functools
import hmac
from collections.abc import Iterable

import numpy as np

from feint.errors import BadRecipe

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)


def check_key(key: str) -> None:
    """Raise `BadRecipe` for an empty key: numbers that anybody can compute hide nothing."""
    if not key:
        draw = "python -c 'import secrets; print(secrets.token_hex())'"
        raise BadRecipe("an empty key", "a secret of the owner's", f"draw one: {draw}")


def digests(key: str, codes: Iterable[bytes], *, purpose: str = "") -> np.ndarray:
    """Return the HMAC-SHA256 of codes.

    Args:
        key: The owner's secret.
        codes: Bytes, like the marks of inputs.
        purpose: What is drawn. Two defenses with one key and one purpose draw the same numbers, and their answers to
            one input differ by what an attacker can solve for the undefended one.

    Returns:
        Digests, (N, 4) uint64.
    """
    keyed, drawn = _keyed(key, purpose), list[bytes]()
    for row in codes:
        code = keyed.copy()
        code.update(row)
        drawn.append(code.digest())
    return np.frombuffer(b"".join(drawn), np.uint64).reshape(-1, 4)


@functools.lru_cache(64)
def _keyed(key: str, purpose: str) -> hmac.HMAC:
    """Return the HMAC of a key and a purpose alone: they are hashed once, not once a query."""
    return hmac.new(key.encode(), purpose.encode(), "sha256")


def uniforms(seeds: np.ndarray, n: int) -> np.ndarray:
    """Return `n` numbers in (0, 1) for each digest (N, 4), by SplitMix64 seeded with it: (N, n) float64."""
    return fractions(mix(seeds[:, :1] + np.arange(1, n + 1, dtype=np.uint64) * GOLDEN))


def fractions(words: np.ndarray) -> np.ndarray:
    """Return uniform 64-bit words, as those of digests are, as numbers in (0, 1)."""
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def swap_label(p: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return answers in which the label's probability and that of another class are swapped.

    Args:
        p: Answers (N, K).
        drawn: Numbers (N,) in (0, 1), which decide the other class: each is as likely.

    Returns:
        New answers (N, K).
    """
    rows, label = np.arange(len(p)), p.argmax(-1)
    other = (label + 1 + (drawn * (p.shape[-1] - 1)).astype(np.int64)) % p.shape[-1]
    q = p.copy()
    q[rows, label], q[rows, other] = p[rows, other], p[rows, label]
    return q


def mix(state: np.ndarray) -> np.ndarray:
    """Return the output of SplitMix64 for its state, uint64: a bijection after which every bit depends on every bit."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
