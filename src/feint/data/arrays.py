"""Arrays of NumPy's .npz files as inputs of any domain."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from feint.data.images import MODES, check_depth, resized
from feint.data.remarks import Remark
from feint.data.tabular import from_rows
from feint.data.texts import from_texts, from_tokens
from feint.errors import BadInput, DamagedFile, MissingData, one_line
from feint.signature import Columns, Domain, Pixels, Text, Tokens

INPUTS = "images", "x", "x_test", "x_train", "inputs", "features", "data", "input_ids", "tokens", "texts", "text"
LABELS = "labels", "label", "y", "y_test", "y_train", "targets", "target"
SEQUENCES = "input_ids", "tokens"
_UNREADABLE = (  # RuntimeError is raised for encrypted members and unknown compressions
    OSError, ValueError, EOFError, TypeError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
Arrays = tuple[np.ndarray, Domain, tuple[Remark, ...]]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file, without pickles.

    Args:
        path: The file.

    Returns:
        The arrays by name.

    Raises:
        MissingData: The file is not there.
        DamagedFile: The file is no .npz, or holds objects.
    """
    if not path.is_file():
        raise MissingData(f"{path}, which is not there", "an .npz file with inputs and labels", "check the path")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _UNREADABLE as error:
        message = f"{path} ({one_line(error, 120)})"
        raise DamagedFile(message, "an .npz file without pickles", "write it again: numpy.savez") from error


def choose(
    path: Path, arrays: dict[str, np.ndarray], label: str | None, *, labelled: bool
) -> tuple[str, np.ndarray | None]:
    """Return the name of the inputs among arrays, and the labels where there are some.

    Of the parts of one file, like x_train and x_test, the test part counts for samples, and the other one for a pool.

    Args:
        path: The file, for errors.
        arrays: The arrays by name.
        label: Name of the labels, where it is known.
        labelled: Whether labels are required.

    Returns:
        The name of the inputs, and the labels.

    Raises:
        BadInput: There are no inputs, no labels, or more of one than of the other.
    """
    order = sorted(INPUTS, key=lambda name: name.endswith("_test" if not labelled else "_train"))
    inputs = _first(arrays, order)
    labels = label if label in arrays else None
    if labels is None and label is None and inputs is not None:
        part = inputs.lower().removeprefix("x")
        labels = _first(arrays, [f"y{part}", *LABELS] if part in ("_test", "_train") else LABELS)
    if inputs is None or (labelled and labels is None):
        raise BadInput(
            f"{path} with {', '.join(arrays) or 'nothing'}", "inputs and labels" if labelled else "inputs",
            "name the arrays so: numpy.savez(path, x=…, y=…)",
        )  # fmt: skip
    if labels is not None and arrays[labels].shape[:1] != arrays[inputs].shape[:1]:
        raise BadInput(
            f"{path} with {inputs} of shape {arrays[inputs].shape} and {labels} of shape {arrays[labels].shape}",
            "as many labels as inputs", "mend the file",
        )  # fmt: skip
    return inputs, None if labels is None else arrays[labels]


def from_array(name: str, x: np.ndarray, domain: Domain | None) -> Arrays:
    """Return an array as inputs, stored as their domain stores them.

    Args:
        name: Name of the array, for errors.
        x: Images (N, C, H, W), (N, H, W, C) or (N, H, W); rows (N, D) or (N,); sequences (N, L); texts (N,).
        domain: What the model takes; None tells images by their dimensions, and sequences by their name.

    Returns:
        Inputs (N, …), their domain, and remarks.

    Raises:
        BadInput: The array is none of these, or has values outside the domain.
    """
    if x.ndim and not len(x):
        raise BadInput(f"{name} of shape {x.shape}, with no inputs", "one or more", "give it some")
    if not x.ndim or not x.size or x.dtype.kind not in "fiubUS":
        raise BadInput(f"{name} of shape {x.shape} and type {x.dtype}", "inputs as numbers or texts", "convert them")
    if x.dtype.kind in "US":
        return _from_words(name, x, domain)
    if domain is None:
        sequences = name.lower() in SEQUENCES and x.ndim == 2
        domain_kind = Tokens if sequences else Pixels if x.ndim >= 3 else Columns
    else:
        domain_kind = type(domain)
    if domain_kind is Tokens:
        return from_tokens([*x.reshape(len(x), -1)], domain if isinstance(domain, Tokens) else None)
    if domain_kind is Pixels:
        return _from_pixels(name, x, domain if isinstance(domain, Pixels) else None)
    if domain_kind is Columns:
        return _from_numbers(x.reshape(len(x), -1), domain if isinstance(domain, Columns) else None)
    raise BadInput(f"{name} of numbers of type {x.dtype}", "texts, which the model takes", "save an array of strings")


