"""Images by place: a named data set, a directory, or an .npz file."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from feint import data
from feint._optional import require
from feint.data import Split
from feint.data.pools import parse_pool
from feint.errors import BadInput, DamagedFile, FeintError, MissingData, MixedSizes, one_line

Shape = tuple[int, ...] | None
KINDS = "a data set, a directory of CLASS/*.png or *.parquet, or an .npz with images and labels"


def samples_at(place: str, shape: Shape) -> Split:
    """Load labelled samples that the model was not trained on.

    Absent files raise `MissingData`, unreadable ones `DamagedFile`, and others than images `BadInput`.

    Args:
        place: Data set, directory or .npz file. Of a data set, and of a directory with two parts, the test part counts.
        shape: (C, H, W) that images of several sizes are scaled to.

    Returns:
        Images (N, C, H, W) and labels (N,).
    """
    return _from_file(place, shape, labelled=True) if is_file(place) else data.load(place).test


def pool_at(place: str, shape: Shape) -> Split:
    """Load the attacker's pool, with or without labels. Errors as in `samples_at`.

    Args:
        place: Data set, NAME/train, directory or .npz file. Of a data set its pool counts.
        shape: (C, H, W) that images of several sizes are scaled to.

    Returns:
        Images (N, C, H, W); missing labels are 0.
    """
    if is_file(place):
        return _from_file(place, shape, labelled=False)
    return parse_pool(place)


def is_file(place: str) -> bool:
    """Return whether `place` is a path: not the name of a data set, and an existing path or an .npz file."""
    return place not in data.SOURCES and (Path(place).exists() or Path(place).suffix == ".npz")


def _from_file(place: str, shape: Shape, *, labelled: bool) -> Split:
    path = Path(place)
    if path.is_dir():
        images, labels = _from_folder(path, shape, labelled)
    elif path.suffix == ".npz":
        images, labels = _from_npz(path, labelled)
    else:
        raise BadInput(place, KINDS, "name one of these")
    return Split.of(images, labels, name=path.name, part="all")


def _from_npz(path: Path, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise MissingData(f"{path}, which is not there", "an .npz file with images and labels", "check the path")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            members = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedFile(f"{path} ({error})", "an .npz file without pickles", "write it again: numpy.savez") from error
    if "images" not in members or (labelled and "labels" not in members):
        raise BadInput(
            f"{path} with {', '.join(members) or 'nothing'}", "images and labels" if labelled else "images",
            "name the arrays so: numpy.savez(path, images=…, labels=…)",
        )  # fmt: skip
    images = _to_nchw(path, members["images"])
    labels = members.get("labels", np.zeros(len(images), np.int64)).reshape(-1)
    if len(labels) != len(images) or labels.dtype.kind not in "iu":
        raise BadInput(
            f"{len(labels)} labels of type {labels.dtype} for {len(images)} images", "an integer each", "mend the file"
        )
    return images, labels


def _to_nchw(path: Path, images: np.ndarray) -> np.ndarray:
    """Return the images as (N, C, H, W) uint8; (N, H, W) and (N, H, W, C) are transposed."""
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or not len(images):
        raise BadInput(
            f"{path}, images of shape {images.shape}", "(N, C, H, W), (N, H, W, C) or (N, H, W)", "reshape them"
        )
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if images.dtype.kind != "f" or not (images.min() >= 0 and images.max() <= 1):
        raise BadInput(
            f"{path}, images of type {images.dtype} from {images.min():.3g} to {images.max():.3g}",
            "uint8, or floats in [0, 1]", "save plain pixels: normalisation is a part of the model",
        )  # fmt: skip
    return np.ascontiguousarray(np.round(images * 255).astype(np.uint8))


def _from_folder(path: Path, shape: Shape, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a directory; those of several sizes are scaled to `shape`."""
    parts = _open_folder(path)
    part = parts["test" if "test" in parts else next(iter(parts))]
    try:
        (images, labels), _ = data.decode_part(part, None, labelled=labelled)
    except MixedSizes:
        if shape is None:
            raise
        (images, labels), _ = data.decode_part(part, shape[1], labelled=labelled)
    return images, labels


def _open_folder(path: Path) -> Any:
    """Return the parts of a directory as `datasets` reads them."""
    datasets = require("datasets", "data")
    parquet = sorted(map(str, path.rglob("*.parquet")))
    parts = {part: [file for file in parquet if Path(file).name.startswith(part)] for part in ("train", "test")}
    files: Any = {part: paths for part, paths in parts.items() if paths} or {"train": parquet}
    try:
        if parquet:
            return datasets.load_dataset("parquet", data_files=files, streaming=True)
        return datasets.load_dataset("imagefolder", data_dir=str(path), streaming=True)
    except FeintError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise DamagedFile(f"{path} ({one_line(error, 160)})", KINDS, "bring the data into that form") from error
