"""Data sets, their splits and pools, and readers of files.

Images are uint8 in memory-mapped files, and are decoded to float32 in [0, 1] one batch at a time.

`load(name)` looks in this order: the set that ships with Feint (`digits`), a directory `FEINT_DATA/name` (Parquet files
in the Hugging Face hub's layout, or train/CLASS/*.jpg), Debian's package for Fashion-MNIST, the hub. A set without
labels is a pool alone. Decoded data are cached under `FEINT_CACHE` (by default ~/.cache/feint), so that the second load
only maps files. `feint.data.files` reads the owner's own files and directories.
"""

from feint.data.dataset import Dataset, Split, decode, load, load_part
from feint.data.remarks import Remark
from feint.data.sources import SOURCES, Source, known

__all__ = ["SOURCES", "Dataset", "Remark", "Source", "Split", "decode", "known", "load", "load_part"]
