"""`victim.toml`: description of a model behind a JSON API or a v2 server, or of a recorded service."""

import os
import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec

from feint.errors import BadInput, DamagedFile, MissingData, UnknownName
from feint.recipes.field_types import in_words
from feint.victims.json_api.answers import Pointers
from feint.victims.outputs import label_text

NAME = "victim.toml"


@dataclass(frozen=True)
class VictimFile:
    """Content of a `victim.toml`: `url` with `template` or `model`, or `answers`, the file of a recorded service.

    Attributes:
        path: The file.
        classes: Names of the classes, in the order of the labels.
        url: Address of the API, or of an Open Inference Protocol v2 server.
        template: Template of a request; see `Template`.
        model: Name of the server's model.
        input: Its input, where its metadata name several or none.
        output: Its output with the probabilities, where its metadata name several or none.
        data: Samples that tell what the server's metadata leave open, relative to this file; `label` is no input.
        key: API key of the server, with `$NAME` for a variable of the environment.
        method: Method of HTTP.
        headers: Headers, with `$NAME` for variables of the environment.
        image: Encoding of images.
        batch: Inputs in a request.
        rate: Requests in a second at most; 0 is no limit.
        retries: Repetitions of a failed request.
        timeout: Seconds that a request may take.
        price_per_1000: Price of 1,000 inputs.
        currency: Its currency.
        answer: Where scores and labels are in an answer.
        answers: File of recorded inputs and answers, relative to this file.
        label: Column of the labels that are recorded, or in `data`.
        scores: Columns of the recorded scores, one for each class.
    """

    path: Path
    classes: tuple[str, ...]
    url: str = ""
    template: str = ""
    model: str = ""
    input: str = ""
    output: str = ""
    data: str = ""
    key: str = ""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    image: str = "png"
    batch: int = 1
    rate: float = 0.0
    retries: int = 4
    timeout: float = 30.0
    price_per_1000: float = 0.0
    currency: str = ""
    answer: Pointers = Pointers()
    answers: str = ""
    label: str = ""
    scores: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.answers):
            raise BadInput(
                "url and answers" if self.url else "neither url nor answers",
                "the address of an API, or the file of a recorded service", "name one of them",
            )  # fmt: skip
        if self.url and bool(self.template) == bool(self.model):
            raise BadInput(
                "a url with template and model" if self.model else "a url without template",
                'the request of an API, like template = \'{"features": "$row"}\', or the model of a v2 server',
                "name one of them",
            )  # fmt: skip
        schemes = ("http://", "https://", "grpc://", "grpcs://")[: 4 if self.model else 2]
        if self.url and not self.url.startswith(schemes):
            raise BadInput(f"url {self.url!r}", " or ".join(f"{scheme}…" for scheme in schemes), "write it whole")
        if not (self.model and not self.classes) and (
            len(self.classes) < 2 or len({*self.classes}) < len(self.classes)
        ):
            raise BadInput(
                f"classes {list(self.classes)}", "two or more, of different names", "list them in victim.toml"
            )
        if self.method not in ("POST", "GET", "PUT"):
            raise UnknownName.among("method", self.method, ("POST", "GET", "PUT"))
        least = {"batch": 1, "rate": 0, "retries": 0, "price_per_1000": 0}
        low = next((name for name, minimum in least.items() if getattr(self, name) < minimum), None)
        if low is not None or self.timeout <= 0:
            low = low or "timeout"
            raise BadInput(f"{low} = {getattr(self, low)}", f"at least {least.get(low, 'a moment')}", "raise it")

    def filled_headers(self) -> dict[str, str]:
        """Return the headers with variables of the environment in their places. Errors are those of `filled`."""
        return {name: self.filled(f"the header {name}", value) for name, value in self.headers.items()}

    def filled(self, name: str, value: str) -> str:
        """Return a value with variables of the environment in their places.

        Raises:
            MissingData: A variable is not set.
        """
        try:
            return string.Template(value).substitute(os.environ)
        except (KeyError, ValueError) as error:
            raise MissingData(
                f"no {error} in the environment", f"it, for {name} of {self.path}", "export it"
            ) from error


def is_victim_file(path: Path | str) -> bool:
    """Return whether a TOML file describes an API or a recorded service, and not an adapter."""
    try:
        table = tomllib.loads(Path(path).read_text())
    except (OSError, ValueError):
        return False
    return "url" in table or "answers" in table


def read_victim_file(path: Path | str) -> VictimFile:
    """Read a `victim.toml`.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        DamagedFile: It is no TOML.
        BadInput: A key is unknown, or has a value of another type or out of range.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedFile(f"{path} ({error})", f"a {NAME}", "mend it") from error
    try:
        answer = Pointers(**_checked(Pointers, table.pop("answer", {}), "[answer]"))
        if "classes" not in table and "model" not in table:
            raise BadInput("no classes", 'their names, like classes = ["good", "bad"]', "list them in their order")
        values = {"classes": (), **_checked(VictimFile, table, NAME)}
        return VictimFile(path, answer=answer, **values)
    except BadInput as error:
        if str(path) in str(error):
            raise
        raise error.with_context(str(path)) from error


def _checked(kind: type, table: Any, where: str) -> dict[str, Any]:
    """Return the values of a table whose keys are fields of a class, each of its field's type."""
    if not isinstance(table, dict):
        raise BadInput(f"{where} = {table!r}", "a table", f"write {where} and its keys below")
    known = {entry.name: entry.type for entry in fields(kind) if entry.name not in ("path", "answer")}
    values = {}
    for name, value in table.items():
        if name not in known:
            raise UnknownName.among(f"key of {where}", name, known)
        plain = [label_text(item) for item in value] if isinstance(value, list) else value
        try:
            values[name] = msgspec.convert(plain, known[name])
        except msgspec.ValidationError as error:
            raise BadInput(f"{name} = {value!r}", in_words(known[name]), f"mend it in {where}") from error
    return values
