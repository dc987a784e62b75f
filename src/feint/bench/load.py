"""Reader of suites in TOML, which checks every name and recipe before anything runs."""

import itertools
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from feint import data
from feint.bench.schema import AttackEntry, DefenseEntry, ExpectedEntry, LensEntry, Table, VictimEntry
from feint.bench.suite import Suite
from feint.errors import BadRecipe, DamagedFile, MissingData, UnknownName
from feint.models import networks
from feint.models.training import Training
from feint.recipes import registry
from feint.recipes.recipe import build, from_table, tables, to_table


def shipped() -> dict[str, Path]:
    """Return the suites that come with Feint, by name."""
    return {file.stem: file for file in sorted(Path(str(files("feint").joinpath("suites"))).glob("*.toml"))}


def place(name: Path | str) -> Path:
    """Return the file of a suite: yours, or that of this name in Feint. Raises `MissingData` or `UnknownName`."""
    if Path(name).is_file():
        return Path(name)
    if Path(name).suffix == ".toml":
        raise MissingData(
            f"the suite {str(name)!r}, which is not there", "a file, or the name of one in Feint", "check the path"
        )
    if str(name) not in shipped():
        raise UnknownName.among("suite", str(name), shipped())
    return shipped()[str(name)]


def load(name: Path | str) -> Suite:
    """Read and check a suite. `UnknownName` or `BadRecipe` is raised for an unknown name or a wrong recipe.

    Args:
        name: A file, or the name of a suite in Feint.

    Returns:
        The suite.

    Raises:
        DamagedFile: The file is not TOML.
    """
    file = place(name)
    try:
        suite = parse(tomllib.loads(file.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DamagedFile(f"{file} ({error})", "a suite in TOML", "mend that line") from error
    check(suite)
    return suite


def parse(table: Table) -> Suite:
    """Return the suite in a table of plain values. Names are not checked yet (`check`). Raises `BadRecipe`."""
    readers: dict[str, Callable[[Any], Any]] = {
        "training": _training,
        "victims": lambda value: _named("victims", value, lambda where, one: _entry(where, _victim(one), VictimEntry)),
        "defenses": lambda value: _named("defenses", value, lambda where, one: _entry(where, one, DefenseEntry)),
        "attacks": lambda value: _named("attacks", value, _attack),
        "lenses": lambda value: _named("lenses", value, lambda where, one: _entry(where, one, LensEntry)),
        "expected": lambda value: tuple(_entry("expected", one, ExpectedEntry) for one in value),
    }
    return _entry("suite", {key: readers.get(key, _frozen)(value) for key, value in table.items()}, Suite)


def check(suite: Suite) -> None:
    """Check the names and recipes of a suite.

    Raises:
        BadRecipe: A recipe cannot be built, a victim has no defense, or a lens cannot read the defense it names.

    `UnknownName` is raised for an unknown name.
    """
    for name, victim in suite.victims.items():
        _data(victim.data)
        for network in filter(None, (victim.network, victim.surrogate)):
            _known("network", network, networks.ARCHITECTURES)
        for pool in (victim.pool or "").split("+"):
            _data(pool or None)
        suite.springboard_on(name)
        suite.ownership_on(name)
        if not any(suite.on(name)):
            raise BadRecipe(f"no defense for the victim {name!r}", "at least one", "add [defenses.none]")
    for defense in suite.defenses.values():
        _all_known("victim", defense.victims, suite.victims)
        _data(defense.outliers)
    for start in (table for table in _recipes(suite) if table.get("kind") == "Pretrained"):
        _data(start.get("data"))
    attackers = _attackers(suite)
    for attack in (entry for table in attackers for entry in table.values()):
        _all_known("defense", attack.only, suite.defenses)
        _all_known("defense", attack.alone, suite.defenses if attack.only is None else attack.only)
    for lens in suite.lenses.values():
        _all_known("defense", lens.only, suite.defenses)
        _all_known("attack", lens.attacks, {name for table in attackers for name in table})
    attacks = {cell.attack for cell in suite.cells()}
    for row in suite.expected:
        _known("victim", row.victim, suite.victims)
        _known("defense", row.defense, suite.defenses)
        if row.attack:
            _known("attack", row.attack, attacks)
    for defense in suite.defenses:
        suite.recipe(defense)
        for name, reason in suite.incompatible_lenses(defense).items():
            if defense in (suite.lenses[name].only or ()):
                raise BadRecipe(f"the lens {name!r} on the defense {defense!r}", "one that it can read", reason)


def _attackers(suite: Suite) -> list[Mapping[str, AttackEntry]]:
    """Return the attacks of the suite, then those of each victim."""
    return [suite.attacks, *(victim.attacks for victim in suite.victims.values())]


def _recipes(suite: Suite) -> Iterator[Table]:
    """Yield the tables of all recipes of a suite, and those within them."""
    owners = [(victim.training, victim.surrogate_training) for victim in suite.victims.values()]
    trainings = filter(None, (suite.training, *itertools.chain(*owners)))
    yield from tables([to_table(training) for training in trainings])
    yield from tables([attack.recipe for entries in _attackers(suite) for attack in entries.values()])
    yield from tables([step for lens in suite.lenses.values() for step in lens.steps])
    for defense in suite.defenses.values():
        yield from tables([*defense.boundary, *defense.access, *defense.inputs, *defense.outputs, defense.recipe])


def _data(part: str | None) -> None:
    """Check the data set of a part, like NAME/train or NAME@32/train."""
    if part is not None:
        _known("data set", part.partition("/")[0].partition("@")[0], data.known())


def _known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UnknownName.among(kind, name, known)


def _all_known(kind: str, names: Iterable[str] | None, known: Iterable[str]) -> None:
    for name in names or ():
        _known(kind, name, known)


def _entry(where: str, table: Any, kind: Callable[..., Any]) -> Any:
    return build(where, {key: _frozen(value) for key, value in _mapping(where, table).items()}, {where: kind})


def _named(where: str, tables: Any, read: Callable[[str, Any], Any]) -> dict[str, Any]:
    return {name: read(f"{where}.{name}", table) for name, table in _mapping(where, tables).items()}


def _mapping(where: str, table: Any) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise BadRecipe(f"{where} = {table!r}", f"a table [{where}]", "write it as one")
    return table


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _training(table: Any) -> Training:
    return from_table({"kind": "Training", **_mapping("training", table)}, registry.vocabulary())


def _victim(table: Any) -> Any:
    readers: dict[str, Callable[[Any], Any]] = {"training": _training, "surrogate_training": _training}
    readers["attacks"] = lambda value: _named("attacks", value, _attack)
    for name in ("springboard", "ownership"):
        readers[name] = partial(_mapping, name)
    return {key: readers.get(key, _frozen)(value) for key, value in _mapping("victims", table).items()}


def _attack(where: str, table: Any) -> AttackEntry:
    recipe = dict(_mapping(where, table))
    only, alone = (_frozen(recipe.pop(key, None)) for key in ("only", "alone"))
    return AttackEntry(recipe, only, alone)
