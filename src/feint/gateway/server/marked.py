"""Rows that a defense stored in the accounts of a model, for claims of ownership."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from feint.errors import BadInput, Unreachable
from feint.gateway.accounts import to_read
from feint.gateway.auth.keyfile import Keys
from feint.gateway.backends.registry import LOADERS
from feint.gateway.changes import AccountName
from feint.gateway.settings import Settings
from feint.signature import Domain

MOST = 1_000_000  # clients that are read


async def task_of(settings: Settings, model: str) -> tuple[Domain, int]:
    """Return the domain and the number of classes of a model. One that cannot be opened raises its own error.

    Raises:
        Unreachable: Its upstream does not answer.
    """
    table = settings.models[model]
    loaded = await LOADERS[type(table)](table, model)
    try:
        if loaded.spec is None or loaded.spec.domain is None:
            raise Unreachable(f"{model}, which does not say what it takes", "a model that does", "try again later")
        return loaded.spec.domain, loaded.spec.classes
    finally:
        loaded.close()


async def rows_by_account(settings: Settings, model: str, name: str) -> dict[str, np.ndarray]:
    """Return the rows of one name in the accounts of a model's clients.

    Args:
        settings: Settings of the gateway, which may be running.
        model: Name of the model.
        name: Name of the rows.

    Returns:
        Rows (n, d) by client; those of linked clients are together, by the name of their group.

    Raises:
        BadInput: No account has such rows, or the ledger is in memory.
    """
    parts = defaultdict[str, list[np.ndarray]](list)
    async with to_read(settings, model) as ledger:
        groups = groups_of(settings)
        for client, _ in await ledger.clients(MOST):
            rows = (await ledger.account(AccountName("client", client))).rows.get(name)
            if rows is not None and len(rows):
                parts[groups.get(client, client)].append(rows)
    if not parts:
        raise BadInput(
            f"a ledger without {name} answers of {model}", "some, as the defense Marked stores them",
            "serve the model with Marked(key) among its outputs",
        )  # fmt: skip
    return {account: np.concatenate(several) for account, several in parts.items()}


def groups_of(settings: Settings) -> Mapping[str, str]:
    """Return the group of each linked client, as "group NAME"."""
    if settings.keys.file is None:
        return {}
    return {key.client: f"group {key.group}" for key in Keys(settings.keys.file).all() if key.group}
