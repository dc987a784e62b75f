"""Models behind an Open Inference Protocol v2 server, described by `victim.toml`."""

import sys

from feint.client import RemoteService
from feint.paid.answer_cache import answers_file
from feint.paid.meter import Meter
from feint.signature import Domain
from feint.victims.json_api.victim_file import VictimFile
from feint.victims.remote import FromAnswers, identity


def load_served(file: VictimFile, domain: Domain | None) -> FromAnswers:
    """Return the model of a server, whose answers are kept and counted. Its metadata are read, which costs nothing.

    Errors are those of `RemoteService`.

    Args:
        file: Content of its `victim.toml`.
        domain: Domain of the data at hand, for what the metadata leave open.

    Returns:
        The model.
    """
    key = file.filled("the key", file.key)
    server = RemoteService(
        file.url, model=file.model, keys=[key] if key else (), input=file.input or None, output=file.output or None,
        domain=domain, classes=len(file.classes), timeout=file.timeout,
    )  # fmt: skip
    about = repr((server.name, file.input, file.output, identity(server.domain)))
    return FromAnswers(
        server.oracle(budget=sys.maxsize).try_ask, name=about, domain=server.domain, classes=server.classes,
        class_names=file.classes or server.labels, file=answers_file(str(file.path), about),
        meter=Meter(file.price_per_1000, file.currency),
    )  # fmt: skip
