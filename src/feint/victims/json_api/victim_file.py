"""`victim.toml`: description of a model behind a JSON API, or of a recorded service."""

import os
import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec

from feint.errors import BadInput, DamagedFile, MissingData, UnknownName
from feint.victims.json_api.answers import Pointers
from feint.victims.outputs import label_text

NAME = "victim.toml"


@dataclass(frozen=True)
class VictimFile:
    """Content of a `victim.toml`: either `url` with `template`, or `answers`, the file of a recorded service.

    Attributes:
        path: The file.
        classes: Names of the classes, in the order of the labels.
        url: Address of the API.
        template: Template of a request; see `Template`.
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
        label: Column of the recorded labels.
        scores: Columns of the recorded scores, one for each class.
    """

    path: Path
    classes: tuple[str, ...]
    url: str = ""
    template: str = ""
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
        if self.url and not self.template:
            raise BadInput("a url without template", 'the request, like template = \'{"features": "$row"}\'', "add it")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise BadInput(f"url {self.url!r}", "http://… or https://…", "write it whole")
        if len(self.classes) < 2 or len({*self.classes}) < len(self.classes):
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
        """Return the headers with variables of the environment in their places.

        Raises:
            MissingData: A variable is not set.
        """
        filled = {}
        for name, value in self.headers.items():
            try:
                filled[name] = string.Template(value).substitute(os.environ)
            except (KeyError, ValueError) as error:
                raise MissingData(
                    f"no {error} in the environment", f"it, for the header {name} of {self.path}", "export it"
                ) from error
        return filled


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
        if "classes" not in table:
            raise BadInput("no classes", 'their names, like classes = ["good", "bad"]', "list them in their order")
        values = _checked(VictimFile, table, NAME)
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
            wanted = getattr(known[name], "__name__", known[name])
            raise BadInput(f"{name} = {value!r}", f"a value of type {wanted}", f"mend it in {where}") from error
    return values
