"""Command `feint questions`."""

from pathlib import Path

from feint.cli.app import OWN, app
from feint.cli.common import require_at_least


@app.command(group=OWN)
def questions(
    marked: Path,
    /,
    *,
    out: Path,
    budget: int = 1000,
) -> None:
    """Write the questions of a claim to a file, for a suspect that `feint claim` cannot ask itself.

    Ask the suspect in any way, write the answers into a table with the columns question and label, a number of a class
    in the order of the marked model, and claim by it: `feint claim answers.csv --mark runs/marked`. A question without
    an answer counts as one that disagrees. Whoever sees the questions can learn to answer them otherwise: claim by them
    once.

    Example: `feint questions runs/marked --out questions.npz`

    Args:
        marked: Directory that `feint mark` wrote, or `feint ledger marks`.
        out: New file: .csv, .parquet or .jsonl of rows, texts or tokens, .npz of any inputs, or, without a suffix, a
            directory of PNG images.
        budget: Greatest number of questions, the same as that of the claim.
    """
    from feint.ownership.mark import load_marks
    from feint.ownership.questions import questions as asked
    from feint.ownership.questions import write_questions

    marks = [*load_marks(marked).values()]
    named = asked(marks, require_at_least(1, budget, "questions"))
    write_questions(out, named, marks[0].domain)
    print(f"{out}: {len(named):,} questions; the columns of the answers are question and label")
