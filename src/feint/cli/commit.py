"""Command `feint commit`."""

import datetime
from pathlib import Path

from feint.cli.app import OWN, app


@app.command(group=OWN)
def commit(
    marked: Path,
    /,
    *,
    ledger: Path,
    tsa: str | None = None,
) -> None:
    """Commit to marks, before a suspect appears: their digest goes to a ledger, with the time.

    The digest is the SHA-256 of a secret salt, the inputs and their labels; it tells nothing of them. Publish it, or
    let a time-stamping authority sign it (RFC 3161): the date in a ledger of your own is your word alone.

    Example: `feint commit runs/marked --ledger ownership.db`

    Args:
        marked: Directory that `feint mark` wrote.
        ledger: File of commitments, made where there is none.
        tsa: Address of a time-stamping authority.
    """
    from feint.ownership import commitment, time_stamp
    from feint.ownership.mark import load_marks

    marks = load_marks(marked)
    if ledger.exists():
        commitment.read_ledger(ledger)
    with commitment.drawn_salt(marked) as salt:
        digest = commitment.salted_digest(salt, marks)
        stamp = time_stamp.request(tsa, digest) if tsa else None
        entry = commitment.commit(
            ledger, digest, authority=tsa or "", token=stamp.token if stamp else b"", at=stamp.time if stamp else None
        )
    when = datetime.datetime.fromtimestamp(entry.time, datetime.UTC).isoformat(timespec="seconds")
    print(f"{marked}: committed as {entry.digest} at {when}, by {entry.authority or 'the clock of this machine'}")
