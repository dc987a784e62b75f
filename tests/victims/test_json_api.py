"""Models behind JSON APIs, and recorded services."""

import json
import math
import threading
import time
from email.utils import formatdate
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.support import json_api
from tests.support.json_api import CLASSES, ROWS, Api, serving, status

from feint import errors, victims
from feint.client.json_transport import retry_after
from feint.signature import Columns, Pixels, Text
from feint.transcript import Transcript
from feint.victims.json_api.answers import AnswerReader, Pointers, find
from feint.victims.json_api.template import Template
from feint.victims.json_api.victim_file import read_victim_file

DOMAIN = Columns.describe(ROWS)
X = torch.from_numpy(DOMAIN.from_table(ROWS))
TRUE = torch.tensor(
    [json_api.probability(dict(zip(ROWS, row, strict=True))) for row in zip(*ROWS.values(), strict=True)]
)


@pytest.fixture(autouse=True)
def _answers(tmp_path, monkeypatch):
    """Paid answers of a test go to its own directory."""
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))


def write(tmp_path, url, template='{"features": "$row"}', classes=CLASSES, **more):
    path = tmp_path / "victim.toml"
    answer = more.pop("answer", {})
    lines = [f"url = {url!r}", f"classes = {json.dumps(classes)}", f"template = {template!r}"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in more.items()]
    lines += ["[answer]", *(f"{name} = {json.dumps(value)}" for name, value in answer.items())] if answer else []
    path.write_text("\n".join(lines))
    return path


def test_rows_are_answered_with_label_and_score(tmp_path):
    api = Api(json_api.label_and_score)
    with serving(api) as url:
        model = victims.load_any(write(tmp_path, url), domain=DOMAIN)
        p = victims.predict(model, X)
    assert torch.allclose(p[:, 1], TRUE.float(), atol=1e-6)
    assert api.bodies[0] == {"features": {"age": 20, "housing": "own"}}
    assert api.bodies[4]["features"]["age"] is None


def test_answers_are_kept_on_disk_and_paid_once(tmp_path):
    api = Api(json_api.label_and_score)
    with serving(api) as url:
        path = write(tmp_path, url)
        first = victims.load_any(path, domain=DOMAIN)(X)
        assert len(api.bodies) == 5
        again = victims.load_any(path, domain=DOMAIN)
        assert torch.equal(again(torch.cat([X, X])), torch.cat([first, first]))
    assert len(api.bodies) == 5
    assert again.asked == 5


def test_ctrl_c_loses_no_answer_that_is_paid_for(tmp_path, ctrl_c):
    def answer(body):
        if len(api.bodies) == 3:  # the request is on its way
            ctrl_c()
        return json_api.label_and_score(body)

    api = Api(answer)
    with serving(api) as url:
        path = write(tmp_path, url)
        with pytest.raises(KeyboardInterrupt):
            victims.load_any(path, domain=DOMAIN)(X)
        assert len(api.bodies) == 3
        model = victims.load_any(path, domain=DOMAIN)
        assert model.asked == 3
        assert torch.allclose(model(X).softmax(-1)[:, 1], TRUE.float(), atol=1e-6)
    assert len(api.bodies) == 5


def test_ctrl_c_ends_a_wait_for_a_rate_limit(tmp_path, ctrl_c):
    api = Api(json_api.label_and_score, (status(429, **{"retry-after": "30"}),))
    with serving(api) as url:
        model = victims.load_any(write(tmp_path, url), domain=DOMAIN)
        threading.Timer(0.5, ctrl_c).start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            model(X)
        assert time.monotonic() - start < 15
    assert model.asked == 0


def test_answers_before_a_failure_are_kept(tmp_path):
    api = Api(json_api.label_and_score)
    with serving(api) as url:
        path = write(tmp_path, url, retries=0)
        model = victims.load_any(path, domain=DOMAIN)
        model(X[:3])
        api.failures.append(status(500))
        with pytest.raises(errors.Unreachable, match="status 500"):
            model(X)
        assert victims.load_any(path, domain=DOMAIN).asked == 3


