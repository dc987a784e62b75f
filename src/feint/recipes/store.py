"""Storage of recipes and tensors: a directory with `recipe.toml` and `tensors.safetensors`, written atomically."""

import hashlib
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import tomli_w

from feint.errors import BadInput, BadRecipe, DamagedFile, MissingData, NotWritten
from feint.recipes import recipe as recipes

if TYPE_CHECKING:
    from torch import Tensor  # for types alone: a recipe without tensors needs no torch

FORMAT = 1
RECIPE, TENSORS = "recipe.toml", "tensors.safetensors"


@dataclass(frozen=True)
class Weights:
    """Tensors that a method has learned. Equality and hash depend on their fingerprint alone.

    Attributes:
        fingerprint: 16 hexadecimal digits of their SHA-256.
        tensors: Tensors by name; empty where the recipe was read from text.
    """

    fingerprint: str
    tensors: "Mapping[str, Tensor]" = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, tensors: "Mapping[str, Tensor]") -> "Weights":
        """Return the handle of these tensors, which are moved to the CPU."""
        return cls(fingerprint(tensors), {name: tensor.detach().cpu() for name, tensor in tensors.items()})


def with_prefix(prefix: str, tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Return the tensors whose names begin with `prefix`, which is removed."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def digest(tensors: "Mapping[str, Tensor]") -> str:
    """Return the SHA-256 of tensors, in hexadecimal digits: names, types, shapes and every byte."""
    import torch

    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        flat = flat.as_strided(flat.shape, (1,))  # a single number may have any stride
        content = flat.view(torch.uint8)  # NumPy has no bfloat16
        sha.update(content.numpy().tobytes())
    return sha.hexdigest()


def fingerprint(tensors: "Mapping[str, Tensor]") -> str:
    """Return the first 16 digits of the `digest` of tensors."""
    return digest(tensors)[:16]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file or a directory atomically.

    Yields:
        A temporary path beside `path`. It replaces `path` when the block ends without an error.

    Raises:
        NotWritten: The disk is full, permission is missing, or a directory is where a file would be. `path` is
            unchanged.
    """
    parent = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parent = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        partial = parent / path.name
        yield partial
        if not partial.is_dir():
            _refuse_directory(path)
        elif path.is_dir():
            path.rename(parent / "replaced")
        partial.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise NotWritten(*_unwritten(path, error)) from error
    finally:
        if parent is not None:
            shutil.rmtree(parent, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Check that a file can be written, before what it will hold is paid for. Nothing is left behind.

    Raises:
        NotWritten: Permission is missing, the directory is a file, or the file is a directory.
    """
    _refuse_directory(path)
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent).cleanup()
        with suppress(OSError):  # another process may have written there
            for folder in made:
                folder.rmdir()
    except OSError as error:
        raise NotWritten(*_unwritten(path, error)) from error


def _refuse_directory(path: Path) -> None:
    """Raise `NotWritten` for a directory, which a file would replace with all that is in it."""
    if path.is_dir():
        raise NotWritten(f"{path}, which is a directory", "a file to write", "name a file in it")


def _unwritten(path: Path, error: Exception) -> tuple[str, str, str]:
    return f"{path}: {error}", "room and permission to write it", "free some space or go elsewhere"


@dataclass(frozen=True)
class Stored:
    """Content of a directory.

    Attributes:
        recipe: The recipe.
        tensors: All tensors by name.
        about: Notes of `save`: plain values, like the name of the data.
    """

    recipe: Any
    tensors: "dict[str, Tensor]"
    about: dict[str, Any]


def weights_of(recipe: object) -> "dict[str, Tensor]":
    """Return the tensors of all `Weights` in a recipe, named FINGERPRINT/NAME."""
    if isinstance(recipe, Weights):
        return {f"{recipe.fingerprint}/{name}": tensor for name, tensor in recipe.tensors.items()}
    if is_dataclass(recipe):
        parts = [getattr(recipe, field.name) for field in fields(recipe)]
    else:
        parts = recipe if isinstance(recipe, tuple) else ()
    return {name: tensor for part in parts for name, tensor in weights_of(part).items()}


def save(path: Path | str, recipe: object, tensors: "Mapping[str, Tensor] | None" = None, **about: object) -> None:
    """Write a recipe and its tensors to a directory. Failures to write raise `NotWritten`.

    Args:
        path: Directory, new or Feint's.
        recipe: The recipe.
        tensors: Tensors by name; by default those of the `Weights` in the recipe.
        **about: Notes, as plain values; None is left out.

    Raises:
        BadInput: The directory has other files.
    """
    from safetensors.torch import save_file

    path = Path(path)
    tensors = weights_of(recipe) if tensors is None else tensors
    foreign = path.exists() and not (path / RECIPE).exists() and not (path.is_dir() and not any(path.iterdir()))
    if foreign:
        raise BadInput(f"{path}, which holds something else", "a new directory, or one of Feint's", "choose another")
    table = {
        "feint": {"format": FORMAT, "fingerprint": fingerprint(tensors)},
        "about": {name: value for name, value in about.items() if value is not None},
        "recipe": recipes.to_table(recipe),
    }
    with atomic_write(path) as partial:
        partial.mkdir()
        (partial / RECIPE).write_text(tomli_w.dumps(table))
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial / TENSORS)


def notes(path: Path | str) -> dict[str, Any]:
    """Return the notes that `save` wrote to a directory, of which nothing else is read. Errors as in `load`.

    Raises:
        DamagedFile: The directory is broken or foreign.
    """
    path = _existing(path)
    try:
        return tomllib.loads((path / RECIPE).read_text())["about"]
    except (OSError, ValueError, KeyError) as error:
        raise DamagedFile(f"{path} ({error})", f"a {RECIPE} as Feint writes it", "make it again") from error


def _existing(path: Path | str) -> Path:
    path = Path(path)
    if not path.exists():
        raise MissingData(f"{path}, which does not exist", f"a directory with {RECIPE} and {TENSORS}", "make it first")
    return path


def load(path: Path | str, words: recipes.Vocabulary) -> Stored:
    """Read a directory that `save` wrote. A missing one raises `MissingData`.

    Args:
        path: The directory.
        words: Recipes by name that the stored one may be made of.

    Returns:
        Recipe, tensors and notes.

    Raises:
        DamagedFile: The directory is broken, foreign or incomplete.
    """
    from safetensors.torch import load_file

    path = _existing(path)
    try:
        table = tomllib.loads((path / RECIPE).read_text())
        tensors = load_file(path / TENSORS)
        form, expected = table["feint"]["format"], table["feint"]["fingerprint"]
        weights = {"Weights": lambda fingerprint: Weights(fingerprint, with_prefix(f"{fingerprint}/", tensors))}
        known = recipes.joined(weights, words)
        recipe = recipes.from_table(table["recipe"], known) if form == FORMAT else None
        about = table["about"]
    except (OSError, ValueError, KeyError, TypeError, BadRecipe, safetensors.SafetensorError) as error:
        raise DamagedFile(
            f"{path} ({error})", f"{RECIPE} and {TENSORS} as Feint writes them", "make it again, or name another"
        ) from error
    if form != FORMAT or fingerprint(tensors) != expected:
        what = f"format {form}" if form != FORMAT else "tensors that are not those of the recipe"
        raise DamagedFile(f"{path} with {what}", f"format {FORMAT}, unchanged since it was written", "make it again")
    return Stored(recipe, tensors, about)
