"""The commands: their output, their errors, and their continuation after Ctrl-C."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.open_inference import served
from tests.support.variance import assert_weights_close

from feint import data, victims
from feint.cli import main
from feint.data import files
from feint.defenses.access import PRADA, Budget, Refuse
from feint.defenses.inputs import APMSA
from feint.defenses.outputs import APGPClosedForm
from feint.defenses.parsing import parse_defense
from feint.errors import BadInput, DamagedFile, MissingData
from feint.recipes import store
from feint.service import Defense, Ladder, Service
from feint.transcript import Transcript

QUICK = "Training(epochs=15)"


@pytest.fixture(scope="session")
def victim_folder(tmp_path_factory, _cache):
    """What `feint train` wrote, once for all tests."""
    folder = tmp_path_factory.mktemp("trained") / "victim"
    with contextlib.suppress(SystemExit):
        main(["train", "--data", "digits", "--network", "mlp", "--training", QUICK, "--out", str(folder)])
    assert folder.is_dir()
    return folder


@pytest.fixture
def trained(run_cli, victim_folder):
    shutil.copytree(victim_folder, "victim")
    return run_cli


@pytest.mark.slow
def test_the_commands_that_the_demo_is_made_of(trained):
    feint = trained
    code, out, _ = feint('fit "APGP(top=1, steps=300)" --victim victim --data digits --out apgp')
    assert code == 0
    assert "generator=Weights" in out
    steal = f'steal --victim victim --pool digits --budget 300 --training "{QUICK}"'
    assert feint(f"{steal} --out stolen")[0] == 0
    assert feint(f"{steal} --defense apgp --out fooled")[0] == 0
    code, out, _ = feint(f'{steal} --defense apgp --lens HardLabels --lens "Averaged(repeats=2)" --out labels')
    assert code == 0
    assert "300" in out
    assert Transcript.load("labels/transcript.safetensors").p.shape == (300, 10)
    accuracy = {}
    for name in ("stolen", "fooled", "labels"):
        code, out, _ = feint(f"evaluate {name} --victim victim --data digits --defense apgp --json")
        assert code == 0
        accuracy[name] = json.loads(out)["stealer_accuracy"]
        assert json.loads(out)["label_kept"] == 1
    assert accuracy["fooled"] < min(accuracy["stolen"], accuracy["labels"]) - 0.2
    code, out, _ = feint("evaluate stolen --victim victim --data digits")
    assert re.search(r"stealer accuracy +\d\d\.\d\d%   \(\d\d\.\d\d% to \d\d\.\d\d%, n = 359\)", out)
    assert re.search(r"stealer auc +0\.\d+$", out, re.MULTILINE)
    assert re.search(r"^defender accuracy +\d\d\.\d\d%$", out, re.MULTILINE)
    assert "threshold agreement" not in out
    code, out, _ = feint("evaluate stolen --victim victim --data digits --threshold 0.3 --json")
    assert 0.5 < json.loads(out)["threshold_agreement"] <= 1
    code, _, err = feint("evaluate stolen --victim victim --data digits --threshold 30")
    assert code == 2
    assert "a threshold of 30" in err


@pytest.mark.slow
def test_a_model_behind_a_url_is_stolen_as_one_here(trained):
    feint, model = trained, victims.load("victim")
    steal = f'steal --pool digits --training "{QUICK}" --budget 300 --surrogate mlp'
    with served(Service(model), shape=(1, 8, 8), classes=10) as server:
        server.dies_after = 1
        there = f"{steal} --url {server.url} --model toy"
        code, _, err = feint(f"{there} --out there --max-calls 299")
        assert code == 2
        assert "got --budget 300 with --max-calls 299; expected a budget within the ceiling" in err
        assert server.service.ledger.queries == 0
        code, _, err = feint(f"{there} --out there --price-per-1000 2 --currency EUR")
        assert code == 2
        assert "at most 300 calls, 0.60 EUR" in err
        assert "what was answered is kept" in err
        server.dies_after = -1
        assert feint(f"{there} --out there")[0] == 0
        assert server.service.ledger.queries == 300
        data_free = "DFME(game=LoopConfig(batch_size=8, latent=8, width=8))"
        no_pool = f'steal "{data_free}" --budget 60 --surrogate mlp --url {server.url} --model toy --out dreamt'
        code, out, err = feint(no_pool)
        assert code == 0, err
        assert "of 60 queries" in out, err
        code, _, err = feint(f"{there} --defense APMSA --out neither")
        assert code == 2
        assert "name one" in err
    assert feint(f"{steal} --victim victim --out here")[0] == 0
    assert_weights_close(victims.load("there").state_dict(), victims.load("here").state_dict())
    code, out, _ = feint(f'{steal} --victim victim --defense "Budget(queries=120)" --out refused')
    assert code == 0
    assert "120 of 300" in out
    assert "refused on the way" in out


@pytest.mark.slow
def test_what_a_server_leaves_open_is_named_or_read_from_the_data(trained):
    feint, model = trained, victims.load("victim")
    with served(Service(model), shape=(1, 8, 8), classes=10) as server:
        server.bare = True
        there = f"--url {server.url} --model toy"
        code, _, err = feint(f"steal --pool digits --budget 50 --surrogate mlp {there} --out stolen")
        assert code == 2
        assert "name the output" in err
        there += " --input pixels --output p"
        steal = f'steal --pool digits --budget 50 --surrogate mlp --training "{QUICK}" {there} --out stolen'
        code, _, err = feint(steal)
        assert code == 2
        assert "the number of classes" in err
        code, _, err = feint(f"{steal} --classes 10")
        assert code == 0, err
        code, _, err = feint(f"audit {there} --data digits --minutes 0.01 --out audited")
        assert code != 2, err
        assert json.loads(Path("audited/audit.json").read_text())


@pytest.mark.slow
def test_an_attack_from_a_file(trained, tmp_path):
    (tmp_path / "attack.toml").write_text(
        'kind = "Through"\nlenses = [{kind = "HardLabels"}]\n[attack]\nkind = "KnockoffNets"\n'
    )
    code, _, err = trained("steal attack.toml --victim victim --pool digits --budget 60 --out stolen")
    assert code == 0, err
    assert "HardLabels" in victims.notes("stolen")["attack"]


@pytest.mark.slow
def test_a_boundary_defense_makes_a_victim_that_is_used_as_any_other(trained):
    feint, recipe = trained, "NastyTeacher(training=Training(epochs=1, learning_rate=0.01))"
    code, out, err = feint(f'fit "{recipe}" --victim victim --data digits --outliers digits/pool --out nasty')
    assert code == 0, err
    assert "new victim" in out, err
    notes = victims.notes("nasty")
    assert notes["method"].startswith("NastyTeacher")
    assert len(notes["losses"]) == 1
    assert notes["seed"] == 0
    code, _, err = feint(
        'fit "BoundaryConfusion(training=Training(epochs=1))" --victim victim --data digits/train:0/2 '
        "--outliers digits/pool:1/3 --out confused"
    )
    assert code == 0, err
    assert "train:0/2" in victims.notes("confused")["inputs"]
    assert "held_out:1/3" in victims.notes("confused")["outliers"]
    assert feint(f'steal --victim nasty --pool digits --budget 50 --training "{QUICK}" --out stolen')[0] == 0
    code, out, _ = feint("evaluate stolen --victim nasty --data digits --json")
    assert code == 0
    assert json.loads(out)["defender_accuracy"] > 0.8


@pytest.mark.slow
def test_the_demo_end_to_end_and_again_from_what_it_kept(run_cli, tmp_path, monkeypatch):
    from feint.bench import demo
    from feint.evaluation import jsonl

    small = demo.Setting("mlp", demo.Training(epochs=3), "mlp", (40, 80))
    monkeypatch.setitem(demo.SETTINGS, "digits", small)
    monkeypatch.setattr(
        demo, "DEFENSES", {name: replace(defense, steps=200) for name, defense in demo.DEFENSES.items()}
    )
    code, out, _ = run_cli("demo --seeds 1")
    assert code == 0
    assert "A limit of such defenses" in out
    page = (tmp_path / "feint-demo/digits/report.html").read_text()
    assert page.count('<div class="svg"') == 1 + 3 + 2  # the Pareto front, a curve for each defense, and two t-SNE
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)
    assert page.count('<details class="recipe">') == 3 + 2 * 3 * 2
    rows = sorted((tmp_path / "feint-demo/digits/rows").iterdir())
    before = [row.stat().st_mtime_ns for row in rows]
    code, again, _ = run_cli("demo --seeds 1 --collect")
    assert code == 0
    assert again == f"{out}The rows in one file: feint-demo/digits.jsonl\n"
    assert [row.stat().st_mtime_ns for row in rows] == before
    assert len(jsonl.read("feint-demo/digits.jsonl")) == len(rows)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train --data digitz --network mlp --out v", "did you mean 'digits'"),
        ("train --data digits --network mpl --out v", "did you mean 'mlp'"),
        ("train --data digits --network mlp --training 'Training(epoch=3)' --out v", "did you mean 'epochs'"),
        ("train --data digits --network mlp --weights none.npz --out v", "check the path"),
        ("train --data digits --network mlp", "--out requires an argument. See feint train --help"),
        ("train --date digits", "Did you mean --data instead of --date? See feint train --help"),
        ("demo --data cifar11", "did you mean 'cifar10'"),
        ("demo --seeds 0", "1 or more"),
        ("demo --seeds many", "many"),
        ("stael", 'Did you mean "steal"?'),
        ("keys ad", "See feint keys --help"),
        ("fit 'APGP(top=1)' --victim nowhere --data digits --out apgp", "does not exist"),
        ("fit 'APGP(top=1)' --victim http://localhost:9/ --data digits --out apgp", "http://localhost:9/, an address"),
        ("evaluate nowhere --victim nowhere --data digits", "does not exist"),
        ("bench mine.toml", "the suite 'mine.toml', which is not there"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(run_cli, tmp_path, line, says):
    code, out, err = run_cli(line)
    assert code == 2
    assert says in err
    assert err.startswith("feint: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err + out
    assert not list(tmp_path.iterdir())


def test_the_probation_of_a_campaign_is_set_by_recorded_newcomers(trained):
    pool = data.load("digits").pool
    rows = np.random.default_rng(0).integers(len(pool), size=150 * 5)
    np.savez("recorded.npz", images=pool.values[rows], client=np.arange(150).repeat(5))
    fit = "fit 'Campaign(probation=1.0)' --victim victim --data digits/pool --clients recorded.npz"
    code, out, err = trained(f"{fit} --share 0.02 --out campaign")
    assert code == 0, err
    assert re.search(r"changed: [01]\.\d\d% of a newcomer's answers during an alarm", out)
    assert 0 < tomllib.loads(Path("campaign/recipe.toml").read_text())["recipe"]["probation"] < 0.2


@pytest.mark.parametrize(
    ("line", "other"),
    [
        (f"train --data digits --network mlp --training '{QUICK}' --out again", "--seed 1"),
        ("fit 'APGP(top=1)' --victim victim --data digits --out again", "--seed 1"),
        (f"steal --victim victim --pool digits --budget 60 --training '{QUICK}' --out again", "--defense LabelOnly"),
        ("mark victim --data digits --rehearsals 0 --out again", "--seed 1"),
    ],
)
def test_a_finished_command_is_not_run_again(trained, line, other):
    assert trained(line)[0] == 0
    recipe = next(Path("again").rglob("recipe.toml"))
    written = recipe.read_text(), recipe.stat().st_mtime_ns
    code, out, err = trained(line)
    assert (code, out, err) == (0, "again: finished already\n", "")
    code, _, err = trained(f"{line} {other}")
    assert code == 2
    assert "got --out again, which exists" in err
    assert (recipe.read_text(), recipe.stat().st_mtime_ns) == written


def test_slices_and_outliers_may_be_files(trained):
    """An owner whose clients have another camera has its images, and no named data set; a changed file is another."""
    pool = data.load("digits").pool
    np.savez("camera.npz", x=pool.values[:400] // 2)
    np.savez("others.npz", x=255 - pool.values[400:600])
    line = "fit 'SequentialTest(LearnedScore(hidden=8))' --victim victim --data digits/pool --out test"
    line += " --slices classes,camera.npz --outliers others.npz"
    code, out, err = trained(line)
    assert code == 0, err
    assert re.search(r"camera\.npz +\d\.\d\d  never   \(undeclared, after about [\d,]+ queries\)\n", out), out
    assert out.endswith("Attackers who send inputs like those of a declared slice are spared as well.\n")
    assert trained(line)[1] == "test: finished already\n"
    np.savez("camera.npz", x=pool.values[:400] // 3)
    assert "got --out test, which exists" in trained(line)[2]


def test_a_slice_that_is_a_file_is_read_once(trained, monkeypatch):
    """For fingerprint, prices and risks together: what is fitted is what the fingerprint names."""
    np.savez("camera.npz", x=data.load("digits").pool.values[:400] // 2)
    places, read = [], files.pool_at
    for module in ("feint.data.files", "feint.defenses.access.slices"):
        monkeypatch.setattr(f"{module}.pool_at", lambda place, *rest: (places.append(place), read(place, *rest))[1])
    code, _, err = trained("fit 'SequentialTest()' --victim victim --data digits/pool --out test --slices camera.npz")
    assert (code, places) == (0, ["camera.npz"]), err


def test_recorded_clients_of_a_method_without_a_level_are_refused_before_its_fit(trained):
    code, _, err = trained("fit 'APGP(top=1)' --victim victim --data digits --clients none.npz --out apgp")
    assert code == 2
    assert "got --clients for APGP" in err
    assert not Path("apgp").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("fit 'APGPClosedForm(top=1)' --victim victim --data digits --out apgp", "nothing to fit"),
        ("fit 'OutlierExposure()' --victim victim --data digits --out exposed", "--outliers"),
        ("fit 'OutlierExposure()' --victim victim --data digits/val --out exposed", "NAME/pool"),
        ("fit 'OutlierExposure()' --victim victim --data digits/pool:3/3 --out exposed", "of a whole part"),
        ("fit 'ReverseKL()' --victim victim --data digits --out apgp", "without limit"),
        ("fit 'APGP(top=1)' --victim victim --data digits --out victim", "which exists"),
        ("fit 'APGP(top=1)' --victim victim --data digits --out victim/recipe.toml/apgp", "room and permission"),
        ("export victim --defense 'APGPClosedForm(top=1)' --out victim", "victim, the model itself"),
        ("export victim --defense 'APGPClosedForm(top=1)' --out .", "., which is a directory"),
        ("audit victim --data digits --minutes 1 --out victim/recipe.toml", "got victim/recipe.toml/audit.json"),
        ("steal --victim victim --pool digits --budget 9999 --out stolen", "a pool of 719"),
        ("steal --victim victim --pool digits --budget 0 --out stolen", "at least 1"),
        ("steal --victim victim --pool digits/test --budget 10 --out stolen", "no test set"),
        ("steal Knockoff --victim victim --pool digits --budget 10 --out stolen", "did you mean 'KnockoffNets'"),
        ("steal --victim victim --pool digits --budget 10 --defense victim --out stolen", "expected"),
        ("steal --victim victim --pool digits --budget 10 --surrogate resnet --out stolen", "did you mean"),
        ("steal --victim victim --budget 10 --out stolen", "without pool"),
    ],
)
def test_mistake_leaves_the_directory_of_a_trained_victim_as_it_was(trained, tmp_path, line, says):
    before = {path.name for path in tmp_path.iterdir()}
    code, _, err = trained(line)
    assert code == 2, err
    assert says in err, err
    assert err.count("\n") == 1, err
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".stolen")} == before


@pytest.mark.slow
def test_every_help_has_an_example_that_runs(trained):
    """The examples of the four commands, as printed, one after another in an empty directory but for the numbers."""
    commands = "train", "fit", "steal", "evaluate"
    for command in commands:
        code, out, _ = trained(f"{command} --help")
        assert code == 0
        text = " ".join(out.split("Example:")[1].split("╭")[0].split())
        code, _, err = trained(text.removeprefix("feint "))
        assert code == 0, err
    assert "feint demo" in trained("demo --help")[1]


def test_help_shows_the_defaults_that_say_something(run_cli):
    _, out, _ = run_cli("audit --help")
    assert "[default: 10.0]" in out
    assert not re.search(r"""\[default:\s+(\(\)|""|False|None)""", out.replace("│", " "))


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_nothing(trained, tmp_path):
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); sys.argv[0] = 'feint'; "
    line = ["-c", f"{limited}from feint.cli import main; main()", "train", "--data", "digits", "--network", "mlp"]
    run = subprocess.run(
        [sys.executable, *line, "--training", QUICK, "--out", "full"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run.stderr
    assert run.stderr.strip().splitlines()[-1].startswith("feint: got ")
    assert "free some space" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "full").exists()


def interrupt(line: list[str], ready) -> tuple[int, str]:
    """Start a command, send Ctrl-C once `ready()` says so; its exit code and standard error."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from feint.cli import main; main()", *line],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    return process.returncode, err


