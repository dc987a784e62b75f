"""Files of torch: TorchScript and exported programs. Pickles are refused with the lines that convert them."""

import hashlib
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn

from feint.errors import BadInput, DamagedFile, MissingData, one_line
from feint.victims.formats.exported_program import check_exported_program, input_specs
from feint.victims.formats.torch_module import TorchModel
from feint.victims.raw import TensorSpec

WRITES = re.compile(rb"\b(save|from_file)\(")  # operators of TorchScript that write or read files
PICKLES = (".joblib", ".pkl", ".pickle", ".sav", ".dill", ".cloudpickle")
STATE = {"torch", "torch._utils", "collections"}  # modules whose classes a state_dict has, and nothing else


class TorchFile(TorchModel):
    """TorchScript file or exported program (.pt2). A pickle of it has its path alone.

    Args:
        path: The file.

    Raises:
        MissingData: There is no such file.
        BadInput: It is a pickle, or has operators that write files.
        DamagedFile: torch cannot load it.
    """

    def __init__(self, path: Path | str) -> None:
        file = Path(path)
        if not file.is_file():
            raise MissingData(f"{path}, which is not there", "a file that torch wrote", "check the path")
        module, inputs = _load(file)
        super().__init__(module, str(path), inputs, hashlib.sha256(file.read_bytes()).hexdigest())
        self.path = file

    def train(self, mode: bool = True) -> "TorchFile":
        """Return the model itself: its file fixes the mode."""
        return self

    def __reduce__(self) -> tuple[Callable[..., "TorchFile"], tuple[Path]]:
        return TorchFile, (self.path,)


def _load(path: Path) -> tuple[nn.Module, tuple[TensorSpec, ...]]:
    names = _names(path)
    try:
        if any(name.partition("/")[2] == "models/model.json" for name in names):
            check_exported_program(path)
            program = torch.export.load(path)
            return program.module(check_guards=False), input_specs(program)
        if any(name.partition("/")[2].startswith("code/") for name in names):
            _check_script(path, names)
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of TorchScript itself
                return torch.jit.load(str(path), map_location="cpu").eval(), ()
    except BadInput:
        raise
    except Exception as error:  # torch's exceptions share no other base
        raise DamagedFile(
            f"{path} ({one_line(error, 200)})", "a file that this version of torch can load", "export it again"
        ) from error
    return refuse_pickle(path)


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return []


def _check_script(path: Path, names: list[str]) -> None:
    """Raise `BadInput` where the code of a TorchScript file may write or read files."""
    with zipfile.ZipFile(path) as archive:
        for name in names:
            if name.endswith(".py") and WRITES.search(archive.read(name)):
                raise BadInput(
                    f"{path}, whose {name} writes or reads files", "a model that computes", "export it again"
                )


def refuse_pickle(path: Path) -> NoReturn:
    """Raise `BadInput` for a pickle, with the lines that convert it where it is trusted."""
    name, stem = path.name, path.with_suffix("").name
    end = ""
    if path.suffix == ".joblib":
        kind, load = "a pickle", f"model = joblib.load('{name}')"
        save = f"skops.io.dump(model, '{stem}.skops')"
    elif path.suffix in PICKLES:
        module = {".dill": "dill", ".cloudpickle": "cloudpickle"}.get(path.suffix, "pickle")
        kind, load = "a pickle", f"model = {module}.load(open('{name}', 'rb'))"
        save = f"skops.io.dump(model, '{stem}.skops')"
    elif _is_state(path):
        kind, load = "a pickled state_dict", f"state = torch.load('{name}', weights_only=True)"
        save = f"safetensors.torch.save_file(state, '{stem}.safetensors')"
        end = ", and name it with --network, or load it in a factory"
    else:
        kind, load = "a pickled module", f"model = torch.load('{name}', weights_only=False)"
        save = f"torch.export.save(torch.export.export(model.eval(), (x,)), '{stem}.pt2')"
        end = ", where x is a batch"
    raise BadInput(
        f"{path}, {kind}", "a file that runs no code when it is loaded",
        f"convert it where you trust it: {load}; {save}{end}",
    )  # fmt: skip


def _is_state(path: Path) -> bool:
    """Return whether a pickle of torch names no other classes than those of tensors; nothing is loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            operations = list(pickletools.genops(archive.read(name)))
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile):
        return False
    modules = {str(argument).split()[0] for code, argument, _ in operations if code.name == "GLOBAL"}
    return not any(code.name == "STACK_GLOBAL" for code, _, _ in operations) and modules <= STATE
