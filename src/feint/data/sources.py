"""Sources of named data sets."""

import os
from dataclasses import dataclass
from pathlib import Path

from feint.data import readers
from feint.errors import FeintError, MissingData, UnknownName


@dataclass(frozen=True)
class Source:
    """Source of a named data set.

    Attributes:
        hub: Name on the Hugging Face hub; NAME:CONFIG for a configuration.
        size: Height and width, for sets of images of many sizes: their centre squares are scaled.
        pool: Data set whose training inputs are the attacker's pool. None holds out a share of the training inputs.
        held_out: Share of the training inputs that is the pool where no other set is.
        label: Column of the label on the hub; None for the first of the usual names.
        home: Page of the authors, or of the archive that distributes the data.
        licence: Licence, as the home states it.
        citation: Publication to cite.
    """

    hub: str | None = None
    size: int | None = None
    pool: str | None = None
    held_out: float = 1 / 6
    label: str | None = None
    home: str = ""
    licence: str = ""
    citation: str = ""


UCI = "https://archive.ics.uci.edu/dataset"
STEAL_ML = "https://github.com/ftramer/Steal-ML"
CC_BY = "CC BY 4.0"
WHOLE_TABLE = 0.5  # the attacker's half of a table: rows as good as the owner's, the worst case for the owner

SOURCES = {
    "digits": Source(
        held_out=0.5, home=f"{UCI}/80", licence=CC_BY,
        citation="Alpaydin and Kaynak: Optical Recognition of Handwritten Digits, UCI 1998",
    ),
    "fashion_mnist": Source(
        "zalando-datasets/fashion_mnist", home="https://github.com/zalandoresearch/fashion-mnist", licence="MIT",
        citation="Xiao, Rasul and Vollgraf: Fashion-MNIST, 2017",
    ),
    "cifar10": Source(
        "uoft-cs/cifar10", pool="cifar100", home="https://www.cs.toronto.edu/~kriz/cifar.html",
        citation="Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
    ),
    "cifar100": Source(
        "uoft-cs/cifar100", pool="cifar10", home="https://www.cs.toronto.edu/~kriz/cifar.html",
        citation="Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
    ),
    "gtsrb": Source(
        "tanganke/gtsrb", size=32, pool="cifar100", home="https://benchmark.ini.rub.de/gtsrb_news.html",
        citation="Stallkamp, Schlipsing, Salmen and Igel: Man vs. computer, Neural Networks 2012",
    ),
    "caltech101": Source(
        "flwrlabs/caltech101", size=64, home="https://data.caltech.edu/records/mzrjq-6wc02", licence=CC_BY,
        citation="Fei-Fei, Fergus and Perona: Learning Generative Visual Models from Few Training Examples, 2004",
    ),
    "caltech256": Source(
        "ilee0022/Caltech-256", size=64, home="https://data.caltech.edu/records/nyy15-4j048", licence=CC_BY,
        citation="Griffin, Holub and Perona: Caltech-256 Object Category Dataset, 2007",
    ),
    "cub200": Source(
        "bentrevett/caltech-ucsd-birds-200-2011", size=64, home="https://data.caltech.edu/records/65de6-vp158",
        citation="Wah, Branson, Welinder, Perona and Belongie: The Caltech-UCSD Birds-200-2011 Dataset, 2011",
    ),
    "adult": Source(
        "scikit-learn/adult-census-income", label="income", held_out=WHOLE_TABLE, home=f"{UCI}/2/adult", licence=CC_BY,
        citation="Becker and Kohavi: Adult, UCI 1996",
    ),
    "german_credit": Source(
        held_out=WHOLE_TABLE, home=f"{UCI}/144/statlog+german+credit+data", licence=CC_BY,
        citation="Hofmann: Statlog (German Credit Data), UCI 1994",
    ),
    "gss": Source(
        held_out=WHOLE_TABLE, home="https://gss.norc.org", licence="General Social Survey, public use",
        citation=f"Smith, Marsden, Hout and Kim: General Social Surveys; the extract of {STEAL_ML}",
    ),
    "mushroom": Source(held_out=WHOLE_TABLE, home=f"{UCI}/73/mushroom", licence=CC_BY, citation="Mushroom, UCI 1981"),
    "nursery": Source(
        held_out=WHOLE_TABLE, home=f"{UCI}/76/nursery", licence=CC_BY, citation="Rajkovic: Nursery, UCI 1989"
    ),
    "crop": Source(
        held_out=WHOLE_TABLE, home="https://github.com/acoksuz/AUTOLYCUS", licence="MIT",
        citation="Oksuz, Halimi and Ayday: AUTOLYCUS, PETS 2024, which distributes it",
    ),
    "steak": Source(
        held_out=WHOLE_TABLE, home="https://github.com/fivethirtyeight/data/tree/master/steak-survey", licence=CC_BY,
        citation=f"Hickey: How Americans Like Their Steak, FiveThirtyEight 2014; the extract of {STEAL_ML}",
    ),
    "imdb": Source(
        "stanfordnlp/imdb", pool="wikitext2", home="https://ai.stanford.edu/~amaas/data/sentiment",
        citation="Maas, Daly, Pham, Huang, Ng and Potts: Learning Word Vectors for Sentiment Analysis, ACL 2011",
    ),
    "sms_spam": Source(
        "ucirvine/sms_spam", pool="wikitext2", home=f"{UCI}/228/sms+spam+collection", licence=CC_BY,
        citation="Almeida, Gómez Hidalgo and Yamakami: Contributions to the Study of SMS Spam Filtering, DocEng 2011",
    ),
    "ag_news": Source(
        "fancyzhx/ag_news", pool="wikitext2", home="http://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html",
        citation="Zhang, Zhao and LeCun: Character-level Convolutional Networks for Text Classification, NeurIPS 2015",
    ),
    "wikitext2": Source(
        "Salesforce/wikitext:wikitext-2-raw-v1", home="https://huggingface.co/datasets/Salesforce/wikitext",
        licence="CC BY-SA 3.0", citation="Merity, Xiong, Bradbury and Socher: Pointer Sentinel Mixture Models, 2016",
    ),
}  # fmt: skip