@pytest.mark.slow
def test_ctrl_c_leaves_no_broken_file_and_the_same_command_continues(trained, tmp_path):
    working = tmp_path / ".long.partial"
    line = ["train", "--data", "digits", "--network", "mlp", "--training", "Training(epochs=150)", "--out", "long"]
    code, err = interrupt(line, lambda: list(working.glob("*.pt")))
    assert code == 130, err
    assert "to continue" in err
    assert "Traceback" not in err
    assert not (tmp_path / "long").exists()
    (checkpoint,) = working.glob("*.pt")
    done = torch.load(checkpoint, weights_only=True)["progress"]["epoch"]
    assert 0 < done < 150
    assert trained("train --data digits --network mlp --training 'Training(epochs=150)' --out long")[0] == 0
    assert not working.exists()
    assert trained("train --data digits --network mlp --training 'Training(epochs=150)' --out whole")[0] == 0
    assert victims.fingerprint(victims.load("long")) == victims.fingerprint(victims.load("whole"))


@pytest.mark.slow
def test_interrupted_attack_repeats_no_query(trained, tmp_path):
    working = tmp_path / ".stolen.partial"
    line = "steal --victim victim --pool digits --budget 500 --training 'Training(epochs=150)' --out stolen"
    code, err = interrupt(shlex.split(line), lambda: list(working.glob("*-*.pt")))
    assert code == 130, err
    assert len(Transcript.load(working / "transcript.safetensors")) == 500
    code, out, err = trained(line)
    assert code == 0, err
    assert "500 of 500 queries" in out, err
    assert not working.exists()


