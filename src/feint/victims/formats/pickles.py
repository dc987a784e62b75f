"""Pickles, of torch and of other libraries: what they hold is read from their operations, and nothing is loaded."""

import bz2
import gzip
import io
import lzma
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from feint.errors import BadInput

SUFFIXES = (".joblib", ".pkl", ".pickle", ".sav", ".dill", ".cloudpickle")
TORCH = ".pt", ".pth", ".pt2", ".ts"
MODULES = {".pkl": "pickle", ".pickle": "pickle", ".dill": "dill", ".cloudpickle": "cloudpickle"}  # others by joblib
LEGACY = 0x1950A86A20F9469CFC6C  # the first pickle in a file of torch before 1.6; the object is the fourth
PLAIN = {"torch", "torch._utils", "collections"}  # modules whose classes weights have, and weights_only takes
WRAPPERS = "module.", "_orig_mod.", "model."  # before the names of weights: DataParallel, torch.compile, Lightning
SKOPS = "skops.io.dump(model, '{stem}.skops')"
WRITERS = {  # by the package of a pickled model
    "xgboost": "model.save_model('{stem}.ubj')",
    "lightgbm": "getattr(model, 'booster_', model).save_model('{stem}.txt')",
    "catboost": "model.save_model('{stem}.cbm')",
    "transformers": "model.save_pretrained('{stem}'), and its tokenizer beside it",
    "torch": "torch.export.save(torch.export.export(model.eval(), (x,)), '{stem}.pt2'), where x is a batch",
    "keras": "model.export('{stem}.onnx', format='onnx')",
}
NEWEST = 5  # protocol of pickles
HEAD = 64  # bytes by which a pickle is known
OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
ZLIB = b"\x78"


class StandIn(dict[Any, Any]):
    """What a pickle says of an object: the items and the state that were written.

    Args:
        kind: Module and name of its class.

    Attributes:
        kind: As above.
        state: State of the object.
    """

    def __init__(self, kind: tuple[str, str] = ("", "")) -> None:
        super().__init__()
        self.kind, self.state = kind, None

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return id(self)


