"""Data by place: tables of rows, texts, tokens and images, and named sets, as a model takes them."""

import io
import json

import numpy as np
import pytest

from feint import data
from feint.data.files import is_file, pool_at, samples_at
from feint.errors import BadInput, MissingData, UnknownName
from feint.signature import Column, Columns, Pixels, Text, Tokens

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

CREDIT = "age,job,target\n31,nurse,good\n40,cook,bad\n52,cook,good\n"


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if isinstance(content, dict):
            pq.write_table(pa.table(content), path)
        else:
            path.write_text(content, "utf-8")
        return str(path)

    return write


def png(value, size=4):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_csv_of_columns(write):
    reading = samples_at(write("credit.csv", CREDIT))
    assert reading.split.domain.names == ("age", "job")
    assert reading.split.values.tolist() == [[31, 1], [40, 0], [52, 0]]
    assert reading.split.labels.tolist() == [1, 0, 1]
    assert reading.classes == ("bad", "good")
    assert reading.split.name == "credit.csv"


def test_the_models_columns_and_classes_count(write):
    domain = Columns((Column("job", ("nurse", "cook")), Column("age")))
    reading = samples_at(write("credit.csv", CREDIT), domain, classes=("good", "bad"))
    assert reading.split.values.tolist() == [[0, 31], [1, 40], [1, 52]]
    assert reading.split.labels.tolist() == [0, 1, 0]
    with pytest.raises(UnknownName, match=r"credit\.csv: the category of 'job': 'cook'"):
        samples_at(write("credit.csv", CREDIT), Columns((Column("job", ("nurse",)), Column("age"))))


def test_the_label_is_named_or_refused_with_the_option(write):
    place = write("credit.csv", CREDIT.replace("target", "outcome"))
    assert samples_at(place, label="outcome").split.labels.tolist() == [1, 0, 1]
    with pytest.raises(BadInput, match=r"columns 'age', 'job', 'outcome'; .*--label COLUMN"):
        samples_at(place)
    assert pool_at(place).split.domain.names == ("age", "job", "outcome")
    assert pool_at(place, label="outcome").split.domain.names == ("age", "job")


@pytest.mark.parametrize("labels", [["cat", "dog", "cat"], [1, 2, 1], [True, False, True], [0.0, 1.0, 0.0]])
def test_parquet_with_labels_of_any_type(write, labels):
    reading = samples_at(write("x.parquet", {"x": [1.0, 2.0, 3.0], "label": labels}), classes=2)
    assert sorted(reading.split.labels.tolist()) in ([0, 0, 1], [0, 1, 1])
    assert reading.split.labels[0] == reading.split.labels[2]


def test_parquet_with_a_null_label_says_which_row(write):
    with pytest.raises(BadInput, match=r"x\.parquet: 1 rows without a label, the first of them row 2"):
        samples_at(write("x.parquet", {"x": [1.0, 2.0], "label": ["cat", None]}))


@pytest.mark.parametrize("column", ["image", "img", "photo"])
def test_images_in_parquet_as_bytes_or_structs(write, column):
    images = [png(1), png(2)] if column != "photo" else [{"bytes": png(i), "path": None} for i in (1, 2)]
    reading = samples_at(write("x.parquet", {column: images, "label": ["b", "a"]}), Pixels((3, 4, 4)))
    assert reading.split.values[:, 0, 0, 0].tolist() == [1, 2]
    assert reading.split.labels.tolist() == [1, 0]
    broken = [png(1), png(2)[:20]]
    with pytest.raises(data.files.FeintError, match="row 2 of 'image'"):
        samples_at(write("y.parquet", {"image": broken, "label": ["b", "a"]}))


def test_pixels_in_the_columns_of_a_table(write):
    header = ",".join(["label", *(f"pixel{i}" for i in range(4))])
    reading = samples_at(write("mnist.csv", f"{header}\n3,0,255,7,8\n1,1,2,3,4\n"), Pixels((1, 2, 2)), classes=10)
    assert reading.split.values[0].tolist() == [[[0, 255], [7, 8]]]
    assert reading.split.labels.tolist() == [3, 1]


def test_texts_in_tables(write):
    rows = [{"text": "so good", "label": "pos", "date": "x"}, {"text": "so bad", "label": "neg", "date": "x"}]
    reading = samples_at(write("x.jsonl", "\n".join(map(json.dumps, rows))))
    assert reading.split.domain == Text(16)
    assert reading.split.labels.tolist() == [1, 0]
    assert [remark.phrase for remark in reading.remarks] == ["columns left out"]
    review = samples_at(write("y.csv", "headline,y\nso good,1\nso bad,0\n"), Text(8))
    assert review.split.domain.to_strings(review.split.values) == ["so good", "so bad"]
    with pytest.raises(BadInput, match="rename it to text"):
        samples_at(write("z.csv", "a,b,y\nso good,x,1\nso bad,x,0\n"), Text(8))