def known() -> list[str]:
    """Return the names of all data sets: Feint's own, and those in the directory FEINT_DATA."""
    root = os.environ.get("FEINT_DATA")
    return sorted({*SOURCES, *(folder.name for folder in Path(root or ".").expanduser().glob("*/") if root)})


def find(name: str, source: Source, size: int | None) -> tuple[readers.Reader, object]:
    """Return the reader of the data set `name`, and a description of its origin, on which the cache depends.

    An unknown name raises `UnknownName`, and a set that has to be fetched by hand `MissingData`.

    Args:
        name: Name of the set.
        source: Its source.
        size: Height and width of images, or length of texts; None for those of the data.

    Returns:
        The reader and the description.
    """
    root = os.environ.get("FEINT_DATA")
    folder = Path(root).expanduser() / name if root else None
    if name == "digits":
        return readers.read_digits, "digits"
    if folder is not None and folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        marks = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return lambda: readers.read_folder(folder, size), [str(folder.resolve()), marks]
    if name == "fashion_mnist" and readers.DEBIAN_FASHION.is_dir():
        return readers.read_debian_fashion, str(readers.DEBIAN_FASHION)
    if source.hub is not None:
        return lambda: readers.read_hub(name, str(source.hub), size, source.label), source.hub
    error = _missing(name, source)
    raise error


def _missing(name: str, source: Source) -> FeintError:
    """Return the error for a set that is neither here nor on the hub."""
    if name not in SOURCES:
        return UnknownName.among("data set", name, known())
    return MissingData(
        f"no data set {name!r}", f"FEINT_DATA/{name}/train-*.parquet and test-*.parquet, with a column label",
        f"fetch it from {source.home} and set FEINT_DATA to the directory that holds it",
    )  # fmt: skip
