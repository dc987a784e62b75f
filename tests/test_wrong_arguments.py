"""Arguments of another type than a function takes: a typed error where they were given, with what to pass."""

import subprocess
import sys

import pytest
from torch import nn

import feint
from feint.attacks import KnockoffNets
from feint.defenses.outputs import APGP, LabelOnly
from feint.errors import BadInput, BadRecipe


@pytest.mark.parametrize("outputs", [LabelOnly(), "LabelOnly"])
def test_a_room_of_a_defense_is_a_list_of_steps(outputs):
    with pytest.raises(BadRecipe, match=r"list of steps.*Defense\(outputs=\[STEP\]\)"):
        feint.Defense(outputs=outputs)


def test_a_service_takes_a_model_and_a_defense(victim):
    with pytest.raises(BadInput, match=r"LabelOnly\(\) as a defense; .*Defense\(outputs=\[STEP\]\)"):
        feint.Service(victim, LabelOnly())  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match="as a model; expected a Module"):
        feint.Service("victim.onnx")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"surrogate": "mlp"}, r"'mlp' as a surrogate; expected a Network; .*networks\.get"),
        ({"surrogate": nn.Linear(64, 10)}, "as a surrogate; expected a Network"),
        ({"pool": "whole"}, r"as a pool; expected a Split; .*data\.pool"),
    ],
)
def test_an_attack_takes_a_network_and_a_part_of_a_data_set(changes, says, victim, network, digits):
    if "pool" in changes:
        changes = {"pool": digits}
    attack = KnockoffNets(**{"pool": digits.pool, "surrogate": network} | changes)
    oracle = feint.Service(victim).oracle(client="mallory", budget=5)
    with pytest.raises(BadInput, match=says):
        attack.steal(oracle)
    assert oracle.asked == 0


def test_an_attack_takes_an_oracle(victim, network, digits):
    attack = KnockoffNets(pool=digits.pool, surrogate=network)
    for place in (feint.Service(victim), victim):
        with pytest.raises(BadInput, match=rf"a {type(place).__name__} as an oracle; .*\.oracle\(client="):
            attack.steal(place)  # pyright: ignore[reportArgumentType]


def test_a_model_comes_before_a_part_of_a_data_set(victim, digits):
    with pytest.raises(BadInput, match=r"as samples; .*data\.test"):
        feint.metrics.fidelity(victim, victim, digits)
    with pytest.raises(BadInput, match="the model first"):
        APGP(top=1, steps=1).fit(digits.train, victim)


def test_a_terminal_without_arrows_shows_question_marks():
    start = "import sys; sys.stdout.reconfigure(encoding='ascii'); from feint.cli import main"
    line = f"{start}; main(['report', '--help']); print(chr(0x2192))"
    run = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr, run.stdout[-2:]) == (0, "", "?\n")
