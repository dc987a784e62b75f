"""Directories: Parquet and other tables, images and texts, in parts like train and test, and by class."""

from collections.abc import Sequence
from pathlib import Path

from feint.data import images, tables
from feint.data.labels import Labels, read_labels
from feint.data.parts import Part, table_part
from feint.data.remarks import Remark, listed
from feint.errors import BadInput, DamagedFile, MissingData
from feint.signature import Domain, Pixels, Text

PARTS = {
    "test": ("test", "validation", "valid", "val"),
    "train": ("train", "training"),
    "pool": ("pool", "unlabeled", "unlabelled"),
}
JUNK = "thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx"
UNREAD = ".heic", ".heif", ".jxl", ".svg", ".psd", ".eps", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw"  # images
ROWS = ".parquet", ".csv", ".tsv", ".jsonl", ".ndjson"


def divided(folder: Path) -> dict[str, Path | list[Path]]:
    """Return the parts of a directory.

    Args:
        folder: Directory of tables, whose parts are files that begin with train or test, or are in such a directory;
            or of images or texts, whose parts are directories.

    Returns:
        Directory or tables of "train", "test" and "pool"; the directory or tables under "all" where it has no parts.
    """
    files = _files(folder)
    parquet = [file for file in files if file.suffix.lower() == ".parquet"]
    pictures = any(file.suffix.lower() in images.SUFFIXES for file in files)
    rows = parquet or ([] if pictures else [file for file in files if tables.suffix(file) in ROWS])
    if rows:
        parts = {part: [file for file in rows if _is_of(file.relative_to(folder), part)] for part in PARTS}
        named: dict[str, Path | list[Path]] = {part: paths for part, paths in parts.items() if paths}
        return named or {"all": rows}
    children = {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}
    return {
        part: children[next(name for name in names if name in children)]
        for part, names in PARTS.items()
        if any(name in children for name in names)
    } or {"all": folder}


def read_part(
    place: Path | Sequence[Path], domain: Domain | None = None, *, label: str | None = None, labelled: bool = True
) -> Part:
    """Return the inputs and labels of a part.

    Args:
        place: Tables, or a directory of CLASS/FILE; without labels of FILE, too.
        domain: What the model takes; None tells it from the files.
        label: Column of the label in tables.
        labelled: Whether labels are required.

    Returns:
        The part.

    Raises:
        MissingData: There are no images, texts or tables.
        BadInput: A file is in no directory of a class, or there are only images of formats that are not read.
    """
    if not isinstance(place, Path):
        return table_part(tables.read_table(*place), domain, label=label, labelled=labelled)
    everything = _files(place)
    pictures = [file for file in everything if file.suffix.lower() in images.SUFFIXES]
    unread = [file for file in everything if file.suffix.lower() in UNREAD]
    chosen = pictures or [file for file in everything if file.suffix.lower() == ".txt"]
    if unread and not pictures:
        raise BadInput(
            f"{unread[0]}, an image of a format that is not read", f"one of {', '.join(images.SUFFIXES)}",
            "convert it to PNG or JPEG",
        )  # fmt: skip
    if not chosen:
        raise MissingData(
            f"{place} without images, texts or tables", "CLASS/*.png, CLASS/*.txt, or *.parquet, *.csv or *.jsonl",
            "bring the data into one of these forms",
        )  # fmt: skip
    kind = "images" if pictures else "texts"
    remarks = [
        *_listed("images unread", unread),
        *_listed("files ignored", [file for file in everything if file not in {*chosen, *unread}], kind=kind),
    ]
    labels, empty = _classes(place, chosen) if labelled else (None, ())
    if pictures:
        return Part(Pixels, [(str(file), file) for file in chosen], labels, (*remarks, *empty))
    return Part(Text, [_text(file) for file in chosen], labels, (*remarks, *empty))


def _files(folder: Path) -> list[Path]:
    """Return all files of a directory, without hidden ones and those that operating systems leave behind."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [file for file in files if not any(_is_junk(name) for name in file.relative_to(folder).parts)]


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _is_of(file: Path, part: str) -> bool:
    return any(name.lower().startswith(PARTS[part]) for name in file.parts)


def _listed(phrase: str, files: Sequence[Path], **more: str) -> tuple[Remark, ...]:
    """Return the remark on files, none where there are none."""
    names = ", ".join(file.name for file in files[:3]) + (", …" if len(files) > 3 else "")
    return (Remark(phrase, {"count": f"{len(files):,}", "files": names, **more}),) if files else ()


def _classes(folder: Path, files: Sequence[Path]) -> tuple[Labels, tuple[Remark, ...]]:
    """Return the labels of files by the directory of their class, and remarks on other directories."""
    flat = [file for file in files if file.parent == folder]
    if flat:
        raise BadInput(
            f"{flat[0]} in no directory of a class", f"{folder.name}/CLASS/{flat[0].name}",
            "sort the files by their class; a pool (--pool) takes them as they are",
        )  # fmt: skip
    places = [file.relative_to(folder).parts for file in files]
    labels = read_labels([parts[0] for parts in places])
    children = [child.name for child in folder.iterdir() if child.is_dir() and not _is_junk(child.name)]
    absent = tuple(sorted({*children} - {*labels.names}))
    remarks = [Remark("empty classes", {"classes": ", ".join(absent)})] if absent else []
    if within := sorted({"/".join(parts[:2]) for parts in places if len(parts) > 2}):
        remarks.append(Remark("classes within", {"directories": listed(within)}))
    return Labels(labels.names, labels.codes, absent), tuple(remarks)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}, which is no UTF-8", "texts in UTF-8", "convert it: iconv") from error
    except OSError as error:
        raise DamagedFile(f"{file} ({error.strerror})", "a readable file", "give permission to read it") from error
