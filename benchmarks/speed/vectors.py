"""The output defenses that look at one row alone, beside those of ART; one thread."""

from collections.abc import Callable
from functools import partial

import torch
from art.defences import postprocessor as art  # pyright: ignore[reportMissingImports]

from benchmarks.speed.apgp import Row, rows
from benchmarks.speed.clock import least
from feint.defenses.outputs import (
    GaussianNoise,
    HighConfidence,
    LabelOnly,
    ReverseSigmoid,
    Rounding,
    Temperature,
    TopK,
    UniformNoise,
)

PAIRS = {  # ours, and what ART has of the kind
    "ReverseSigmoid": (ReverseSigmoid(), art.ReverseSigmoid()),
    "Rounding": (Rounding(), art.Rounded()),
    "GaussianNoise": (GaussianNoise("secret"), art.GaussianNoise()),
    "UniformNoise": (UniformNoise("secret"), None),
    "HighConfidence": (HighConfidence(), art.HighConfidence()),
    "LabelOnly": (LabelOnly(), art.ClassLabels()),
    "TopK": (TopK(), None),
    "Temperature": (Temperature(), None),
}


def speed() -> list[Row]:
    """Milliseconds for 10,000 rows of 10 classes and microseconds for one, inputs of 3 × 32 × 32 where noise asks."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(2)
    p, x = rows(10_000, 10, 0), torch.rand(10_000, 3, 32, 32, generator=generator)
    jobs: dict[str, Callable[[torch.Tensor, torch.Tensor], object]] = {}
    for name, (ours, theirs) in PAIRS.items():
        jobs[name] = ours
        if theirs:
            jobs[f"ART {type(theirs).__name__}"] = lambda p, x, theirs=theirs: theirs(p.numpy())
    many = least({name: partial(job, p, x) for name, job in jobs.items()}, repeats=30)
    single = least({name: partial(job, p[:1], x[:1]) for name, job in jobs.items()}, repeats=1000)
    return [
        {"defense": name, "classes": 10, "ms_10000_rows": many[name] * 1e3, "us_one_row": single[name] * 1e6}
        for name in jobs
    ]
