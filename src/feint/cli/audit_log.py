"""`feint audit-log`."""

from pathlib import Path

from feint.cli.app import app


@app.command
def audit_log(file: Path, /, *more: Path) -> None:
    """Check that a gateway's audit log is whole: no line changed, taken out or put in.

    Example: `feint audit-log audit.jsonl.1 audit.jsonl`

    Parameters
    ----------
    file
        The log, or the oldest of its files.
    more
        The files that followed it.
    """
    from feint.gateway.telemetry.audit_log import verify

    found = verify([file, *more])
    torn = f", {found.torn} of them torn" if found.torn else ""
    print(f"{found.lines} lines{torn}, each after the one before it; the last is {found.last or '-'}")
    if found.follows:
        print(f"The first follows {found.follows}, which is not among these files")
