"""Functions of the owner as models: arrays, strings or rows in; probabilities, scores or labels out."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from feint.errors import BadInput, FeintError, one_line
from feint.paid.meter import Meter
from feint.victims.outputs import label_text
from feint.victims.raw import Metadata, RawModel, TensorSpec

REQUEST = 50  # inputs of one call of a paid function


class FunctionModel(RawModel):
    """Function of one batch of inputs to one answer for each: a row of scores, a label, or a dictionary of scores.

    It may return a dictionary of several outputs by name, too. Its digest is that of its source.

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
        self.meter = _meter(function, place)
        self.digest = hashlib.sha256(f"{place} {_source(function)}".encode()).hexdigest()

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
        if y.ndim == 0 or len(y) != len(x):
            raise BadInput(
                f"an answer of shape {y.shape} of {self.place} for {len(x)} inputs", f"{len(x)} rows or labels",
                "return one for each input",
            )  # fmt: skip
        return {"y": y}

    def _array(self, answer: Any) -> np.ndarray:
        """Return an answer as an array; dictionaries of scores in the order of the classes, or else of their names."""
        if isinstance(answer, Tensor):
            return answer.detach().cpu().numpy()
        rows = answer if isinstance(answer, np.ndarray) else list(answer)
        if len(rows) and isinstance(rows[0], dict):
            texts = [{label_text(key): score for key, score in row.items()} for row in rows]
            names = self.metadata.classes or tuple(sorted({name for row in texts for name in row}))
            return np.array([[row.get(name, 0.0) for name in names] for row in texts])
        array = np.asarray(rows)
        return array.astype(object) if array.dtype.kind in "US" else array


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


def _source(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return getattr(function, "__qualname__", type(function).__qualname__)
