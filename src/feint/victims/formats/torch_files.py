"""Files of torch: TorchScript and exported programs. Pickles are refused with the lines that convert them."""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from feint.errors import BadInput, DamagedFile, MissingData, one_line
from feint.victims.formats.exported_program import check_exported_program, input_specs
from feint.victims.formats.pickle_content import is_pickle
from feint.victims.formats.pickles import refuse_pickle
from feint.victims.formats.torch_module import TorchModel
from feint.victims.raw import TensorSpec

WRITES = re.compile(rb"\b(save|from_file)\(")  # operators of TorchScript that write or read files


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


def is_torch_archive(path: Path) -> bool:
    """Return whether a file is an archive that torch wrote, whatever its suffix: weights, a module or TorchScript."""
    return any(name.endswith("/data.pkl") for name in _names(path))


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
                module = torch.jit.load(str(path), map_location="cpu").eval()
            _check_arguments(path, module)
            return module, ()
    except BadInput:
        raise
    except Exception as error:  # torch's exceptions share no other base
        raise DamagedFile(
            f"{path} ({one_line(error, 200)})", "a file that this version of torch can load", "export it again"
        ) from error
    if not names and not is_pickle(path):
        raise DamagedFile(f"{path}, which torch did not write", "a file that torch wrote", "export it again")
    return refuse_pickle(path)


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return []


def _check_arguments(path: Path, module: torch.jit.ScriptModule) -> None:
    """Raise `BadInput` where a TorchScript module needs other arguments than tensors."""
    arguments = module.forward.schema.arguments[1:]  # pyright: ignore[reportFunctionMemberAccess]  # [0] is self
    others = [f"{a.name}: {a.type}" for a in arguments if str(a.type) != "Tensor" and not a.has_default_value()]
    if others:
        raise BadInput(
            f"{path}, whose forward needs {', '.join(others):.80}", "a module that takes tensors",
            "fix them in a module around it, and name its factory: package.module:factory",
        )  # fmt: skip


def _check_script(path: Path, names: list[str]) -> None:
    """Raise `BadInput` where the code of a TorchScript file may write or read files."""
    with zipfile.ZipFile(path) as archive:
        for name in names:
            if name.endswith(".py") and WRITES.search(archive.read(name)):
                raise BadInput(
                    f"{path}, whose {name} writes or reads files", "a model that computes", "export it again"
                )
