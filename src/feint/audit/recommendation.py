"""Recommended defense of an audit as a recipe in TOML, for every command that takes `--defense`."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from feint.audit.findings import Findings
from feint.defense import Defense, Ladder
from feint.defenses.access import Budget, Refuse
from feint.defenses.access.detector import EProcessDetector
from feint.recipes import store
from feint.recipes.recipe import to_table
from feint.recipes.store import atomic_write, weights_of

SaveStep = Callable[[object], str]  # stores a fitted step in a directory and returns its path


def recommended_defense(findings: Findings) -> Defense | Any:
    """Return the recommended defense, with the recommended budget of each client where there is one."""
    defense = findings.recommended.candidate.defense if findings.recommended else Defense()
    rules = [Budget(findings.query_limit)] if findings.query_limit is not None else []
    return replace(defense, access=[*defense.access, *rules])


def with_test(defense: Defense, test: EProcessDetector) -> Ladder:
    """Return the ladder that answers by a defense, and refuses whom a test of queries accuses."""
    rungs = [replace(defense, access=()), Defense(access=[Refuse()])]
    return Ladder([test], rungs, access=defense.access)


def table(defense: Defense | Any, save: SaveStep) -> dict[str, Any]:
    """Return the recipe as a table, in which a fitted step or a ladder is named by the directory of `save`."""
    if not isinstance(defense, Defense):
        return {"kind": "Loaded", "folder": save(defense)}
    rooms = {room: getattr(defense, room) for room in ("access", "inputs", "outputs")}
    tables = {
        room: [{"kind": "Loaded", "folder": save(step)} if weights_of(step) else to_table(step) for step in steps]
        for room, steps in rooms.items()
        if steps
    }
    return {"kind": "Defense", **tables}


def write(file: Path, findings: Findings, victim: str) -> dict[str, Any]:
    """Write the recommendation to a TOML file, and its fitted steps to directories beside the file.

    Where nothing is recommended there is no file: one of an earlier audit is deleted.

    Args:
        file: TOML file to write.
        findings: Findings of the audit.
        victim: Fingerprint of the victim to which the steps are fitted.

    Returns:
        The table that the file holds, empty for none.
    """
    if findings.recommended is None and findings.query_limit is None:
        file.unlink(missing_ok=True)
        return {}
    count = 0

    def save(step: object) -> str:
        nonlocal count
        count += 1
        folder = file.parent / "deploy" / f"{type(step).__name__.lower()}-{count}"
        store.save(folder, step, victim=victim)
        return str(folder.relative_to(file.parent))  # so that the directory can be moved

    settings = table(recommended_defense(findings), save)
    with atomic_write(file) as partial:
        partial.write_text(tomli_w.dumps(settings))
    return settings


def write_ladder(file: Path, defense: dict[str, Any], test: Path) -> None:
    """Write the ladder of `with_test` to a TOML file.

    Args:
        file: TOML file to write.
        defense: Table of the recommended settings, empty for none.
        test: Directory in which `feint fit` will store the test; paths in the file begin at its own directory.
    """
    rooms = {room: steps for room, steps in defense.items() if room not in ("kind", "access")}
    settings = {
        "kind": "Ladder", "access": defense.get("access", []),
        "detectors": [{"kind": "Loaded", "folder": os.path.relpath(test, file.parent)}],
        "rungs": [{"kind": "Defense", **rooms}, {"kind": "Defense", "access": [{"kind": "Refuse"}]}],
    }  # fmt: skip
    with atomic_write(file) as partial:
        partial.write_text(tomli_w.dumps(settings))
