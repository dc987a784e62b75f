"""Victims by place: files, directories and code of any kind."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from feint.errors import BadInput, DamagedFile, MissingData, one_line
from feint.models.inference import CachedForward, FromProbabilities, logits
from feint.models.networks import Network
from feint.models.stored import load, load_weights
from feint.recipes.store import RECIPE
from feint.signature import Domain
from feint.victims.adapter import AdaptedModel
from feint.victims.certain import adapt
from feint.victims.formats.boosting import CatBoostModel, LightGbmModel, XgboostModel
from feint.victims.formats.code import load_code
from feint.victims.formats.estimator import load_estimator
from feint.victims.formats.foreign import (
    refuse_content,
    refuse_foreign,
    refuse_foreign_json,
    refuse_start,
)
from feint.victims.formats.hugging_face import load_hugging_face
from feint.victims.formats.onnx import OnnxFile
from feint.victims.formats.pickle_content import is_pickle
from feint.victims.formats.pickles import SUFFIXES, refuse_pickle
from feint.victims.formats.torch_files import TorchFile, is_torch_archive
from feint.victims.formats.torch_module import TorchModel
from feint.victims.json_api.model import JsonApiModel
from feint.victims.json_api.recorded import load_recorded
from feint.victims.json_api.victim_file import is_victim_file, read_victim_file
from feint.victims.model_file import ModelFile
from feint.victims.raw import RawModel
from feint.victims.remote import FromAnswers, metered
from feint.victims.served import load_served

FILES: dict[str, Callable[[str], RawModel]] = {  # loaders by suffix
    ".onnx": OnnxFile, ".skops": load_estimator, ".pt": TorchFile, ".pth": TorchFile, ".ts": TorchFile,
    ".pt2": TorchFile, ".json": XgboostModel, ".ubj": XgboostModel, ".txt": LightGbmModel, ".cbm": CatBoostModel,
}  # fmt: skip
KINDS = (
    "model.toml, victim.toml, NAME.onnx, .skops, .pt, .pt2, .safetensors with its --network, .json or .ubj of "
    "XGBoost, .txt of LightGBM, .cbm of CatBoost, a directory of Feint or Hugging Face, or package.module:name"
)


@runtime_checkable
class HasDomain(Protocol):
    """Model with the domain of its inputs."""

    @property
    def domain(self) -> Domain | None:
        """Domain of the inputs, or None."""
        ...


def load_any(place: Path | str, *, network: Network | None = None, domain: Domain | None = None) -> nn.Module:
    """Load a victim of any kind.

    A missing place raises `MissingData`, a broken one `DamagedFile`, and one of no known kind `BadInput`.

    Args:
        place: A `model.toml`, which says how the model is adapted; or the model itself: its file, directory, or
            `package.module:name`. A torch module from there is returned as it is, unless `domain` is known.
        network: Network of NAME.safetensors, which needs one; None for all others.
        domain: Domain of the data at hand, which may decide what the model leaves open.

    Returns:
        A module from inputs (N, …) of its domain to logits (N, K), in evaluation mode.

    Raises:
        BadInput: A network is named for another kind of place, or the place leaves its adapter open.
    """
    place = str(place)
    if _is_model_file(place):
        return load_adapted(ModelFile.read(place)).eval()
    if is_victim_file(place):
        file = read_victim_file(place)
        if file.answers or file.model:
            return (load_recorded(file) if file.answers else load_served(file, domain)).eval()
    if is_own(place):
        return _load_network(place, network)
    raw = load_raw(place)
    if network is not None:
        raise BadInput(f"{place} and a network", "one for NAME.safetensors only", "leave --network out")
    module = raw.module if type(raw) is TorchModel else None
    if module is not None and (domain is None or isinstance(module, HasDomain)):
        return module.eval()
    return metered(adapt(raw, domain)).eval()


def load_adapted(file: ModelFile) -> nn.Module:
    """Load the model of a `model.toml`, with its adapter. Errors are those of `load_raw` and `AdaptedModel`."""
    return metered(AdaptedModel(load_raw(file.model, network=file.network), file.adapter))


def load_raw(place: Path | str, *, network: Network | None = None) -> RawModel:
    """Load a model with its own tensors, without any adapter.

    Args:
        place: File, directory, or `package.module:name`.
        network: Network of NAME.safetensors; None for all others.

    Returns:
        The model.

    Raises:
        MissingData: There is no such place, or a package is not installed.
        BadInput: The place is of no known kind, or a pickle.
        DamagedFile: The file is not what its suffix says.
    """
    path = Path(place)
    if is_own(str(place)):
        return TorchModel(_load_network(str(place), network), str(place))
    if path.suffix == ".toml":
        return _load_api(path)
    if "://" in str(place):
        remedy = (
            "feint audit --url URL --model NAME for an Open Inference Protocol server, or a victim.toml for any other"
        )
        raise BadInput(f"{place}, an address", "a model's place here", remedy)
    refuse_start(path)
    if path.is_file():
        if path.suffix.lower() in SUFFIXES or is_pickle(path):
            refuse_pickle(path)
        if path.suffix.lower() not in FILES and is_torch_archive(path):
            return TorchFile(path)
    refuse_foreign(path)
    if ":" in str(place) and not path.exists():
        return load_code(str(place))
    if not path.exists():
        raise MissingData(f"{place}, which does not exist", KINDS, "check the path")
    if path.is_dir() and (path / "config.json").is_file():
        return load_hugging_face(path)
    if path.suffix.lower() not in FILES or path.is_dir():
        refuse_content(path)
        raise BadInput(str(place), KINDS, "name one of these")
    try:
        return FILES[path.suffix.lower()](str(place))
    except DamagedFile:  # only then, since a booster's JSON may have 100 MB
        refuse_foreign_json(path)
        refuse_content(path)
        raise


def _load_api(path: Path) -> JsonApiModel:
    if not is_victim_file(path):
        raise BadInput(f"{path}, without url", "a victim.toml, or a model", "name the model that it adapts")
    file = read_victim_file(path)
    if file.answers or file.model:
        kind = "a recorded service" if file.answers else "which says itself what it takes"
        raise BadInput(
            f"{path}, {kind}", "a model to inspect", f"use it as it is: {shlex.join(['feint', 'audit', str(path)])}"
        )
    return JsonApiModel(file)


def is_own(place: str) -> bool:
    """Return whether a place holds a network of Feint: a directory that `save` wrote, or weights alone."""
    return Path(place).suffix == ".safetensors" or (Path(place) / RECIPE).is_file()


def states_domain(place: str) -> bool:
    """Return whether a place states the domain of its inputs: a network of Feint, or a `model.toml`."""
    return is_own(place) or _is_model_file(place)


def _is_model_file(place: str) -> bool:
    return Path(place).suffix == ".toml" and not is_victim_file(place)


def _load_network(place: str, network: Network | None) -> nn.Module:
    if Path(place).suffix != ".safetensors":
        return load(place)
    refuse_start(Path(place))
    if network is None:
        remedy = "name it: --network resnet18; or load both in a factory, and name that: package.module:factory"
        raise BadInput(f"{place} alone", "the network that these weights belong to", remedy)
    return load_weights(place, network)


def domain_of(model: nn.Module) -> Domain | None:
    """Return the domain of the inputs of `model`, or None where the model does not have it."""
    inner = model.model if isinstance(model, (FromProbabilities, CachedForward)) else model
    return inner.domain if isinstance(inner, HasDomain) else None


def label_classes(model: nn.Module) -> tuple[str, ...] | int | None:
    """Return the classes by which labels are read: a model's names, or how many they are where they are numbers.

    Args:
        model: The model.

    Returns:
        The names, their number, or None where the model has no names.
    """
    names = tuple(getattr(model, "class_names", ()))
    return len(names) or None if names == tuple(map(str, range(len(names)))) else names


def classes_of(model: nn.Module, domain: Domain) -> int:
    """Determine the number of classes of a model by a query.

    Args:
        model: Module to logits.
        domain: Domain of its inputs.

    Returns:
        The number K of its logits.

    Raises:
        BadInput: The model does not take such an input, or its output is not a row of logits.
    """
    if isinstance(model, FromAnswers):  # whose calls cost something
        return model.classes
    try:
        return logits(model, torch.from_numpy(domain.sample(1, 0))).shape[1]
    except BadInput:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise BadInput(
            f"{domain.noun} of shape {domain.shape} ({one_line(error, 160)})", "inputs that the model takes",
            "check the data's size and channels",
        ) from error  # fmt: skip
