"""The suites: what ships can be read and planned, what is wrong is said before anything runs, and one runs."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.suite_files import SMALL

from feint import bench, data
from feint.attacks import Attack, default_training
from feint.bench import artifacts, executor, plan, prepare
from feint.bench.locks import Leases
from feint.data import Split
from feint.errors import BadInput, BadRecipe, DamagedFile, FeintError, UnknownName
from feint.evaluation.results import Results
from feint.evaluation.transfer import Springboard
from feint.models.networks import Network
from feint.models.training import Pretrained, Training, train
from feint.progress import ProgressCallback
from feint.recipes.recipe import from_table, to_table
from feint.recipes.registry import resolve, vocabulary
from feint.service import Service, SuspectedDefense
from feint.victims import Trained

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "src" / "feint" / "suites" / "attacks").glob("*.toml"))


@pytest.fixture
def small(tmp_path, _cache):
    def read(text: str = SMALL) -> bench.Suite:
        (tmp_path / "small.toml").write_text(text)
        return bench.load(tmp_path / "small.toml")

    return read


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_is_an_attack_and_says_what_it_needs(file):
    attack = resolve(str(file))
    assert isinstance(attack, Attack)
    assert from_table(to_table(attack), vocabulary()) == attack
    assert "It needs" in file.read_text()


def test_there_are_suites_and_recipes():
    assert {"dfme_cifar10", "dfmshl_cifar10", "maze_cifar10"} <= {file.stem for file in RECIPES}
    assert {"quick"} <= set(bench.shipped())


@pytest.mark.parametrize("name", bench.shipped())
def test_what_ships_can_be_read_and_planned_without_data(name, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("read data"))
    read = bench.load(name)
    said = plan.lines(read, read.cells())
    assert f"{len(read.cells()):,} cells" in "\n".join(said)
    cited = set(re.findall(r"@\w+\{(\w+),", (ROOT / "docs" / "references.bib").read_text()))
    assert {row.source for row in read.expected} <= cited


def test_cells_by_name_are_those_of_the_matrices(small, tmp_path):
    read = small()
    matrices = prepare.matrices(read, tmp_path / "work")
    assert [it.name for it in matrices] == ["wide", "narrow"]
    assert [cell for it in matrices for cell in it.cells()] == read.cells()
    assert {it.attack for it in read.cells() if it.defense == "APGP"} == {
        "", "KnockoffNets", "KnockoffNets, labels only", "KnockoffNets, D-DAE",
    }  # fmt: skip
    assert {it.victim for it in read.cells() if it.attack == "RS"} == {"wide", "narrow"}
    assert {it.defense for it in read.cells() if it.attack.startswith("RS")} == {"none", "sigmoid"}
    assert not {it for it in read.cells() if it.attack == "RS, D-DAE"}  # it is KnockoffNets' alone
    assert {it.defense for it in read.cells() if "known parameters" in it.attack} == {"sigmoid"}


def test_open_fields_are_filled_with_the_resources_of_the_attacker(small, tmp_path):
    wide, narrow = prepare.matrices(small(), tmp_path / "work")
    assert wide.attacks["none"]["KnockoffNets"].surrogate.name == "mlp"
    assert narrow.attacks["none"]["RS"].surrogate.name == "linear"
    (restored,) = wide.attacks["APGP"]["KnockoffNets, D-DAE"].lenses
    assert isinstance(restored.rehearsal, SuspectedDefense)
    assert not restored.rehearsal.leaked
    assert restored.rehearsal.defense.outputs[0].generator is None  # the attacker knows the method, not what it learned
    assert wide.defenses["APGP"].outputs[0].generator is not None
    assert wide.attacks["sigmoid"]["KnockoffNets, D-DAE"].lenses[0].rehearsal.defense.access == ()
    assert wide.springboard is None
    nasty = narrow.defenses["nasty teacher"]
    assert isinstance(nasty, Service)
    assert nasty.defense.outputs[0].decimals == 2


OWN = """
title = "Two attackers"
budgets = [40]
seeds = 1
training = { epochs = 3 }

[victims.wide]
data = "digits"
network = "mlp"
training = { epochs = 3 }
surrogate_training = { epochs = 2, batch_size = 16 }
budgets = [50, 60]
springboard = { radius = 32.0 }

