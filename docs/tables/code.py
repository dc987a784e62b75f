"""Tables of what the code itself holds: modules, floors, methods and settings. `make tables` writes them."""

import ast
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from docs.tables.rows import grid

from feint import attacks, defenses
from feint.cli import app
from feint.gateway import settings

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "feint"


def summary(docstring: str | None) -> str:
    """The first sentence of a docstring, on one line, without its citation."""
    paragraph = " ".join((docstring or "").strip().split("\n\n")[0].split())
    paragraph = re.sub(r" \([^()]*\b(?:19|20)\d\d\b[^()]*\)", "", paragraph)
    return re.split(r"(?<=[.!?])\s(?=[A-Z`])", paragraph)[0]


def docstring_of(file: Path) -> str:
    """The summary of a module, read without importing it."""
    return summary(ast.get_docstring(ast.parse(file.read_text())))


def named(file: Path) -> str:
    """The dotted name of a module, from the package on."""
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rooms() -> list[Path]:
    """The packages directly under `feint`."""
    return sorted(file.parent for file in SOURCE.glob("*/__init__.py"))


def tree() -> str:
    """The packages, two levels deep, and the modules beside them."""
    loose = sorted(file.stem for file in SOURCE.glob("*.py") if file.stem != "__init__")
    lines = ["feint/", *_wrapped("├── ", loose)]
    for i, room in enumerate(rooms()):
        last = i == len(rooms()) - 1
        lines.append(_branch("└── " if last else "├── ", room))
        inner = sorted(file.parent for file in room.glob("*/__init__.py"))
        for sub in inner:
            stem = f"{'    ' if last else '│   '}{'└── ' if sub == inner[-1] else '├── '}"
            lines.append(_branch(stem, sub))
    return "```text\n" + "\n".join(lines) + "\n```"


def _branch(stem: str, room: Path) -> str:
    return f"{stem}{room.name + '/':<15}{docstring_of(room / '__init__.py')}"


def _wrapped(stem: str, names: list[str], width: int = 80) -> Iterator[str]:
    line = ""
    for name in names:
        if line and len(line) + len(name) > width:
            yield stem + line.rstrip()
            line = ""
        line += f"{name}.py  "
    yield stem + line.rstrip()


def floors() -> str:
    """The floors of the import contract in pyproject.toml, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    whole = (entry for entry in contracts if entry["type"] == "layers" and not entry.get("containers"))
    layers = next(whole)["layers"]
    shown = [", ".join(f"`{name}`" for name in re.findall(r"feint\.(\w+)", layer)) for layer in layers]
    return grid([["Floor", "Rooms"], *([f"{len(shown) - i}", names] for i, names in enumerate(shown))])


def modules() -> str:
    """Every module with the first sentence of its docstring: a table for each room."""
    parts = []
    for title, files in [
        ("feint", sorted(SOURCE.glob("*.py"))),
        *((f"feint.{room.name}", sorted(room.rglob("*.py"))) for room in rooms()),
    ]:
        rows = [[f"`{named(file)}`", docstring_of(file)] for file in files]
        parts.append(f"### {title}\n\n" + grid([["Module", "What it holds"], *sorted(rows)]))
    return "\n\n".join(parts)


def methods(of: Iterable[type]) -> str:
    """Methods with their papers and the first sentences of their docstrings."""
    rows = [[f"`{method.__name__}` {{cite:p}}`{method.cite}`", summary(method.__doc__)] for method in of]  # pyright: ignore
    return grid([["Method", "Summary"], *rows])


def exported(room: Any, *, base: type = object, without: tuple[type, ...] = ()) -> list[type]:
    """The methods of a room that are a kind of `base`, in the order of their modules."""
    names = {getattr(room, name) for name in room.__all__}
    kinds = [kind for kind in names if isinstance(kind, type) and issubclass(kind, base) and hasattr(kind, "cite")]
    shown = [kind for kind in kinds if not issubclass(kind, without)]
    return sorted(shown, key=lambda kind: (kind.__module__, kind.__name__))


def lenses(*, evasion: bool) -> list[type]:
    """The lenses that read answers anew, or those that only change who asks and when."""
    return [lens for lens in exported(attacks, base=attacks.Lens) if lens.__module__.endswith(".evasion") == evasion]


def access(method: str) -> list[type]:
    """The members of the access room that define `admit` or `observe`."""
    return [member for member in exported(defenses.access) if hasattr(member, method)]


def commands() -> str:
    """Every command of the command line with its options, from its own help."""
    text = app.generate_docs(output_format="markdown")
    text = re.sub(r" *\*\[default: (?:\(\)|\"\"|False)\]\*", "", text[text.index("## feint audit") :])
    text = re.sub(r"^(feint[a-z -]*?) -m [\w.]+", r"\1", text, flags=re.MULTILINE)  # what Python was started with
    return text.strip()


def setting(kind: type) -> str:
    """The keys of one table of the gateway's settings, with their types and defaults."""
    rows = [[f"`{field.name}`", _type(field.type), _default(field.default)] for field in fields(kind)]
    return grid([["Key", "Type", "Default"], *rows])


def _type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{value}"`' for value in get_args(kind))
    kinds = [part for part in (get_args(kind) if isinstance(kind, UnionType) else [kind]) if part is not NoneType]
    names = {Path: "path", str: "text", int: "integer", float: "number", bool: "true or false"}
    names |= {tuple[str, ...]: "list of texts", tuple[int, ...]: "list of integers"}
    names |= {settings.Place: "path or text", tuple[settings.Place, ...]: "list of paths or texts"}
    return " or ".join(names.get(part, "table") for part in kinds)


def _default(value: Any) -> str:
    if value is MISSING:
        return "required"
    return "" if value is None else f"`{json.dumps(value)}`"


TABLES = {
    "rooms": tree,
    "floors": floors,
    "modules": modules,
    "commands": commands,
    "attacks": lambda: methods(exported(attacks, base=attacks.Attack, without=(attacks.LensedAttack,))),
    "augmentations": lambda: methods(exported(attacks, base=attacks.Augmentation)),
    "disguises": lambda: methods(exported(attacks, base=attacks.Disguise)),
    "lens_methods": lambda: methods(lenses(evasion=False)),
    "tactics": lambda: methods(lenses(evasion=True)),
    "rules": lambda: methods(access("admit")),
    "detectors": lambda: methods(access("observe")),
    "boundary": lambda: methods(exported(defenses.boundary)),
    "inputs": lambda: methods(exported(defenses.inputs, base=defenses.inputs.Input)),
    "outputs": lambda: methods(exported(defenses.outputs, base=defenses.outputs.Output)),
    "settings_server": lambda: setting(settings.ServerSettings),
    "settings_keys": lambda: setting(settings.KeySettings),
    "settings_ledger": lambda: setting(settings.LedgerSettings),
    "settings_operator": lambda: setting(settings.OperatorSettings),
    "settings_onnx": lambda: setting(settings.OnnxSettings),
    "settings_upstream": lambda: setting(settings.UpstreamSettings),
    "settings_torch": lambda: setting(settings.TorchSettings),
}
