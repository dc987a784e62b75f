"""Plausible inputs of an adapter: layouts, scales, normalisations and orders of colours, the commonest first."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from feint.signature import Columns, Domain, Pixels
from feint.victims.adapter import Inputs
from feint.victims.inputs import ColumnInputs, PixelInputs
from feint.victims.raw import RawModel, TensorSpec

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE = (103.939, 116.779, 123.68)  # means in BGR, 0 to 255
RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int32": (0, 255), "int64": (0, 255)}  # of types of integers


class InputCandidate(NamedTuple):
    """Inputs that may be the right ones.

    Attributes:
        inputs: The inputs.
        words: The same in words.
        plain: Whether values and order of colours are the domain's own.
    """

    inputs: Inputs
    words: str
    plain: bool = False


def input_candidates(raw: RawModel, domain: Domain, x: np.ndarray, certain: Inputs | None) -> list[InputCandidate]:
    """Return the inputs that are tried on a model.

    Args:
        raw: The model.
        domain: Domain of the samples.
        x: Samples (N, …), of which means and deviations are taken.
        certain: Inputs that the model's own metadata suggest, which come first; None where they are open.

    Returns:
        Different candidates, none where no inputs fit.
    """
    candidates: list[InputCandidate] = []
    if isinstance(domain, Pixels) and len(domain.shape) == 3 and len(raw.inputs) == 1:
        candidates = list(_pixel_candidates(raw.inputs[0], domain, x))
    elif isinstance(certain, ColumnInputs) and isinstance(domain, Columns):
        candidates = list(_column_candidates(certain, domain))
    first = [] if certain is None else [InputCandidate(certain, _words(candidates, certain))]
    return list({candidate.inputs: candidate for candidate in (*first, *candidates)}.values())


def _words(candidates: list[InputCandidate], certain: Inputs) -> str:
    return next((known.words for known in candidates if known.inputs == certain), "the inputs that the model names")


def _pixel_candidates(spec: TensorSpec, domain: Pixels, x: np.ndarray) -> Iterator[InputCandidate]:
    channels = domain.shape[0]
    orders = ("RGB", "BGR") if channels == 3 else ("RGB",)
    for layout, size in _layouts(spec, domain):
        for order in orders:
            base = PixelInputs(spec.name, layout, channels=order, size=size)
            for scaled, words in _scales(base, spec.dtype, x):
                resized = f", resized to {size[0]}×{size[1]}" if size else ""
                colours = f", {order}" if channels == 3 else ""
                yield InputCandidate(scaled, f"{layout}{resized}, {words}{colours}", scaled == base and order == "RGB")


def _layouts(spec: TensorSpec, domain: Pixels) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the layouts that the shape of an input allows, with the size (H, W) to which images are resized."""
    channels, height, width = domain.shape
    rank = len(spec.shape)
    if rank in (0, 4):
        layouts = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}
        stated = {name: axes for name, axes in layouts.items() if rank and spec.shape[axes[0]] == channels}
        for layout, axes in (stated or layouts).items():
            sizes = [None] * 3 if not rank else [spec.shape[axis] for axis in axes]
            if sizes[0] in (None, channels):
                size = (sizes[1] or height, sizes[2] or width)
                yield layout, () if size == (height, width) else size
    if rank == 3 and channels == 1:
        size = (spec.shape[1] or height, spec.shape[2] or width)
        yield "NHW", () if size == (height, width) else size
    if rank in (0, 2) and (not rank or spec.shape[1] in (None, channels * height * width)):
        yield "flat", ()


def _scales(base: PixelInputs, dtype: str, x: np.ndarray) -> Iterator[tuple[PixelInputs, str]]:
    """Yield the inputs with each scale and normalisation, in words."""
    if dtype in RANGES:
        low, high = RANGES[dtype]
        yield replace(base, low=float(low), high=float(high)), f"{low} to {high}"
        return
    yield base, "0 to 1"
    yield replace(base, high=255.0), "0 to 255"
    yield replace(base, low=-1.0), "-1 to 1"
    yield replace(base, low=-0.5, high=0.5), "-0.5 to 0.5"
    if base.layout == "flat":
        yield replace(base, high=16.0), "0 to 16"
        return
    measured = x.mean((0, 2, 3)), x.std((0, 2, 3)).clip(1e-3)
    turn = slice(None, None, -1 if base.channels == "BGR" else 1)
    known = [(*IMAGENET, "ImageNet's mean and deviation")] if x.shape[1] == 3 else []
    for mean, deviation, words in (*known, (*measured, "the samples' mean and deviation")):
        rounded = [tuple(round(float(value), 4) for value in values[turn]) for values in (mean, deviation)]
        yield replace(base, mean=rounded[0], deviation=rounded[1]), words
    if x.shape[1] == 3:
        yield (
            replace(base, high=255.0, mean=CAFFE[:: -1 if base.channels == "RGB" else 1], deviation=(1.0,) * 3),
            ("0 to 255 minus Caffe's means"),
        )
    else:
        yield replace(base, high=16.0), "0 to 16"


def _column_candidates(base: ColumnInputs, domain: Columns) -> Iterator[InputCandidate]:
    """Yield numbers as they are, standardised, and scaled to their range."""
    yield InputCandidate(base, "columns as they are")
    if base.form != "matrix" or base.categories == "names":
        return
    columns = domain.columns
    if all(column.mean is not None and column.deviation for column in columns if column.categories is None):
        yield _shifted(base, domain, [(column.mean, column.deviation) for column in columns], "standardised columns")
    if all(None not in (column.low, column.high) for column in columns if column.categories is None):
        spans = [(column.low, (column.high or 0) - (column.low or 0) or 1.0) for column in columns]
        yield _shifted(base, domain, spans, "columns scaled to 0 to 1")


def _shifted(
    base: ColumnInputs, domain: Columns, numbers: list[tuple[float | None, float | None]], words: str
) -> InputCandidate:
    """Return `base` with the numbers shifted and divided; categories stay as they are."""
    mean: list[float] = []
    deviation: list[float] = []
    for column, (shift, scale) in zip(domain.columns, numbers, strict=True):
        repeats = 1 if base.categories == "codes" or column.categories is None else len(column.categories)
        number = column.categories is None
        mean += [float(shift or 0.0) if number else 0.0] * repeats
        deviation += [float(scale or 1.0) if number else 1.0] * repeats
    return InputCandidate(replace(base, mean=tuple(mean), deviation=tuple(deviation)), words)