def test_tokens_in_tables(write):
    rows = [{"input_ids": [5, 6, 7], "label": 0}, {"input_ids": [8], "label": 1}]
    place = write("x.jsonl", "\n".join(map(json.dumps, rows)))
    assert samples_at(place, Tokens(4, 10)).split.values.tolist() == [[5, 6, 7, 0], [8, 0, 0, 0]]
    assert samples_at(place).split.domain == Tokens(16, 9)
    place = write("x.parquet", {"tokens": [[1, 2], [3, 4]], "label": ["a", "b"]})
    with pytest.raises(BadInput, match="expected numbers from 0 to 3"):
        samples_at(place, Tokens(4, 4))


def test_lists_among_the_columns_of_a_table_are_left_out(write):
    rows = [{"age": 30 + i, "job": "cook", "rent": i, "visits": [1, 2], "home": {"x": 1}, "y": i} for i in (0, 1)]
    reading = samples_at(write("x.jsonl", "\n".join(map(json.dumps, rows))))
    assert isinstance(reading.split.domain, Columns)
    assert reading.split.domain.names == ("age", "job", "rent")
    assert [remark.values["columns"] for remark in reading.remarks] == ["'visits', 'home'"]


def test_a_pool_needs_no_labels(write):
    assert pool_at(write("pool.txt", "one\ntwo\n"), Text(8)).split.labels.tolist() == [0, 0]
    with pytest.raises(BadInput, match=r"texts alone; expected texts with labels; a table .* is named pool\.csv"):
        samples_at(write("pool.txt", "one\ntwo\n"), Text(8))


def test_bytes_are_images_where_the_model_takes_them_and_paths_are_not(write):
    place = write("x.parquet", {"photo": [png(0), png(255)], "label": [0, 1]})
    assert samples_at(place, Pixels((3, 4, 4))).split.values[:, 0, 0, 0].tolist() == [0, 255]
    place = write("x.csv", "file,label\na.png,0\nb.png,1\n")
    with pytest.raises(BadInput, match="write the bytes of each file to Parquet, or sort the files into"):
        samples_at(place, Pixels((3, 4, 4)))


def test_inputs_of_another_kind_are_refused(write):
    with pytest.raises(BadInput, match="images, which the model takes"):
        samples_at(write("credit.csv", CREDIT), Pixels((3, 4, 4)))
    with pytest.raises(BadInput, match="digits, images; expected rows, which the model takes"):
        samples_at("digits", Columns((Column("x"),)))
    with pytest.raises(BadInput, match="nested"):
        samples_at(write("x.jsonl", '{"nested": {"a": 1}, "label": 1}\n{"nested": {"a": 2}, "label": 0}\n'))


def test_columns_of_nested_values_are_left_out_with_the_reason(write):
    row = '{"a": 1, "nested": {"b": 2}, "label": %d}\n'
    (remark,) = samples_at(write("x.jsonl", row % 0 + row % 1)).remarks
    assert remark.text().startswith("Left out: 'nested', whose values are nested or bytes; write a column for each")


def test_a_named_set_is_read_as_the_model_takes_it(digits):
    reading = samples_at("digits", digits.domain, classes=10)
    assert reading.split == digits.test
    assert reading.remarks == ()
    reading = samples_at("digits", Pixels((3, 16, 16)), classes=tuple("9876543210"))
    assert reading.split.shape == (3, 16, 16)
    assert reading.split.labels.tolist() == (9 - digits.test.labels).tolist()
    assert {remark.phrase for remark in reading.remarks} == {"images scaled", "images grey"}
    assert pool_at("digits/train").split == digits.train


def test_a_place_that_is_none_says_what_there_is(tmp_path):
    with pytest.raises(MissingData, match="nothing, which is not there"):
        samples_at(str(tmp_path / "nothing"))
    (tmp_path / "model.pkl").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"\.csv, \.parquet"):
        samples_at(str(tmp_path / "model.pkl"))
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        samples_at("digitz")
    assert not is_file("digits@16")
    assert not is_file("cifar10/train")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("rows.xlsx", r"pandas.read_excel\('rows.xlsx'\).to_parquet\('rows.parquet'\)"),
        ("rows.zip", "unzip rows.zip"),
        ("adult.data", "cp adult.data adult.csv"),
        ("x.npy", "numpy.savez"),
        ("x.tar.gz", "tar xf x.tar.gz"),
        ("x.mat", r"numpy.savez\('x.npz'"),
    ],
)
def test_files_of_other_formats_are_refused_with_the_command_that_converts_them(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(BadInput, match=remedy):
        samples_at(str(tmp_path / name))
