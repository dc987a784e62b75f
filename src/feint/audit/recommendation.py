"""What an audit recommends as a recipe that `feint` reads: a defense in TOML."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from feint.audit.findings import Findings
from feint.defense import Defense
from feint.defenses.access import Budget
from feint.recipes import store
from feint.recipes.recipe import to_table
from feint.recipes.store import atomic_write, weights_of

SaveDefense = Callable[[object], str]  # it puts what has learned something into a directory, and says where


def recommended(found: Findings) -> Defense | Any:
    """The recommended defense, with the recommended budget for each client where there is one."""
    defense = found.deploy.candidate.defense if found.deploy else Defense()
    rules = [Budget(found.limit)] if found.limit is not None else []
    return replace(defense, access=[*defense.access, *rules])


def table(defense: Defense | Any, keep: SaveDefense) -> dict[str, Any]:
    """The recipe as a table; a step that has learned something is named by its directory, and so is a ladder."""
    if not isinstance(defense, Defense):
        return {"kind": "Loaded", "folder": keep(defense)}
    rooms = {room: getattr(defense, room) for room in ("access", "inputs", "outputs")}
    named = {
        room: [{"kind": "Loaded", "folder": keep(step)} if weights_of(step) else to_table(step) for step in steps]
        for room, steps in rooms.items()
        if steps
    }
    return {"kind": "Defense", **named}


def write(file: Path, found: Findings, victim: str) -> dict[str, Any]:
    """Write the recommendation to a TOML file, and what has learned something into directories beside it."""
    count = 0

    def keep(step: object) -> str:
        nonlocal count
        count += 1
        folder = file.parent / "deploy" / f"{type(step).__name__.lower()}-{count}"
        store.save(folder, step, victim=victim)
        return str(folder.resolve())

    made = table(recommended(found), keep)
    with atomic_write(file) as partial:
        partial.write_text(tomli_w.dumps(made))
    return made
