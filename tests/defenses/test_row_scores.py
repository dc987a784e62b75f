"""Scores that read rows of a table, whose model has one margin: what occurs together, refusals, and graphs."""

import functools

import numpy as np
import pytest
import skops.io
import torch
from sklearn.linear_model import LogisticRegression
from tests.support.one_margin import Margin, real

from feint import Service, export
from feint.data import Split
from feint.data.made_up import made_up
from feint.defense import Defense, Ladder
from feint.defenses.access import Campaign, Refuse, SequentialTest
from feint.defenses.feature_scores import LearnedScore, Mahalanobis
from feint.defenses.scores import scores
from feint.errors import BadInput
from feint.gateway.backends.onnx_model import OnnxModel
from feint.progress import NO_PROGRESS

READS = {"learned": LearnedScore("inputs", hidden=8), "Mahalanobis": Mahalanobis("inputs", ridge=1e-3)}


@functools.cache
def fitted(name: str) -> SequentialTest:
    rows = real(1500, 1)
    return SequentialTest(READS[name]).fit(Margin(), rows, outliers=made_up(rows, "marginals", 1))


def ordinary(name: str, split: Split) -> torch.Tensor:
    """The p-values of rows."""
    test = fitted(name)
    s, inputs = scores(test.ranked_score, Margin(), split, NO_PROGRESS), test.learned["inputs"]
    return (1 + torch.searchsorted(inputs, s, right=True)) / (1 + len(inputs))


@pytest.mark.parametrize("name", READS)
def test_values_that_do_not_occur_together_are_out_of_place(name):
    """Each column of drawn rows is as in real ones, and what the model answers too: the energy sees nothing."""
    drawn = made_up(real(1500, 1), "marginals", 2)
    energy = SequentialTest().fit(Margin(), real(1500, 1))
    sure = [scores(energy.score, Margin(), split, NO_PROGRESS).mean() for split in (drawn, real(1500, 3))]
    assert abs(sure[0] - sure[1]) < 0.1
    assert (ordinary(name, drawn) < 0.05).float().mean() > 0.5
    assert 0.02 < (ordinary(name, real(5000, 4)) < 0.05).float().mean() < 0.08


def test_what_the_domain_does_not_publish_is_taken_from_the_rows():
    learned = fitted("learned").score.weights.tensors
    present = real(1500, 1).inputs()[::3, 2]
    assert learned["encoding/mean"].item() == pytest.approx(present.nanmean().item())
    assert len(learned["features"]) == 8  # a number, two categories of three values, and whether the number is missing


def test_only_rows_of_a_table_are_read_as_inputs(victim, digits):
    with pytest.raises(BadInput, match="rows of a table"):
        SequentialTest(Mahalanobis("inputs")).fit(victim, digits.test)


@pytest.mark.parametrize("name", READS)
def test_rows_of_other_columns_are_refused(name):
    score, z = fitted(name).score, torch.zeros(2, 2)
    with pytest.raises(BadInput, match="3 columns"):
        score(torch.zeros(2, 4, dtype=torch.float64), z)
    with pytest.raises(BadInput, match="answers without inputs"):
        export.outputs(Ladder([fitted(name)], [Defense(), Defense()]), "no.onnx", classes=3, gateway=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", READS)
def test_a_graph_reads_the_same_of_rows(name, tmp_path):
    test, rows = fitted(name), real(90, 5)
    campaign = Campaign(SequentialTest(READS[name], slices=("classes",)))
    campaign = campaign.fit(Margin(), real(900, 6), outliers=made_up(rows, "marginals", 1))
    ladder = Ladder([test], [Defense(), Defense(access=[Refuse()])], campaign=campaign)
    written = export.onnx(Service(Margin(), ladder), tmp_path / "rows.onnx", inputs=rows.inputs(), gateway=True)
    output, x = OnnxModel(written.path).run(rows.inputs().numpy()), rows.inputs()
    for score, column in zip((test.ranked_score, campaign.test.ranked_score), output.scores, strict=True):
        np.testing.assert_allclose(column, score(x, Margin()(x)), rtol=1e-4, atol=1e-4)


def test_outliers_may_be_rows_by_published_shares(run_cli, tmp_path):
    rows = real(600, 7)
    x = np.nan_to_num(rows.inputs().numpy())
    skops.io.dump(LogisticRegression().fit(x, rows.labels.numpy()), "model.skops")
    lines = [f"{a},{b},{c:.2f},{y}" for (a, b, c), y in zip(x, rows.labels.tolist(), strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,n,label", *lines]))
    line = "fit \"SequentialTest(LearnedScore('inputs'))\" --victim model.skops --data rows.csv"
    code, _, err = run_cli(f"{line} --out none")
    assert (code, "--outliers marginals" in err) == (2, True)
    code, out, err = run_cli(f"{line} --outliers marginals --out test")
    assert code == 0, err
    assert "marginals" in (tmp_path / "test" / "recipe.toml").read_text(), out
    assert "  constant:" in out, out
