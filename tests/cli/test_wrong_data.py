"""Files of samples that a model does not take, from the command line: one line, exit code 2, and nothing written."""

from pathlib import Path

import pytest

from feint import victims
from feint.signature import Columns, Text

ROWS = "age,housing,label\n" + "".join(
    f"{20 + i},{('own', 'rent')[i % 2]},{('good', 'bad')[i % 2]}\n" for i in range(40)
)
MODEL = """
def rate(rows):
    return [[0.9, 0.1] if row["housing"] == "own" else [0.2, 0.8] for row in rows]

def shout(texts):
    return [[0.9, 0.1] if text.islower() else [0.2, 0.8] for text in texts]

rate.classes = shout.classes = ("good", "bad")
rate.values = shout.values = "probabilities"
"""
TABLE = Columns.describe({"age": [20.0, 59.0], "housing": ["own", "rent"]})


@pytest.fixture
def fit(run_cli, tmp_path, monkeypatch):
    """Fit a defense to a file of samples; returns the exit code, the errors, and whether the defense is written."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"wrong_{tmp_path.name}"
    Path(f"{name}.py").write_text(MODEL)
    inputs = {"rate": victims.ColumnInputs(form="rows", categories="names"), "shout": victims.TextInputs()}
    for function, domain in (("rate", TABLE), ("shout", Text(16))):
        outputs = victims.ClassOutputs(values="probabilities")
        adapter = victims.Adapter(domain, ("good", "bad"), inputs[function], outputs)
        victims.ModelFile(f"{name}:{function}", adapter, None, ()).write(Path(f"{function}.toml"))

    def run(function, content, suffix="csv"):
        data = Path(f"samples.{suffix}")
        data.write_bytes(content.encode() if isinstance(content, str) else content)
        code, _, error = run_cli(f"fit 'APGP(top=1, steps=1)' --victim {function}.toml --data {data} --out fitted")
        return code, error, Path("fitted").exists()

    return run


WRONG = {
    "a column missing": (
        ROWS.replace("housing", "house"),
        "no column 'housing', and the unknown 'house'; expected the 2 columns",
    ),
    "an unknown category": (
        ROWS.replace("rent", "castle"),
        "category of 'housing': 'castle'; expected one of own, rent",
    ),
    "words for a number": (ROWS.replace("\n20,", "\ntwenty,"), "'age' with a value that is no number"),
    "a missing value": (ROWS.replace("\n20,", "\n,"), "missing value of 'age'"),
    "no labels": (ROWS.replace("label", "outcome"), "label"),
    "an unknown class": (ROWS.replace("bad", "ugly"), "ugly"),
    "bytes that are no text": (ROWS.encode() + b"30,\xff\xfe,good\n", "UTF-8"),
    "nothing": ("", "samples.csv"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_does_not_fit_is_refused_in_one_line(fit, case):
    content, words = WRONG[case]
    code, error, written = fit("rate", content)
    assert (code, written) == (2, False)
    assert error.startswith("feint: got ")
    assert words in error
    assert "; expected " in error
    assert error.count("\n") == 1


def test_columns_in_another_order_and_others_beside_them_fit(fit):
    swapped = "".join(f"{','.join([*reversed(line.split(',')), 'x'])}\n" for line in ROWS.splitlines())
    swapped = swapped.replace("label,housing,age,x", "label,housing,age,note", 1)
    code, error, written = fit("rate", swapped)
    assert (code, written) == (0, True), error
    assert "note" in error


def test_texts_that_are_too_long_are_cut_and_said(fit):
    texts = "text,label\n" + "".join(f"{('low', 'HIGH')[i % 2] * 9},{('good', 'bad')[i % 2]}\n" for i in range(40))
    code, error, written = fit("shout", texts)
    assert (code, written) == (0, True), error
    assert "40 of 40 texts are longer than 16 bytes and were cut" in error