def test_calls_stop_at_the_ceiling(tmp_path):
    api = Api(json_api.label_and_score)
    with serving(api) as url:
        model = victims.load_any(write(tmp_path, url, price_per_1000=2.0, currency="EUR"), domain=DOMAIN)
        model.meter.most = 3
        with pytest.raises(errors.CallLimit, match=r"4 calls \(0\.01 EUR\); expected at most 3 \(--max-calls\)"):
            model(X)
        assert len(api.bodies) == 3
        assert model.asked == 3


def test_failed_requests_are_repeated_and_counted(tmp_path):
    api = Api(json_api.label_and_score, (status(503), status(500)))
    with serving(api) as url:
        model = victims.load_any(write(tmp_path, url), domain=DOMAIN)
        model(X[:1])
    assert len(api.bodies) == 3
    assert model.meter.calls == 3


def test_a_rate_limit_is_waited_for(tmp_path, monkeypatch):
    sleeps = []
    monkeypatch.setattr("feint.client.json_transport.time.sleep", sleeps.append)
    api = Api(json_api.label_and_score, (status(429, **{"retry-after": "0.2"}),))
    with serving(api) as url:
        model = victims.load_any(write(tmp_path, url), domain=DOMAIN)
        model(X[:1])
    assert 0.2 in sleeps
    assert model.meter.calls == 1


def test_a_failing_server_is_given_the_time_that_it_asks_for(tmp_path, monkeypatch):
    sleeps = []
    monkeypatch.setattr("feint.client.json_transport.time.sleep", sleeps.append)
    with serving(Api(json_api.label_and_score, (status(503, **{"retry-after": "7"}),))) as url:
        victims.load_any(write(tmp_path, url), domain=DOMAIN)(X[:1])
    assert 7 in sleeps


def test_requests_keep_the_rate(tmp_path, monkeypatch):
    sleeps = []
    monkeypatch.setattr("feint.client.json_transport.time.sleep", sleeps.append)
    with serving(Api(json_api.label_and_score)) as url:
        victims.load_any(write(tmp_path, url, rate=0.01), domain=DOMAIN)(X[:2])
    assert max(sleeps) == pytest.approx(100, abs=20)


def test_each_request_may_wait_as_long_as_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("feint.client.json_transport.time.sleep", lambda seconds: None)
    api = Api(json_api.label_and_score)
    with serving(api) as url:
        model = victims.load_any(write(tmp_path, url), domain=DOMAIN)
        for i in range(2):
            api.failures.append(status(429, **{"retry-after": "400"}))
            assert model(X[i : i + 1]).shape == (1, 2)


def test_a_wait_that_is_too_long_is_an_error(tmp_path):
    api = Api(json_api.label_and_score, (status(429, **{"retry-after": "9000"}),))
    with serving(api) as url, pytest.raises(errors.RateLimited, match="9000 seconds: what was answered is kept"):
        victims.load_any(write(tmp_path, url), domain=DOMAIN)(X[:1])


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("step", [-7200, 7200])
def test_a_date_to_wait_for_is_by_the_servers_clock(tmp_path, monkeypatch, code, step):
    sleeps, until = [], formatdate(time.time() + 100, usegmt=True)
    ours = SimpleNamespace(time=lambda: time.time() + step, monotonic=time.monotonic, sleep=sleeps.append)
    monkeypatch.setattr("feint.client.json_transport.time", ours)
    with serving(Api(json_api.label_and_score, (status(code, **{"retry-after": until}),))) as url:
        victims.load_any(write(tmp_path, url), domain=DOMAIN)(X[:1])
    assert max(sleeps) == pytest.approx(100, abs=20)


