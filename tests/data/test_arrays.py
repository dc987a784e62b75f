"""Arrays of .npz files under the usual names become inputs of any domain."""

import numpy as np
import pytest

from feint.data.files import pool_at, samples_at
from feint.errors import BadInput, DamagedFile, MissingData
from feint.signature import Column, Columns, Pixels, Text, Tokens

LABELS = np.array([0, 1, 1])
IMAGES = np.arange(3 * 3 * 4 * 6, dtype=np.uint8).reshape(3, 3, 4, 6)
ROWS = np.array([[1.5, 2], [3, 1000], [5, -6]])


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return save


@pytest.mark.parametrize("x", ["images", "X", "x", "x_test", "inputs", "features", "data", "X_test"])
@pytest.mark.parametrize("y", ["labels", "y", "y_test", "target", "Y", "label"])
def test_the_usual_names(save, x, y):
    reading = samples_at(save(**{x: ROWS, y: LABELS}))
    assert reading.split.values.tolist() == ROWS.tolist()
    assert reading.split.labels.tolist() == [0, 1, 1]


def test_of_two_parts_the_test_part_is_judged_and_the_train_part_asked(save):
    place = save(x_train=ROWS[:2], y_train=LABELS[:2], x_test=ROWS[2:], y_test=LABELS[2:])
    assert samples_at(place, classes=2).split.values.tolist() == ROWS[2:].tolist()
    assert samples_at(place, classes=2).split.labels.tolist() == [1]
    assert pool_at(place).split.values.tolist() == ROWS[:2].tolist()


@pytest.mark.parametrize(
    "images",
    [
        IMAGES, IMAGES.transpose(0, 2, 3, 1), IMAGES.astype(np.float32) / 255, IMAGES.astype(np.uint16) * 257,
        IMAGES.astype(np.int64),
    ],
    ids=["NCHW", "NHWC", "float", "16 bit", "int64"],
)  # fmt: skip
def test_images_of_any_layout_and_depth(save, images):
    reading = samples_at(save(x=images, y=LABELS), Pixels((3, 4, 6)))
    assert np.array_equal(reading.split.values, IMAGES)
    assert samples_at(save(x=images, y=LABELS)).split.domain == Pixels((3, 4, 6))


def test_images_of_another_size_depth_or_with_alpha_become_what_the_model_takes(save):
    alpha = np.concatenate([IMAGES, np.full_like(IMAGES[:, :1], 9)], 1)
    reading = samples_at(save(x=alpha.transpose(0, 2, 3, 1), y=LABELS), Pixels((3, 4, 6)))
    assert np.array_equal(reading.split.values, IMAGES)
    assert [remark.phrase for remark in reading.remarks] == ["images alpha"]
    reading = samples_at(save(x=IMAGES, y=LABELS), Pixels((1, 8, 12)))
    assert reading.split.shape == (1, 8, 12)
    assert {remark.phrase for remark in reading.remarks} == {"images to grey", "images scaled"}


def test_rows_of_numbers_are_columns_by_position(save):
    domain = Columns((Column("age"), Column("income")))
    assert samples_at(save(x=ROWS, y=LABELS), domain).split.domain == domain
    reading = samples_at(save(X=ROWS[:, 0], y=LABELS))
    assert reading.split.values.tolist() == [[1.5], [3], [5]]
    assert reading.split.domain.names == ("x0",)
    with pytest.raises(BadInput, match=r"data.npz: rows of 2 numbers; expected 1"):
        samples_at(save(x=ROWS, y=LABELS), Columns((Column("age"),)))
    with pytest.raises(BadInput, match="missing value of 'income'"):
        samples_at(save(x=np.array([[1, np.nan]]), y=[0]), domain, classes=2)


