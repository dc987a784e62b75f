"""Cache of decoded data sets: arrays in files under `FEINT_CACHE`, which are mapped into memory."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from feint.data.readers import Decoded, divide
from feint.data.remarks import Remark
from feint.data.sources import SOURCES, Source, find
from feint.errors import DamagedFile
from feint.recipes.recipe import fingerprint, from_table, to_table
from feint.recipes.store import atomic_write
from feint.signature import DOMAINS, Column, Domain, Pixels

WORDS = {kind.__name__: kind for kind in (*DOMAINS.values(), Column)}  # of domains in the cache


class CachedPart(NamedTuple):
    """Part of a data set, mapped from files.

    Attributes:
        fingerprint: Digest of values and labels; see `digest_of`.
        arrays: Values (N, …) as they are stored, and labels (N,) int64.
    """

    fingerprint: str
    arrays: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class CachedData:
    """Data set in the cache, with or without labels.

    Attributes:
        name: Name of the set; NAME@SIZE where it was scaled or cut to a size.
        parts: Its parts by name.
        domain: Domain of the inputs.
        classes: Names of the classes; none for a set without labels.
        remarks: What the reader changed or left out.
    """

    name: str
    parts: Mapping[str, CachedPart]
    domain: Domain
    classes: tuple[str, ...]
    remarks: tuple[Remark, ...]


def cached_data(name: str, size: int | None) -> CachedData:
    """Return a named data set; the first time it is decoded and cached. Errors as in `feint.data.load`."""
    name, _, scaled = name.partition("@")
    if size is None and scaled.isdigit():
        size = int(scaled)
    source, title = SOURCES.get(name, Source()), name if size is None else f"{name}@{size}"
    size = size or source.size
    reader, origin = find(name, source, size)
    key = fingerprint([1, origin, size], 12)
    folder = Path(os.environ.get("FEINT_CACHE", Path.home() / ".cache" / "feint")) / f"{name}-{key}"
    if not (folder / "about.json").exists():
        _save(folder, reader(), 0.0 if source.pool is not None else source.held_out)
    return _open(title, folder)


def digest_of(values: np.ndarray, labels: np.ndarray) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of values and labels."""
    digest = hashlib.sha256(np.ascontiguousarray(values).data)
    digest.update(np.ascontiguousarray(labels, np.int64).data)
    return digest.hexdigest()[:16]


def _save(folder: Path, decoded: Decoded, held_out: float) -> None:
    """Store a data set; a share of the training inputs is held out as the pool, where the set has labels."""
    parts, noun = dict(decoded.parts), decoded.domain.noun
    if held_out and decoded.classes:
        parts["train"], parts["held_out"] = divide(*parts["train"], held_out)
    with atomic_write(folder) as partial:
        partial.mkdir()
        for part, (values, labels) in parts.items():
            np.save(partial / f"{part}-{noun}.npy", values)
            np.save(partial / f"{part}-labels.npy", labels.astype(np.int64))
        about = {
            "classes": decoded.classes,
            "fingerprints": {part: digest_of(*arrays) for part, arrays in parts.items()},
            "domain": to_table(decoded.domain),
            "remarks": decoded.remarks,
        }
        (partial / "about.json").write_text(json.dumps(about))


def _open(name: str, folder: Path) -> CachedData:
    try:
        about = json.loads((folder / "about.json").read_text())
        domain = from_table(about["domain"], WORDS) if "domain" in about else None  # images, in older caches
        noun, parts = (domain or Pixels).noun, {}
        for part, digest in about["fingerprints"].items():
            values, labels = (np.load(folder / f"{part}-{what}.npy", mmap_mode="r") for what in (noun, "labels"))
            parts[part] = CachedPart(digest, (values, labels))
        domain = domain or Pixels(parts["train"].arrays[0].shape[1:])
        remarks = tuple(Remark(*remark) for remark in about.get("remarks", ()))
        return CachedData(name, parts, domain, tuple(about["classes"]), remarks)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DamagedFile(f"{folder} ({error})", "decoded data that Feint cached", "delete that directory") from error
