"""Models behind an Open Inference Protocol v2 server, described by `victim.toml`."""

import sys

from feint.client import RemoteService
from feint.data.files import pool_at
from feint.errors import BadInput
from feint.paid.answer_cache import answers_file
from feint.paid.meter import Meter
from feint.signature import Domain
from feint.victims.json_api.victim_file import VictimFile
from feint.victims.remote import FromAnswers, identity


def load_served(file: VictimFile, domain: Domain | None) -> FromAnswers:
    """Return the model of a server, whose answers are kept and counted. Its metadata are read, which costs nothing.

    Other errors are those of `RemoteService`, and of reading the file's data.

    Args:
        file: Content of its `victim.toml`.
        domain: Domain of the data at hand, for what the metadata leave open and the file names no data for.

    Returns:
        The model.

    Raises:
        BadInput: The metadata leave open what it takes, and there is neither `domain` nor data.
    """
    key = file.filled("the key", file.key)
    if file.data:
        domain = pool_at(str(file.path.parent / file.data), label=file.label or None).split.domain
    try:
        server = RemoteService(
            file.url, model=file.model, keys=[key] if key else (), input=file.input or None, output=file.output or None,
            domain=domain, classes=len(file.classes), timeout=file.timeout,
        )  # fmt: skip
    except BadInput as error:
        if domain is not None:
            raise
        got, expected, remedy = error.args[:3]
        raise BadInput(got, expected, f'{remedy}, or set data = "samples.csv" in {file.path}') from error
    return keep_answers(
        server, input=file.input, output=file.output, class_names=file.classes,
        meter=Meter(file.price_per_1000, file.currency),
    )  # fmt: skip


def keep_answers(
    server: RemoteService, *, input: str, output: str, class_names: tuple[str, ...] = (), meter: Meter | None = None
) -> FromAnswers:
    """Return a server's model whose answers are kept under `FEINT_CACHE`, for every command that names it.

    Args:
        server: The server's model.
        input: Its input by name, "" for the only one.
        output: Its output by name, "" for that of its metadata.
        class_names: Names of the classes; those of its metadata by default.
        meter: Price and ceiling of the calls.

    Returns:
        The model.
    """
    about = repr((server.name, input, output, identity(server.domain)))
    return FromAnswers(
        server.oracle(budget=sys.maxsize).try_ask, name=about, domain=server.domain, classes=server.classes,
        class_names=class_names or server.labels, file=answers_file(server.model, about), meter=meter,
    )  # fmt: skip
