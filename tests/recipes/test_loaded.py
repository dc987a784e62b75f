"""Fitted defenses from directories, within other recipes."""

import pytest
import torch

from feint.defense import Defense, Ladder
from feint.defenses.access import Budget
from feint.defenses.outputs import APGP, LabelOnly
from feint.defenses.parsing import parse_defense
from feint.errors import BadRecipe
from feint.query import Query
from feint.recipes import store
from feint.service import Service

STEP = '{kind = "Kept", folder = "whole"}'


def test_a_whole_defense_from_a_directory_is_a_step_and_a_rung(victim, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = Defense(access=[Budget(50)], outputs=[APGP(top=1, steps=5).fit(victim, digits.train)])
    store.save(tmp_path / "whole", whole)
    (tmp_path / "step.toml").write_text(f'kind = "Defense"\noutputs = [{{kind = "LabelOnly"}}, {STEP}]\n')
    (tmp_path / "ladder.toml").write_text(
        f'kind = "Ladder"\ndetectors = []\nrungs = [{STEP}, {{kind = "Defense", outputs = [{STEP}]}}]\n'
    )
    stepped, ladder = parse_defense(["step.toml"]), parse_defense(["ladder.toml"])
    assert stepped.access == (Budget(50),)
    assert [type(step) for step in stepped.outputs] == [LabelOnly, APGP]
    assert isinstance(ladder, Ladder)
    x = digits.test.inputs(slice(0, 4))
    answers = Service(victim, whole)(Query(x, "a")).p
    assert torch.equal(Service(victim, ladder.rungs[1])(Query(x, "a")).p, answers)
    assert torch.equal(Service(victim, ladder.rungs[0])(Query(x, "a")).p, answers)


def test_a_ladder_is_no_step_and_a_step_no_rung():
    with pytest.raises(BadRecipe, match="Ladder alone"):
        Defense(outputs=[Ladder([], [Defense(), Defense()])])
    with pytest.raises(BadRecipe, match="LabelOnly as a rung"):
        Ladder([], [Defense(), LabelOnly()])
