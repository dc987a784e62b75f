"""Named sets of rows, texts and tokens: their domain, classes, parts and pools, and the cache."""

import json
import pickle

import numpy as np
import pytest

from feint import data
from feint.data import SOURCES, Split
from feint.data.pools import parse_pool, parse_split
from feint.errors import BadInput, FeintError, MissingData, MixedSizes, UnknownName
from feint.signature import Columns, Text, Tokens

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def parquet(folder, *, names=None, **parts):
    """Write train and test parts, with the hub's names of classes where `names` are given."""
    folder.mkdir()
    for part, columns in parts.items():
        table = pa.table(columns)
        if names:
            about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")


def reloaded(name):
    data.load.cache_clear()
    return data.load(name)


def test_a_table_has_one_domain_for_all_parts_and_from_the_cache(root):
    train = {"age": [1, 2, 3, None, 5, 6], "job": ["b", "a", "b", "a", "b", "a"], "label": [0, 1, 0, 1, 0, 1]}
    parquet(root / "credit", names=["bad", "good"], train=train, test={"age": [9], "job": ["c"], "label": [1]})
    credit = data.load("credit")
    assert isinstance(credit.domain, Columns)
    assert credit.domain.columns[0].optional
    assert credit.domain.columns[1].categories == ("a", "b", "c")
    assert credit.classes == ("bad", "good")
    assert (len(credit.train), len(credit.pool), len(credit.test)) == (5, 1, 1)
    assert credit.test.values.tolist() == [[9, 2]]
    assert credit.test.inputs().dtype.is_floating_point
    again = reloaded("credit")
    assert again.domain == credit.domain
    assert isinstance(again.train.values, np.memmap)
    assert again.train == credit.train
    handle = pickle.loads(pickle.dumps(Split("credit", "pool", credit.pool.fingerprint)))
    assert np.array_equal(handle.values, credit.pool.values, equal_nan=True)


def test_parts_share_classes_that_one_of_them_lacks(root):
    parquet(root / "x", train={"x": [1, 2, 3], "y": ["b", "c", "b"]}, test={"x": [4, 5], "y": ["a", "c"]})
    x = data.load("x")
    assert x.classes == ("a", "b", "c")
    assert x.test.labels.tolist() == [0, 2]
    parquet(root / "n", train={"x": [1, 2, 3], "y": [1, 2, 1]}, test={"x": [4], "y": [2]})
    assert data.load("n").classes == ("1", "2")
    assert data.load("n").test.labels.tolist() == [1]


def test_texts_have_the_pool_of_public_sentences_in_their_length(root):
    texts = {"text": ["good film " * 5, "bad film"], "label": [1, 0]}
    parquet(root / "imdb", names=["neg", "pos"], train=texts, test=texts)
    parquet(root / "wikitext2", train={"text": ["A lobster .", "It is " + "closely " * 20 + "related ."]})
    imdb = data.load("imdb")
    assert imdb.domain == Text(64)
    assert imdb.pool.domain == imdb.domain
    assert imdb.pool.name == "wikitext2@64"
    assert imdb.domain.to_strings(imdb.pool.values)[0] == "A lobster ."
    again = pickle.loads(pickle.dumps(imdb.pool))
    assert np.array_equal(again.values, imdb.pool.values)
    assert data.load("imdb@16").domain == Text(16)
    assert "2 texts are longer than 16 bytes" in data.load("imdb@16").remarks[0].text()
    assert reloaded("imdb@16").remarks[0].text("zh")


def test_a_set_without_labels_is_a_pool_alone(root):
    parquet(root / "wikitext2", train={"text": ["one", "two"]})
    assert len(parse_pool("wikitext2")) == len(parse_pool("wikitext2/train")) == 2
    assert np.array_equal(pickle.loads(pickle.dumps(parse_pool("wikitext2"))).values, parse_pool("wikitext2").values)
    for use in (data.load, parse_split):
        with pytest.raises(BadInput, match=r"wikitext2, which has no labels; .*--pool wikitext2"):
            use("wikitext2")
    with pytest.raises(BadInput, match="wikitext2/test; expected one of train"):
        data.load_part("wikitext2", "test")


def test_sequences_of_tokens(root):
    part = {"input_ids": [[1, 2, 3], [4]], "label": [0, 1]}
    parquet(root / "tokens", train=part, test={"input_ids": [[9]], "label": [0]})
    assert data.load("tokens").domain == Tokens(16, 10)
    assert data.load("tokens@2").train.values.shape[1] == 2


def test_parts_that_differ_are_refused(root):
    parquet(root / "x", train={"x": [1], "y": [0]}, test={"z": [1], "y": [0]})
    with pytest.raises(BadInput, match="'x' in one part alone"):
        data.load("x")
    parquet(root / "z", train={"x": [1], "y": [0]}, test={"text": ["a"], "y": [0]})
    with pytest.raises(BadInput, match="several kinds"):
        data.load("z")