[victims.wide.attacks.RS]
kind = "SeedSamples"
chunk = 25

[victims.wide.attacks.KnockoffNets]
kind = "KnockoffNets"
training = { kind = "Training", epochs = 1 }

[victims.narrow]
data = "digits"
network = "mlp20"
training = { epochs = 2 }

[defenses.none]

[defenses.APGP]
outputs = [{ kind = "APGP", steps = 20 }]

[defenses."nasty teacher"]
boundary = [{ kind = "NastyTeacher", training = { kind = "Training", epochs = 1 } }]
outputs = [{ kind = "Rounding", decimals = 2 }]
victims = ["narrow"]

[attacks.Tuned]
kind = "Tuned"
only = ["none"]

[attacks.KnockoffNets]
kind = "KnockoffNets"

[lenses.bound]
steps = [{ kind = "PartialBayesBound", first = 20, samples = 2 }]
leaked = true
attacks = ["KnockoffNets"]

[lenses."labels only"]
steps = [{ kind = "HardLabels" }]
attacks = ["RS"]
"""


def test_an_attacker_has_budgets_attacks_and_a_training_of_its_own_on_each_victim(small, tmp_path):
    read = small(OWN)
    wide, narrow = prepare.matrices(read, tmp_path / "work")
    assert [cell for it in (wide, narrow) for cell in it.cells()] == read.cells()
    assert {it.budget for it in wide.cells() if it.attack} == {50, 60}
    assert {it.budget for it in narrow.cells() if it.attack} == {40}
    assert list(wide.attacks["none"]) == ["Tuned", "KnockoffNets", "RS", "RS, labels only"]
    assert list(narrow.attacks["none"]) == ["Tuned", "KnockoffNets"]
    assert wide.attacks["none"]["RS"].training == Training(epochs=2, batch_size=16)
    assert wide.attacks["none"]["KnockoffNets"].training == Training(epochs=1)
    assert narrow.attacks["none"]["KnockoffNets"].training == Training(epochs=3)


def test_an_attack_is_run_without_a_lens_where_the_suite_says(small, tmp_path):
    ran = {
        alone: small(OWN.replace("chunk = 25", f"chunk = 25\nalone = {alone}")) for alone in ('["APGP"]', "[]")
    }  # fmt: skip
    for alone, read in ran.items():
        wide = [cell for cell in read.cells() if cell.victim == "wide" and cell.attack.startswith("RS")]
        lensed = {cell.defense for cell in wide if cell.attack == "RS, labels only"}
        assert lensed == {"none", "APGP"}
        assert {cell.defense for cell in wide if cell.attack == "RS"} == ({"APGP"} if "APGP" in alone else set())
        assert [cell for it in prepare.matrices(read, tmp_path / "work") for cell in it.cells()] == read.cells()


def test_a_springboard_of_one_victim_has_its_own_radius(small, tmp_path, digits):
    wide, narrow = prepare.matrices(small(OWN), tmp_path / "work")
    assert wide.springboard == Springboard(digits.train, radius=32.0)
    assert narrow.springboard is None


def test_an_owners_threshold_is_a_part_of_what_a_row_depends_on(small, tmp_path):
    decided = 'network = "mlp20"\nthreshold = 0.3'
    _, narrow = prepare.matrices(small(OWN), tmp_path / "work")
    wide, strict = prepare.matrices(small(OWN.replace('network = "mlp20"', decided)), tmp_path / "work")
    assert (wide.threshold, narrow.threshold, strict.threshold) == (None, None, 0.3)
    cell = next(cell for cell in narrow.cells() if cell.attack == "KnockoffNets" and cell.defense == "none")
    assert "threshold" not in narrow.recipe(cell)  # older fingerprints stay
    assert narrow.fingerprint(cell) != strict.fingerprint(cell)
    before, after = narrow.row(cell).scores, strict.row(cell).scores
    assert after.keys() - before.keys() == {"threshold_agreement"}
    assert 0.5 < after["threshold_agreement"] <= 1
    assert {"stealer_auc", "stealer_rmse", "stealer_balanced_accuracy", "rate_agreement"} <= before.keys()
    utility = strict.row(strict.cells()[0]).scores
    assert utility["decision_kept"] == 1
    assert utility["defender_auc"] == pytest.approx(utility["victim_auc"], abs=1e-4)
    with pytest.raises(BadInput, match="threshold of 30"):
        small(OWN.replace('network = "mlp20"', 'network = "mlp20"\nthreshold = 30'))


def test_a_row_measures_the_leak_of_a_defense_that_learned(small, tmp_path):
    (matrix,) = prepare.matrices(small(SMALL), tmp_path / "work", only="^wide, (none|APGP), KnockoffNets, 40$")
    rows = {cell.defense: matrix.row(cell).scores for cell in matrix.cells() if cell.attack}
    assert rows["APGP"]["leak"] == 0  # fitted on the training inputs, which are not in the pool
    assert "leak" not in rows["none"]
    from_pool = SMALL.replace("steps = 20 }]", 'steps = 20 }]\nlearns_from = "pool:0/2"')
    (matrix,) = prepare.matrices(small(from_pool), tmp_path / "other", only="^wide, APGP, KnockoffNets, 40$")
    (row,) = (matrix.row(cell) for cell in matrix.cells() if cell.attack)
    assert row.scores["leak"] == pytest.approx(0.5, abs=0.01)
    assert any(flag.startswith("leak: 50.") for flag in row.flags)


def test_a_leaked_lens_holds_what_the_owner_has_learned(small, tmp_path):
    wide, narrow = prepare.matrices(small(OWN), tmp_path / "work")
    assert "KnockoffNets, bound" not in wide.attacks["none"]
    (bound,) = wide.attacks["APGP"]["KnockoffNets, bound"].lenses
    assert bound.rehearsal.leaked
    assert bound.rehearsal.defense == wide.defenses["APGP"]
    assert bound.victim == Trained.of(wide.victim)
    (bound,) = narrow.attacks["nasty teacher"]["KnockoffNets, bound"].lenses
    assert bound.victim == Trained.of(narrow.defenses["nasty teacher"].model)
    assert bound.victim != Trained.of(narrow.victim)
    cell = next(it for it in wide.cells() if it.attack == "KnockoffNets, bound" and it.budget == 50)
    assert wide.row(cell).asked == 50


def test_a_victim_is_not_made_again_for_another_attacker(small, tmp_path, monkeypatch):
    prepare.matrices(small(OWN), tmp_path / "work")
    monkeypatch.setattr(artifacts.ArtifactStore, "save", lambda store, artifact: pytest.fail(f"made {artifact.name}"))
    prepare.matrices(
        small(OWN.replace("batch_size = 16", "batch_size = 8").replace("[50, 60]", "[70]")), tmp_path / "work"
    )


@pytest.mark.parametrize(
    ("old", "new", "kind", "says"),
    [
        ("[50, 60]", "[]", BadRecipe, "one or more"),
        ("[50, 60]", "[50, 0]", BadRecipe, "one or more"),
        ("radius = 32.0", "radios = 32.0", BadRecipe, "did you mean 'radius'"),
        ("radius = 32.0", "radius = 0.0", BadRecipe, "0 < radius"),
        ("radius = 32.0", 'members = "digits"', BadRecipe, "its other fields"),
        ("chunk = 25", 'only = ["nonne"]', UnknownName, "did you mean 'none'"),
        ("chunk = 25", 'alone = ["nonne"]', UnknownName, "did you mean 'none'"),
        ("chunk = 25", 'only = ["none"]\nalone = ["APGP"]', UnknownName, "APGP"),
        ("chunk = 25", "chunks = 25", BadRecipe, "did you mean 'chunk'"),
        ("surrogate_training = { epochs", "surrogate_training = { epoch", BadRecipe, "did you mean 'epochs'"),
        ('attacks = ["RS"]', 'attacks = ["RSS"]', UnknownName, "did you mean 'RS'"),
        ("leaked = true", "leaked = false", BadRecipe, "give victim"),
    ],
)
def test_a_table_of_one_victim_is_checked_before_anything_runs(small, old, new, kind, says):
    assert old in OWN
    with pytest.raises(kind, match=says):
        small(OWN.replace(old, new, 1))


def test_what_was_made_is_not_made_again_unless_the_suite_says_otherwise(small, tmp_path, monkeypatch):
    made = []
    save = artifacts.ArtifactStore.save
    monkeypatch.setattr(artifacts.ArtifactStore, "save", lambda store, it: (made.append(it.name), save(store, it)))
    prepare.matrices(small(), tmp_path / "work")
    assert sorted(made) == sorted([
        ("wide",), ("narrow",), ("wide", "none"), ("wide", "sigmoid"), ("wide", "APGP"),
        ("narrow", "none"), ("narrow", "sigmoid"), ("narrow", "nasty teacher"),
    ])  # fmt: skip
    made.clear()
    prepare.matrices(small(), tmp_path / "work")
    assert made == []
    prepare.matrices(small(SMALL.replace("steps = 20", "steps = 21")), tmp_path / "work")
    assert made == [("wide", "APGP")]
    made.clear()
    prepare.matrices(
        small(SMALL.replace("steps = 20", "steps = 21").replace("epochs = 2 }", "epochs = 1 }")), tmp_path / "work"
    )
    assert {it[0] for it in made} == {"narrow"}


def test_what_another_process_makes_is_waited_for(small, tmp_path, monkeypatch):
    read, work = small(), tmp_path / "work"
    prepare.matrices(read, work)
    other = Leases(work / ".leases")
    monkeypatch.setattr(
        artifacts.ArtifactStore,
        "has",
        lambda store, name, has=artifacts.ArtifactStore.has: other.done and has(store, name),
    )
    other.done = False
    waited = []

    def finish(seconds: float) -> None:
        waited.append(seconds)
        other.done = True

    monkeypatch.setattr(artifacts.time, "sleep", finish)
    monkeypatch.setattr(artifacts.Leases, "claim", lambda *_: False)
    prepare.matrices(read, work)
    assert waited == [artifacts.POLL]


def test_a_victim_that_cannot_be_made_is_an_error_after_the_others(small, tmp_path):
    text = SMALL.replace('network = "mlp"\ntraining = { epochs = 3 }', 'network = "mlp"\nweights = "nowhere.npz"')
    with pytest.raises(FeintError, match=r"nowhere\.npz"):
        prepare.matrices(small(text), tmp_path / "work")
    assert (tmp_path / "work" / "victims" / "narrow").exists()


@pytest.mark.slow
def test_a_suite_runs_and_continues(small, tmp_path):
    read, progress = small(), ProgressCallback()
    some = executor.run(
        prepare.matrices(read, tmp_path / "work", progress=progress, only="wide, none, .*, 40"), folder=tmp_path / "out"
    )
    assert [(row.attack, row.budget) for row in some] == [
        ("", 0), ("KnockoffNets", 40), ("RS", 40), ("KnockoffNets, labels only", 40), ("RS, labels only", 40),
    ]  # fmt: skip
    assert not some.failed
    results = executor.run(
        prepare.matrices(read, tmp_path / "work", progress=progress), folder=tmp_path / "out", progress=progress
    )
    assert len(results) == len(read.cells()) == len(Results.load(tmp_path / "out"))
    assert not results.failed
    assert results.names("victim") == ["wide", "narrow"]
    (nasty,) = [row for row in results if row.defense == "nasty teacher" and not row.attack]
    assert nasty.scores["label_kept"] < 1 or nasty.scores["kl"] > 0  # judged beside the old victim's answers
    assert nasty.recipe["model"]


@pytest.mark.parametrize(
    ("old", "new", "kind", "says"),
    [
        ('network = "mlp"', 'network = "mpl"', UnknownName, "did you mean 'mlp'"),
        ('network = "mlp"', 'netwrok = "mlp"', BadRecipe, "did you mean 'network'"),
        ('data = "digits"', 'data = "digit"', UnknownName, "did you mean 'digits'"),
        ("budgets =", "budget =", BadRecipe, "did you mean 'budgets'"),
        ('"ReverseSigmoid"', '"ReverseSigmoids"', UnknownName, "did you mean 'ReverseSigmoid'"),
        ("steps = 20", "stepz = 20", BadRecipe, "did you mean 'steps'"),
        ('kind = "KnockoffNets"', 'kind = "KnockofNets"', UnknownName, "did you mean 'KnockoffNets'"),
        ('kind = "KnockoffNets"', 'kind = "HardLabels"', BadRecipe, "expected an Attack"),
        ('only = ["none", "sigmoid"]', 'only = ["nonne"]', UnknownName, "did you mean 'none'"),
        ('victims = ["wide"]', 'victims = ["wild"]', UnknownName, "did you mean 'wide'"),
        ('only = ["sigmoid", "APGP"]', 'only = ["none"]', BadRecipe, "could be rehearsed"),
        ('outputs = [{ kind = "ReverseSigmoid" }]', 'inputs = [{ kind = "ReverseSigmoid" }]', BadRecipe, "an Input"),
        ("training = { epochs = 3 }", "training = { epoch = 3 }", BadRecipe, "did you mean 'epochs'"),
        ("[victims.wide]", "[victims.wide", DamagedFile, "in TOML"),
        ("seeds = 1", "springboard = 1", BadRecipe, "true or false"),
        ("seeds = 1", "seeds = 0", BadRecipe, "at least one"),
        ('defense = "none"', 'defense = "nine"', UnknownName, "did you mean 'none'"),
    ],
)
def test_what_nobody_knows_is_said_with_the_nearest_that_is_known(small, old, new, kind, says):
    assert old in SMALL
    with pytest.raises(kind, match=says):
        small(SMALL.replace(old, new, 1))


def test_a_defense_has_fewer_seeds_than_the_others(small, tmp_path):
    few = SMALL.replace("seeds = 1", "seeds = 3").replace("[defenses.sigmoid]", "[defenses.sigmoid]\nseeds = 2")
    read = small(few)
    seeds = {name: {it.seed for it in read.cells() if it.defense == name and it.attack} for name in ("none", "sigmoid")}
    assert seeds == {"none": {0, 1, 2}, "sigmoid": {0, 1}}
    assert [cell for it in prepare.matrices(read, tmp_path / "work") for cell in it.cells()] == read.cells()
    with pytest.raises(BadRecipe, match="0 seeds"):
        small(few.replace("seeds = 2", "seeds = 0"))


def test_a_defense_has_budgets_of_its_own(small, tmp_path):
    read = small(SMALL.replace("[defenses.none]", "[defenses.none]\nbudgets = [30, 80]"))
    asked = {name: {it.budget for it in read.cells() if it.defense == name and it.attack} for name in ("none", "APGP")}
    assert asked == {"none": {30, 80}, "APGP": {40, 80}}
    assert [cell for it in prepare.matrices(read, tmp_path / "work") for cell in it.cells()] == read.cells()


@pytest.mark.parametrize("budgets", ["[]", "[40, 0]"])
def test_a_defense_without_a_budget_is_refused(small, budgets):
    with pytest.raises(BadRecipe, match="a defense with budgets"):
        small(SMALL.replace("[defenses.none]", f"[defenses.none]\nbudgets = {budgets}"))


def test_a_victim_learns_from_its_part_of_the_data(small, tmp_path, digits):
    half = SMALL.replace('network = "mlp20"', 'network = "mlp20"\nlearns_from = "train:0/2"')
    read = small(half.replace("seeds = 1", "seeds = 1\nspringboard = true"))
    (narrow,) = prepare.matrices(read, tmp_path / "work", only="narrow, none")
    assert narrow.springboard.members == digits.train.share(0, 2)
    learned = train(narrow.victim.network, digits.train.share(0, 2), training=Training(epochs=2))
    x = digits.test.inputs(slice(20))
    torch.testing.assert_close(learned(x), narrow.victim(x))


def test_outliers_have_the_shape_of_the_victims_inputs(small, tmp_path, monkeypatch, digits):
    colours = Split.of(np.zeros((30, 3, 16, 16), np.uint8), np.zeros(30, np.int64))
    parse = artifacts.pools.parse_split
    monkeypatch.setattr(
        artifacts.pools, "parse_split", lambda name: colours if name.startswith("cifar") else parse(name)
    )
    exposed = 'boundary = [{ kind = "OutlierExposure", training = { kind = "Training", epochs = 1 } }]'
    text = SMALL.replace(
        '[defenses."nasty teacher"]',
        f'[defenses.exposed]\n{exposed}\noutliers = "cifar100"\n\n[defenses."nasty teacher"]',
    )
    (narrow,) = prepare.matrices(small(text), tmp_path / "work", only="narrow, exposed")
    assert isinstance(narrow.defenses["exposed"], Service)


@pytest.mark.parametrize("name", ["cifar10", "defenses", "fashion_mnist"])
def test_suites_of_natural_images_train_the_default_attacker_and_mirror(name):
    read = bench.load(name)
    (entry,) = read.victims.values()
    shape = (1, 28, 28) if name == "fashion_mnist" else (3, 32, 32)
    strong = default_training(Network(entry.surrogate or entry.network, shape, 10))
    assert read.training == replace(strong, flip=True)


def test_springboards_of_digits_are_copies_of_the_suite_quick_without_smoothed_labels():
    springboard, quick = bench.load("springboard"), bench.load("quick")
    network = Network("mlp", (1, 8, 8), 10)
    plain = replace(quick.training_on("digits", network), smoothing=None, average=None)
    assert springboard.training_on("digits", network) == plain
    assert springboard.victims["digits"].training == quick.victims["digits"].training


@pytest.mark.parametrize("name", ["quick", "gtsrb"])
def test_suites_of_images_that_a_mirror_changes_train_the_default_attacker(name):
    read = bench.load(name)
    assert read.training is None
    (victim,) = read.victims
    resources = read.resources(victim)
    assert resources.training == default_training(resources.surrogate)


def test_a_surrogate_starts_from_a_network_of_another_task(small):
    start = 'start = { kind = "Pretrained", data = "DATA/train", training = { kind = "Training", epochs = 2 } }'
    suite = SMALL.replace("training = { epochs = 3 }", f"training = {{ epochs = 3, {start} }}", 1)
    training = small(suite.replace("DATA", "cifar100")).training
    assert training is not None
    assert training.start == Pretrained("cifar100/train", Training(epochs=2))
    attack = SMALL.replace(
        'kind = "KnockoffNets"', f'kind = "KnockoffNets"\ntraining = {{ kind = "Training", {start} }}', 1
    )
    assert small(attack.replace("DATA", "cifar100")).attacks["KnockoffNets"].recipe["training"]["start"]
    victim = SMALL.replace("training = { epochs = 2 }", f"training = {{ epochs = 2, {start} }}", 1)
    lens = SMALL.replace("steps = 10 }", f'steps = 10, training = {{ kind = "Training", {start} }} }}', 1)
    for text in (suite, attack, victim, lens):
        with pytest.raises(UnknownName, match="cifar1000"):
            small(text.replace("DATA", "cifar1000"))


def test_a_suite_of_no_such_name_is_an_error():
    with pytest.raises(UnknownName, match="did you mean 'quick'"):
        bench.load("quik")


def test_a_springboard_is_what_the_victim_was_trained_on(small, tmp_path, digits):
    read = small(SMALL.replace("seeds = 1", "seeds = 1\nspringboard = true"))
    (narrow,) = prepare.matrices(read, tmp_path / "work", only="narrow, none, KnockoffNets, 40")
    assert narrow.springboard is not None
    assert narrow.springboard.members == digits.train
    (row,) = [narrow.row(cell) for cell in narrow.cells() if cell.attack == "KnockoffNets"]
    assert {"transfer_fgsm", "transfer_pgd", "membership_auroc"} <= set(row.scores)


def test_expected_rows_and_weights_are_read(small, tmp_path, monkeypatch):
    (row,) = small().expected
    assert row.value == 0.9
    assert row.source == "ma2021undistillable"
    monkeypatch.setenv("FEINT_DATA", str(tmp_path))
    (tmp_path / "published.npz").touch()
    assert artifacts.weights("published.npz") == tmp_path / "published.npz"
    assert artifacts.weights("elsewhere.npz") == Path("elsewhere.npz")
    with pytest.raises(BadInput, match="one of them"):
        small(SMALL.replace("training = { epochs = 2 }", 'training = { epochs = 2 }\nweights = "published.npz"'))


def test_the_package_carries_its_suites():
    for file in bench.shipped().values():
        assert tomllib.loads(file.read_text())["title"]
