"""Check of exported programs (.pt2) before torch loads them.

`torch.export.load` unpickles parts of the file, evaluates its expressions of sizes and resolves any name within torch
as an operator. A file is therefore refused unless it is made of plain tensors, operators of ATen and arithmetic.
"""

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from feint.errors import BadInput
from feint.victims.raw import DTYPES, TensorSpec

OPERATORS = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)|_operator\.(\w+)|math\.\w+|torch\.sym_\w+")
ARITHMETIC = {"add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow", "eq", "ne", "ge", "gt", "le", "lt"}
ARITHMETIC |= {"getitem", "and_", "or_", "not_", "pos"}
FUNCTIONS = {"Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod"}
FUNCTIONS |= {"FloorDiv", "CeilDiv", "CleanDiv", "IntTrueDiv", "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "Or", "And", "Not"}
NODES = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Name, ast.Load, ast.keyword, ast.operator,
    ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
TREES = re.compile(r'"type": (?:null|"builtins\.(?:tuple|list|dict)")')


def check_exported_program(path: Path) -> None:
    """Raise `BadInput` where a file holds pickles, foreign operators or expressions that are no arithmetic."""
    with zipfile.ZipFile(path) as archive:
        files = {name.partition("/")[2]: name for name in archive.namelist()}
        for name, stored in files.items():
            if name.startswith("data/sample_inputs/"):
                _check_tensors(path, archive.read(stored))
            elif name.startswith(("data/", "models/")) and name.endswith(".json"):
                _check_values(path, json.loads(archive.read(stored)))
            elif name.startswith("data/aotinductor") or name.endswith((".so", ".pt", ".pkl")):
                raise _foreign(path, name)


def input_specs(program: Any) -> tuple[TensorSpec, ...]:
    """Return the inputs of an exported program."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    names = {str(kind).removeprefix("torch."): name for name, kind in DTYPES.items()}
    return tuple(
        TensorSpec(
            name, names.get(str(values[name].dtype).removeprefix("torch."), str(values[name].dtype)),
            tuple(size if isinstance(size, int) else None for size in values[name].shape),
        )
        for name in program.graph_signature.user_inputs
        if isinstance(values.get(name), torch.Tensor)
    )  # fmt: skip


def _check_tensors(path: Path, content: bytes) -> None:
    """Raise `BadInput` unless example inputs are tensors alone: torch would unpickle anything else."""
    try:
        if content:
            torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # torch's exceptions share no other base
        raise _foreign(path, "example inputs that are no tensors") from error


def _check_values(path: Path, value: Any) -> None:
    for key, part in _pairs(value):
        if key == "use_pickle" and part:
            raise _foreign(path, "pickled tensors")
        if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(part)):
            raise _foreign(path, f"the object {part}")
        if key in ("target", "as_operator") and isinstance(part, str) and not _is_operator(part):
            raise _foreign(path, f"the operator {part}")
        if key == "expr_str" and not _is_arithmetic(str(part)):
            raise _foreign(path, f"the expression {part}")
        if key in ("in_spec", "out_spec") and str(part).count('"type"') != len(TREES.findall(str(part))):
            raise _foreign(path, f"arguments of other types than tuples, lists and dictionaries, {str(part)[:80]}")


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    """Yield every key and value of tables within `value`."""
    if isinstance(value, dict):
        yield from value.items()
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _pairs(part)


def _is_operator(target: str) -> bool:
    match = OPERATORS.fullmatch(target)
    if match is None:
        return False
    name, overload, arithmetic = match.groups()
    if name is None:
        return arithmetic is None or arithmetic in ARITHMETIC
    registered = f"aten::{name}" if overload == "default" else f"aten::{name}.{overload}"
    return name != "from_file" and registered in torch._C._dispatch_get_all_op_names()


def _is_arithmetic(expression: str) -> bool:
    try:
        nodes = [*ast.walk(ast.parse(expression, mode="eval"))]
    except SyntaxError:
        return False
    for node in nodes:
        if isinstance(node, ast.Call):
            right = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
        elif isinstance(node, ast.Constant):
            right = isinstance(node.value, (int, float)) or bool(re.fullmatch(r"\w+", str(node.value)))
        else:
            right = isinstance(node, NODES) and not getattr(node, "id", "").startswith("__")
        if not right:
            return False
    return True


def _foreign(path: Path, what: str) -> BadInput:
    return BadInput(f"{path}, which holds {what}", "tensors, operators of ATen and arithmetic", "export it as ONNX")
