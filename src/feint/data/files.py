"""Data by place: a named data set, a file or a directory, as inputs that a model takes and labels of its classes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from feint.data import images, tables
from feint.data.dataset import Split, load, load_part
from feint.data.folders import divided, read_part
from feint.data.labels import Assignment, Labels, assignments, class_names
from feint.data.made_up import MADE_UP, made_up
from feint.data.parts import Part, converted, npz_part, table_part
from feint.data.pools import parse_pool, parse_split
from feint.data.remarks import Remark, listed
from feint.data.sources import known
from feint.data.tabular import from_rows
from feint.errors import BadInput, FeintError, MissingData
from feint.signature import Columns, Domain, Pixels, Text, Tokens

KINDS = "a data set, a directory, or a file: .csv, .parquet, .jsonl, .npz, or .txt with a text a line"
READ = "convert it: pandas.read_{kind}('{name}').to_parquet('{stem}.parquet')"
CONVERTED = {  # remedies for files of other formats
    **{suffix: READ.replace("{kind}", kind) for suffix, kind in (
        (".xlsx", "excel"), (".xls", "excel"), (".ods", "excel"), (".feather", "feather"), (".arrow", "feather"),
        (".orc", "orc"), (".pkl", "pickle"), (".dta", "stata"), (".sas7bdat", "sas"), (".sav", "spss"),
    )},
    **dict.fromkeys((".tar", ".tgz", ".gz", ".bz2"), "unpack it: tar xf {name}"),
    **dict.fromkeys((".pt", ".pth", ".mat", ".h5", ".hdf5"), "write its arrays: numpy.savez('{stem}.npz', x=…, y=…)"),
    ".zip": "unpack it: unzip {name}", ".xz": "unpack it: unxz {name}", ".7z": "unpack it: 7z x {name}",
    ".arff": "convert it: pandas.DataFrame(scipy.io.arff.loadarff('{name}')[0]).to_csv('{stem}.csv', index=False)",
    ".data": "write the names of the columns into its first row, and: cp {name} {stem}.csv",
    ".npy": "write it with its labels: numpy.savez('{stem}.npz', x=numpy.load('{name}'), y=labels)",
}  # fmt: skip
SUFFIXES = (".npz", *tables.SUFFIXES)
Classes = int | Sequence[str] | None


@dataclass(frozen=True)
class Reading:
    """Inputs of one place, with their labels as classes of a model.

    Attributes:
        split: Inputs and labels; labels are 0 in a pool.
        classes: Names of the classes.
        remarks: What was left out, changed or assumed.
        labels: Labels as the place has them; None in a pool.
        assignments: Plausible classes of the labels; the first one is in `split`.
    """

    split: Split
    classes: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    labels: Labels | None = None
    assignments: tuple[Assignment, ...] = ()

    def assigned(self, assignment: Assignment) -> Split:
        """Return the same inputs with the labels that another assignment gives them."""
        split = self.split
        labels = assignment.of(self.labels) if self.labels is not None else split.arrays[1]
        return Split.of(split.values, labels, domain=split.domain, name=split.name, part=split.part)


def samples_at(
    place: str, domain: Domain | None = None, *, classes: Classes = None, label: str | None = None
) -> Reading:
    """Load labelled samples that the model was not trained on.

    Absent files raise `MissingData`, unreadable ones `DamagedFile`. Data that do not fit the domain, and labels that do
    not fit the classes, raise `BadInput`.

    Args:
        place: Data set, directory or file; PLACE@SIZE or PLACE@WIDTHxHEIGHT gives the size of images. Of a data set,
            and of a directory with several parts, the test part counts.
        domain: What the model takes; None describes it from the data.
        classes: Names of the model's classes, or their number; None takes the labels as they are.
        label: Column of the label; None for the first of the usual names.

    Returns:
        The samples.
    """
    if not is_file(place):
        dataset = load(place)
        reading = samples_of(dataset.test, dataset.classes, domain, classes=classes)
        unchanged = reading.split.values is dataset.test.values
        return replace(reading, remarks=(*reading.remarks, *(dataset.remarks if unchanged else ())))
    part, (x, own_domain, remarks), name = _read(place, domain, label, labelled=True)
    assert part.labels is not None
    split = Split.of(x, part.labels.codes, domain=own_domain, name=name, part="all")
    return _labelled(split, part.labels, classes, remarks)


def samples_of(split: Split, names: Sequence[str], domain: Domain | None = None, *, classes: Classes = None) -> Reading:
    """Return labelled inputs of a named set as a model takes them. Errors as in `samples_at`.

    Args:
        split: The inputs.
        names: Names of the set's classes.
        domain: What the model takes; None for the set's own.
        classes: Names of the model's classes, or their number; None takes the labels as they are.

    Returns:
        The inputs, the split itself where nothing is changed.

    Raises:
        BadInput: The labels are of another set, as those of a pool may be.
    """
    if len(split) and int(split.arrays[1].max()) >= len(names):
        raise BadInput(
            f"{split.name}/{split.part} with labels up to {split.arrays[1].max()}", f"labels of {len(names)} classes",
            "name the train or the test part of the task's own set",
        )  # fmt: skip
    fitted, remarks = _fitted(split, domain)
    return _labelled(fitted, Labels(tuple(names), fitted.arrays[1], listed=True), classes, remarks)


def pool_at(place: str, domain: Domain | None = None, *, label: str | None = None) -> Reading:
    """Load the attacker's pool. Labels, if any, are left out. Errors as in `samples_at`.

    Args:
        place: Data set, NAME/train, directory or file. Of a data set its pool counts; of a directory with several
            parts its pool, or else its train part.
        domain: What the model takes.
        label: Column of the label, which is left out.

    Returns:
        The pool.
    """
    if not is_file(place):
        split, remarks = _fitted(parse_pool(place), domain)
        return Reading(split, remarks=remarks)
    _, (x, own_domain, remarks), name = _read(place, domain, label, labelled=False)
    return Reading(Split.of(x, np.zeros(len(x), np.int64), domain=own_domain, name=name, part="all"), remarks=remarks)


def outliers_at(place: str, like: Split, seed: int = 0) -> Reading:
    """Load inputs of another task. Errors as in `pool_at` and `parse_split`.

    Args:
        place: Data set or a part of one, file or directory; or "marginals" or "uniform" for inputs that are made up.
        like: Inputs of the task.
        seed: Seed of what is made up, of which attackers draw others.

    Returns:
        The inputs.
    """
    if place in MADE_UP:
        return Reading(made_up(like, place, 1 + seed))
    if is_file(place):
        return pool_at(place, like.domain)
    split, remarks = _fitted(parse_split(place), like.domain)
    return Reading(split, remarks=remarks)


def is_file(place: str) -> bool:
    """Return whether `place` is a path and not the name of a data set."""
    if re.split("[@/]", place)[0] in known():
        return False
    path, _ = _sized(place)
    return bool(place) and (path.exists() or tables.suffix(path) in SUFFIXES or place.startswith(("/", ".", "~")))


def _sized(place: str) -> tuple[Path, tuple[int, int] | None]:
    """Return the path of a place, and the height and width after its @, if any."""
    path = Path(place).expanduser()
    match = re.fullmatch(r"(.+)@(\d+)(?:x(\d+))?", place)
    if path.exists() or match is None:
        return path, None
    return Path(match[1]).expanduser(), (int(match[3] or match[2]), int(match[2]))


def _read(
    place: str, domain: Domain | None, label: str | None, *, labelled: bool
) -> tuple[Part, tuple[np.ndarray, Domain, tuple[Remark, ...]], str]:
    """Return a part of a file or directory, its inputs in the domain, and its title."""
    path, size = _sized(place)
    if not path.exists():
        raise MissingData(f"{path}, which is not there", KINDS, "check the path")
    if not path.is_dir() and tables.suffix(path) not in SUFFIXES:
        remedy = CONVERTED.get(path.suffix.lower(), "name one of these")
        raise BadInput(place, KINDS, remedy.format(name=path.name, stem=path.stem))
    try:
        part = _part(path, domain, label, labelled=labelled)
        if domain is None and size is not None and part.kind is Pixels:
            domain = Pixels((_channels(part), *size))
        return part, converted(part, domain), path.name
    except FeintError as error:
        if str(path) in str(error.args[0]):
            raise
        raise error.with_context(str(path)) from error


def _part(path: Path, domain: Domain | None, label: str | None, *, labelled: bool) -> Part:
    if path.suffix.lower() == ".npz" and path.is_file():
        return npz_part(path, domain, label=label, labelled=labelled)
    if labelled and tables.suffix(path) == ".txt":
        raise BadInput(f"{path}, texts alone", "texts with labels", f"a table with a header is named {path.stem}.csv")
    if path.is_file():
        return table_part(tables.read_table(path), domain, label=label, labelled=labelled)
    parts = divided(path)
    order = ("test", "all", "train") if labelled else ("pool", "train", "all", "test")
    chosen = next((parts[name] for name in order if name in parts), None)
    if chosen is None:
        raise BadInput(f"{path} with the parts {', '.join(parts)}", "a test part", "name the samples' directory")
    return read_part(chosen, domain, label=label, labelled=labelled)


def _channels(part: Part) -> int:
    """Return the channels of the first image."""
    x, _, _ = images.from_images(part.inputs[:1])
    return x.shape[1]


def _fitted(split: Split, domain: Domain | None) -> tuple[Split, tuple[Remark, ...]]:
    """Return a split of a named set in the domain that a model takes, and remarks on what was changed."""
    if domain is None or split.domain == domain:
        return split, ()
    if type(domain) is not type(split.domain):
        raise BadInput(
            f"{split.name}, {split.domain.noun}", f"{domain.noun}, which the model takes", "choose other data"
        )
    x, labels = split.arrays
    if isinstance(domain, (Text, Tokens)):
        name, _, share = split.part.partition(":")
        part = load_part(split.name.partition("@")[0], name, size=domain.length)
        domain.check(part.domain.decode(part.values))
        return (part.share(*map(int, share.split("/"))) if share else part), ()
    if isinstance(domain, Columns):
        assert isinstance(split.domain, Columns)
        x, _, remarks = from_rows(split.domain.to_table(x), domain)
        return Split.of(x, labels, domain=domain, name=split.name, part=split.part), remarks
    assert isinstance(domain, Pixels)
    x, remarks = images.resized(x, domain)
    return Split.of(x, labels, domain=domain, name=split.name, part=split.part), remarks


def _labelled(split: Split, labels: Labels, classes: Classes, remarks: Sequence[Remark]) -> Reading:
    """Return inputs with their labels as classes of a model."""
    options = assignments(labels, classes)
    names = class_names(labels, options[0], classes) if classes is None or isinstance(classes, int) else tuple(classes)
    reading = Reading(split, names, (*remarks, *_assumed(labels, options)), labels, options)
    unchanged = np.array_equal(options[0].of(labels), split.arrays[1])
    return reading if unchanged else replace(reading, split=reading.assigned(options[0]))


def _assumed(labels: Labels, options: Sequence[Assignment]) -> tuple[Remark, ...]:
    """Return remarks on an assignment of labels that is no match of names or numbers."""
    rule = options[0].rule
    if rule == "number from 1":
        return (Remark("labels from 1", {}),)
    if rule in ("order", "text order") and len(options) > 1:
        return (Remark("labels by order", {"labels": listed(labels.names, 12)}),)
    return ()
