"""Command `feint keys`: API keys of a gateway."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from feint.cli.app import OPERATE, app
from feint.cli.common import person
from feint.errors import BadInput

if TYPE_CHECKING:
    from feint.gateway.auth.keyfile import Key

keys = App(
    name="keys",
    group=OPERATE,
    help="Add, list, link, revoke and rotate a gateway's API keys.",
    default_parameter=app.default_parameter,
)
app.command(keys)

Models = Annotated[tuple[str, ...], Parameter(name="--model")]
Roles = Annotated[tuple[str, ...], Parameter(name="--role")]
FILE = Path("keys.db")
LONGEST = timedelta(days=36_500)  # the calendar ends in the year 9999, and no list could show a later date


@keys.command
def add(
    client: str,
    /,
    *,
    file: Path = FILE,
    tenant: str = "",
    group: str | None = None,
    roles: Roles = ("infer",),
    models: Models = (),
    expires: timedelta | None = None,
    audit_log: Path | None = None,
    audit_key_file: Path | None = None,
) -> None:
    """Create a key and print it once: only its hash is stored.

    Example: `feint keys add ann --tenant acme --expires 90d`

    Args:
        client: Owner of the key, the name under which the ledger counts budget and evidence. A client may have several
            keys.
        file: File of keys, created if it does not exist.
        tenant: Tenant to whom the client belongs.
        group: Group of clients that are linked, by a payer or an owner: evidence against one is evidence against all
            (default: that of the client's other keys).
        roles: infer; metrics, which allows only /metrics; or admin, which allows the operator's page as well.
        models: Name of a model that the key is good for. Repeat the option for several (default: all models).
        expires: Time until the key expires, like 90d or 12h (default: never).
        audit_log: The gateway's audit log, in which the change is entered.
        audit_key_file: File with the key of the audit log, if it has one.
    """
    from feint.gateway.auth.keyfile import Keys

    with _log(audit_log, audit_key_file, "added") as enter:
        text, key = Keys(file, new=True).add(
            client, tenant=tenant, group=group, roles=roles, models=models, expires=_timestamp(expires)
        )
        enter(key)
    _show(text, key)


@keys.command
def link(
    client: str,
    group: str,
    /,
    *,
    file: Path = FILE,
    audit_log: Path | None = None,
    audit_key_file: Path | None = None,
) -> None:
    """Put a client into a group of linked clients; gateways apply it within a second.

    Example: `feint keys link ann card-4711`

    Args:
        client: Client, all of whose keys are meant.
        group: Group of the clients that one payer or one owner stands behind, "" for none.
        file: File of keys.
        audit_log: The gateway's audit log, in which the change is entered.
        audit_key_file: File with the key of the audit log, if it has one.
    """
    from feint.gateway.auth.keyfile import Keys

    with _log(audit_log, audit_key_file, "linked") as enter:
        enter(*Keys(file).link(client, group))
    print(f"{client} belongs to {group}" if group else f"{client} belongs to no group")


@keys.command(name="list")
def list_(*, file: Path = FILE) -> None:
    """List every key with its client, tenant, group, roles and times; the keys themselves are not stored.

    Args:
        file: File of keys.
    """
    import time

    from feint.gateway.auth.keyfile import Keys
    from feint.i18n import aligned

    now = time.time()
    rows = [
        (
            key.id,
            key.client,
            key.tenant,
            key.group,
            " ".join(sorted(key.roles)),
            " ".join(sorted(key.models)),
            key.state(now),
            _date(key.created),
            _date(key.expires),
        )
        for key in Keys(file).all()
    ]
    table = [("id", "client", "tenant", "group", "roles", "models", "state", "created", "expires"), *rows]
    print(aligned(table))


@keys.command
def revoke(
    key: str, /, *, file: Path = FILE, audit_log: Path | None = None, audit_key_file: Path | None = None
) -> None:
    """Revoke a key; gateways apply it within a second.

    Args:
        key: Id of a key, or a client, all of whose keys are revoked.
        file: File of keys.
        audit_log: The gateway's audit log, in which the change is entered.
        audit_key_file: File with the key of the audit log, if it has one.
    """
    from feint.gateway.auth.keyfile import Keys

    with _log(audit_log, audit_key_file, "revoked") as enter:
        revoked = Keys(file).revoke(key)
        enter(*revoked)
    for old in revoked:
        print(f"{old.id} of {old.client} is revoked")


@keys.command
def rotate(
    key: str,
    /,
    *,
    file: Path = FILE,
    grace: timedelta = timedelta(days=1),
    expires: timedelta | None = None,
    audit_log: Path | None = None,
    audit_key_file: Path | None = None,
) -> None:
    """Create a key in place of an old one, which stays valid for a while, and print the new key once.

    Args:
        key: Id of a key, or a client who has one key.
        file: File of keys.
        grace: Time until the old key expires, like 24h or 0s.
        expires: Time until the new key expires (default: never).
        audit_log: The gateway's audit log, in which the change is entered.
        audit_key_file: File with the key of the audit log, if it has one.

    Raises:
        BadInput: For a grace that is negative, or beyond the calendar's end.
    """
    from feint.gateway.auth.keyfile import Keys

    if not timedelta(0) <= grace <= LONGEST:
        raise BadInput(f"--grace {grace}", f"0s to {LONGEST.days}d", "change it")
    with _log(audit_log, audit_key_file, "rotated") as enter:
        text, new, old = Keys(file).rotate(key, grace=grace.total_seconds(), expires=_timestamp(expires))
        enter(old, new)
    _show(text, new)
    print(f"{old.id} stays valid for {grace}", file=sys.stderr)


def _show(text: str, key: "Key") -> None:
    """Print the key alone on standard output, so that a script can read it."""
    print(text)
    until = f", until {_date(key.expires)}" if key.expires else ""
    print(f"{key.id} of {key.client}{until}: keep it, it is not shown again", file=sys.stderr)


@contextmanager
def _log(audit_log: Path | None, key_file: Path | None, action: str) -> Iterator[Callable[..., None]]:
    """Yield a function that enters keys into the audit log, which is opened before anything is changed."""
    if audit_log is None:
        yield lambda *changed: None
        return
    from feint.gateway.telemetry.audit_chain import read_key
    from feint.gateway.telemetry.audit_log import AuditLog

    with AuditLog(audit_log, read_key("", key_file)) as log:

        def enter(*changed: "Key") -> None:
            for key in changed:
                entry = {"client": key.client, "tenant": key.tenant, "group": key.group, "key": key.id, "by": person()}
                head = log.enter(f"key {action}", **entry, durable=True)
                print(f"the audit log's head is {head}", file=sys.stderr)

        yield enter


def _timestamp(after: timedelta | None) -> float | None:
    if after is None:
        return None
    if not timedelta(0) < after <= LONGEST:
        raise BadInput(f"--expires {after}", f"more than 0s, and {LONGEST.days}d at most", "change it")
    return (datetime.now() + after).timestamp()


def _date(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds") if seconds is not None else "-"