def test_a_defense_stands_in_its_room_whether_it_is_a_directory_or_a_recipe(tmp_path):
    store.save(tmp_path / "apgp", APGPClosedForm(top=1))
    line = parse_defense([str(tmp_path / "apgp"), "APMSA(gap=0.1)", "Budget(5)", "APMSA"])
    assert line == Defense(access=[Budget(5)], inputs=[APMSA(gap=0.1), APMSA()], outputs=[APGPClosedForm(top=1)])
    with pytest.raises(BadInput, match="an input defense"):
        parse_defense(["Ray()"])
    with pytest.raises(MissingData, match="does not exist"):
        parse_defense([str(tmp_path / "typo")])


def test_a_defense_that_was_fitted_to_another_victim_is_refused(tmp_path, victim):
    fingerprint = victims.fingerprint(victim)
    store.save(tmp_path / "apgp", APGPClosedForm(top=1), victim="another")
    store.save(tmp_path / "mine", APGPClosedForm(top=1), victim=fingerprint)
    assert parse_defense([str(tmp_path / "mine")], victim=fingerprint) == Defense(outputs=[APGPClosedForm(top=1)])
    for place in (tmp_path / "apgp", f"Defense(outputs=[Loaded('{tmp_path / 'apgp'}')])"):
        with pytest.raises(BadInput, match="fit it to this victim"):
            parse_defense([str(place)], victim=fingerprint)


