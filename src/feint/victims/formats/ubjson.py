"""Structure of UBJSON, which XGBoost reads on beyond the end of a file that was cut off."""

SIZES = {b"Z": 0, b"N": 0, b"T": 0, b"F": 0, b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"d": 4, b"L": 8, b"D": 8}
LENGTHS = b"i", b"U", b"I", b"l", b"L"  # types of a length


def check_ubjson(content: bytes) -> None:
    """Check that content is one value of UBJSON (draft 12), whole and without bytes after it.

    Of 100 files of XGBoost that were cut off, its reader fills the memory for some, and dies of others.

    Raises:
        ValueError: It is not.
    """
    end = _value(content, *_kind(content, 0))
    if end != len(content):
        raise ValueError(f"{len(content) - end:,} bytes after its end")


def _kind(content: bytes, start: int) -> tuple[bytes, int]:
    """Return the type that begins at a place, and the place after it."""
    end = _skip(content, start, 1)
    return content[start:end], end


def _skip(content: bytes, start: int, count: int) -> int:
    if count < 0 or start + count > len(content):
        raise ValueError(f"it ends after {len(content):,} bytes, within a value")
    return start + count


def _length(content: bytes, start: int) -> tuple[int, int]:
    """Return the length that begins at a place, and the place after it."""
    kind, start = _kind(content, start)
    if kind not in LENGTHS:
        raise ValueError(f"a length of type {kind!r}, at byte {start:,}")
    end = _skip(content, start, SIZES[kind])
    return int.from_bytes(content[start:end], "big", signed=kind != b"U"), end


def _value(content: bytes, kind: bytes, start: int) -> int:
    """Return the place after a value of a type, whose content begins at `start`."""
    if kind in SIZES:
        return _skip(content, start, SIZES[kind])
    if kind in (b"S", b"H"):
        count, start = _length(content, start)
        return _skip(content, start, count)
    if kind in (b"[", b"{"):
        return _values(content, start, keyed=kind == b"{")
    raise ValueError(f"a value of type {kind!r}, at byte {start:,}")


def _values(content: bytes, start: int, *, keyed: bool) -> int:
    """Return the place after an array or, with keys, an object, whose content begins at `start`."""
    kind = count = None
    if content[start : start + 1] == b"$":
        kind, start = _kind(content, start + 1)
        if _kind(content, start)[0] != b"#":
            raise ValueError(f"a type without a count, at byte {start:,}")
    if content[start : start + 1] == b"#":
        count, start = _length(content, start + 1)
        _skip(content, start, min(count, 0))  # a count below 0
    if kind in SIZES and count is not None and not keyed:
        return _skip(content, start, SIZES[kind] * count)
    end = b"}" if keyed else b"]"
    while count is None or count > 0:
        if count is None and content[start : start + 1] == end:
            return start + 1
        if keyed:
            length, start = _length(content, start)
            start = _skip(content, start, length)
        start = _value(content, *((kind, start) if kind else _kind(content, start)))
        count = None if count is None else count - 1
    return start
