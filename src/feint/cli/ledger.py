"""Command `feint ledger`: accounts of a gateway's ledger."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from feint.cli.app import OPERATE, app
from feint.cli.common import person
from feint.errors import UnknownName

if TYPE_CHECKING:
    from feint.gateway.changes import AccountName, Snapshot
    from feint.gateway.settings import Settings

ledger = App(
    name="ledger",
    group=OPERATE,
    help="Show, export, reset and erase accounts of a gateway's ledger, or take one that has lost data as it is.",
)
app.command(ledger)


@ledger.command
def show(settings: Path, client: str, /, *, model: str = "", group: bool = False) -> None:
    """Print the totals of a client: queries, budgets, evidence, rung, and the state of detectors.

    Example: `feint ledger show gateway.toml ann`

    Args:
        settings: Settings file of the gateway.
        client: Name of the client.
        model: Name of the model; may be left out where there is one.
        group: Whether the name is that of a group of linked clients.
    """
    account = _account(settings, client, model, group=group)
    for name, total in sorted(account.totals.items()):
        print(f"{name}: {total:g}")
    for name, rows in sorted(account.rows.items()):
        print(f"{name}: {len(rows)} rows")


@ledger.command
def export(settings: Path, client: str, /, *, model: str = "", group: bool = False) -> None:
    """Print all that the ledger stores of a client as JSON, for their own request; marks of inputs are not readable.

    Args:
        settings: Settings file of the gateway.
        client: Name of the client.
        model: Name of the model; may be left out where there is one.
        group: Whether the name is that of a group of linked clients.
    """
    account = _account(settings, client, model, group=group)
    rows = {name: rows.tolist() for name, rows in account.rows.items()}
    print(json.dumps({"name": client, "totals": dict(account.totals), "rows": rows}, ensure_ascii=False, indent=1))


@ledger.command
def reset(settings: Path, client: str, /, *, model: str = "", group: bool = False) -> None:
    """Let a client begin anew: evidence, rung, budgets and the count of queries are 0 for the next request.

    A client of a group stays accused with it: reset the group as well, with --group.

    Args:
        settings: Settings file of the gateway.
        client: Name of the client.
        model: Name of the model; may be left out where there is one.
        group: Whether the name is that of a group of linked clients.
    """
    before = _account(settings, client, model, group=group, reset=True)
    print(f"{client} begins anew, with evidence 0 instead of {before.totals.get('evidence', 0.0):.2f}")


@ledger.command
def erase(settings: Path, client: str, /, *, group: bool = False) -> None:
    """Delete all that is stored of a client, for their own request: accounts of every model, keys and link to a group.

    The account of a group goes with its last client. Lines of the audit log and copies of the files stay.

    Example: `feint ledger erase gateway.toml ann`

    Args:
        settings: Settings file of the gateway.
        client: Name of the client.
        group: Whether the name is that of a group of linked clients, whose own account is deleted.
    """
    import asyncio

    from feint.gateway import accounts
    from feint.gateway.settings_file import read

    table, name = read(settings), _name(client, group)
    accounts.check_stored(table)
    accounts.enter(table, "account erased", person(), **{name.kind: name.name})
    erased = asyncio.run(accounts.erase(table, name))
    parts = [f"its account of {model}" for model in erased.models] + [f"{erased.keys} keys"] * bool(erased.keys)
    parts += [f"its group {erased.group}, which has no other client"] * bool(erased.group)
    print(f"erased of {client}: {', '.join(parts) or 'nothing, as nothing was stored'}")


@ledger.command
def accept(settings: Path, /) -> None:
    """Take a ledger that has lost data as it is: clients get back what of their budgets and evidence is gone.

    A gateway does not start with such a ledger, and one that runs answers nobody until it is reloaded or restarted.

    Example: `feint ledger accept gateway.toml`

    Args:
        settings: Settings file of the gateway.
    """
    import asyncio

    from feint.gateway import accounts
    from feint.gateway.server import readiness
    from feint.gateway.settings_file import read

    table = read(settings)
    accounts.check_stored(table)
    accounts.enter(table, "ledger accepted", person())
    asyncio.run(readiness.accept_ledgers(table))
    print("the ledger is taken as it is: reload the gateways that run (SIGHUP), or restart them")


@ledger.command
def marks(settings: Path, /, *, out: Path, model: str = "") -> None:
    """Write the marked answers of every account as a mark, for `feint commit` and `feint claim`.

    `Marked` stored them while it served. Answers to clients of one group are those of one account, and an input that
    several accounts asked is left out. Keep the directory secret, and commit to it before a suspect appears.

    Example: `feint ledger marks gateway.toml --out runs/served`

    Args:
        settings: Settings file of the gateway, which may be running.
        out: Directory to write.
        model: Name of the model; may be left out where there is one.
    """
    import asyncio

    from feint.cli.out import require_new
    from feint.defenses.served_mark import ROWS
    from feint.gateway.server import marked
    from feint.gateway.settings_file import read
    from feint.ownership.carried import marked_by_account
    from feint.recipes.store import atomic_write

    require_new(out)
    table = read(settings)
    name = _model(table, model)
    accounts = asyncio.run(marked.rows_by_account(table, name, ROWS))
    mark = marked_by_account(accounts, *asyncio.run(marked.task_of(table, name)))
    with atomic_write(out) as partial:
        mark.save(partial / mark.method.replace(" ", "_"), model=name)
    print(f"{out}: {len(mark):,} {mark.method} of {len(mark.accounts):,} accounts")


def _model(settings: "Settings", model: str) -> str:
    """Return the name of a model of the settings; the only one may be left out."""
    if not model and len(settings.models) == 1:
        (model,) = settings.models
    if model not in settings.models:
        raise UnknownName.among("model", model, settings.models)
    return model


def _name(client: str, group: bool) -> "AccountName":
    from feint.gateway.changes import AccountName

    return AccountName("group" if group else "client", client)


def _account(settings: Path, client: str, model: str, *, group: bool, reset: bool = False) -> "Snapshot":
    import asyncio

    from feint.gateway import accounts
    from feint.gateway.settings_file import read

    table, name = read(settings), _name(client, group)
    read = accounts.reset if reset else accounts.read
    account = asyncio.run(read(table, _model(table, model), name))
    if reset:
        accounts.enter(table, "account reset", person(), **{name.kind: name.name})
    return account
