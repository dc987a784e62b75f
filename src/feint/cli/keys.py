"""`feint keys`: who may ask a gateway."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from feint.cli.app import app
from feint.errors import BadInput

if TYPE_CHECKING:
    from feint.gateway.auth.keyfile import Key

keys = App(name="keys", help="API keys of a gateway: add, list, revoke and rotate them.")
app.command(keys)

Roles = Annotated[tuple[str, ...], Parameter(name="--role", negative=(), consume_multiple=False)]
FILE = Path("keys.db")


@keys.command
def add(
    client: str,
    /,
    *,
    file: Path = FILE,
    tenant: str = "",
    roles: Roles = ("infer",),
    expires: timedelta | None = None,
    audit_log: Path | None = None,
) -> None:
    """Make a key and show it, once: only its hash is kept.

    Example: `feint keys add ann --tenant acme --expires 90d`

    Parameters
    ----------
    client
        Whose it is: the name in the ledger, where budget and evidence are counted. Several keys may have the same.
    file
        The file of keys; it is made where there is none.
    tenant
        To whom the client belongs.
    roles
        infer; metrics, which opens /metrics and nothing else; or admin, which opens the operator's page as well.
    expires
        After how long it is void, like 90d or 12h (default: never).
    audit_log
        The gateway's audit log: the change is entered there.
    """
    from feint.gateway.auth.keyfile import Keys

    with _log(audit_log, "added") as enter:
        text, key = Keys(file, new=True).add(client, tenant=tenant, roles=roles, expires=_then(expires))
        enter(key)
    _show(text, key)


@keys.command(name="list")
def list_(*, file: Path = FILE) -> None:
    """Every key with its client, tenant, roles and times; the keys themselves are known to their owners alone.

    Parameters
    ----------
    file
        The file of keys.
    """
    import time

    from feint.gateway.auth.keyfile import Keys

    now = time.time()
    rows = [
        (it.id, it.client, it.tenant, " ".join(sorted(it.roles)), it.state(now), _date(it.created), _date(it.expires))
        for it in Keys(file).all()
    ]
    table = [("id", "client", "tenant", "roles", "state", "created", "expires"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(it.ljust(width) for it, width in zip(row, widths, strict=True)).rstrip())


@keys.command
def revoke(key: str, /, *, file: Path = FILE, audit_log: Path | None = None) -> None:
    """Make a key void; gateways see it within a second.

    Parameters
    ----------
    key
        The id of a key, or a client: all keys of that client then.
    file
        The file of keys.
    audit_log
        The gateway's audit log: the change is entered there.
    """
    from feint.gateway.auth.keyfile import Keys

    with _log(audit_log, "revoked") as enter:
        found = Keys(file).revoke(key)
        enter(*found)
    for it in found:
        print(f"{it.id} of {it.client} is revoked")


@keys.command
def rotate(
    key: str,
    /,
    *,
    file: Path = FILE,
    grace: timedelta = timedelta(days=1),
    expires: timedelta | None = None,
    audit_log: Path | None = None,
) -> None:
    """Make a new key in place of an old one, which stays valid for a while, and show the new one, once.

    Parameters
    ----------
    key
        The id of a key, or a client who has one.
    file
        The file of keys.
    grace
        How long the old key stays valid, like 24h or 0s.
    expires
        After how long the new key is void (default: never).
    audit_log
        The gateway's audit log: the change is entered there.
    """
    from feint.gateway.auth.keyfile import Keys

    if grace < timedelta(0):
        raise BadInput(f"--grace {grace}", "0s or more", "change it")
    with _log(audit_log, "rotated") as enter:
        text, new, old = Keys(file).rotate(key, grace=grace.total_seconds(), expires=_then(expires))
        enter(old, new)
    _show(text, new)
    print(f"{old.id} stays valid for {grace}", file=sys.stderr)


def _show(text: str, key: "Key") -> None:
    """The key alone on standard output, so that a script can take it."""
    print(text)
    until = f", until {_date(key.expires)}" if key.expires else ""
    print(f"{key.id} of {key.client}{until}: keep it, it is not shown again", file=sys.stderr)


@contextmanager
def _log(audit_log: Path | None, action: str) -> Iterator[Callable[..., None]]:
    """Enters keys into the audit log, which is opened before anything is changed."""
    if audit_log is None:
        yield lambda *changed: None
        return
    from feint.gateway.telemetry.audit_log import AuditLog

    with AuditLog(audit_log) as log:

        def enter(*changed: "Key") -> None:
            for key in changed:
                told = {"client": key.client, "tenant": key.tenant, "key": key.id, "by": _person()}
                log.enter(f"key {action}", **told, durable=True)

        yield enter


def _person() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"


def _then(after: timedelta | None) -> float | None:
    if after is None:
        return None
    if after <= timedelta(0):
        raise BadInput(f"--expires {after}", "more than 0s", "change it")
    return (datetime.now() + after).timestamp()


def _date(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds") if seconds is not None else "-"