def test_pixels_may_be_written_as_rows(save):
    flat = IMAGES.reshape(3, -1)
    reading = samples_at(save(x=flat, y=LABELS), Pixels((3, 4, 6)))
    assert np.array_equal(reading.split.values, IMAGES)
    assert "72 numbers were read as 3×4×6, channels first" in reading.remarks[0].text()
    assert samples_at(save(x=flat[:, :24], y=LABELS), Pixels((1, 4, 6))).remarks == ()
    assert samples_at(save(x=flat, y=LABELS), Pixels((72,))).split.values.shape == (3, 72)
    digits = Columns(tuple(Column(f"x{i}") for i in range(72)))
    assert np.array_equal(samples_at(save(x=IMAGES, y=LABELS), digits).split.values, flat)


def test_sequences_and_texts(save):
    tokens = np.array([[1, 2], [3, 4], [5, 0]], np.int32)
    assert samples_at(save(x=tokens, y=LABELS), Tokens(4, 6)).split.values.tolist()[2] == [5, 0, 0, 0]
    assert samples_at(save(input_ids=tokens, labels=LABELS)).split.domain == Tokens(16, 6)
    with pytest.raises(BadInput, match="tokens from 0 to 5; expected numbers from 0 to 4"):
        samples_at(save(x=tokens, y=LABELS), Tokens(4, 5))
    texts = np.array(["good", "bad", "茶"])
    reading = samples_at(save(x=texts, y=LABELS))
    assert reading.split.domain == Text(16)
    assert reading.split.domain.to_strings(reading.split.values) == texts.tolist()


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"x": ROWS}, BadInput, "with x; expected inputs and labels"),
        ({"a": ROWS, "b": LABELS}, BadInput, "with a, b"),
        ({"x": ROWS, "y": LABELS[:2]}, BadInput, "as many labels as inputs"),
        ({"x": ROWS[:0], "y": LABELS[:0]}, BadInput, "with no inputs; expected one or more"),
        ({"x": np.array([{}, 1, "a"], object), "y": LABELS}, DamagedFile, "without pickles"),
        ({"x": IMAGES.astype(np.float32), "y": LABELS}, BadInput, "save them as uint8"),
        ({"x": IMAGES / 50.0 - 1, "y": LABELS}, BadInput, "normalisation is a part of the model"),
        ({"x": np.zeros((3, 5, 7, 9)), "y": LABELS}, BadInput, "reshape them"),
        ({"x": np.full((3, 1, 2, 2), np.nan), "y": LABELS}, BadInput, "images with NaN"),
        ({"x": ROWS, "y": np.array([[1, 1], [0, 1], [1, 0]])}, BadInput, "one-hot"),
        ({"x": ROWS.astype(complex), "y": LABELS}, BadInput, "numbers or texts"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_file(save, arrays, error, message):
    with pytest.raises(error, match=message) as caught:
        samples_at(save(**arrays))
    assert "data.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_absent_or_broken(tmp_path):
    with pytest.raises(MissingData, match="not there"):
        samples_at(str(tmp_path / "no.npz"))
    (tmp_path / "bad.npz").write_bytes(b"PK not really")
    with pytest.raises(DamagedFile, match=r"bad\.npz"):
        samples_at(str(tmp_path / "bad.npz"))
    np.savez(tmp_path / "packed.npz", x=ROWS, y=LABELS)
    content = bytearray((tmp_path / "packed.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 255  # a version of the format that nobody reads
    (tmp_path / "packed.npz").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"packed\.npz \(zip file version"):
        samples_at(str(tmp_path / "packed.npz"))
    np.save(tmp_path / "one.npy", ROWS)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DamagedFile, match=r"one\.npz"):
        samples_at(str(tmp_path / "one.npz"))


def test_levels_of_few_bits_in_arrays_of_sixteen(save):
    reading = samples_at(save(images=IMAGES.astype(np.uint16), labels=LABELS))
    assert np.array_equal(reading.split.values, IMAGES)
    with pytest.raises(BadInput, match=r"highest level is .*multiply levels of 12 bits by 16"):
        samples_at(save(images=IMAGES.astype(np.uint16) * 16, labels=LABELS))
