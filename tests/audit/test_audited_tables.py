"""The audit of a table: its own words, and every word in the reader's language."""

import json
import re
import shlex

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.support.one_margin import real

from feint.cli import main

NUMBERS = "age", "months", "amount"


@pytest.fixture
def credit(run_cli):
    """A pipeline of scikit-learn and its samples in a CSV file, beside which the audit runs."""
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(0)
    table = pandas.DataFrame({name: random.normal(40, 10, 400).round(1) for name in NUMBERS})
    score = table.age + table.months - table.amount
    labels = np.where(score + random.normal(0, 4, 400) > 45, "good", "bad")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table, labels)
    skops.io.dump(model, "credit.skops")
    table.assign(label=labels).to_csv("credit.csv", index=False)
    return run_cli


@pytest.mark.slow
def test_a_table_is_audited_in_its_own_words(credit, tmp_path):
    line = "credit.skops --data credit.csv --minutes 0.01 --defense LabelOnly --price-per-1000 2 --currency EUR"
    code, out, err = credit(f"{line} --threshold 0.7")
    assert code == 0, err
    assert out.startswith("The model is right on")
    assert "always answering" in out.partition("Plan")[0]
    assert "price (EUR)" in out
    page = (tmp_path / "feint-audit/credit.skops/audit.html").read_text()
    for words in (
        "AUC",
        "agreement at threshold",
        "Words on this page",
        "<svg",
        "good: 0.",
        "a third of the samples, 133 rows",
    ):
        assert words.lower() in page.lower(), words
    for word in ("image", "pixel", "picture"):
        assert word not in re.sub("<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL).lower(), word
    code, out, err = credit(f"{line} --pool marginals --out made-up")
    assert code in (0, 3), err
    assert "made up from the mean, range and shares of each column" in " ".join(out.split())


@pytest.mark.slow
def test_the_page_is_chinese_throughout(credit, tmp_path):
    line = "credit.skops --data credit.csv --minutes 0.01 --defense LabelOnly --lang zh"
    code, out, err = credit(line)
    assert code == 0, err
    page = (tmp_path / "feint-audit/credit.skops/audit.html").read_text()
    text = re.sub("<[^>]*>", " ", re.sub("<style>.*?</style>|<svg.*?</svg>|<pre>.*?</pre>", "", page, flags=re.DOTALL))
    for word in ("none", "labels only", "few-seeds", "within-noise", "no defense"):
        assert word not in text, word
    mixed = re.findall(r"[一-鿿] ?[,:;()]|[,;()] ?[一-鿿]", text + out)
    assert not mixed, mixed


@pytest.mark.slow
def test_the_commands_as_printed_serve_a_test_that_sees_what_the_model_does_not_show(run_cli, tmp_path, capsys):
    """The test that the commands fit is of the model as the gateway loads it, which has no samples."""
    rows = real(900, 1)
    x = np.nan_to_num(rows.inputs().numpy())
    skops.io.dump(LogisticRegression().fit(x, rows.labels.numpy()), "shop.skops")
    lines = [f"{a},{b},{c:.2f},{y}" for (a, b, c), y in zip(x, rows.labels.tolist(), strict=True)]
    (tmp_path / "shop.csv").write_text("\n".join(["a,b,n,bought", *lines]))
    code, out, err = run_cli("shop.skops --data shop.csv --label bought --minutes 0.01 --defense LabelOnly")
    assert code == 0, err
    table = json.loads((tmp_path / "feint-audit/shop.skops/audit.json").read_text())
    assert table["promise"]["test"]["recipe"] == 'SequentialTest(LearnedScore("inputs"))'
    assert table["promise"]["attackers"][0]["accused"] == 1
    assert "ladder.toml" in out
    *first, serve = table["next"]
    for command in [*first, f"{serve} --check"]:
        main(shlex.split(command)[1:])
    assert "shadow" in capsys.readouterr().out


@pytest.mark.slow
def test_a_recorded_service_is_audited_from_its_record_alone(run_cli, tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (400, 2)).round(3)
    p = 1 / (1 + np.exp(-4 * (x[:, 0] - x[:, 1])))
    truth = np.where(random.random(400) < p, "bad", "good")
    rows = [f"{a},{b},{1 - q:.4f},{q:.4f}" for (a, b), q in zip(x, p, strict=True)]
    (tmp_path / "log.csv").write_text("\n".join(["age,debt,p_good,p_bad", *rows]))
    (tmp_path / "victim.toml").write_text(
        'answers = "log.csv"\nclasses = ["good", "bad"]\nscores = ["p_good", "p_bad"]\n'
    )
    labelled = [f"{a},{b},{label}" for (a, b), label in zip(x, truth, strict=True)]
    (tmp_path / "samples.csv").write_text("\n".join(["age,debt,label", *labelled]))
    code, out, err = run_cli("victim.toml --data samples.csv --minutes 0.01 --defense LabelOnly")
    assert code == 0, err
    assert "at most 400 different rows" in out
    assert "third of the samples" in " ".join(out.split())
