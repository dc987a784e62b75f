"""Command `feint audit-log`."""

from pathlib import Path

from feint.cli.app import OPERATE, app


@app.command(group=OPERATE)
def audit_log(
    file: Path,
    /,
    *more: Path,
    key_file: Path | None = None,
    shipped: tuple[Path, ...] = (),
    head: str = "",
    log: str = "",
    first: int = 0,
) -> None:
    """Check that a gateway's audit log is what was written: nothing changed, moved, inserted, or cut away at the end.

    A missing end shows only beside a head, the number and hash of an entry, that was kept elsewhere: the gateway writes
    each into its own log.

    Example: `feint audit-log audit.jsonl.1 audit.jsonl --key-file audit.key --shipped gateway.log`

    Args:
        file: The log, or the oldest of its rotated files.
        more: Later files, in order.
        key_file: File with the key of the audit log.
        shipped: The gateway's log, wherever it was shipped; may be repeated.
        head: A head that was noted, as this command prints it: NUMBER:HASH.
        log: Name of the log, where the shipped log holds heads of several.
        first: Number of the first entry, where you removed older files yourself.
    """
    from feint.gateway.telemetry import audit_chain

    heads = audit_chain.shipped_heads(shipped) + ([audit_chain.head_of(head)] if head else [])
    key = audit_chain.read_key("", key_file)
    chain = audit_chain.verify([file, *more], key=key, heads=heads, log=log, first=first)
    torn = f", {chain.torn} torn lines between them" if chain.torn else ""
    print(f"entries {chain.first} to {chain.head.number} of {chain.head.log}, sealed and unbroken{torn}")
    print(f"the head is {chain.head}")
