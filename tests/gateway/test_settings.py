"""The file of settings: read whole, checked whole, before anybody is let in."""

import asyncio
import re
import socket
from pathlib import Path

import pytest
from tests.support.graph_files import bare, output_defense, whole
from tests.support.upstreams import upstream

from feint import Defense
from feint.defense import Ladder
from feint.defenses.access import RateLimit, Refuse, SequentialTest
from feint.defenses.outputs import ReverseSigmoid
from feint.errors import BadRecipe, FeintError, UnknownName
from feint.gateway.backends.recipes import rules, steps
from feint.gateway.server.bootstrap import load
from feint.gateway.settings import (
    KeySettings,
    LedgerSettings,
    OnnxSettings,
    ServerSettings,
    Settings,
    TorchSettings,
    UpstreamSettings,
)
from feint.gateway.settings_file import read
from feint.recipes.recipe import to_table

HEAD = '[keys]\nanonymous = true\n[ledger]\nstore = "memory:"\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    whole(tmp_path / "toy.onnx")
    bare(tmp_path / "bare.onnx")
    bare(tmp_path / "logits.onnx", logits=True)
    output_defense(tmp_path / "q.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    (folder / "gateway.toml").write_text(text)
    return folder / "gateway.toml"


def test_a_whole_file(folder):
    settings = read(written(folder, """
        [server]
        host = "::1"
        rest_port = 9000
        stop = 5
        [keys]
        file = "keys.db"
        [ledger]
        store = "redis://localhost"
        when_lost = "strongest"
        [operator]
        ui = false
        [models.a]
        path = "toy.onnx"
        access = ["Budget(5)"]
        [models.b]
        upstream = "grpc://localhost:8001"
        outputs = "q.onnx"
        shape = [1, 8, 8]
        shadow = true
        [models.c]
        torch = "package.module:factory"
        defense = ["runs/apgp", "Budget(5)"]
        """))  # fmt: skip
    assert settings.server == ServerSettings(host="::1", rest_port=9000, stop=5.0)
    assert settings.keys == KeySettings(file=folder / "keys.db")  # paths begin at the file's folder
    assert settings.ledger == LedgerSettings("redis://localhost", "strongest")
    assert not settings.operator.ui
    assert dict(settings.models) == {
        "a": OnnxSettings(path=folder / "toy.onnx", access=("Budget(5)",)),
        "b": UpstreamSettings(
            upstream="grpc://localhost:8001", outputs=folder / "q.onnx", shape=(1, 8, 8), shadow=True
        ),
        "c": TorchSettings(torch="package.module:factory", defense=("runs/apgp", "Budget(5)")),
    }


def test_models_and_defenses_that_are_files_begin_at_the_folder(folder):
    (folder / "runs").mkdir()
    table = written(folder, '[models.a]\ntorch = "runs"\ndefense = ["runs", "APGP(top=1)"]')
    model = read(table).models["a"]
    assert model == TorchSettings(torch=str(folder / "runs"), defense=(str(folder / "runs"), "APGP(top=1)"))


WRONG = {
    "[models.a]\ntorch = 5": r"\[models.a\] torch = 5 .*; expected a text; change",
    "[models.a]\ntorch = 'x'\ndefense = 'y'": r"\[models.a\] defense .*; expected a list, each a text; change",
    "[server]\nport = 1": r"'port' of \[server\].*'rest_port'",
    "[servers]\nhost = 'x'": r"'servers' of settings.*'server'",
    "[server]\nrest_port = '80'": r"\[server\] rest_port \(Expected `int`, got `str`\)",
    "[server]\nrest_port = 70000": r"two ports",
    "[server]\nrest_port = 80\ngrpc_port = 80": r"two ports",
    "[server]\ntls_cert = 'a.pem'": r"tls_key",
    "[server]\nmax_batch = 0": r"limits above 0",
    "[server]\nmax_in_flight = 0": r"limits above 0",
    "[server]\nmax_connections = 0": r"limits above 0",
    "[ledger]\nwhen_lost = 'open'": r"\[ledger\] when_lost",
    "[keys]\nfile = 5": r"\[keys\] file = 5",
    "[models.a]\npath = 'toy.onnx'\nupstream = 'http://x'": r"\[models.a\] with path and upstream",
    "[models.a]\nshadow = true": r"\[models.a\] with none of path, upstream, torch",
    "[models.a]\npath = 'toy.onnx'\ndefense = ['x']": r"'defense' of \[models.a\]",
    "[models.a]\npath = 'toy.onnx'\nbatch = 8": r"'batch' of \[models.a\]; expected one of .*'path'",
    "[models.a]\npath = 'toy.onnx'\nshadows = true": r"did you mean 'shadow'",
    "[models.a]\nupstream = 'localhost:80'": r"grpc://HOST:PORT",
    "[server]\narrive = nan": r"arrive = nan of .*a finite number",
    "[server]\nanswer = inf": r"answer = inf of .*a finite number",
    f"[server]\nmax_body = 1{'0' * 400}": r"max_body",
    "[server]\nconnection_age = 1e308": r"finite numbers of seconds, 0 to 1e\+06",
    "[models.a]\ntorch = 'x'\nshape = [-1]": r"sizes above 0",
    "[models.a]\nupstream = 'http://x'\nprice_per_1000 = 1e300\nmax_calls_per_day = 1": r"0 to 1e\+09",
    "[models.a]\npath = 'x'\nthreshold = inf": r"a finite number",
    "[models.a]\npath = 'x'\nthreads = true": r"threads",
    f"[models.a]\npath = '{'x' * 5000}'": r"\[models.a\] path \(File name too long\)",
    f"[keys]\nfile = '{'x' * 5000}'": r"\[keys\] file \(File name too long\)",
    "[models.a]\nupstream = 'http://x'\nbearer_file = '/dev/zero'": r"bearer_file, which names a device or a socket",
    "[operator]\naudit_log = '/dev/null'": r"audit_log, which names a device or a socket",
    "[server]\ndrain = -1": r"finite numbers of seconds",
    "[server]\nstop = -0.5": r"finite numbers of seconds",
    "[models.a]\nupstream = 'http://x'\ntimeout = 0": r"finite numbers of seconds above 0",
    "[models.a]\nupstream = 'http://x'\nconnect = nan": r"connect = nan of .*a finite number",
    "[models.a]\nupstream = 'http://x'\nconnections = 0": r"connections = 0; expected 1 or more",
    "[models.'a/b']\npath = 'toy.onnx'": r"a model called 'a/b'",
    "[models._trial]\npath = 'toy.onnx'": r"a model called '_trial'",
    '[models."a\\nb"]\npath = "toy.onnx"': r"a model called 'a\\nb'",
    "models = 5": r"\[models\] = 5",
    "[models]\na = 5": r"\[models.a\] = 5",
    "": r"a table \[models.NAME\]",
    "[models.a": r"gateway.toml.*mend that line",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_named_and_so_is_the_remedy(folder, text):
    with pytest.raises(FeintError, match=WRONG[text]) as caught:
        read(written(folder, text))
    assert "\n" not in str(caught.value)


def test_no_file(folder):
    with pytest.raises(FeintError, match="check the path"):
        read(folder / "none.toml")


def test_settings_need_a_model():
    with pytest.raises(BadRecipe, match="no model"):
        Settings({})


@pytest.fixture
def check(run_cli, folder):
    """`feint serve --check` on settings; its exit code and what it printed."""
    return lambda text, head=HEAD: run_cli(f"serve {written(folder, head + text)} --check")


MODEL = "[models.toy]\npath = 'toy.onnx'\n"


def test_check_says_what_would_be_served(check):
    code, out, err = check(MODEL + "access = ['Budget(5)', 'RateLimit(10.0)']\nshadow = true")
    assert code == 0
    assert "model toy: x FP32 (N, 1, 2, 2) → 3 classes, in shadow mode" in out
    assert "everybody: Budget(5), RateLimit(10.0)" in out
    assert "line: Smoothing" in out
    assert "ledger memory:; if it is lost, then nobody is answered" in out
    assert "would listen: REST on 127.0.0.1:8080, gRPC on 127.0.0.1:8081, without TLS" in out
    assert "forgotten when the gateway stops" in err


REFUSED = {
    "no such file": ("[models.toy]\npath = 'none.onnx'", "none.onnx, which is not there"),
    "no graph": ("[models.toy]\npath = 'gateway.toml'", "gateway.toml"),
    "no logits": ("[models.toy]\npath = 'bare.onnx'\nlogits = true", "leave logits out"),
    "an output defense alone": ("[models.toy]\npath = 'q.onnx'", "an output defense alone"),
    "two defenses": ("[models.toy]\npath = 'toy.onnx'\noutputs = 'q.onnx'", "leave one of them out"),
    "no output defense": ("[models.toy]\npath = 'bare.onnx'\noutputs = 'toy.onnx'", "an output defense alone"),
    "another fingerprint": (MODEL + "fingerprint = 'ffff'", "0123456789abcdef; expected ffff"),
    "an unknown rule": (MODEL + "access = ['Bugdet(5)']", "did you mean 'Budget'"),
    "a rule that is none": (MODEL + "access = ['Budget(']", "check brackets"),
    "no torch model": ("[models.toy]\ntorch = 'none'", "none, which does not exist"),
    "no upstream": ("[models.toy]\nupstream = 'http://[bad'", "HOST:PORT"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_check_refuses_with_exit_code_2_and_one_line(check, name):
    text, says = REFUSED[name]
    code, out, err = check(text)
    assert code == 2
    assert out == ""
    assert says in err
    assert re.fullmatch(r"feint: got .*\n", err)


def test_check_wants_to_know_who_may_ask(check):
    code, _, err = check(MODEL, '[ledger]\nstore = "memory:"\n')
    assert code == 2
    assert "feint keys add" in err


def test_check_opens_keys_and_certificates(check):
    code, _, err = check(MODEL, '[keys]\nfile = "none.db"\n[ledger]\nstore = "memory:"\n')
    assert code == 2
    assert "none.db" in err
    code, _, err = check(MODEL, HEAD + "[server]\ntls_cert = 'toy.onnx'\ntls_key = 'toy.onnx'\n")
    assert code == 2
    assert "in PEM" in err


@pytest.mark.parametrize("ledger", ["", "[ledger]\nstore = 'sqlite:ledger.db'\n"])
def test_the_ledger_is_a_file_beside_the_settings(check, folder, ledger):
    code, out, err = check(MODEL, "[keys]\nanonymous = true\n" + ledger)
    assert code == 0
    assert "forgotten" not in err
    assert "ledger sqlite:ledger.db; if it is lost, then nobody is answered" in out
    assert (folder / "ledger.db").exists()
    assert (folder / "ledger.db").is_file()


def test_a_ledger_where_no_file_can_be_is_named_at_the_start(check, folder):
    code, out, err = check(MODEL, "[keys]\nanonymous = true\n[ledger]\nstore = 'sqlite:none/ledger.db'\n")
    assert code == 2
    assert out == ""
    assert "the ledger ledger.db, whose folder does not exist" in err


def test_check_finds_a_port_that_is_taken(check):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = check(MODEL, HEAD + f"[server]\nrest_port = {port}\n")
    assert code == 2
    assert "a free port" in err


def test_strongest_needs_something_strong(check):
    lost = '[keys]\nanonymous = true\n[ledger]\nstore = "memory:"\nwhen_lost = "strongest"\n'
    assert check(MODEL, lost)[0] == 0
    code, _, err = check("[models.toy]\npath = 'bare.onnx'", lost)
    assert code == 2
    assert "no output defense" in err


def test_check_warns_of_an_upstream_that_is_away_and_of_open_doors(check):
    with upstream() as server:
        url = server.url
    code, out, err = check(f"[models.toy]\nupstream = '{url}'\n", HEAD + "[server]\nhost = '0.0.0.0'\n")
    assert code == 0
    assert "model toy: not there yet" in out
    for says in ("served as soon as it comes", "no output defense", "without TLS", "anybody may ask"):
        assert says in err


def test_a_bare_model_and_an_output_defense_of_another_file(check):
    code, out, _ = check("[models.toy]\npath = 'bare.onnx'\noutputs = 'q.onnx'\n")
    assert code == 0
    assert "line: Smoothing" in out
    code, out, err = check("[models.toy]\npath = 'logits.onnx'\nlogits = true\n")
    assert code == 0
    assert "line: no defense" in out
    assert "probabilities leave as the model gives them" in err


def test_options_of_a_model_and_a_file_of_settings_do_not_go_together(run_cli, folder):
    path = written(folder, HEAD + MODEL)
    for options in ("--port 9", "--anonymous", "--name x", "--access 'Budget(5)'", "--logits"):
        code, _, err = run_cli(f"serve {path} --check {options}")
        assert code == 2
        assert "set them in" in err
    assert run_cli("serve toy.onnx --defense APGP --check")[0] == 2
    assert run_cli("serve victim --logits --check")[0] == 2


def test_detectors_are_no_rules():
    with pytest.raises(UnknownName):  # they write evidence: they belong into a ladder
        rules(["SequentialTest()"])


def test_a_ladder_is_said_in_words():
    rungs = [Defense(), Defense(access=[Refuse()], outputs=[ReverseSigmoid()])]
    table = to_table(Ladder([SequentialTest()], rungs, at=(0.0, 0.5), access=[RateLimit(5.0, burst=9)]))
    assert steps(table, ["Budget(7)"]) == [
        "everybody: Budget(7), RateLimit(per_second=5, burst=9)",
        "evidence: SequentialTest",
        "from evidence 0: no defense",
        "from evidence 0.5: Refuse(), ReverseSigmoid",
    ]


MISTAKES = {  # in a file whose model is fine, and what the error names
    "access": ("models.toy.access = ['" + "(" * 20_000 + "']", "a recipe"),
    "sum": ("models.toy.access = ['Budget(" + "1+" * 20_000 + "1)']", "a recipe"),
    "threads": ("models.toy.threads = 0", "threads = 0"),
    "many threads": ("models.toy.threads = 100_000", "threads = 100000"),
    "output": ("models.toy.output = 'z'", "names its output itself"),
    "logits": ("models.toy.logits = true", "names its output itself"),
    "host": ("server.host = ''", "no host"),
    "zero byte": ('keys.file = "a\\u0000b"', "zero byte"),
    "zero byte of a store": ('ledger.store = "sqlite:a\\u0000b"', "zero byte"),
    "mark": ("ledger.mark = 'no/where'", "where"),
    "audit log": ("operator.audit_log = 'no/where'", "where"),
    "audit folder": ("operator.audit_log = '.'", "directory"),
    "traces": ("operator.traces = 'collector:4318'", "traces"),
    "long label": (f"models.b.upstream = 'http://{'a' * 64}.b:1'", "upstream"),
    "empty label": ("models.b.upstream = 'grpc://a..b:1'", "upstream"),
    "domain": ("models.b = {upstream = 'http://127.0.0.1:1', domain = {kind = 'Colums'}}", "Colums"),
    "shape": ("models.b = {upstream = 'http://127.0.0.1:1', shape = [1, -8, 8]}", "shape"),
    "classes": ("models.b = {upstream = 'http://127.0.0.1:1', classes = -1}", "classes"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_before_anything_is_served(name, tmp_path, run_cli):
    line, named = MISTAKES[name]
    whole(tmp_path / "toy.onnx")
    tables = {"keys.anonymous": "true", "models.toy.path": "'toy.onnx'", "ledger.store": "'sqlite:ledger.db'"}
    lines = [f"{key} = {value}" for key, value in tables.items() if not line.startswith(f"{key} ")]
    (tmp_path / "gateway.toml").write_text("\n".join([*lines, line]))
    code, _, error = run_cli("serve gateway.toml --check")
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("feint: got ")
    assert named in error


def test_a_ledger_in_memory_is_warned_of_whatever_is_behind_the_colon(tmp_path):
    whole(tmp_path / "toy.onnx")
    (tmp_path / "gateway.toml").write_text(
        "keys.anonymous = true\nledger.store = 'memory:x'\nmodels.toy.path = 'toy.onnx'"
    )
    state = asyncio.run(load(read(tmp_path / "gateway.toml")))
    assert any("in memory" in warning for warning in state.warnings)