def test_retry_after_is_a_number_or_a_date():
    assert retry_after("3", 0.0) == 3
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 20.0) == 40
    assert retry_after("soon", 0.0) == 1
    assert retry_after(None, 0.0) == 1


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (status(401, {"error": "no key"}), errors.Refused, r"status 401 from .*no key.*; expected a key"),
        (status(422, {"detail": "age"}), errors.BadInput, r"status 422 .*\(age\).*compare template"),
        (status(404), errors.BadInput, "expected an address that answers; check url"),
        (status(413), errors.TooLarge, "lower batch"),
        (json_api.page(), errors.BadInput, r"HTML \(.Sign in.\) .*; expected JSON"),
        (json_api.cut_off(), errors.BadInput, "JSON that is damaged .*try again: what was answered is kept"),
        (status(307, location="/v2/predict"), errors.BadInput, "which redirects to /v2/predict; .*set that as url"),
        (status(400, {"error": {"code": 7, "message": "no age"}}), errors.BadInput, r"\(no age\)"),
    ],
)
def test_other_failures_say_what_to_do(tmp_path, failure, kind, message):
    api = Api(json_api.label_and_score, (failure,))
    with serving(api) as url:
        model = victims.load_any(write(tmp_path, url), domain=DOMAIN)
        with pytest.raises(kind, match=message):
            model(X[:1])
        assert model(X[:1]).shape == (1, 2)


def test_nobody_there_is_unreachable(tmp_path):
    model = victims.load_any(write(tmp_path, "http://127.0.0.1:9/predict", retries=0), domain=DOMAIN)
    with pytest.raises(errors.Unreachable, match="ConnectError"):
        model(X[:1])


def test_headers_come_from_the_environment(tmp_path, monkeypatch):
    api = Api(json_api.label_and_score)
    with serving(api) as url:
        path = write(tmp_path, url)
        path.write_text(path.read_text() + '\n[headers]\nAuthorization = "Bearer $SHOP_KEY"\n')
        with pytest.raises(errors.MissingData, match="no 'SHOP_KEY' in the environment"):
            victims.load_any(path, domain=DOMAIN)(X[:1])
        monkeypatch.setenv("SHOP_KEY", "k1")
        victims.load_any(path, domain=DOMAIN)(X[:1])
    assert api.headers[0]["authorization"] == "Bearer k1"


def test_texts_in_batches_as_hugging_face_answers_them(tmp_path):
    api = Api(json_api.hugging_face)
    texts = ["aeio", "xyz", "banana"]
    domain = Text(16)
    with serving(api) as url:
        path = write(tmp_path, url, '{"inputs": ["$text"]}', ["others", "vowels"], batch=2)
        model = victims.load_any(path, domain=domain)
        p = victims.predict(model, torch.from_numpy(domain.from_strings(texts)))
    assert torch.allclose(p[:, 1], torch.tensor([1.0, 0.0, 0.5]), atol=1e-6)
    assert api.bodies == [{"inputs": ["aeio", "xyz"]}, {"inputs": ["banana"]}]


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_images_are_sent_as_files(tmp_path, form):
    api = Api(json_api.brightness)
    x = torch.zeros(3, 3, 8, 8)
    for i in range(3):
        x[i, i] = 0.9
    with serving(api) as url:
        path = write(tmp_path, url, '{"image": "$image"}', ["red", "green", "blue"], image=form)
        model = victims.load_any(path, domain=Pixels((3, 8, 8)))
        assert victims.predict(model, x).argmax(1).tolist() == [0, 1, 2]
    assert model.remarks == ("the API returns labels alone",)


def test_images_are_sent_as_lists():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert Template('{"image": "$image"}', "list").fill([pixels]) == {"image": pixels.tolist()}


def test_templates_name_single_columns_and_lists():
    row = {"age": 35.0, "housing": "own", "score": math.nan, "rate": 0.25}
    body = Template('{"a": "$row.age", "all": "$values", "url": "x/$row.housing"}').fill([row])
    assert body == {"a": 35, "all": [35, "own", None, 0.25], "url": "x/own"}


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ('{"features": $row}', {}, "a template that is no JSON"),
        ('{"features": 1}', {}, "a template with no placeholder"),
        ('{"a": "$row", "b": "$text"}', {}, "placeholders of several kinds: row, text"),
        ('{"a": "$rows"}', {}, r"the placeholder '\$rows'.*did you mean '\$row'"),
        ('{"a": "$row"}', {"batch": 4}, "batch = 4 and a template without a list"),
        ('{"a": "$image"}', {"image": "gif"}, "encoding of images 'gif'"),
    ],
)
def test_templates_that_do_not_fit_are_refused(text, more, message):
    with pytest.raises(errors.BadInput, match=message):
        Template(text, **more)