def _first(arrays: dict[str, np.ndarray], names: Sequence[str]) -> str | None:
    known = {name.lower(): name for name in arrays}
    return next((known[name] for name in names if name in known), None)


def _from_words(name: str, x: np.ndarray, domain: Domain | None) -> Arrays:
    if x.ndim == 1 and (domain is None or isinstance(domain, Text)):
        return from_texts(x.tolist(), domain)
    if isinstance(domain, Columns) and x.ndim == 2 and x.shape[1] == len(domain.columns):
        return from_rows({c: x[:, i].tolist() for i, c in enumerate(domain.names)}, domain)
    raise BadInput(f"{name}, words of shape {x.shape}", "texts (N,), or numbers", "save what the model takes")


def _from_numbers(x: np.ndarray, domain: Columns | None) -> Arrays:
    """Return rows of numbers; the columns are the model's by their position."""
    rows = x.astype(np.float64)
    if domain is None:
        return rows, Columns.describe({f"x{i}": column for i, column in enumerate(rows.T)}), ()
    if x.shape[1] != len(domain.columns):
        raise BadInput(f"rows of {x.shape[1]} numbers", f"{len(domain.columns)}, as the model takes", "check the file")
    domain.check(rows)
    return rows, domain, ()


def _from_pixels(name: str, x: np.ndarray, domain: Pixels | None) -> Arrays:
    if domain is not None and len(domain.shape) != 3:  # rows of scaled numbers
        return _levels(name, _reshaped(name, x, domain.shape)), domain, ()
    if domain is not None and x.ndim == 2:
        return _levels(name, _reshaped(name, x, domain.shape)), domain, _assumed_layout(domain)
    images = _levels(name, _channels_first(name, x, domain))
    if domain is None or images.shape[1:] == domain.shape:
        return images, domain or Pixels(images.shape[1:]), ()
    scaled, remarks = resized(images, domain)
    return scaled, domain, remarks


def _assumed_layout(domain: Pixels) -> tuple[Remark, ...]:
    """Return a remark on rows that were taken for images of several channels."""
    shape = "×".join(map(str, domain.shape))
    several = domain.shape[0] > 1
    return (Remark("rows as images", {"count": f"{np.prod(domain.shape):,}", "shape": shape}),) if several else ()


def _reshaped(name: str, x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    if x[0].size != np.prod(shape):
        raise BadInput(f"{name} of shape {x.shape}", f"(N, {', '.join(map(str, shape))})", "check the file")
    return x.reshape(len(x), *shape)


def _channels_first(name: str, x: np.ndarray, domain: Pixels | None) -> np.ndarray:
    """Return images as (N, C, H, W); the model's shape decides where two sides may be channels."""
    images = x[:, None] if x.ndim == 3 else x
    as_model = domain is not None and images.shape[1:] == domain.shape
    if images.ndim == 4 and not as_model and images.shape[3] in MODES and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in MODES:
        raise BadInput(f"{name}, images of shape {x.shape}", "(N, C, H, W), (N, H, W, C) or (N, H, W)", "reshape them")
    return images


def _levels(name: str, x: np.ndarray) -> np.ndarray:
    """Return pixels as uint8: from 8 or 16 bits, or from [0, 1]."""
    low, high = x.min(), x.max()
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind in "iu" and low >= 0 and high <= 255:
        return x.astype(np.uint8)
    if x.dtype == np.uint16:
        check_depth(f"{name}, images of 16 bits", int(high))
        return np.rint(x / 257).astype(np.uint8)
    if x.dtype.kind == "b":
        return x.astype(np.uint8) * 255
    if x.dtype.kind == "f" and np.isnan(low):
        raise BadInput(f"{name}, images with NaN", "uint8, or floats in [0, 1]", "leave these images out, or mend them")
    if x.dtype.kind != "f" or not (low >= 0 and high <= 1):
        whole = low >= 0 and high <= 255 and bool((x == np.rint(x)).all())
        raise BadInput(
            f"{name}, images of type {x.dtype} from {low:.3g} to {high:.3g}", "uint8, or floats in [0, 1]",
            "save them as uint8" if whole else "save plain pixels: normalisation is a part of the model",
        )  # fmt: skip
    return np.round(x * 255).astype(np.uint8)