class _Reader:
    """Reader of the operations of a pickle, none of which it carries out: it makes a `StandIn` of every object."""

    def __init__(self, file: Any) -> None:
        self.modules: set[str] = set()
        self._file, self._stack, self._marks, self._memo = file, [], [], {}

    def load(self) -> Any:
        """Return the object of the next pickle in the file. Anything may be raised where it is none."""
        for operation, argument, _ in pickletools.genops(self._file):
            if operation.name == "STOP":
                break
            self._take(operation.name, argument)
        return self._stack.pop()

    def _take(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name == "MARK":
            self._marks.append(len(stack))
        elif name == "MEMOIZE" or name.endswith("PUT"):
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
        elif name.endswith("GET"):
            stack.append(self._memo[argument])
        elif name in ("POP", "POP_MARK"):
            self._marked() if name == "POP_MARK" else stack.pop()
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if name == "APPEND" else self._marked()
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self._marked()
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state = state
        elif name not in ("PROTO", "FRAME"):
            stack.append(self._made(name, argument))

    def _made(self, name: str, argument: Any) -> Any:
        """Return what an operation puts on the stack."""
        stack = self._stack
        if name in ("GLOBAL", "INST"):
            if name == "INST":
                self._marked()
            module, _, cls = str(argument).partition(" ")
            return self._object(module, cls)
        if name == "STACK_GLOBAL":
            cls, module = stack.pop(), stack.pop()
            return self._object(module, cls)
        if name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            del stack[-2 if name == "NEWOBJ_EX" else -1 :]
            return StandIn(stack.pop().kind)
        if name == "OBJ":
            return StandIn(self._marked()[0].kind)
        if name == "BINPERSID":
            stack.pop()
        if name in ("PERSID", "BINPERSID"):
            return StandIn()
        if name in ("EMPTY_LIST", "EMPTY_SET"):
            return []
        if name in ("EMPTY_DICT", "DICT"):
            items = self._marked() if name == "DICT" else []
            return dict(zip(items[::2], items[1::2], strict=True))
        if name in ("LIST", "FROZENSET"):
            return self._marked()
        if name == "TUPLE":
            return tuple(self._marked())
        if name in ("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            start = len(stack) - ("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3").index(name)
            items = tuple(stack[start:])
            del stack[start:]
            return items
        return stack[-1] if name == "DUP" else {"NEWTRUE": True, "NEWFALSE": False}.get(name, argument)

    def _object(self, module: str, name: str) -> StandIn:
        self.modules.add(module)
        return StandIn((module, name))

    def _marked(self) -> list[Any]:
        """Take what is on the stack above the last mark."""
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items


class _Content(NamedTuple):
    """Content of a pickle of torch.

    Attributes:
        root: The object, of stand-ins.
        is_plain: Whether `weights_only` loads it.
    """

    root: Any
    is_plain: bool


def is_pickle(path: Path) -> bool:
    """Return whether a file is a pickle by its first bytes, compressed or not."""
    head = _head(path)
    return len(head) > 2 and head[0] == 0x80 and head[1] <= NEWEST


def refuse_pickle(path: Path) -> NoReturn:
    """Raise `BadInput` for a pickle, with the lines that convert it where it is trusted."""
    name, stem = path.name, path.name.partition(".")[0]
    if (content := _read_torch(path)) is not None:
        kind, lines = _torch_lines(content, name, stem)
    elif path.suffix in TORCH:
        kind, lines = "a pickled module", _module_lines(f"torch.load('{name}', weights_only=False)", stem)
    else:
        module, package = MODULES.get(path.suffix, "joblib"), _package(path)
        load = f"joblib.load('{name}')" if module == "joblib" else f"{module}.load(open('{name}', 'rb'))"
        kind = f"a pickle of {package}" if package in WRITERS else "a pickle"
        lines = f"model = {load}; {WRITERS.get(package, SKOPS).format(stem=stem)}"
    remedy = f"convert it where you trust it: {lines}" if lines else "it has no model: name the file that has"
    raise BadInput(f"{path}, {kind}", "a file that runs no code when it is loaded", remedy)


def _torch_lines(content: _Content, name: str, stem: str) -> tuple[str, str]:
    """Return what a pickle of torch is, and the lines that convert it, "" where it has no model."""
    root, load = content.root, f"torch.load('{name}', weights_only={content.is_plain})"
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


def _weights_lines(load: str, weights: StandIn, stem: str) -> str:
    prefix = _prefix(weights)
    state = f"{{name.removeprefix('{prefix}'): value for name, value in {load}.items()}}" if prefix else load
    save = f"safetensors.torch.save_file(state, '{stem}.safetensors')"
    return f"state = {state}; {save}, and name it with --network, or load it in a factory"


def _module_lines(load: str, stem: str) -> str:
    export = f"torch.export.save(torch.export.export(model.eval(), (x,)), '{stem}.pt2')"
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


def _read_torch(path: Path) -> _Content | None:
    """Return the content of a pickle of torch, in its archive or in its form before 1.6; None for any other file."""
    try:
        with _opened(path) as file:
            reader = _Reader(file)
            root = reader.load()
            if root == LEGACY:
                for _ in range(3):  # version, system, and the object
                    reader = _Reader(file)
                    root = reader.load()
            elif not zipfile.is_zipfile(path):
                return None
    except Exception:  # the content is anybody's, and may raise anything
        return None
    return _Content(root, reader.modules <= PLAIN)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open the pickle of an archive of torch, or the file itself where it is no archive."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        yield io.BytesIO(archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl"))))


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked where it is compressed."""
    try:
        with _unpacked(path) as file:
            return file.read(HEAD)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return b""


def _package(path: Path) -> str:
    """Return the package of the first class that a pickle names, "" where none is found."""
    texts: list[str] = []
    try:
        with _unpacked(path) as file:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name == "STACK_GLOBAL":
                    return texts[-2].partition(".")[0]
                if operation.name == "GLOBAL":
                    return str(argument).split()[0].partition(".")[0]
                if isinstance(argument, str):
                    texts.append(argument)
    except Exception:  # as above
        return ""
    return ""


@contextmanager
def _unpacked(path: Path) -> Iterator[Any]:
    """Open a file, as what it was before it was compressed."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        opener = next((opener for start, opener in OPENERS.items() if head.startswith(start)), None)
        if opener is None:
            file.seek(0)
            yield io.BytesIO(zlib.decompressobj().decompress(file.read())) if head.startswith(ZLIB) else file
            return
    with opener(path) as unpacked:
        yield unpacked
