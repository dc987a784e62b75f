"""Commands that an audit prints: a defense that no graph can hold is served by torch."""

import shlex
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.prototypes import Raw, logits

from feint.audit.commands import next_commands, write_serve_settings
from feint.audit.promise import NoPromise
from feint.audit.run import AuditRequest
from feint.audit.terminal import WIDTH, format_command
from feint.defense import Defense, Ladder
from feint.defenses.outputs import APGP, GaussianNoise, Marked
from feint.errors import NotExportable
from feint.export import require_exportable
from feint.gateway.settings_file import read
from feint.victims import adapt


def audited(victim, defense) -> tuple[Any, Any]:
    """An audit and findings that recommend this defense, as far as the commands need them."""
    candidate = SimpleNamespace(defense=defense)
    findings = SimpleNamespace(known=True, recommended=SimpleNamespace(candidate=candidate), query_limit=None)
    request = AuditRequest("digits", place="runs/victim")
    return SimpleNamespace(victim=victim, request=request, promise=NoPromise("not run")), findings


@pytest.mark.parametrize(
    ("defense", "served"),
    [
        (Defense(outputs=[APGP()]), False),
        (Defense(outputs=[Marked("secret")]), True),
        (Defense(outputs=[APGP(), GaussianNoise("secret")]), True),
        (Ladder([], [Defense(), Defense(outputs=[Marked("secret")])]), True),
    ],
    ids=["arithmetic", "marked answers", "keyed noise", "on a rung"],
)
def test_a_defense_that_no_graph_can_hold_is_served_by_torch(tmp_path, victim, defense, served):
    audit, findings = audited(victim, defense)
    settings = tmp_path / "defense.toml"
    settings.write_text("")
    write_serve_settings(audit, findings, settings)
    commands = " ".join(next_commands(audit, findings, settings, "runs/victim"))
    assert ("feint export" in commands) != served
    assert (tmp_path / "serve.toml").exists() == served
    if served:
        assert f"feint serve {tmp_path / 'serve.toml'}" in commands
        (table,) = read(tmp_path / "serve.toml").models.values()
        assert table.defense == (str(settings),)
    assert Path(settings).exists()


def test_an_audit_continues_where_its_work_is(tmp_path, victim):
    audit, findings = audited(victim, Defense(outputs=[APGP()]))
    unfinished = SimpleNamespace(**vars(findings) | {"known": False, "missing": [1]})
    (command,) = next_commands(audit, unfinished, tmp_path / "my run" / "defense.toml", "runs/victim")
    assert shlex.split(command)[-2:] == ["--out", str(tmp_path / "my run")]


def test_an_audit_continues_with_its_own_options(tmp_path, victim):
    audit, findings = audited(victim, Defense(outputs=[APGP()]))
    unfinished = SimpleNamespace(**vars(findings) | {"known": False, "missing": [1]})
    values = {
        "pool": "mine.npz", "label": "a class", "expected": 0.9, "threshold": 0.7, "outliers": "marginals",
        "pretrained": Path("runs/public"),
    }  # fmt: skip
    audit.request = AuditRequest("s.csv", defenses=("LabelOnly", "APGP"), budgets=(40, 60), minutes=3.0, **values)
    (command,) = next_commands(audit, unfinished, tmp_path / "defense.toml", "runs/victim")
    words = shlex.split(command)[3:]
    typed = list(zip(words[::2], words[1::2], strict=True))
    names = {"expected": "expect-accuracy"}
    expected = {(f"--{names.get(name, name)}", str(value)) for name, value in values.items()}
    expected |= {("--defense", "LabelOnly"), ("--defense", "APGP"), ("--budget", "40"), ("--budget", "60")}
    assert set(typed) == expected | {("--data", "s.csv"), ("--minutes", "3"), ("--out", str(tmp_path))}
    assert {field.name for field in fields(AuditRequest)} == {
        *values, "data", "defenses", "budgets", "minutes", "place"
    }  # fmt: skip


@pytest.mark.parametrize("defense", [APGP(), Marked("secret")], ids=["exported", "served by torch"])
def test_the_commands_take_any_name_of_a_directory_and_the_column_of_the_label(defense, tmp_path, victim):
    audit, findings = audited(victim, Defense(outputs=[defense]))
    audit.request = AuditRequest("my samples.csv", place="my models/m", label="a class")
    settings = tmp_path / "my run" / "defense.toml"
    settings.parent.mkdir()
    settings.write_text("")
    write_serve_settings(audit, findings, settings)
    *_, made, serve = map(shlex.split, next_commands(audit, findings, settings, shlex.quote(audit.request.place)))
    if defense == APGP():
        options = dict(zip(made[3::2], made[4::2], strict=True))
        assert options["--defense"] == str(settings)
        assert (options["--data"], options["--label"]) == ("my samples.csv", "a class")
        assert serve == ["feint", "serve", options["--out"]]
    else:
        assert serve == ["feint", "serve", str(settings.with_name("serve.toml"))]


def test_the_settings_are_served_from_any_directory_with_the_keys_of_this_one(tmp_path, victim, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place, settings = Path("runs/victim"), Path("feint-audit/victim/defense.toml")
    for folder in (place, settings.parent):
        folder.mkdir(parents=True)
    settings.write_text("")
    audit, findings = audited(victim, Defense(outputs=[Marked("secret")]))
    write_serve_settings(audit, findings, settings)
    monkeypatch.chdir("/")
    read_back = read(tmp_path / settings.with_name("serve.toml"))
    (table,) = read_back.models.values()
    assert Path(table.torch).resolve() == tmp_path / place
    assert [Path(step).resolve() for step in table.defense] == [tmp_path / settings]
    assert read_back.keys.file.resolve() == tmp_path / "keys.db"


class ExportableRaw(Raw):
    """A model that a graph can hold, as far as its type says."""

    exportable = True


@pytest.mark.parametrize(("batch", "served"), [(None, False), (1, True)])
def test_a_model_for_batches_of_one_size_is_served_as_it_is(tmp_path, batch, served):
    victim = adapt(ExportableRaw(logits, (batch, 3, 8, 8)))
    audit, findings = audited(victim, Defense(outputs=[APGP()]))
    commands = " ".join(next_commands(audit, findings, tmp_path / "defense.toml", "model.toml"))
    assert ("feint export" in commands) != served
    if served:
        with pytest.raises(NotExportable, match=r"for batches of 1; expected any batch; feint serve MODEL"):
            require_exportable(victim)


def test_a_long_command_is_printed_over_lines_that_a_shell_takes_as_one():
    command = (
        f"feint export model.toml --defense 'my settings/defense.toml' --data /home/owner/{'samples' * 9}/x.csv --out a"
    )
    printed = format_command(command)
    lines = printed.splitlines()
    assert len(lines) == 2
    assert all(len(line) <= WIDTH for line in lines)
    assert [line.endswith(" \\") for line in lines] == [True, False]
    assert shlex.split(printed.replace("\\\n", " ")) == shlex.split(command)
    assert format_command("feint serve a.onnx") == "  feint serve a.onnx"
