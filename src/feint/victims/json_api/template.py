"""Templates of requests: JSON with a placeholder in the place of an input."""

import base64
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feint._optional import require
from feint.errors import BadInput, UnknownName

KINDS = {"row": "row", "values": "row", "text": "text", "image": "image"}  # of input, by the name of a placeholder
IMAGES = ("png", "jpeg", "list")
PLACEHOLDER = re.compile(r"\$([A-Za-z_]+)(?:\.([^\s\"$]+))?")


@dataclass(frozen=True)
class Template:
    """Template of a request's body.

    `"$row"` is a row as an object by the names of its columns, `"$values"` the list of its values, `"$row.NAME"` one of
    them; `"$text"` a text, `"$image"` an image. Placeholders of text and images may be parts of a string. For a batch,
    the list that has the placeholder in its only item gets an item for each input.

    Args:
        text: JSON.
        image: Images as base64 of "png" or "jpeg", or as a nested "list" (H, W, C) from 0 to 255.
        batch: Inputs in a request.

    Attributes:
        kind: Kind of input: "row", "text" or "image".

    Raises:
        BadInput: The text is no JSON, or has no placeholder, or those of several kinds; or the batch has no list.
    """

    text: str
    image: str = "png"
    batch: int = 1

    def __post_init__(self) -> None:
        if self.image not in IMAGES:
            raise UnknownName.among("encoding of images", self.image, IMAGES)
        body = self.body
        names = [match[1] for match in PLACEHOLDER.finditer(self.text)]
        unknown = next((name for name in names if name not in KINDS), None)
        if unknown is not None:
            raise UnknownName.among("placeholder", f"${unknown}", [f"${name}" for name in KINDS])
        if len({KINDS[name] for name in names}) != 1:
            got = f"placeholders of several kinds: {', '.join(sorted({*names}))}" if names else "no placeholder"
            raise BadInput(
                f"a template with {got}", '"$row", "$values", "$row.NAME", "$text" or "$image"',
                "put one where the input goes",
            )  # fmt: skip
        if self.batch > 1 and _repeated(body) is None:
            raise BadInput(
                f"batch = {self.batch} and a template without a list around the input", 'a list, like ["$row"]',
                "add it, or set batch = 1",
            )  # fmt: skip

    @property
    def body(self) -> Any:
        """JSON of the template, with its placeholders.

        Raises:
            BadInput: It is no JSON.
        """
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise BadInput(
                f"a template that is no JSON ({error})", 'JSON, with placeholders in quotes: {"features": "$row"}',
                "mend template in victim.toml",
            ) from error  # fmt: skip

    @property
    def kind(self) -> str:
        """Kind of input."""
        match = PLACEHOLDER.search(self.text)
        return KINDS[match[1]] if match else ""

    def fill(self, inputs: Sequence[Any]) -> Any:
        """Return the body of a request.

        Args:
            inputs: Rows by name of column, strings, or images (H, W, C) uint8; no more than `batch`.

        Returns:
            Plain values.
        """
        body = self.body
        if (where := _repeated(body)) is None:
            return _fill(body, self._values(inputs[0]))
        where[:] = [_fill(json.loads(json.dumps(where[0])), self._values(value)) for value in inputs]
        return body

    def _values(self, value: Any) -> Callable[[str, str | None], Any]:
        """Return the function of a placeholder's name and column to what takes its place."""
        if self.kind == "text":
            return lambda name, column: str(value)
        if self.kind == "image":
            encoded = _encode_image(value, self.image)
            return lambda name, column: encoded
        row = {key: _plain(cell) for key, cell in value.items()}

        def of_row(name: str, column: str | None) -> Any:
            if column is None:
                return row if name == "row" else list(row.values())
            if column not in row:
                raise UnknownName.among("column of the template", column, row)
            return row[column]

        return of_row


def _fill(node: Any, value: Callable[[str, str | None], Any]) -> Any:
    """Return a body with its placeholders replaced: a whole string by any value, a part of one by text."""
    if isinstance(node, dict):
        return {key: _fill(child, value) for key, child in node.items()}
    if isinstance(node, list):
        return [_fill(child, value) for child in node]
    if not isinstance(node, str):
        return node
    whole = PLACEHOLDER.fullmatch(node)
    return value(whole[1], whole[2]) if whole else PLACEHOLDER.sub(lambda match: str(value(match[1], match[2])), node)


def _repeated(node: Any) -> list[Any] | None:
    """Return the outermost list whose only item has a placeholder, or None."""
    if isinstance(node, list) and len(node) == 1 and PLACEHOLDER.search(json.dumps(node)):
        return node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((place for child in children if (place := _repeated(child)) is not None), None)


def _plain(cell: Any) -> Any:
    """Return a value of a row for JSON: whole numbers as such, and null for a missing one."""
    if isinstance(cell, (float, np.floating)):
        return None if math.isnan(cell) else int(cell) if float(cell).is_integer() else float(cell)
    return cell.item() if isinstance(cell, np.generic) else cell


def _encode_image(pixels: np.ndarray, form: str) -> Any:
    """Return an image (H, W, C) uint8 as base64 of a file, or as a nested list."""
    if form == "list":
        return pixels.tolist()
    image = require("PIL.Image", "data").fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, form.upper(), **({"quality": 95} if form == "jpeg" else {}))
    return base64.b64encode(file.getvalue()).decode()
