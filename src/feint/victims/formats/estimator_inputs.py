"""Inputs that a fitted estimator of scikit-learn knows: texts, or columns with the categories of its encoders."""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from feint.signature import Column


def _first(estimator: Any) -> Any:
    """Return the first part of an estimator that takes the inputs."""
    return next(iter(_firsts(estimator)))


def _firsts(estimator: Any) -> Iterable[Any]:
    """Yield the fitted parts that take an estimator's inputs: the first steps of its pipelines."""
    if hasattr(estimator, "steps"):
        inner = [estimator.steps[0][1]]
    elif hasattr(estimator, "calibrated_classifiers_"):
        inner = [calibrated.estimator for calibrated in estimator.calibrated_classifiers_]
    elif isinstance(getattr(estimator, "estimators_", None), list) and not hasattr(estimator, "estimators_features_"):
        inner = estimator.estimators_  # of voting, stacking, one against the rest
    else:  # of searches, thresholds and frozen estimators
        inner = [getattr(estimator, name, None) for name in ("best_estimator_", "estimator_", "estimator")]
        inner = [part for part in inner if part is not None and not isinstance(part, str)][:1]
    for part in inner:
        yield from _firsts(part)
    if not inner:
        yield estimator


def takes_text(estimator: Any) -> bool:
    """Return whether an estimator takes texts: all that its first part feeds are analysers of words."""
    first = _first(estimator)
    parts = [part for _, part in getattr(first, "transformer_list", [("", first)])]
    return all(hasattr(_first(part), "build_analyzer") for part in parts)


def mixes_texts(estimator: Any) -> bool:
    """Return whether an estimator takes texts in some of its columns."""
    parts = [part for _, part, _ in getattr(_first(estimator), "transformers_", [])]
    return any(hasattr(_first(part), "build_analyzer") for part in parts)


def columns_of(estimator: Any) -> tuple[Column, ...]:
    """Return the columns that an estimator was fitted to, with the categories that its encoders know."""
    names = getattr(estimator, "feature_names_in_", None)
    count = len(names) if names is not None else getattr(estimator, "n_features_in_", None)
    if count is None:
        return ()
    names = [f"x{i}" for i in range(count)] if names is None else list(map(str, names))
    known: dict[str, dict[Any, None]] = {}  # what any of several encoders knows; None is a missing value
    for part in _firsts(estimator):
        for name, categories in _categories(part, names):
            known.setdefault(name, {}).update({v if v == v else None: None for v in categories.tolist()})
    return tuple(_column(name, known.get(name)) for name in names)


def _column(name: str, categories: Collection[Any] | None) -> Column:
    if categories is None:
        return Column(name)
    values = [value for value in categories if value is not None]
    optional = len(values) < len(categories)
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        integer = all(float(value).is_integer() for value in values)
        return Column(name, None, optional, integer, float(min(values)), float(max(values)))
    return Column(name, tuple(map(str, values)), optional)


def _categories(part: Any, names: list[str]) -> Iterable[tuple[str, np.ndarray]]:
    """Yield column and categories of each encoder that sees the inputs themselves."""
    if hasattr(part, "transformers_"):  # a ColumnTransformer
        for _, transformer, chosen in part.transformers_:
            yield from _categories(transformer, _chosen(chosen, names))
        return
    preprocessor = getattr(part, "_preprocessor", None)  # of HistGradientBoosting
    if preprocessor is not None:
        for _, encoder, chosen in preprocessor.transformers_:
            if hasattr(encoder, "categories_"):
                yield from zip(_chosen(chosen, names), encoder.categories_, strict=False)
        return
    steps = [step for _, step in part.steps] if hasattr(part, "steps") else [part]
    encoder = next((step for step in steps if isinstance(getattr(step, "categories_", None), list)), None)
    if encoder is not None:
        yield from zip(names, encoder.categories_, strict=False)


def _chosen(chosen: Any, names: list[str]) -> list[str]:
    """Return the names of the columns that a ColumnTransformer chose, by name, number, mask or slice."""
    if isinstance(chosen, slice):
        return names[chosen] if isinstance(chosen.start, int | None) else names
    return [names[key] if isinstance(key, (int, np.integer)) else str(key) for key in _positions(chosen)]


def _positions(chosen: Any) -> list[Any]:
    values = [chosen] if isinstance(chosen, (str, int)) else list(chosen)
    if values and all(isinstance(value, (bool, np.bool_)) for value in values):
        return [i for i, value in enumerate(values) if value]
    return values