def test_images_of_parts_with_different_sizes_are_refused(root):
    image = pytest.importorskip("PIL.Image")
    for part, size in (("train", 4), ("test", 5)):
        for name in "ab":
            (root / "zoo" / part / name).mkdir(parents=True)
            image.new("RGB", (size, size)).save(root / "zoo" / part / name / "0.png")
    with pytest.raises(MixedSizes, match="NAME@SIZE"):
        data.load("zoo")
    assert data.load("zoo@4").shape == (3, 4, 4)


def test_a_cache_of_an_older_version_is_opened(root, tmp_path):
    data.load("digits")
    (about,) = (tmp_path / "cache").glob("digits-*/about.json")
    old = {name: value for name, value in json.loads(about.read_text()).items() if name in ("classes", "fingerprints")}
    about.write_text(json.dumps(old))
    assert reloaded("digits").shape == (1, 8, 8)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that has one set of these parts."""
    datasets = pytest.importorskip("datasets")

    def hub(**parts):
        parquet(tmp_path / "hub", **parts)
        files = {part: str(tmp_path / "hub" / f"{part}-00000-of-00001.parquet") for part in parts}
        local = datasets.load_dataset("parquet", data_files=files, streaming=True)
        asked = []
        monkeypatch.setattr(datasets, "load_dataset", lambda *names, **_: asked.append(names) or local)
        return asked

    return hub


def test_the_hub_gives_tables_and_a_missing_test_part_is_cut_off(root, hub):
    asked = hub(train={"age": list(range(40)), "income": [">50K", "<=50K"] * 20})
    adult = data.load("adult")
    assert asked == [("scikit-learn/adult-census-income", None)]
    assert adult.classes == ("<=50K", ">50K")
    assert len(adult.test) == 12
    assert len(adult.train) == len(adult.pool) == 14
    rows = [*adult.train.values, *adult.pool.values, *adult.test.values]
    assert sorted(int(row[0]) for row in rows) == list(range(40))


def test_the_hub_gives_a_pool_of_texts(root, hub):
    asked = hub(train={"text": ["one", "two"]}, test={"text": ["three"]})
    assert len(parse_pool("wikitext2")) == 2
    assert asked == [("Salesforce/wikitext", "wikitext-2-raw-v1")]


def test_a_set_that_is_not_on_the_hub_says_where_to_fetch_it(root):
    with pytest.raises(MissingData, match=r"FEINT_DATA/nursery/train.*archive\.ics\.uci\.edu/dataset/76"):
        data.load("nursery")
    with pytest.raises(UnknownName, match="did you mean 'nursery'"):
        data.load("nursary")


def test_every_source_has_a_home_and_a_citation():
    assert [name for name, source in SOURCES.items() if not (source.home and source.citation)] == []


REAL = {
    "adult": (14, 11_397, 9_768, ("<=50K", ">50K"), "adult"),
    "german_credit": (20, 350, 300, ("bad", "good"), "german_credit"),
    "gss": (9, 16_206, 13_891, ("NOT TOO HAPPY", "PRETTY HAPPY", "VERY HAPPY"), "gss"),
    "mushroom": (22, 2_843, 2_437, ("e", "p"), "mushroom"),
    "nursery": (8, 4_536, 3_888, ("not_recom", "priority", "recommend", "spec_prior", "very_recom"), "nursery"),
    "steak": (13, 151, 130, ("Medium", "Medium Well", "Medium rare", "Rare", "Well"), "steak"),
    "imdb": (4096, 6_000, 2_500, ("neg", "pos"), "wikitext2@4096"),
    "sms_spam": (256, 3_902, 1_672, ("ham", "spam"), "wikitext2@256"),
    "ag_news": (512, 5_320, 2_280, ("Business", "Sci/Tech", "Sports", "World"), "wikitext2@512"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_tables_and_texts(name, real_data):
    if not (real_data / name).is_dir():
        pytest.skip(f"FEINT_DATA holds no {name}")
    entry = data.load(name)
    assert (entry.shape[0], len(entry.train), len(entry.test), entry.classes, entry.pool.name) == REAL[name]
    for split in (entry.train, entry.test, entry.pool):
        entry.domain.check(split.domain.decode(np.array(split.values)))
        assert split.domain == entry.domain
    assert np.bincount(entry.test.labels).min() >= 1


def test_real_rows_are_those_of_the_file(real_data):
    if not (real_data / "adult").is_dir():
        pytest.skip("FEINT_DATA holds no adult")
    rows = pq.read_table(real_data / "adult" / "test-00000-of-00001.parquet").drop_columns(["label"]).to_pylist()
    adult = data.load("adult").test
    table = adult.domain.to_table(adult.values)
    assert [{name: values[i] for name, values in table.items()} for i in range(200)] == rows[:200]


def test_a_damaged_table_names_its_directory(root):
    parquet(root / "x", train={"x": [1, 2], "y": [0, None]}, test={"x": [1], "y": [0]})
    with pytest.raises(FeintError, match=r"data/x: 1 rows without a label"):
        data.load("x")
