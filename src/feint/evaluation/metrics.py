"""The metrics: functions of answers first, then of models.

`p` is the clean answer and `q` the perturbed one, rows (N, K) on the simplex; `y` (N,) holds the true classes.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from feint.data import Split
from feint.evaluation.memory import added_mb
from feint.query import Query
from feint.service import Service
from feint.victims import answers, predict

DECIMALS = 6  # what the API is taken to return where nothing else is said
DRAWS = 5000  # of a bootstrap: its ends are then 0.02 points off, where 0.1 is printed


def accuracy(p: Tensor, y: Tensor) -> float:
    """Share of rows whose largest value, the first among equals, is at the true class."""
    return _mean(p.argmax(-1) == y)


def label_kept(q: Tensor, p: Tensor) -> float:
    """Share of rows whose label is as it was."""
    return _mean(q.argmax(-1) == p.argmax(-1))


def order_kept(q: Tensor, p: Tensor, *, top: int | None = None) -> float:
    """Share of rows whose first `top` ranks (all, if None) are as they were, equals by lowest index."""
    ranks = [v.sort(dim=-1, descending=True, stable=True).indices[:, :top] for v in (q, p)]
    return _mean((ranks[0] == ranks[1]).all(-1))


def kl(q: Tensor, p: Tensor) -> float:
    """Mean KL(q ‖ p) in nats, with probabilities below 1e-12 counted as that."""
    q, p = q.double(), p.double()
    return (q * (q.clamp_min(1e-12).log() - p.clamp_min(1e-12).log())).sum(-1).mean().item()


def l1(q: Tensor, p: Tensor) -> float:
    """Mean Σ |q − p|, 0 to 2."""
    return (q - p).abs().sum(-1).mean().item()


def cosine(q: Tensor, p: Tensor) -> float:
    """Mean cosine of the angle between q and p."""
    return torch.cosine_similarity(q, p, dim=-1).mean().item()


def ece(p: Tensor, y: Tensor, *, bins: int = 15) -> float:
    """Expected calibration error over equal bins of the largest probability (Guo et al., ICML 2017)."""
    confidence, label = p.max(-1)
    place = (confidence * bins).long().clamp_max(bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64)
    gaps.index_add_(0, place, (confidence - (label == y).float()).double())
    return gaps.abs().sum().item() / max(1, len(p))


def auroc(confidence: Tensor, right: Tensor) -> float:
    """The probability that a right answer is more confident than a wrong one, equals counting half; NaN without both.

    0.5 where the confidence says nothing (Hendrycks and Gimpel, ICLR 2017).
    """
    values, place = confidence.double().unique(return_inverse=True)
    hits = torch.zeros(len(values), dtype=torch.float64).index_add_(0, place, right.double())
    misses = torch.zeros(len(values), dtype=torch.float64).index_add_(0, place, (~right).double())
    won = (hits * (misses.cumsum(0) - misses / 2)).sum()
    return (won / (hits.sum() * misses.sum())).item()


def rounded(p: Tensor, decimals: int = DECIMALS) -> Tensor:
    """The answers as a client reads them from an API that returns so many decimals."""
    return p.double().round(decimals=decimals)


def stealer_accuracy(surrogate: nn.Module, test: Split) -> float:
    """Accuracy of the surrogate on the test set."""
    return accuracy(answers(surrogate, test), test.labels)


def fidelity(surrogate: nn.Module, victim: nn.Module, test: Split) -> float:
    """Share of the test set on which surrogate and undefended victim agree."""
    return label_kept(answers(surrogate, test), answers(victim, test))


def utility(
    service: Service, test: Split, *, clean: Tensor | None = None, decimals: int = DECIMALS
) -> dict[str, float]:
    """What the defense of `service`, its access rules left out, leaves to an honest client who reads `decimals`.

    Defender accuracy, the distortion between clean and defended answers (KL, L1, cosine), label and order kept, ECE and
    AUROC of the confidence before and after, and the milliseconds and the peak memory (MiB, where Linux tells it) that
    the defense adds for 1,000 queries. A score that has no value here is left out. `clean` are the undefended answers,
    where they are known.
    """
    service = Service(service.model, replace(service.defense, access=()))
    asked = [Query(test.inputs(rows), client="honest") for rows in torch.arange(len(test)).split(500)]
    q = torch.cat([service(query).p for query in asked])
    p, y = answers(service.model, test) if clean is None else clean, test.labels
    seen = rounded(q, decimals)
    scores = {
        "defender_accuracy": accuracy(seen, y),
        "victim_accuracy": accuracy(p, y),
        "label_kept": label_kept(seen, p),
        "order_kept": order_kept(seen, p),
        "kl": kl(q, p),
        "l1": l1(q, p),
        "cosine": cosine(q, p),
        "ece": ece(seen, y),
        "victim_ece": ece(p, y),
        "auroc": auroc(seen.amax(-1), seen.argmax(-1) == y),
        "victim_auroc": auroc(p.amax(-1), p.argmax(-1) == y),
        "added_mb_per_1000": added_mb(_steps(service, test, 1000)),
        "added_ms_per_1000": added_ms_per_1000(service, test),
    }
    return {name: score for name, score in scores.items() if not math.isnan(score)}


def _steps(service: Service, test: Split, batch: int) -> Callable[[], object]:
    """The input and output defenses of `service` alone, on a batch that the model has answered."""
    query = Query(test.inputs(slice(0, batch)), client="honest")
    answered = predict(service.model, query.x)

    def run() -> Tensor:
        x, p = query.x, answered
        defense = service.line.rung(query, service.model, service.ledger[query.client])
        for perturb in defense.inputs:
            x = perturb(x, service.model)
        for perturb in defense.outputs:
            p = perturb(p, x)
        return p

    return run


def added_ms_per_1000(service: Service, test: Split, *, batch: int = 250, least: float = 0.2) -> float:
    """Milliseconds that the input and output defenses of `service` take for 1,000 queries, the least of up to 15 runs.

    Their steps are timed by themselves: the difference of two whole lines drowns in the model's own noise (for
    ResNet-20 it came out at -10 to +15 ms where the steps take one). Slow ones are run 3 times, or for `least` seconds.
    """
    steps, times = _steps(service, test, batch), []
    while len(times) < 3 or (len(times) < 15 and sum(times) < least):
        started = time.perf_counter()
        steps()
        times.append(time.perf_counter() - started)
    return min(times) * 1e6 / min(batch, len(test))


def interval(shares: Sequence[float], n: int, *, level: float = 0.95, draws: int = DRAWS) -> tuple[float, float]:
    """An interval for the mean of `shares`, one for each seed, all counted on the same `n` test inputs.

    A bootstrap on two levels: seeds are drawn again with replacement, then the share of the test set is drawn around
    their mean (Beta with Jeffreys' prior, so that 0 % and 100 % have an interval too). Seeds share their test set, so
    its error does not shrink with more of them. With three seeds or fewer it is a rough guide.
    """
    return _interval(tuple(shares), n, level, draws)


@functools.lru_cache(4096)  # a millisecond each, and every table and figure of a report asks for the same ones
def _interval(shares: tuple[float, ...], n: int, level: float, draws: int) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    means = generator.choice(np.asarray(shares), (draws, len(shares))).mean(-1)
    drawn = generator.beta(n * means + 0.5, n * (1 - means) + 0.5)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mean(hits: Tensor) -> float:
    return hits.double().mean().item()
