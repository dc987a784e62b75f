"""Pickles, which are refused with the lines that convert what they hold."""

import re
from pathlib import Path
from typing import Any, NoReturn

from feint.errors import BadInput
from feint.victims.formats.foreign import CommandWord
from feint.victims.formats.pickle_content import StandIn, TorchContent, package_of, read_torch

SUFFIXES = (".joblib", ".pkl", ".pickle", ".sav", ".dill", ".cloudpickle")
TORCH = ".pt", ".pth", ".pt2", ".ts"
MODULES = {".pkl": "pickle", ".pickle": "pickle", ".dill": "dill", ".cloudpickle": "cloudpickle"}  # others by joblib
WRAPPERS = "module.", "_orig_mod.", "model."  # before the names of weights: DataParallel, torch.compile, Lightning
SKOPS = "skops.io.dump(model, {stem:'.skops})"
WRITERS = {  # by the package of a pickled model
    "xgboost": "model.save_model({stem:'.ubj})",
    "lightgbm": "getattr(model, 'booster_', model).save_model({stem:'.txt})",
    "catboost": "model.save_model({stem:'.cbm})",
    "transformers": "model.save_pretrained({stem!r}), and its tokenizer beside it",
    "torch": "torch.export.save(torch.export.export(model.eval(), (x,)), {stem:'.pt2}), where x is a batch",
    "keras": "model.export({stem:'.onnx}, format='onnx')",
}


def refuse_pickle(path: Path) -> NoReturn:
    """Raise `BadInput` for a pickle, with the lines that convert it where it is trusted."""
    name, stem = path.name, CommandWord(re.sub(r"(\.[A-Za-z]\w*)+$", "", path.name))  # a version such as 1.2 stays
    if (content := read_torch(path)) is not None:
        kind, lines = _torch_lines(content, name, stem)
    elif path.suffix in TORCH:
        kind, lines = "a pickled module", _module_lines(f"torch.load({name!r}, weights_only=False)", stem)
    else:
        module, package = MODULES.get(path.suffix, "joblib"), package_of(path)
        load = f"joblib.load({name!r})" if module == "joblib" else f"{module}.load(open({name!r}, 'rb'))"
        kind = f"a pickle of {package}" if package in WRITERS else "a pickle"
        lines = f"model = {load}; {WRITERS.get(package, SKOPS).format(stem=stem)}"
    remedy = f"convert it where you trust it: {lines}" if lines else "it has no model: name the file that has"
    raise BadInput(f"{path}, {kind}", "a file that runs no code when it is loaded", remedy)


def _torch_lines(content: TorchContent, name: str, stem: CommandWord) -> tuple[str, str]:
    """Return what a pickle of torch is, and the lines that convert it, "" where it has no model."""
    root, load = content.root, f"torch.load({name!r}, weights_only={content.is_plain})"
    if _are_weights(root):
        return f"a pickled state_dict{_wrapped(root)}", _weights_lines(load, root, stem)
    if _is_tensor(root) or not isinstance(root, dict):
        return f"a pickled {'tensor' if _is_tensor(root) else type(root).__name__}", ""
    if isinstance(root, StandIn):
        return "a pickled module", _module_lines(load, stem)
    weights = {key: value for key, value in root.items() if _are_weights(value)}
    if weights:
        key = max(weights, key=lambda key: len(weights[key]))
        beside = ", ".join(str(other) for other in root if other != key)
        kind = f"a checkpoint of {beside:.80} and, under {key!r}, a state_dict{_wrapped(weights[key])}"
        return kind, _weights_lines(f"{load}[{key!r}]", weights[key], stem)
    module = next((key for key, value in root.items() if _is_module(value)), None)
    if module is not None:
        return f"a checkpoint with a module under {module!r}", _module_lines(f"{load}[{module!r}]", stem)
    if {"state", "param_groups"} <= root.keys():
        return "the state of an optimiser", ""
    kind = f"a pickled dictionary of {', '.join(map(str, root)):.80}"
    return kind, f"content = {load}; find its weights, and write them with safetensors.torch.save_file"


def _weights_lines(load: str, weights: StandIn, stem: CommandWord) -> str:
    prefix = _prefix(weights)
    state = f"{{name.removeprefix('{prefix}'): value for name, value in {load}.items()}}" if prefix else load
    save = f"safetensors.torch.save_file(state, {stem:'.safetensors})"
    return f"state = {state}; {save}, and name it with --network, or load it in a factory"


def _module_lines(load: str, stem: CommandWord) -> str:
    export = f"torch.export.save(torch.export.export(model.eval(), (x,)), {stem:'.pt2})"
    return f"model = {load}; {export}, where x is a batch"


def _wrapped(weights: StandIn) -> str:
    prefix = _prefix(weights)
    return f", whose names begin with '{prefix}'" if prefix else ""


def _prefix(weights: StandIn) -> str:
    """Return what wrappers of a module put before the names of all its weights."""
    prefix, inner = "", [str(name) for name in weights]
    while wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in inner)), ""):
        prefix, inner = prefix + wrapper, [name.removeprefix(wrapper) for name in inner]
    return prefix


def _are_weights(value: Any) -> bool:
    plain = type(value) is dict or (isinstance(value, StandIn) and value.kind == ("collections", "OrderedDict"))
    return plain and bool(value) and all(map(_is_tensor, value.values()))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, StandIn) and value.kind[1].startswith("_rebuild_")


def _is_module(value: Any) -> bool:
    return isinstance(value, StandIn) and isinstance(value.state, dict) and "_modules" in value.state
