"""Output of commands: directories that are new or finished, work directories, and answers that are kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from feint.errors import BadInput

if TYPE_CHECKING:
    from feint.oracle import Oracle
    from feint.transcript import Transcript


def require_new(out: Path) -> None:
    """Raise `BadInput` if --out exists."""
    if out.exists():
        kind = "file" if out.is_file() else "directory"
        raise BadInput(f"--out {out}, which exists", f"a new {kind}", "choose another, or delete it to run again")


def is_finished(out: Path, made_of: str) -> bool:
    """Return whether --out was made of the same already, and print that it was; anything else raises `BadInput`.

    One that cannot be written raises `NotWritten`, before its content is made.

    Args:
        out: Directory that `store.save` wrote, or of several such directories.
        made_of: Fingerprint of all that determines its content, which was stored as a note.
    """
    from feint.recipes import store

    if not any(store.notes(file.parent).get("made_of") == made_of for file in sorted(out.rglob(store.RECIPE))[:1]):
        require_new(out)
        store.check_writable(out)
        return False
    print(f"{out}: finished already")
    return True


@contextmanager
def work_directory(out: Path) -> Iterator[Path]:
    """Yield a directory beside `out` that caches the trainings of a job, and delete it when the job is done."""
    import shutil

    from feint.models.cache import cached_in

    folder = out.with_name(f".{out.name}.partial")
    with cached_in(folder):
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def continued(make: "Callable[[Transcript | None], Oracle]", file: Path | None, source: str) -> Iterator["Oracle"]:
    """Yield an oracle that goes on from the answers in a file, and leave all answers there, also after an error.

    Args:
        make: Makes the oracle, from earlier answers or None.
        file: File of the answers; None keeps none. One that cannot be written raises `NotWritten` before a question.
        source: Who answers. A file with answers of another raises `BadInput`, a damaged one `DamagedFile`.

    Yields:
        The oracle.
    """
    from feint.recipes.store import check_writable
    from feint.transcript import Transcript

    if file is not None:
        check_writable(file)
    earlier = Transcript.load(file, source) if file is not None and file.exists() else None
    oracle = make(earlier)
    oracle.transcript.source = source
    try:
        yield oracle
    finally:
        if file is not None:
            oracle.transcript.extend(file, earlier)