LADDER = """
kind = "Ladder"
at = [0, 1]
detectors = [{ kind = "PRADA" }]
[[rungs]]
kind = "Defense"
outputs = [{ kind = "Loaded", folder = "FOLDER" }]
[[rungs]]
kind = "Defense"
access = [{ kind = "Refuse" }]
"""


def test_a_ladder_is_composed_in_toml_or_text_of_what_was_kept(tmp_path):
    folder, policy = tmp_path / "apgp", tmp_path / "policy.toml"
    store.save(folder, APGPClosedForm(top=1))
    policy.write_text(LADDER.replace("FOLDER", str(folder)))
    ladder = Ladder([PRADA()], [Defense(outputs=[APGPClosedForm(top=1)]), Defense(access=[Refuse()])], at=[0, 1])
    rungs = f"rungs=[Defense(outputs=[Loaded('{folder}')]), Defense(access=[Refuse()])]"
    assert parse_defense([str(policy)]) == parse_defense([f"Ladder([PRADA()], {rungs}, at=[0, 1])"]) == ladder
    policy.write_text(LADDER.replace("FOLDER", "apgp"))  # which begins at the file, wherever the command is typed
    assert parse_defense([str(policy)]) == ladder
    store.save(tmp_path / "ladder", ladder)
    assert parse_defense([str(tmp_path / "ladder")]) == ladder
    with pytest.raises(BadInput, match="Ladder alone"):
        parse_defense([str(policy), "Budget(5)"])
    with pytest.raises(BadInput, match="belongs into a Ladder"):
        parse_defense(["PRADA()"])
    policy.write_text("kind = ")
    with pytest.raises(DamagedFile, match="that line"):
        parse_defense([str(policy)])


def test_a_reader_that_went_away_is_no_error_and_no_verdict(run_cli):
    assert run_cli("keys add alice --file keys.db")[0] == 0
    reader, writer = os.pipe()
    os.close(reader)
    code = "from feint.cli import main; main()"
    line = [sys.executable, "-W", "ignore", "-c", code, "keys", "list", "--file", "keys.db"]
    run = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (run.returncode, run.stderr) == (141, b"")
