"""Cases by hypothesis: what is right, with parts of it changed, and any bytes."""

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.fuzz.seeds import BYTES, JSON, lined
from tests.fuzz.targets import ALL

JUNK = st.one_of(
    st.sampled_from(
        [
            None, True, False, "", "p", "pixels", "FP32", "FP64", "BYTES", "\ud800", [], {}, [[]], [1], {"name": "p"},
            0, -1, 1, 2, 3, 16, 2**31, 2**63, 2**64, 10**30, 10**400, -0.0, 0.5, 1e39, 1e308, 5e-324, float("inf"),
            float("nan"), [0.5] * 4, [0.5] * 6, [[[[0.5]]]],
        ]
    ),
    st.integers(), st.floats(), st.text(max_size=20), st.lists(st.floats(0, 1, width=32), max_size=8),
)  # fmt: skip


@st.composite
def documents(draw: Any, name: str) -> bytes:
    """A right document with up to three of its values changed, dropped, doubled or put elsewhere."""
    value, line, raw = draw(st.sampled_from(JSON[name]))
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 3))):
        holder, key = draw(st.sampled_from(_places(value, [])))
        match draw(st.integers(0, 3)):
            case 0 if isinstance(holder, dict):
                holder.pop(key, None)
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case _:
                holder[key] = copy.deepcopy(draw(JUNK))
        if not _places(value, []):
            break
    line = draw(st.sampled_from([line, line, "", "0", "-1", "5", "9" * 30])) if draw(st.booleans()) else line
    raw = draw(st.sampled_from([raw, raw, raw[1:], raw + b"\0", b""]))
    return lined(value, line, raw)


def _places(value: Any, places: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every holder and key in a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        places.append((value, key))
        _places(part, places)
    return places


@st.composite
def changed(draw: Any, name: str) -> bytes:
    """Right bytes with some of them changed, put in, cut out or repeated many times."""
    data = bytearray(draw(st.sampled_from(BYTES[name])))
    for _ in range(draw(st.integers(0, 4))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        part = draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"[", b'{"a":', b"-", b"9", b"\xff"])))
        data[at : at + size] = part * draw(st.sampled_from([1, 1, 1, 2, 5000]))
    return bytes(data)


def strategy(name: str) -> st.SearchStrategy[bytes]:
    """Cases for a target."""
    documented = [documents(name)] * 3 if name in JSON else []
    return st.one_of(*documented, changed(name), changed(name), st.binary(max_size=64))


def run(name: str, cases: int) -> tuple[int, int, str]:
    """So many cases for a target: how many ran, how many of them were accepted, and what was found, if anything."""
    target: Callable[[bytes], bool] = ALL[name]
    counted = [0, 0]

    @settings(
        max_examples=cases, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy(name))
    def property_(data: bytes) -> None:
        counted[0] += 1
        counted[1] += target(data)

    try:
        property_()
    except BaseException as error:
        return (
            counted[0],
            counted[1],
            f"{type(error).__name__}: {error} {' '.join(getattr(error, '__notes__', ()))}"[:500],
        )
    return counted[0], counted[1], ""