def test_a_template_with_an_unknown_column_is_refused():
    with pytest.raises(errors.UnknownName, match=r"column of the template 'agee'.*did you mean 'age'"):
        Template('{"a": "$row.agee"}').fill([{"age": 1.0}])


def test_data_of_another_kind_are_refused(tmp_path):
    with pytest.raises(errors.BadInput, match=r"texts for the placeholder \$row .*; expected rows"):
        victims.load_any(write(tmp_path, "http://127.0.0.1:9/p"), domain=Text(8))


@pytest.mark.parametrize(
    "answer",
    [
        {"probabilities": [0.2, 0.5, 0.3]},
        {"data": {"scores": {"b": 0.5, "a": 0.2, "c": 0.3}}},
        [{"label": "b", "score": 0.5}, {"label": "c", "score": 0.3}, {"label": "a", "score": 0.2}],
        [{"class": "b", "conf": 0.5, "class_id": 1}, {"class": "c", "conf": "0.3"}, {"class": "a", "conf": 0.2}],
        [[{"label": "b", "score": 0.5}, {"label": "c", "score": 0.3}, {"label": "a", "score": 0.2}]],
        {"predictions": [[0.2, 0.5, 0.3]]},
        {"a": 0.2, "b": 0.5, "c": 0.3},
        {"a": "20 %", "b": "50%", "c": "0.3"},
        {"predictions": [["b", 0.5], ["c", 0.3], ["a", 0.2]]},
        {"labels": ["b", "c", "a"], "scores": [0.5, 0.3, 0.2]},
        {"predictions": [{"classes": ["B", "C", "A"], "scores": ["0.5", "0.3", "0.2"]}]},
    ],
)
def test_usual_answers_need_no_pointer(answer):
    row = AnswerReader(Pointers(), ("a", "b", "c")).read(answer, 1)
    assert np.allclose(row, [[0.2, 0.5, 0.3]], atol=1e-6)


@pytest.mark.parametrize(
    "answer", [{"class_id": 1}, {"label": "b"}, {"prediction": ["b"]}, "b", ["b"], {"result": 1.0}]
)
def test_labels_alone_are_one_hot(answer):
    reader = AnswerReader(Pointers(), ("a", "b", "c"))
    assert reader.read(answer, 1).tolist() == [[0, 1, 0]]
    assert reader.remarks == {"labels": "the API returns labels alone"}


def test_the_rest_of_a_top_k_answer_is_spread_and_said():
    reader = AnswerReader(Pointers(), ("a", "b", "c", "d"))
    row = reader.read([{"label": "c", "score": 0.6}, {"label": "a", "score": 0.2}], 1)
    assert np.allclose(row, [[0.2, 0.1, 0.6, 0.1]])
    assert reader.remarks["top"].startswith("the API returns 2 of 4 scores: the rest of the mass is spread evenly")


def test_the_one_score_that_is_left_out_is_exact():
    reader = AnswerReader(Pointers(), ("a", "b"))
    assert np.allclose(reader.read({"label": "b", "score": 0.75}, 1), [[0.25, 0.75]])
    assert reader.remarks == {}


def test_rounding_is_detected_and_undone():
    reader = AnswerReader(Pointers(), ("a", "b", "c"))
    for _ in range(4):
        row = reader.read({"scores": [0.33, 0.33, 0.33]}, 1)
    assert np.allclose(row, 1 / 3)
    assert reader.remarks == {"rounding": "the API rounds its scores to 2 decimals"}
    reader.read({"scores": [0.33123, 0.33123, 0.33754]}, 1)
    assert reader.remarks == {}


def test_scores_that_are_pointed_to_are_in_the_order_of_the_labels_beside_them():
    reader = AnswerReader(Pointers(scores="/out/scores"), ("a", "b", "c"))
    row = reader.read({"out": {"labels": ["b", "c", "a"], "scores": [0.5, 0.3, 0.2]}}, 1)
    assert np.allclose(row, [[0.2, 0.5, 0.3]])


