"""Files of lines: collecting loses nothing, and what is torn, doubled or unknown is an error."""

import errno
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import jobs

from feint.bench import executor
from feint.errors import BadInput, DamagedFile, MissingData, NotWritten
from feint.evaluation import jsonl
from feint.evaluation.results import Results

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(RESULTS.glob("*.jsonl"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FACTS = st.dictionaries(st.text(), PLAIN, max_size=3)
MEMBERS = st.dictionaries(st.text(), PLAIN.filter(lambda value: not f"{value}".startswith("#")), max_size=4)


def cell(recipe=None, provenance=None, **facts):
    """A row of a matrix in plain values."""
    fixed = {"fingerprint": "0123456789abcdef", "defense": "none", "attack": "KnockoffNets", "budget": 100, "seed": 0}
    return fixed | {"recipe": recipe or {}, "provenance": provenance or {}} | facts


def measured(name, **facts):
    """A row that is no cell of a matrix."""
    return {"name": name, "provenance": {"feint": "0.1.0"}} | facts


def written(folder, rows):
    """A working directory with these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        (folder / jsonl.file_name(row)).write_text(json.dumps(row, indent=1), "utf-8")
    return folder


@pytest.fixture
def collected(tmp_path):
    """Two tables that share a part and have one each; the file of the first."""
    for name in ("one", "two"):
        recipe = {"test": {"kind": "Split"}, "attack": {"kind": name}}
        rows = [cell(recipe, fingerprint=f"{name}{i}".ljust(16, "0")) for i in range(3)]
        jsonl.collect(written(tmp_path / name, rows))
        shutil.rmtree(tmp_path / name)
    return tmp_path / "one.jsonl"


def shared(folder):
    return json.loads((folder / "recipes.json").read_text("utf-8"))


@settings(deadline=None)  # files are written
@given(FACTS, MEMBERS, FACTS)
def test_collecting_loses_nothing(tmp_path_factory, facts, recipe, provenance):
    rows = [facts | cell(recipe, provenance), facts | measured("a row", recipe="a word")]
    folder = written(tmp_path_factory.mktemp("rows") / "table", rows)
    file = jsonl.collect(folder)
    shutil.rmtree(folder)
    assert sorted(map(json.dumps, jsonl.read(file))) == sorted(map(json.dumps, rows))  # the order of members, too


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_published_rows_are_collected_without_loss(tmp_path, file):
    rows = jsonl.read(file)
    again = jsonl.collect(written(tmp_path / file.stem, rows))
    assert again.read_bytes() == file.read_bytes()
    assert shared(tmp_path).items() <= shared(RESULTS).items()
    assert [json.dumps(row) for row in jsonl.read(again)] == [json.dumps(row) for row in rows]


def test_published_files_share_no_table_that_no_row_has():
    text = "".join(file.read_text("utf-8") for file in PUBLISHED)
    assert len(PUBLISHED) > 10
    assert [key for key in shared(RESULTS) if f'"#{key}"' not in text] == []


def test_a_line_names_what_many_rows_share(collected):
    lines = [json.loads(line) for line in collected.read_text("utf-8").splitlines()]
    assert len({line["recipe"]["test"] for line in lines}) == 1
    assert shared(collected.parent)[lines[0]["recipe"]["test"][1:]] == {"kind": "Split"}
    assert len(shared(collected.parent)) == 4  # the split, an attack each, and the provenance


def test_lines_are_sorted_and_stay_as_they_are(tmp_path):
    rows = [measured("b"), measured("a"), cell(), cell(fingerprint="fedcba9876543210", victim="digits")]
    file = jsonl.collect(written(tmp_path / "rows", rows))
    before = file.read_bytes(), (tmp_path / "recipes.json").read_bytes()
    names = [jsonl.file_name(json.loads(line)) for line in file.read_text("utf-8").splitlines()]
    assert names == sorted(names)
    assert len(names) == 4
    jsonl.collect(tmp_path / "rows")
    assert (file.read_bytes(), (tmp_path / "recipes.json").read_bytes()) == before
    jsonl.collect(written(tmp_path / "rows", [measured("aa")]))
    assert [json.loads(line).get("name") for line in file.read_text("utf-8").splitlines()[:3]] == ["a", "aa", "b"]


def first_twice(text):
    return text + text.splitlines(keepends=True)[0]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text[:-20], "got .*one.jsonl, which ends within line 3; expected whole lines; restore it"),
        (
            lambda text: text.replace("}\n", "\n", 1),
            r"one.jsonl:1 \(.*expected a row of results; restore it, or delete",
        ),
        (lambda text: "[]\n" + text, "one.jsonl:1 .*a row of results"),
        (lambda text: "\n" + text, "one.jsonl:1 .*a row of results"),
        (lambda text: text.replace('"fingerprint"', '"print"', 1), r"one.jsonl:1 \('name'\)"),
        (
            first_twice,
            r"one.jsonl:4 with one0000000000000, as in .*one.jsonl:1; expected one line for each row; delete",
        ),
        (lambda text: text.replace('"test":"#', '"test":"#0', 1), "the fingerprint 0.*recipes.json beside it does not"),
    ],
    ids=["torn", "broken", "a list", "an empty line", "without a key", "twice", "unknown fingerprint"],
)
def test_lines_that_cannot_be_read_are_named(collected, spoil, says):
    collected.write_text(spoil(collected.read_text("utf-8")), "utf-8")
    everything = {file: file.read_bytes() for file in collected.parent.iterdir()}
    with pytest.raises(DamagedFile, match=says):
        jsonl.read(collected)
    with pytest.raises(DamagedFile, match=says):
        Results.load(collected.with_suffix(""))
    with pytest.raises(DamagedFile, match=says):
        jsonl.collect(written(collected.with_suffix(""), [measured("new")]))
    assert {file: file.read_bytes() for file in collected.parent.iterdir() if file.is_file()} == everything


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text[:40], "recipes.json .*expected the tables that rows share; restore it"),
        (lambda text: "[]", "the tables that rows share"),
        (lambda text: text.replace("Split", "Splot"), "recipes.json with another table than [0-9a-f]{16}"),
        (lambda text: "{}", "does not know"),
    ],
)
def test_shared_tables_that_cannot_be_trusted_are_named(collected, spoil, says):
    file = collected.with_name("recipes.json")
    file.write_text(spoil(file.read_text("utf-8")), "utf-8")
    with pytest.raises(DamagedFile, match=says):
        jsonl.read(collected)


def test_what_is_not_there_or_cannot_be_written_is_an_error(collected, tmp_path):
    collected.with_name("recipes.json").unlink()
    with pytest.raises(DamagedFile, match=r"recipes\.json beside it does not know"):
        jsonl.read(collected)
    with pytest.raises(MissingData, match="which does not exist"):
        jsonl.read(tmp_path / "three.jsonl")
    with pytest.raises(MissingData, match="without a row"):
        jsonl.collect(tmp_path / "three")
    with pytest.raises(BadInput, match=r"called \*\.jsonl"):
        jsonl.collect(tmp_path / "three", tmp_path / "three.json")
    for row in (cell({"victim": "#1"}), cell(provenance="#1")):  # it would be read back as a fingerprint
        with pytest.raises(BadInput, match="leading #"):
            jsonl.collect(written(tmp_path / "hash", [row]))
    assert not (tmp_path / "hash.jsonl").exists()


def test_what_other_tables_share_stays_and_the_rest_goes(collected):
    other, kinds = collected.with_name("two.jsonl"), set()
    before = jsonl.read(other)
    collected.unlink()
    jsonl.collect(written(collected.with_name("three"), [measured("a row")]))
    assert jsonl.read(other) == before
    kinds = {part.get("kind") for part in shared(collected.parent).values()}
    assert kinds == {"Split", "two", None}


def test_collecting_again_keeps_what_the_file_has(collected):
    before = jsonl.read(collected)
    fresh = cell({"attack": {"kind": "new"}}, fingerprint="new0000000000000")
    other = before[0] | {"asked": 7}
    jsonl.collect(written(collected.with_suffix(""), [fresh, other]))
    assert sorted(jsonl.read(collected), key=str) == sorted([*before, fresh], key=str)


def test_rows_are_read_by_any_path_of_their_directory(tmp_path, monkeypatch):
    rows = [measured("a"), measured("b")]
    file = jsonl.collect(written(tmp_path / "rows", rows[:1]))
    written(tmp_path / "rows" / "sub", [])
    for place, path in [(tmp_path / "rows", "."), (tmp_path / "rows" / "sub", ".."), (tmp_path, "rows/")]:
        monkeypatch.chdir(place)
        (tmp_path / "rows" / "a.json").unlink(missing_ok=True)
        assert jsonl.read(path) == rows[:1]
    written(tmp_path / "rows", rows[1:])
    monkeypatch.chdir(tmp_path / "rows")
    assert jsonl.collect(".") == file
    assert jsonl.read(file) == rows
    assert jsonl.read(written(tmp_path / "odd.jsonl", rows)) == rows  # a directory, whatever it is called
    assert jsonl.read("/nowhere") == []
    assert jsonl.beside(Path("/")) == Path("/.jsonl")


def test_a_row_with_an_error_gives_way(tmp_path):
    bad, good = cell(error="late"), cell(error="", asked=100)
    jsonl.collect(written(tmp_path / "rows", [bad]))
    assert jsonl.read(jsonl.collect(written(tmp_path / "rows", [good]))) == [good]


@pytest.mark.parametrize("name", ["one.jsonl", "recipes.json"])
def test_a_full_disk_leaves_the_old_file_readable(collected, monkeypatch, name):
    before, write = jsonl.read(collected), Path.write_text

    def full(path, *args, **more):
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *args, **more)

    folder = written(collected.with_suffix(""), [cell({"attack": {"kind": "new"}}, fingerprint="new0000000000000")])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(NotWritten, match="No space left"):
            jsonl.collect(folder)
    assert jsonl.read(collected) == before
    assert {file.name for file in collected.parent.iterdir()} == {"one", "one.jsonl", "two.jsonl", "recipes.json"}


def test_tables_that_are_collected_at_once_all_keep_what_they_share(tmp_path):
    folders = [
        written(tmp_path / f"table{i}", [cell({"attack": {"kind": f"{i}"}}), measured(f"{i}")]) for i in range(12)
    ]
    with ThreadPoolExecutor(12) as pool:
        files = list(pool.map(jsonl.collect, folders))
    assert [len(jsonl.read(file)) for file in files] == [2] * 12
    assert not (tmp_path / ".leases").exists()


def test_a_bench_goes_on_from_the_file(tmp_path):
    notes, folder = tmp_path / "notes", tmp_path / "rows"
    notes.mkdir()
    (notes / "failing").write_text("4")
    toy = jobs.Toy(notes)
    first = executor.run([toy], folder=folder)
    file = jsonl.collect(folder)
    shutil.rmtree(folder)
    assert list(Results.load(file)) == list(Results.load(folder)) == sorted(first, key=lambda row: row.file)
    (notes / "failing").write_text("")
    again = executor.run([toy], folder=folder)
    assert toy.begun() == {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 1}
    assert len(list(folder.glob("*.json"))) == 1  # the one that had failed
    assert not again.failed
    jsonl.collect(folder)
    assert list(Results.load(file)) == sorted(again, key=lambda row: row.file)
