"""Methods and stores of somebody else's package go wherever Feint's own go."""

import sys
from pathlib import Path

import httpx2
import pytest
import torch
from tests.support.gateways import ask

from feint import Defense, Query, Service, bench, export
from feint.audit.candidates import adaptive_lenses
from feint.bench import executor, prepare
from feint.defenses.outputs import LabelOnly
from feint.defenses.parsing import parse_defense
from feint.errors import BadRecipe, NotExportable, NotFitted, UnknownName
from feint.gateway.backends.recipes import rules
from feint.gateway.server.run import running
from feint.gateway.settings import KeySettings, LedgerSettings, OnnxSettings, Settings
from feint.gateway.stores import open_store
from feint.recipes import registry
from feint.recipes.recipe import PLUGINS, from_table, to_table

SUITE = """
title = "Methods of others"
budgets = [40]
seeds = 1
training = { epochs = 2 }

[victims.digits]
data = "digits"
network = "mlp"
training = { epochs = 2 }

[defenses.none]

[defenses.averaging]
access = [{ kind = "Quota", inputs = 100 }]
outputs = [{ kind = "Averaging", share = 0.3 }]

[defenses."label only"]
outputs = [{ kind = "LabelOnly" }]

[attacks.KnockoffNets]
kind = "KnockoffNets"

[lenses.squared]
steps = [{ kind = "Squared" }]
"""


@pytest.fixture(autouse=True)
def package(monkeypatch):
    """The package is installed: its directory is on the path of imports."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "support" / "plugin"))
    PLUGINS.clear()
    registry.vocabulary.cache_clear()
    yield
    PLUGINS.clear()
    registry.vocabulary.cache_clear()
    for name in [module for module in sys.modules if module.startswith("feint_example")]:
        del sys.modules[name]


@pytest.fixture
def fitted(victim, digits):
    return registry.parse("Averaging(share=0.3)").fit(victim, digits.train)


def test_a_recipe_is_spelled_and_read_as_feints_own():
    recipe = parse_defense(["Quota(inputs=3)", "Averaging(share=0.3)"])
    assert repr(recipe.outputs[0]) == "Averaging(share=0.3, mean=None)"
    assert from_table(to_table(recipe), registry.vocabulary()) == recipe
    with pytest.raises(UnknownName, match="did you mean 'Averaging'"):
        registry.parse("Averagin()")
    with pytest.raises(BadRecipe, match="identity"):
        registry.parse("Averaging(share=2)")


def test_a_class_that_does_not_load_is_named():
    with pytest.raises(BadRecipe, match=r"Broken of feint_example\.nowhere:Broken"):
        registry.parse("Broken()")


def test_a_method_is_fitted_and_kept_by_the_command(run_cli, victim, digits, tmp_path):
    from feint import victims

    victims.save(tmp_path / "victim", victim, data="digits")
    assert run_cli("fit Averaging(share=0.3) --victim victim --data digits --out averaging")[0] == 0
    defense = parse_defense([str(tmp_path / "averaging")])
    q = Service(victim, defense)(Query(digits.test.inputs(slice(0, 9)), "ann")).p
    p = Service(victim)(Query(digits.test.inputs(slice(0, 9)), "ann")).p
    mean = victims.answers(victim, digits.train).mean(0)
    assert torch.allclose(q, 0.7 * p + 0.3 * mean, atol=1e-6)


def test_it_refuses_before_it_has_learned(victim, digits):
    with pytest.raises(NotFitted):
        Service(victim, parse_defense(["Averaging"]))(Query(digits.test.inputs(slice(0, 2)), "ann"))


def test_a_suite_of_such_methods_runs_and_is_reported(run_cli, tmp_path):
    (tmp_path / "others.toml").write_text(SUITE)
    read = bench.load(tmp_path / "others.toml")
    assert read.incompatible_lenses("label only") == {"squared": "squares of labels are labels"}
    results = executor.run(prepare.matrices(read, tmp_path / "work"), folder=tmp_path / "out")
    assert not results.failed
    assert {(row.defense, row.attack) for row in results if row.attack} == {
        (defense, attack)
        for defense in ("none", "averaging", "label only")
        for attack in ("KnockoffNets", "KnockoffNets, squared")
    } - {("label only", "KnockoffNets, squared")}
    code, output, _ = run_cli("report out")
    assert code == 0
    assert "averaging" in output
    assert "KnockoffNets, squared" in output


def test_an_audit_looks_through_the_lens_that_undoes_it(fitted, digits):
    ways = adaptive_lenses(Defense(outputs=[fitted]), digits.pool, None, None, thorough=False)
    assert ways == {"squared": (registry.parse("Squared"),)}


@pytest.mark.slow
def test_it_is_exported_with_its_rule_and_served(fitted, victim, digits, tmp_path):
    service = Service(victim, Defense(access=[registry.parse("Quota(inputs=5)")], outputs=[fitted]))
    x = digits.test.inputs(slice(0, 3))
    file = export.onnx(service, tmp_path / "toy.onnx", inputs=x).path
    store = open_store("counting:")
    settings = Settings(
        {"toy": OnnxSettings(path=file)}, keys=KeySettings(anonymous=True), ledger=LedgerSettings("counting:")
    )
    with running(settings) as gateway, httpx2.Client(base_url=gateway.url) as client:
        first, second = (ask(client, x.numpy()) for _ in range(2))
    assert first.status_code == 200
    assert second.status_code == 429
    expected = service(Query(x, "ann")).p
    assert torch.allclose(torch.tensor(first.json()["outputs"][0]["data"]).view(3, -1), expected, atol=1e-5)
    assert type(store).commits > 0


def test_a_rule_that_needs_torch_is_refused_by_the_trait(victim, tmp_path):
    with pytest.raises(NotExportable, match="servable"):
        export.onnx(Service(victim, Defense(access=[registry.parse("Curfew")])), tmp_path / "toy.onnx")
    with pytest.raises(UnknownName, match="Quota"):
        rules(["Curfew()"])
    assert [rule.inputs for rule in rules(["Quota(7)"])] == [7]


def test_a_package_cannot_take_a_name_of_feints(monkeypatch):
    entries = dict(PLUGINS._entries) | {"LabelOnly": PLUGINS._entries["Quota"]}
    monkeypatch.setitem(vars(PLUGINS), "_entries", entries)
    with pytest.raises(BadRecipe, match="LabelOnly"):
        registry.vocabulary()
    assert LabelOnly().labels_only