def test_percentages_are_shares():
    reader = AnswerReader(Pointers(values="percent"), ("a", "b", "c"))
    assert np.allclose(reader.read({"scores": [20.0, 50.0, 30.0]}, 1), [[0.2, 0.5, 0.3]])
    assert np.allclose(reader.read({"label": "b", "score": 80}, 1), [[0.1, 0.8, 0.1]])


def test_a_label_in_other_letters_is_the_same_class():
    assert AnswerReader(Pointers(), ("Barolo", "Barbera")).read({"label": "BARBERA"}, 1).tolist() == [[0, 1]]


def test_a_number_that_no_class_of_numbers_has_is_no_position():
    reader = AnswerReader(Pointers(), ("1", "2", "3"))
    assert reader.read({"class_id": 1}, 1).tolist() == [[1, 0, 0]]
    with pytest.raises(errors.UnknownName, match="the label of an answer '0'"):
        reader.read({"class_id": 0}, 1)


def test_pointers_find_scores_and_logits():
    answer = {"out/put": {"z": [[1.0, 3.0]]}}
    reader = AnswerReader(Pointers(scores="/out~1put/z/0", values="logits"), ("a", "b"))
    assert reader.read(answer, 1).tolist() == [[1, 3]]
    assert AnswerReader(Pointers(scores="/p"), ("a", "b")).read({"p": 0.75}, 1).tolist() == [[0.25, 0.75]]
    assert find(answer, "") is answer


@pytest.mark.parametrize(
    ("pointers", "answer", "message"),
    [
        (Pointers(scores="/probs"), {"label": "a"}, "no 'probs' in the answer .*'label'.*the pointer /probs"),
        (Pointers(scores="probs"), {"label": "a"}, 'write "/probs"'),
        (Pointers(label="/label"), {"label": "z"}, "the label of an answer 'z'; expected one of a, b"),
        (Pointers(), {"message": {"x": []}}, "an answer of no usual form"),
        (Pointers(), {"scores": [0.9, 0.9]}, r"sum to 1\.8; expected probabilities.*values = \"logits\""),
        (Pointers(), {"scores": [0.1, 0.2, 0.7]}, "scores of another form.*; expected 2 numbers"),
        (Pointers(), {"scores": [20.5, 79.5]}, 'sum to 100; .*values = "percent"'),
        (Pointers(), {"label": "a", "score": 79.5}, 'the score 79.5 .*values = "percent"'),
        (Pointers(), {"scores": [math.nan, 0.5]}, r"scores \[nan, 0.5\]; expected finite numbers"),
        (Pointers(), {"error": True}, "an error instead of an answer: True"),
        (Pointers(), {"ok": False, "label": None, "error": "quota"}, "an error instead of an answer: 'quota'"),
        (Pointers(), {"labels": ["a", "A"], "scores": [0.5, 0.5]}, "scores of another form"),
        (
            Pointers(),
            {"label": "a", "score": 0.2},
            "the score 0.2 of the label 'a'; expected its probability, from 1/2",
        ),
    ],
)
def test_answers_that_do_not_fit_are_refused(pointers, answer, message):
    with pytest.raises(errors.BadInput, match=message):
        AnswerReader(pointers, ("a", "b")).read(answer, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes = ['a', 'b']\ntemplate = '[\"$row\"]'\n", "neither url nor answers"),
        ("url = 'http://h'\nclasses = ['a', 'b']\n", "a url without template"),
        ("url = 'h'\ntemplate = '[\"$row\"]'\nclasses = ['a', 'b']\n", "expected http://"),
        ("url = 'http://h'\ntemplate = '[\"$row\"]'\n", "no classes"),
        ("url = 'http://h'\ntemplate = '[\"$row\"]'\nclasses = ['a', 'a']\n", "of different names"),
        ("url = 'http://h'\ntemplat = '1'\nclasses = ['a', 'b']\n", "key of victim.toml 'templat'.*'template'"),
        (
            "url = 'http://h'\ntemplate = '[\"$row\"]'\nclasses = ['a', 'b']\nrate = 'x'\n",
            "rate = 'x'; expected a number",
        ),
        (
            "url = 'http://h'\ntemplate = '[\"$row\"]'\nclasses = ['a', 'b']\nbatch = 0\n",
            "batch = 0; expected at least 1",
        ),
        (
            "url = 'http://h'\ntemplate = '[\"$row\"]'\nclasses = ['a', 'b']\n[answer]\nscore = '/s'\n",
            "score without label",
        ),
    ],
)
def test_victim_files_that_do_not_fit_are_refused(tmp_path, text, message):
    path = tmp_path / "victim.toml"
    path.write_text(text)
    with pytest.raises(errors.BadInput, match=message):
        read_victim_file(path)


