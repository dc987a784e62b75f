"""Script of a process that loads a booster with its native library alone, and may die of a damaged file.

It imports nothing of Feint, and of the booster's package its native library alone: that takes 0.04 s of processor time,
and the whole package 1.6 s.
"""

import ctypes
import sys


def load_xgboost(library: ctypes.CDLL, file: bytes) -> None:
    """Load a file of XGBoost, and write it again as JSON."""
    booster, size, text = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_void_p()
    library.XGBoosterCreate(None, 0, ctypes.byref(booster))
    if library.XGBoosterLoadModel(booster, file) == 0:
        library.XGBoosterSaveModelToBuffer(booster, b'{"format": "json"}', ctypes.byref(size), ctypes.byref(text))


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
    loaders[sys.argv[1]](ctypes.CDLL(sys.argv[2]), sys.argv[3].encode())
