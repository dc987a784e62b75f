"""APGP beside the reverse sigmoid of ART, a few numpy lines, on answers of 10 and 1,000 classes; one thread."""

import time
from collections.abc import Callable
from functools import partial

import torch
from art.defences.postprocessor import ReverseSigmoid  # pyright: ignore[reportMissingImports]

from benchmarks.speed.clock import least
from feint.defenses.outputs import APGP, KL, L1, L2, APGPClosedForm, Cosine, ReverseKL

Row = dict[str, str | float]


def rows(n: int, classes: int, seed: int) -> torch.Tensor:
    """Answers of a confident victim: softmax of Gaussian logits with deviation 6."""
    return (torch.randn(n, classes, generator=torch.Generator().manual_seed(seed)) * 6).softmax(-1)


def speed() -> list[Row]:
    """Milliseconds for 10,000 rows and microseconds for one."""
    torch.set_num_threads(1)
    return speed_of(classes=10, repeats=50) + speed_of(classes=1000, repeats=3)


def speed_of(*, classes: int, repeats: int) -> list[Row]:
    """Measure APGP and ART's ReverseSigmoid on answers of so many classes."""
    p, one = rows(10_000, classes, 0), rows(1, classes, 1)
    fitted = {top: APGP(top=top, steps=50).fit_answers(p[:1000]) for top in (None, 1)}
    art = ReverseSigmoid()
    defenses: dict[str, Callable[[torch.Tensor], object]] = {
        "ART ReverseSigmoid": lambda p: art(p.numpy()),
        "APGP all-order": fitted[None],
        "APGP top-1": fitted[1],
        "APGPClosedForm all-order": APGPClosedForm(),
        "APGPClosedForm top-1": APGPClosedForm(top=1),
    }
    many = least({name: partial(defense, p) for name, defense in defenses.items()}, repeats=repeats)
    single = least({name: partial(defense, one) for name, defense in defenses.items()}, repeats=2000)
    return [
        {"defense": name, "classes": classes, "ms_10000_rows": many[name] * 1e3, "us_one_row": single[name] * 1e6}
        for name in defenses
    ]


def optimum() -> list[Row]:
    """The trained generator's objective on held-out rows, as a share of the closed form's; and the seconds to fit."""
    torch.set_num_threads(2)
    p, held = rows(20_000, 10, 0), rows(10_000, 10, 1)
    measured: list[Row] = []
    for distance in (KL(), ReverseKL(floor=1e-4), L1(), L2(), Cosine()):
        for top in (None, 3, 1):
            started = time.perf_counter()
            fitted = APGP(top=top, distance=distance).fit_answers(p)
            seconds = time.perf_counter() - started
            reached = (
                distance(fitted(held), held).mean()
                / distance(APGPClosedForm(top=top, distance=distance)(held), held).mean()
            )
            measured.append(
                {
                    "distance": repr(distance),
                    "keeps": fitted.preserves,
                    "share_of_optimum": reached.item(),
                    "fit_seconds": seconds,
                }
            )
    return measured
