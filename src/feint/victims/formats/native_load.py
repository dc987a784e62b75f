"""Script of a process that loads a booster with its native library alone, and may die of a damaged file.

It imports nothing of Feint, and of the booster's package its native library alone: that takes 0.04 s of processor time,
and the whole package 1.6 s.
"""

import ctypes
import resource
import sys
from pathlib import Path

MEMORY, SECONDS = 4 * 2**30, 20  # bytes and seconds of the processor for any file
MORE_MEMORY, MORE_SECONDS = 64, 5e-6  # for each of its bytes: text of JSON becomes objects of some 40 bytes


def limit(size: int) -> None:
    """Limit memory and time to what a whole file of so many bytes takes: lengths in a damaged one may be anything."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY + MORE_MEMORY * size),
        (resource.RLIMIT_CPU, SECONDS + MORE_SECONDS * size),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard), hard))


def load_xgboost(library: ctypes.CDLL, file: bytes) -> None:
    """Load a file of XGBoost, and write it to standard output as JSON."""
    booster, size, text = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_void_p()
    library.XGBGetLastError.restype = ctypes.c_char_p
    to_json = b'{"format": "json"}', ctypes.byref(size), ctypes.byref(text)
    library.XGBoosterCreate(None, 0, ctypes.byref(booster))
    if library.XGBoosterLoadModel(booster, file) or library.XGBoosterSaveModelToBuffer(booster, *to_json):
        sys.exit(
            library.XGBGetLastError().decode(errors="replace").partition("Stack trace")[0].strip().replace("\n", " ")
        )
    sys.stdout.buffer.write(ctypes.string_at(text.value or 0, size.value))


def load_lightgbm(library: ctypes.CDLL, file: bytes) -> None:
    """Load a file of LightGBM, read its parameters, and dump its first iteration."""
    booster, count, size = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int64()
    if library.LGBM_BoosterCreateFromModelfile(file, ctypes.byref(count), ctypes.byref(booster)) == 0:
        text = ctypes.create_string_buffer(2**20)  # as its package takes it
        result = ctypes.c_int64(len(text)), ctypes.byref(size), text
        library.LGBM_BoosterGetLoadedParam(booster, *result)
        library.LGBM_BoosterDumpModel(booster, 0, 1, 0, *result)


if __name__ == "__main__":
    loaders = {"xgboost": load_xgboost, "lightgbm": load_lightgbm}
    limit(Path(sys.argv[3]).stat().st_size)
    loaders[sys.argv[1]](ctypes.CDLL(sys.argv[2]), sys.argv[3].encode())
