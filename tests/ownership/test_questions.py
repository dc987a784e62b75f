"""Questions of a claim in a file, and a suspect by its recorded answers."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from feint.data.tables import cells, read_table
from feint.errors import BadInput
from feint.ownership.claim import ORDINARY, Policy, claim
from feint.ownership.mark import Mark
from feint.ownership.questions import RecordedSuspect, questions, read_answers, write_questions
from feint.signature import Column, Columns, Pixels, Text, Tokens

N, K = 120, 10
RANDOM = np.random.default_rng(0)
DOMAIN = Pixels((1, 4, 4))
LABELS, TRUTH = RANDOM.integers(0, K, N), RANDOM.integers(0, K, 60)
X = torch.rand(N + 60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
MARK = Mark.of("triggers", DOMAIN, K, X[:N], torch.from_numpy(LABELS))
ORDINARIES = Mark.of("ordinary inputs", DOMAIN, K, X[N:], torch.from_numpy(TRUTH), torch.from_numpy(TRUTH))
MARKS = [MARK, ORDINARIES]
CONTROLS = {f"{i}": [(LABELS + 1 + RANDOM.integers(0, 9, N)) % K, TRUTH] for i in range(60)}


def answers(labels=LABELS):
    """Return the answers of a suspect with these labels for the mark, and the right ones for ordinary inputs."""
    known = {x.numpy().tobytes(): label for x, label in zip(X, [*labels, *TRUTH], strict=True)}
    return {name: int(known[x.tobytes()]) for name, x in questions(MARKS, 1000).items()}


def claimed(labels, budget=1000):
    oracle = RecordedSuspect(labels, MARKS).oracle(budget=budget)
    return claim(oracle, MARKS, CONTROLS, policy=Policy())


def table(place, labels):
    rows = [{"question": name, "label": label} for name, label in labels.items()]
    Path(place).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Path(place)


def pixels(file):
    with Image.open(file) as image:
        return np.asarray(image)


def test_recorded_answers_are_a_claim_like_any_others(tmp_path):
    result = claimed(read_answers(table(tmp_path / "answers.jsonl", answers()), MARKS))
    assert result.is_evident
    assert result.unanswered == 0


def test_a_claim_asks_ordinary_inputs_first_and_then_the_mark():
    first = [*questions(MARKS, ORDINARY + 3).values()]
    assert (np.stack(first) == np.concatenate([X[N : N + ORDINARY], X[:3]])).all()


def test_a_question_without_an_answer_counts_as_one_that_disagrees():
    known = answers()
    ends = {name: known[name] for name in [*known][:-1][::2]} | {[*known][-1]: known[[*known][-1]]}
    result = claimed(ends)
    (part,) = result.evidence
    assert result.unanswered == part.asked - part.agreed > 0
    assert result.queries == part.agreed + result.task.asked
    assert result.task.asked == ORDINARY // 2 + 1


def test_answers_that_disagree_cannot_be_left_out():
    copied = np.random.default_rng(1).random(N) < 0.15
    labels = np.where(copied, LABELS, (LABELS + 1) % K)
    whole = answers(labels)
    picked = {name: label for name, label in whole.items() if label == answers()[name]}
    assert len(picked) < len(whole)
    assert claimed(picked).e_value <= claimed(whole).e_value


def test_what_was_not_asked_at_the_end_is_no_disagreement():
    known = dict([*answers().items()][: ORDINARY + 40])
    result = claimed(known)
    assert (result.unanswered, result.evidence[0].asked) == (0, 40)
    assert result.is_evident


def test_a_suspect_that_was_asked_no_ordinary_input_is_of_no_other_task():
    known = dict([*answers().items()][ORDINARY:])
    result = claimed(known)
    assert result.task.asked == 0
    assert result.is_evident


def test_a_budget_before_every_answer_is_an_error():
    with pytest.raises(BadInput, match="raise --budget"):
        claimed(dict([*answers().items()][-1:]), budget=30)


WRONG = {
    "without a column label": '{"question": "q1", "other": 1}',
    "the question q1": '{"question": "q1", "label": 1}',
    "a class number from 0 to 9": '{"question": "NAME", "label": "cat"}',
    "the label '10'": '{"question": "NAME", "label": 10}',
    "the label '1.5'": '{"question": "NAME", "label": 1.5}',
    "two labels of the question": '{"question": "NAME", "label": 1}\n{"question": "NAME", "label": 2}',
    "without a label": '{"question": "NAME", "label": null}',
}


@pytest.mark.parametrize("says", WRONG)
def test_answers_that_are_none_are_refused(tmp_path, says):
    file = tmp_path / "answers.jsonl"
    file.write_text(WRONG[says].replace("NAME", next(iter(answers()))) + "\n")
    with pytest.raises(BadInput, match=says):
        read_answers(file, MARKS)


def test_a_column_with_gaps_is_read(tmp_path):
    first, second, *_ = answers()
    (tmp_path / "answers.csv").write_text(f"question,label\n{first},3\n{second},\n")
    assert read_answers(tmp_path / "answers.csv", MARKS) == {first: 3}


def test_images_are_written_as_png_and_arrays(tmp_path):
    named = questions(MARKS, 1000)
    write_questions(tmp_path / "images", named, DOMAIN)
    write_questions(tmp_path / "images.npz", named, DOMAIN)
    levels = DOMAIN.encode(np.stack([*named.values()]))
    read = [pixels(tmp_path / f"images/{name}.png") for name in named]
    assert (np.stack(read) == levels[:, 0]).all()
    with np.load(tmp_path / "images.npz") as arrays:
        assert arrays["question"].tolist() == [*named]
        assert (arrays["x"] == levels).all()
    write_questions(tmp_path / "coloured", {"q": np.full((3, 2, 5), 0.5, np.float32)}, Pixels((3, 2, 5)))
    assert pixels(tmp_path / "coloured/q.png").shape == (2, 5, 3)


ROWS = Columns((Column("age"), Column("city", categories=("Bern", "Wien"))))
OTHERS = {
    "rows": (ROWS, np.array([[1.0, 0.0], [2.5, 1.0]]), {"age": [1.0, 2.5], "city": ["Bern", "Wien"]}),
    "texts": (Text(20), Text(20).from_strings(["grüezi, ja", 'a "b"']), {"text": ["grüezi, ja", 'a "b"']}),
    "tokens": (Tokens(3, 9), np.array([[1, 2, 0], [8, 0, 0]]), {"input_ids": [[1, 2, 0], [8, 0, 0]]}),
}


@pytest.mark.parametrize("domain", OTHERS)
def test_other_inputs_are_written_as_tables(tmp_path, domain):
    kind, x, columns = OTHERS[domain]
    for suffix in (".csv", ".parquet", ".jsonl") if domain != "tokens" else (".parquet", ".jsonl"):
        write_questions(tmp_path / f"q{suffix}", {"qa": x[0], "qb": x[1]}, kind)
        read = read_table(tmp_path / f"q{suffix}")
        assert {name: cells(read, name) for name in read.column_names} == {"question": ["qa", "qb"]} | columns
    assert pyarrow.parquet.read_table(tmp_path / "q.parquet").num_rows == 2


def test_a_place_that_is_taken_or_does_not_fit_is_refused(tmp_path):
    (tmp_path / "marked").mkdir()
    with pytest.raises(BadInput, match="which is there"):
        write_questions(tmp_path / "marked", questions(MARKS, 5), DOMAIN)
    with pytest.raises(BadInput, match=r"images; expected a directory, \.npz"):
        write_questions(tmp_path / "q.csv", questions(MARKS, 5), DOMAIN)
    assert [*tmp_path.iterdir()] == [tmp_path / "marked"]
