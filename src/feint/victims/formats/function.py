"""Functions of the owner as models: arrays, strings or rows in; probabilities, scores or labels out."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from feint.errors import BadInput, FeintError, one_line
from feint.paid.meter import Meter
from feint.victims.outputs import label_text
from feint.victims.raw import Metadata, RawModel, TensorSpec

REQUEST = 50  # inputs of one call of a paid function
SLACK = 1e-3  # by which rounded probabilities may sum to more than 1


class FunctionModel(RawModel):
    """Function of one batch of inputs to one answer for each: a row of scores, a label, or a dictionary of scores.

    Its digest is that of the source of its module, which may name the model that it loads. Where calls cost something
    it is that of its own source, so that no change beside it loses answers that were paid for.

    Args:
        function: The function. Its attributes may state more: `classes`, their names; `values`, the kind of its scores
            as in `ClassOutputs`; `price_per_1000` and `currency`, where calls cost something.
        place: Where it comes from, for messages.
    """

    def __init__(self, function: Callable[[Any], Any], place: str) -> None:
        self.function, self.place = function, place
        self.inputs = (TensorSpec("x", "any", ()),)
        self.outputs = (TensorSpec("y", "any", ()),)
        self.metadata = Metadata(
            tuple(map(label_text, getattr(function, "classes", ()))), values=getattr(function, "values", None)
        )
        self._names = self.metadata.classes  # of the scores
        self.meter = _meter(function, place)
        source = _source(function if self.meter is not None else inspect.getmodule(function) or function)
        self.digest = hashlib.sha256(f"{place} {source}".encode()).hexdigest()

    def run(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        x = arrays["x"]
        try:
            answer = self.function(x)
        except FeintError:
            raise
        except Exception as error:  # the owner's own code, whatever it raises
            raise BadInput(
                f"{self.place}, which fails ({one_line(f'{type(error).__name__}: {error}', 200)})",
                "an answer for each input", "mend the function, or the model.toml that says what it takes",
            ) from error  # fmt: skip
        y = self._array(answer)
        if y.ndim == 0 or len(y) != len(x) or (y.dtype == object and y.ndim > 1):
            raise BadInput(
                f"an answer of shape {y.shape} of {self.place} for {len(x)} inputs", f"{len(x)} rows or labels",
                "return one for each input",
            )  # fmt: skip
        return {"y": y}

    def _array(self, answer: Any) -> np.ndarray:
        """Return an answer as an array, with the columns of a data frame as its classes."""
        if isinstance(answer, Tensor):
            return answer.detach().cpu().numpy()
        try:
            rows: Any = answer.to_dict("records") if _is_frame(answer) else answer
            rows = rows if isinstance(rows, np.ndarray) else list(rows)
            scored = {isinstance(row, Mapping) for row in rows}
            if len(scored) > 1:
                raise TypeError("some are dictionaries")
            array = np.empty(0) if True in scored else np.asarray(rows)
        except (TypeError, ValueError) as error:  # None, a number, or rows of several lengths
            raise BadInput(
                f"a {type(answer).__name__} of {self.place} ({one_line(error, 100)})",
                "an array, or a list, of a row of scores, a label or a dictionary of scores for each input",
                "return one for each input",
            ) from error  # fmt: skip
        if True in scored:
            return self._scores(rows)
        return array.astype(object) if array.dtype.kind in "US" else array

    def _scores(self, rows: Sequence[Mapping[Any, Any]]) -> np.ndarray:
        """Return dictionaries of scores as rows in the order of the classes, which are those of the first answer.

        Raises:
            BadInput: A later answer has others, as those of a function of the best few would.
        """
        texts = [{label_text(key): score for key, score in row.items()} for row in rows]
        if not self._names:
            self._names = tuple(sorted(texts[0]))
        names, stated = self._names, bool(getattr(self.function, "classes", ()))  # then scores may be left out
        strange = {key for row in texts for key in (row.keys() - {*names} if stated else row.keys() ^ {*names})}
        if strange:
            name, labels = self.place.rpartition(":")[2], f"{', '.join(sorted(strange)):.60}"
            remedy = f"{'add them to' if stated else 'return all, or name them:'} {name}.classes = [...]"
            got = f"answers of {self.place}, {'some' if stated else 'not all'} of which have a score for {labels}"
            raise BadInput(got, "scores of the same classes for each input", remedy)
        if {*self.metadata.classes} in (set(), {*names}):  # else the owner renamed them
            self.metadata = replace(self.metadata, classes=names)
        scores = np.array([[row.get(name, 0.0) for name in names] for row in texts])
        return _completed(scores, np.array([[name in row for name in names] for row in texts]))


def _completed(scores: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return scores (N, K) of which some were returned, with the rest of the mass spread evenly over the others.

    Raises:
        BadInput: Scores were left out that are no probabilities.
    """
    if present.all():
        return scores
    rest, absent = 1 - scores.sum(1), (~present).sum(1)
    if scores.min() < 0 or rest[absent > 0].min() < -SLACK:
        raise BadInput("scores of some classes, which are no probabilities", "scores of all classes", "return all")
    share = rest.clip(0) / absent.clip(1)
    return np.where(present, scores, share[:, None])


def _is_frame(answer: Any) -> bool:
    """Return whether an answer is a data frame, of pandas or another library that gives its rows as dictionaries."""
    return hasattr(answer, "to_dict") and getattr(answer, "ndim", 1) == 2


def _meter(function: Callable[..., Any], place: str) -> Meter | None:
    """Return the price of a function that states one.

    Raises:
        BadInput: It states no classes or kind of scores, which would have to be found out by calls.
    """
    price = getattr(function, "price_per_1000", None)
    if price is None:
        return None
    absent = [name for name in ("classes", "values") if not getattr(function, name, None)]
    if absent or not isinstance(price, (int, float)) or price < 0:
        raise BadInput(
            f"{place} with price_per_1000 = {price!r} and without {' and '.join(absent) or 'a price'}",
            "a price of at least 0, classes and values, so that nothing is sent before", "set them on the function",
        )  # fmt: skip
    return Meter(float(price), str(getattr(function, "currency", "")), size=getattr(function, "batch", REQUEST))


def _source(code: Any) -> str:
    """Return the source of a function or module, or its name where there is none."""
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return getattr(code, "__qualname__", type(code).__qualname__)
