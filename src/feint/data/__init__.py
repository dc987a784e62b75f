"""Named data sets: images as uint8 in memory-mapped files, decoded to float32 in [0, 1] a batch at a time.

`load(name)` looks, in this order, at the set that ships with Feint (`digits`), at a directory `FEINT_DATA/name`
(Parquet files in the Hugging Face hub's layout, or an image folder train/CLASS/*.jpg), at Debian's package for
Fashion-MNIST, and at the hub. What it decoded is kept under `FEINT_CACHE` (by default ~/.cache/feint), so the second
load only maps files.
"""

from feint.data.dataset import Dataset, Split, decode, load
from feint.data.readers import decode_part
from feint.data.sources import SOURCES, Source, known

__all__ = ["SOURCES", "Dataset", "Source", "Split", "decode", "decode_part", "known", "load"]