def test_a_table_of_answers_is_a_model(tmp_path):
    lines = ["age,housing,p_good,p_bad"]
    lines += [
        f"{age},{home},{1 - p:.3f},{p:.3f}"
        for age, home, p in zip([20, 35, 52], ["own", "rent", "own"], TRUE, strict=False)
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    path = tmp_path / "victim.toml"
    path.write_text('answers = "log.csv"\nclasses = ["good", "bad"]\nscores = ["p_good", "p_bad"]\n')
    model = victims.load_any(path)
    rows = {"age": [52.0, 20.0], "housing": ["own", "own"]}
    p = victims.predict(model, torch.from_numpy(model.domain.from_table(rows)))
    assert torch.allclose(p[:, 1], TRUE[[2, 0]].float(), atol=1e-3)
    with pytest.raises(errors.BadInput, match="1 rows that were not recorded; expected some of the 3 that were"):
        model(torch.from_numpy(model.domain.from_table({"age": [99.0], "housing": ["own"]})))


def test_recorded_labels_are_a_model(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"text": "buy now", "label": "spam"}\n{"text": "hello you", "label": "ham"}\n')
    path = tmp_path / "victim.toml"
    path.write_text('answers = "log.jsonl"\nclasses = ["ham", "spam"]\n')
    model = victims.load_any(path)
    p = victims.predict(model, torch.from_numpy(model.domain.from_strings(["hello you", "buy now"])))
    assert p.argmax(1).tolist() == [0, 1]


def test_a_transcript_is_a_model(tmp_path):
    transcript, x = Transcript(), torch.rand(4, 1, 2, 2)
    transcript.record(x, torch.tensor([[0.1, 0.9]]).expand(4, 2))
    transcript.save(tmp_path / "transcript.safetensors")
    path = tmp_path / "victim.toml"
    path.write_text('answers = "transcript.safetensors"\nclasses = ["a", "b"]\n')
    model = victims.load_any(path)
    assert torch.allclose(victims.predict(model, x[2:]), torch.tensor([[0.1, 0.9]]).expand(2, 2))


def test_a_paid_function_is_cached_and_counted(tmp_path, monkeypatch):
    (tmp_path / "paid_shop.py").write_text(
        "calls = []\n"
        "def model(rows):\n    calls.append(len(rows))\n    return [[0.25, 0.75]] * len(rows)\n"
        "model.classes, model.values, model.price_per_1000 = ['good', 'bad'], 'probabilities', 5\n"
        "def open_kind(rows):\n    return [[0.25, 0.75]] * len(rows)\n"
        "open_kind.price_per_1000 = 5\n"
    )
    monkeypatch.chdir(tmp_path)
    numbers, x = (
        Columns.describe({"a": [1.0, 2.0, 3.0, 4.0, 5.0]}),
        torch.arange(1.0, 6.0, dtype=torch.float64)[:, None],
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = victims.load_any("paid_shop:model", domain=numbers)
    import paid_shop  # pyright: ignore[reportMissingImports]

    assert paid_shop.calls == []
    assert torch.allclose(victims.predict(model, x), torch.tensor([[0.25, 0.75]]).expand(5, 2))
    model(x)
    assert paid_shop.calls == [5]
    assert model.meter.calls == 5
    assert victims.load_any("paid_shop:model", domain=numbers).asked == 5
    with pytest.raises(errors.BadInput, match="without classes and values"):
        victims.load_any("paid_shop:open_kind", domain=numbers)
