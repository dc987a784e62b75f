"""CSV, Parquet, JSON Lines and JSON as tables, and what is refused with the file's name."""

import bz2
import gzip
import json
import subprocess
import sys

import pytest

from feint.data.tables import cells, declared, read_table
from feint.errors import BadInput, DamagedFile, MissingData

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = [{"age": 31, "job": "nurse", "vip": True}, {"age": None, "job": "cook, chef", "vip": False}]


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_every_format_reads_the_same_rows(tmp_path, write):
    files = [
        write("a.csv", 'age,job,vip\n31,nurse,True\n,"cook, chef",False\n'),
        write("bom.csv", '\ufeffage,job,vip\r\n31,nurse,true\r\nNA,"cook, chef",false\r\n'),
        write("b.csv", "age;job;vip\n31;nurse;true\n?;cook, chef;false\n"),
        write("c.tsv", "age\t job\tvip\n31\tnurse\ttrue\n\tcook, chef\tfalse\n"),
        write("d.jsonl", "\n".join(map(json.dumps, ROWS))),
        write("e.json", json.dumps(ROWS)),
        write("utf16.csv", "age\tjob\tvip\r\n31\tnurse\ttrue\r\n.\tcook, chef\tfalse\r\n".encode("utf-16")),
        write("excel.csv", "\ufeffsep=;\r\nage;job;vip\r\n31;nurse;true\r\n-;cook, chef;false\r\n"),
    ]
    (tmp_path / "g.csv.gz").write_bytes(gzip.compress(files[0].read_bytes()))
    (tmp_path / "h.csv.bz2").write_bytes(bz2.compress(files[0].read_bytes()))
    files += [tmp_path / name for name in ("f.parquet", "f.pq", "g.csv.gz", "h.csv.bz2")]
    for name in ("f.parquet", "f.pq"):
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / name)
    for file in files:
        assert read_table(file).to_pylist() == ROWS, file.name


def test_a_decimal_comma_beside_semicolons(write):
    table = read_table(write("eu.csv", "x;y\n1,5;ja\n-2,25;nein\n"))
    assert cells(table, "x") == [1.5, -2.25]


def test_marks_are_missing_among_numbers_and_words_among_words(write):
    for mark in ("?", ".", "-", "None"):
        table = read_table(write("uci.csv", f"age,root\n1,b\n{mark},{mark}\n3,c\n"))
        assert cells(table, "age") == [1, None, 3]
        assert cells(table, "root") == ["b", mark, "c"]


def test_types_are_told_from_the_whole_file(write):
    table = read_table(write("late.csv", "x\n" + "1\n" * 700_000 + "word\n"))
    assert cells(table, "x")[-1] == "word"


def test_a_text_file_has_a_text_a_line(write):
    assert cells(read_table(write("pool.txt", "one\n\ntwo\n")), "text") == ["one", "two"]


def test_several_files_are_one_table_with_the_hubs_names_of_classes(tmp_path):
    about = {"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}
    for i in range(2):
        table = pa.table({"x": [i], "label": [1 - i]}).replace_schema_metadata({"huggingface": json.dumps(about)})
        pq.write_table(table, tmp_path / f"{i}.parquet")
    table = read_table(tmp_path / "0.parquet", tmp_path / "1.parquet")
    assert cells(table, "label") == [1, 0]
    assert declared(table)["label"]["names"] == ["no", "yes"]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("empty.csv", "", BadInput, "empty; expected a table with a header and rows"),
        ("empty.txt", "\n", BadInput, "empty; expected a text on each line"),
        ("empty.jsonl", "", BadInput, "empty; expected an object on each line"),
        ("header.csv", "a,b\n", BadInput, "without rows"),
        ("bare.csv", "1.5,2\n3,4\n", BadInput, "first row is numbers"),
        ("twice.csv", "a,a\n1,2\n", BadInput, "two columns 'a'"),
        ("note.csv", "# exported\na,b\n1,2\n", BadInput, "first row is '# exported'; .*delete what is before it"),
        ("ragged.csv", "a,b\n1,2\n3\n", DamagedFile, "Expected 2 columns, got 1"),
        ("values.csv", "0,Private,0,yes\n1,State,7,no\n", BadInput, "two columns '0'.*write a header, if"),
        ("wide.csv", "a,b\n1,2\n".encode("utf-16le"), BadInput, "bytes of zero.*iconv -f utf-16le -t utf-8 wide.csv"),
        ("latin.csv", "a,b\nM\xfcller,1\n".encode("latin1"), BadInput, "iconv"),
        ("bad.parquet", "PAR1 not really PAR1", DamagedFile, "readable PARQUET"),
        ("bad.jsonl", '{"a": 1}\n{"a":\n', DamagedFile, "JSONL"),
        ("other.json", '{"a": {"b": 1}, "c": [', DamagedFile, "JSON"),
        ("list.json", "[1, 2]", BadInput, "a list of objects"),
        ("large.json", '[{"x": 99999999999999999999}]', DamagedFile, "JSON"),
        ("name.csv", b"caf\xe9,b\n1,2\n", BadInput, "UTF-8"),
        ("name.jsonl", b'{"caf\xe9": 1}\n', BadInput, "UTF-8"),
        ("latin.txt", b"caf\xe9\n", BadInput, "UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_with_its_name(write, name, content, error, message):
    with pytest.raises(error, match=message) as caught:
        read_table(write(name, content))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_says_so(tmp_path):
    with pytest.raises(MissingData, match="not there"):
        read_table(tmp_path / "no.csv")


def test_bytes_that_are_no_utf8_are_refused_with_their_column(tmp_path):
    column = pa.array([b"good", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"text": column}), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match=r"column 'text' .* no UTF-8"):
        cells(read_table(tmp_path / "x.parquet"), "text")


def test_a_process_that_read_tables_beside_torch_ends_without_an_abort(tmp_path, write):
    write("a.csv", "x,label\n1,a\n2,b\n")
    write("b.jsonl", '{"x": 1}\n{"x": 2}\n')
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.parquet")
    for name in ("a.csv", "b.jsonl", "c.parquet"):
        code = f"import torch, pathlib, feint.data.tables as tables; tables.read_table(pathlib.Path({name!r}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), name
