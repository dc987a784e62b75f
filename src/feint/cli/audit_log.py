"""Command `feint audit-log`."""

from pathlib import Path

from feint.cli.app import app


@app.command
def audit_log(file: Path, /, *more: Path) -> None:
    """Check that no line of a gateway's audit log was changed, removed or inserted.

    Example: `feint audit-log audit.jsonl.1 audit.jsonl`

    Args:
        file: The log, or the oldest of its rotated files.
        more: Later files, in order.
    """
    from feint.gateway.telemetry.audit_log import verify

    chain = verify([file, *more])
    torn = f", {chain.torn} of them torn" if chain.torn else ""
    print(f"{chain.lines} lines{torn}, each after the one before it; the last is {chain.last or '-'}")
    if chain.follows:
        print(f"The first follows {chain.follows}, which is not among these files")
