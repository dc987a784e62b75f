"""Content of pickles, of torch and of other libraries, read from their operations: nothing is loaded."""

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
from typing import Any, NamedTuple

LEGACY = 0x1950A86A20F9469CFC6C  # the first pickle in a file of torch before 1.6; the object is the fourth
PLAIN = {"torch", "torch._utils", "collections"}  # modules whose classes weights have, and weights_only takes
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


class TorchContent(NamedTuple):
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


def read_torch(path: Path) -> TorchContent | None:
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
    return TorchContent(root, reader.modules <= PLAIN)


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


def package_of(path: Path) -> str:
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
