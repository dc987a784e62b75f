"""Chain of an audit log: entries that are numbered, follow each other by hashes, and are sealed with a key.

An entry is a line of JSON. `before` is the hash of the line before it, and `mac`, which comes last, is the HMAC-SHA256
of the line without it. Who does not hold the key can write no entry. The head is the number and the hash of the last
entry. Entries can be cut away at the end by anybody who can write the file, so that the heads belong elsewhere: the
gateway writes each of them into its log, which is shipped.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from feint.errors import BadInput, BadRecipe, DamagedFile, MissingData
from feint.gateway.secrets import read_secret

KEY = 16  # characters, the least
SEALED = re.compile(rb'(\{.+),"mac":"([0-9a-f]{64})"\}')
WRAPPED = "log", "message", "MESSAGE"  # fields in which runtimes of containers and collectors keep a line


class Head(NamedTuple):
    """Last entry of an audit log.

    Attributes:
        log: Name of the log: host and file on which it began.
        number: Number of the entry, from 0; -1 for none.
        hash: Hash of the line, "" for none.
    """

    log: str
    number: int = -1
    hash: str = ""

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    def follow(self, line: bytes) -> Self:
        """Return the head after one more `line`."""
        return self._replace(number=self.number + 1, hash=digest(line))


@dataclass(frozen=True)
class AuditEntry:
    """Entry as it was read.

    Attributes:
        values: Its fields.
        sealed: Whether it has the seal of the key.
    """

    values: dict[str, Any]
    sealed: bool

    def follows(self, head: Head) -> bool:
        """Return whether this is the next entry after `head`."""
        return (self.values.get("number"), self.values.get("before")) == (head.number + 1, head.hash)


def read_key(variable: str, file: Path | None) -> str:
    """Return the key in a variable of the environment or a file, "" where neither is named.

    Raises:
        BadRecipe: The key could be guessed.
    """
    key = read_secret(variable, file, "audit log's key")
    if len(key) < KEY and (variable or file):
        draw = "python -c 'import secrets; print(secrets.token_hex())'"
        raise BadRecipe(f"an audit log's key of {len(key)} characters", f"{KEY} or more", f"draw one: {draw}")
    return key


def seal(values: dict[str, Any], key: str) -> bytes:
    """Return the line of an entry, with the seal of the key unless that is ""."""
    line = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return line[:-1] + b',"mac":"' + _mac(line, key).encode() + b'"}' if key else line


def parse(line: bytes, key: str) -> AuditEntry | None:
    """Return the entry in a line, None where the line is not whole."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    match = SEALED.fullmatch(line) if key else None
    sealed = match is not None and hmac.compare_digest(_mac(match[1] + b"}", key), match[2].decode())
    return AuditEntry(values, sealed)


def digest(line: bytes) -> str:
    """Return the hash of a line, without its end: 32 hexadecimal digits of BLAKE2b."""
    return hashlib.blake2b(line, digest_size=16).hexdigest()


def _mac(line: bytes, key: str) -> str:
    return hmac.new(key.encode(), line, hashlib.sha256).hexdigest()


def shipped_heads(paths: Iterable[Path | str]) -> list[Head]:
    """Return the heads in the gateway's logs, however a container's runtime wrapped them; raise `MissingData`."""
    heads = []
    for path in map(Path, paths):
        with _opened(path, "a log of the gateway").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                heads += _heads_in(line[line.find("{") :])
    return heads


def _heads_in(line: Any) -> Iterator[Head]:
    """Yield the head in a line of the gateway, or in one that wraps it; no text of a client within it counts."""
    if isinstance(line, str):
        try:
            line = json.loads(line) if line.startswith("{") else None
        except (ValueError, RecursionError):
            return
    match line:
        case {"ecs": _, "feint": {"audit": {"log": str(log), "number": int(number), "hash": str(code)}}}:
            yield Head(log, number, code)
        case {"ecs": _}:
            return
        case dict():
            for name, value in line.items():
                if isinstance(value, dict) or name in WRAPPED:
                    yield from _heads_in(value)


def head_of(text: str) -> Head:
    """Return the head that is spelled NUMBER:HASH; raise `BadInput`."""
    if not re.fullmatch(r"\d+:[0-9a-f]{32}", text):
        raise BadInput(f"--head {text!r}", "NUMBER:HASH, as it was printed", "copy all of it")
    number, _, code = text.partition(":")
    return Head("", int(number), code)


