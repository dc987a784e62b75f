"""Directories of images and texts by class, and of tables, in parts or without."""

import numpy as np
import pytest

from feint.data.files import pool_at, samples_at
from feint.errors import BadInput, DamagedFile, MissingData, MixedSizes
from feint.signature import Pixels, Text

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def draw(tmp_path):
    """Write an image whose pixels all have one value."""

    def draw(path, value=0, size=(6, 4)):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(file)
        return str(tmp_path / "set")

    return draw


def test_classes_are_directories_in_natural_order(draw):
    for name in range(1, 11):
        place = draw(f"set/{name}/a.png", name)
    reading = samples_at(place, Pixels((3, 4, 6)), classes=10)
    values = {
        int(value): int(label)
        for value, label in zip(reading.split.values[:, 0, 0, 0], reading.split.labels, strict=True)
    }
    assert values == {name: name - 1 for name in range(1, 11)}
    assert [remark.phrase for remark in reading.remarks] == ["labels from 1"]
    by_text = next(option for option in reading.assignments if option.rule == "text order")
    assert reading.assigned(by_text).labels.tolist() != reading.split.labels.tolist()


def test_directories_with_the_models_names_in_any_script(draw):
    for value, name in enumerate(("飞机", "汽车", "鸟")):
        place = draw(f"set/{name}/{value}.png", value)
    reading = samples_at(place, classes=("飞机", "汽车", "鸟"))
    assert sorted(zip(reading.split.values[:, 0, 0, 0].tolist(), reading.split.labels.tolist(), strict=True)) == [
        (0, 0), (1, 1), (2, 2),
    ]  # fmt: skip
    assert reading.classes == ("飞机", "汽车", "鸟")
    assert reading.remarks == ()


def test_junk_is_left_out_and_said(draw, tmp_path):
    draw("set/cat/a.png")
    place = draw("set/dog/b.jpg")
    for name in ("Thumbs.db", ".DS_Store", "notes.md", "desktop.ini"):
        (tmp_path / "set" / "cat" / name).write_bytes(b"junk")
    (tmp_path / "set" / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / "set" / "__MACOSX" / "cat" / "._a.png").write_bytes(b"junk")
    (tmp_path / "set" / "bird").mkdir()
    reading = samples_at(place)
    assert len(reading.split) == 2
    texts = [remark.text() for remark in reading.remarks]
    assert any("1 files are no images and were left out: notes.md" in text for text in texts)
    assert any("Directories without files: bird" in text for text in texts)
    assert samples_at(place, classes=3).split.labels.tolist() == [1, 2]  # bird, cat, dog


def test_images_of_a_format_that_is_not_read_are_named_and_never_taken_for_no_images(draw, tmp_path):
    draw("set/cat/a.png")
    place = draw("set/dog/b.jpg")
    (tmp_path / "set" / "cat" / "c.HEIC").write_bytes(b"image")
    (remark,) = samples_at(place).remarks
    assert remark.text().startswith("1 images are of a format that is not read and were left out: c.HEIC; convert")
    (tmp_path / "phone" / "cat").mkdir(parents=True)
    (tmp_path / "phone" / "cat" / "c.heic").write_bytes(b"image")
    with pytest.raises(BadInput, match=r"c\.heic, an image of a format that is not read.*convert it to PNG"):
        samples_at(str(tmp_path / "phone"))


def test_directories_within_a_class_count_as_that_class_and_are_named(draw):
    draw("set/animals/cat/a.png")
    draw("set/animals/dog/b.png")
    reading = samples_at(draw("set/things/c.png"))
    assert reading.classes == ("animals", "things")
    assert [remark.text() for remark in reading.remarks] == [
        "Directories within that of a class count as that class: 'animals/cat', 'animals/dog'."
    ]


def test_a_truncated_file_is_named(draw, tmp_path):
    place = draw("set/cat/whole.jpg", size=(64, 64))
    content = (tmp_path / "set" / "cat" / "whole.jpg").read_bytes()
    (tmp_path / "set" / "cat" / "torn.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFile, match=r"cat/torn\.jpg"):
        samples_at(place)


def test_sizes_come_from_the_model_or_the_place(draw):
    draw("set/cat/a.png", size=(6, 4))
    place = draw("set/cat/b.png", size=(9, 5))
    assert samples_at(place, Pixels((3, 8, 8))).split.shape == (3, 8, 8)
    with pytest.raises(MixedSizes, match="@SIZE"):
        samples_at(place)
    assert samples_at(f"{place}@8").split.shape == (3, 8, 8)
    assert samples_at(f"{place}@12x4").split.shape == (3, 4, 12)


def test_parts_of_a_directory(draw):
    for part, value in (("train", 1), ("test", 2), ("pool", 3)):
        place = draw(f"set/{part}/cat/a.png", value)
    assert samples_at(place).split.values.max() == 2
    assert pool_at(place).split.values.max() == 3


def test_images_in_no_directory_are_a_pool_alone(draw):
    place = draw("set/a.png", 5)
    assert pool_at(place).split.values.max() == 5
    with pytest.raises(BadInput, match=r"set/CLASS/a\.png"):
        samples_at(place)


def test_texts_by_class(tmp_path):
    for name, text in (("neg", "bad"), ("pos", "très bon")):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.txt").write_text(text, "utf-8")
    reading = samples_at(str(tmp_path / "set"), Text(32), classes=("pos", "neg"))
    assert reading.split.domain.to_strings(reading.split.values) == ["bad", "très bon"]
    assert reading.split.labels.tolist() == [1, 0]
    (tmp_path / "set" / "pos" / "2.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadInput, match=r"pos/2\.txt, which is no UTF-8"):
        samples_at(str(tmp_path / "set"))


def test_tables_in_parts(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text("x,label\n1,a\n2,b\n")
    (tmp_path / "set" / "test.csv").write_text("x,label\n3,a\n4,b\n")
    assert samples_at(str(tmp_path / "set")).split.values[:, 0].tolist() == [3, 4]
    assert pool_at(str(tmp_path / "set")).split.values[:, 0].tolist() == [1, 2]


def test_an_empty_directory_says_what_it_may_hold(tmp_path):
    with pytest.raises(MissingData, match=r"without images, texts or tables; expected CLASS/\*\.png"):
        samples_at(str(tmp_path))