class Chain:
    """Verification of a chain, file by file.

    Args:
        key: The operator's key.
        heads: Heads of the log that are known from elsewhere.
        log: Name of the log; "" where no head tells it.
        first: Number of the first entry.

    Attributes:
        first: Number of the first entry.
        head: The last entry so far.
        torn: Number of lines that were torn by a full disk or a lost machine, each of which the next entry attests.

    Raises:
        DamagedFile: Two of the heads have one number, so that the log was begun anew.
    """

    def __init__(self, key: str, heads: Sequence[Head], *, log: str = "", first: int = 0) -> None:
        self._key, self._log, self._known = key, log, dict[int, str]()
        self.first, self.head, self.torn, self._piece = first, Head(""), 0, b""
        for head in heads:
            if self._known.setdefault(head.number, head.hash) != head.hash:
                raise _broken(f"two heads with the number {head.number}")

    def read(self, path: Path) -> None:
        """Check one more file; raise `DamagedFile`."""
        *lines, rest = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            self._read(line, f"{path}, line {number}")
        if rest:
            raise _broken(f"{path}, whose last line is torn")

    def _read(self, line: bytes, where: str) -> None:
        """Check one more line, which is at `where`."""
        entry = parse(line, self._key)
        if entry is None and not self._piece and line:
            self._piece = line
            return
        if entry is None or not entry.sealed:
            raise _broken(f"{where}, which has no seal of this key")
        if self.head.number < 0:
            self._begin(entry)
        torn = digest(self._piece) if self._piece else None
        if not entry.follows(self.head) or entry.values.get("torn") != torn or entry.values.get("log") != self.head.log:
            raise _broken(f"{where}, which does not follow the line before it")
        self.head, self.torn, self._piece = self.head.follow(line), self.torn + bool(self._piece), b""
        if self._known.get(self.head.number, self.head.hash) != self.head.hash:
            raise _broken(f"{where}, which has another hash than the head {self.head.number} that is known")

    def _begin(self, entry: AuditEntry) -> None:
        """Take the head before the first entry, which is none, or one that is known."""
        log, number = entry.values.get("log", ""), entry.values.get("number", 0)
        if log != (self._log or log):
            got = f"no head of {log}, but of {self._log}"
            raise BadInput(got, "one at least", "name the shipped log of the gateway that wrote it")
        if number != self.first:
            got, remedy = f"entries from number {number}", f"if you removed older files yourself: --first {number}"
            raise DamagedFile(got, f"those from number {self.first}", remedy)
        before = self._known.get(number - 1, "")
        if number and not before:
            raise _broken(f"entries from number {number}, and no head {number - 1} that is known")
        self.head = Head(log, number - 1, before)

    def end(self) -> None:
        """Check that nothing is missing at the end; raise `DamagedFile`."""
        last = max(self._known)
        if self._piece:
            raise _broken("a torn line at the end")
        if self.head.number < last:
            raise _broken(f"entries up to number {self.head.number}, where number {last} was written")


def verify(paths: Iterable[Path | str], *, key: str, heads: Sequence[Head], log: str = "", first: int = 0) -> Chain:
    """Check the chain through some files, from its first entry to the last of the known heads.

    An entry that was changed, moved, removed or inserted raises `DamagedFile`, which names the line.

    Args:
        paths: The files, the oldest first.
        key: The operator's key.
        heads: Heads that are known from elsewhere, at least one; those of another log do not count.
        log: Name of the log; "" for the one that the heads name.
        first: Number of the first entry, where older files were removed; the head before it has to be known.

    Returns:
        The chain.

    Raises:
        BadInput: There is no key, or no head of this log: an end could have been cut away. Or the heads are of several
            logs, of which one could have been put in the place of another.
    """
    if not key:
        raise BadInput("no key", "the key of the audit log", "name its file: --key-file")
    if not heads:
        raise BadInput("no head from elsewhere", "at least one: entries at the end may be missing",
                       "name the shipped log (--shipped), or the head that was noted (--head)")  # fmt: skip
    logs = sorted({head.log for head in heads} - {""})
    if not log and len(logs) > 1:
        raise BadInput(f"heads of {len(logs)} logs", "the one that is checked", f"--log {' or --log '.join(logs)}")
    log = log or "".join(logs)
    known = [head for head in heads if head.log in ("", log)]
    if not known:
        raise BadInput(f"no head of {log}", "one at least", "name the shipped log of the gateway that wrote it")
    chain = Chain(key, known, log=log, first=first)
    for path in map(Path, paths):
        chain.read(_opened(path, "an audit log"))
    chain.end()
    return chain


def _opened(path: Path, what: str) -> Path:
    if not path.is_file():
        raise MissingData(f"{path}, which does not exist", what, "check the path")
    return path


def _broken(got: str) -> DamagedFile:
    return DamagedFile(got, "an unbroken chain", "lines were changed, moved, removed or inserted")


def rfc3339(seconds: float) -> str:
    """Return a time in UTC as RFC 3339 writes it, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
