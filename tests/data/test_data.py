"""Data sets: the embedded one, directories as on the hub, folders of images, and what is said where there is none."""

import io
import pickle

import numpy as np
import pytest
import torch

from feint import data
from feint.data import Split
from feint.data.pools import parse_pool
from feint.errors import BadInput, DamagedFile, MissingData, UnknownName


def png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(folder, *, size=6, image="img", label="label", features=True):
    """A tiny set in the hub's layout: the value of each pixel is its row's number."""
    datasets = pytest.importorskip("datasets")
    folder.mkdir()
    for part, n in (("train", 12), ("test", 4)):
        pixels = [np.full((size, size, 3), i, np.uint8) for i in range(n)]
        columns = {
            image: [{"bytes": png(array), "path": None} for array in pixels],
            label: [i % 2 for i in range(n)],
        }
        kinds = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=["cat", "dog"])})
        table = datasets.Dataset.from_dict(columns, features=kinds if features else None)
        table.to_parquet(str(folder / f"{part}-00000-of-00001.parquet"))


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    digits, theirs = data.load("digits"), load_digits()
    assert len(digits.train) == 719
    assert len(digits.pool) == 719
    assert len(digits.test) == 359
    assert digits.shape == (1, 8, 8)
    ours = torch.cat([split.inputs() for split in (digits.train, digits.pool, digits.test)]).flatten(1)
    assert ours.min() == 0
    assert ours.max() == 1
    rows = {tuple(row) for row in (ours * 16).round().int().tolist()}
    assert rows == {tuple(row) for row in theirs.data.astype(int).tolist()}


def test_parts_do_not_overlap(digits):
    parts = [{row.tobytes() for row in split.values} for split in (digits.train, digits.pool, digits.test)]
    assert len(set().union(*parts)) == sum(map(len, parts)) == 1797


@pytest.mark.parametrize("features", [True, False], ids=["with hub features", "plain columns"])
def test_a_directory_as_on_the_hub(root, features):
    parquet(root / "mine", label="fine_label", features=features)
    mine = data.load("mine")
    assert mine.shape == (3, 6, 6)
    assert mine.classes == (("cat", "dog") if features else ("0", "1"))
    assert len(mine.train) == 10
    assert len(mine.pool) == 2
    assert len(mine.test) == 4
    assert mine.test.values[3, 0, 0, 0] == 3
    assert mine.test.labels.tolist() == [0, 1, 0, 1]
    assert mine.test.inputs(torch.tensor([2])).unique().tolist() == pytest.approx([2 / 255])


def test_a_pool_of_another_set_is_read_without_the_set(root):
    parquet(root / "cifar10")
    (root / "cifar100").mkdir()
    (root / "cifar100" / "train-0.parquet").write_bytes(b"half a download")
    assert (parse_pool("cifar100").name, len(parse_pool("cifar100"))) == ("cifar10", 12)


def test_a_folder_of_images_of_many_sizes(root):
    pytest.importorskip("datasets")
    for part, n in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            (root / "zoo" / part / name).mkdir(parents=True)
            for i in range(n):
                (root / "zoo" / part / name / f"{i}.png").write_bytes(png(np.full((8 + i, 9, 3), 40 * i, np.uint8)))
    with pytest.raises(BadInput, match="several sizes"):
        data.load("zoo")
    zoo = data.load("zoo", size=4)
    assert zoo.shape == (3, 4, 4)
    assert zoo.classes == ("cat", "dog")
    assert len(zoo.train) + len(zoo.pool) == 12


def test_the_second_load_maps_files_and_a_changed_directory_is_read_again(root):
    parquet(root / "mine")
    first = data.load("mine")
    data.load.cache_clear()
    again = data.load("mine")
    assert again.train == first.train
    assert isinstance(again.train.values, np.memmap)
    data.load.cache_clear()
    for file in (root / "mine").iterdir():
        file.unlink()
    (root / "mine").rmdir()
    parquet(root / "mine", size=7)
    assert data.load("mine").shape == (3, 7, 7)


def test_a_handle_finds_its_data_again_and_refuses_other_data(root):
    parquet(root / "mine")
    train = data.load("mine").train
    carried = pickle.dumps(train)
    assert len(carried) < 500  # a handle, not images
    assert torch.equal(pickle.loads(carried).inputs(), train.inputs())
    with pytest.raises(DamagedFile, match="recipe was made with"):
        len(Split("mine", "train", "0" * 16))


def test_arrays_in_memory_travel_with_their_handle():
    split = Split.of(np.zeros((3, 1, 2, 2), np.uint8), np.arange(3))
    assert pickle.loads(pickle.dumps(split)).labels.tolist() == [0, 1, 2]
    with pytest.raises(BadInput, match="uint8"):
        Split.of(np.zeros((3, 1, 2, 2)), np.arange(3))


@pytest.mark.slow
def test_a_missing_set_says_which_things_to_do(root, monkeypatch):
    with pytest.raises(MissingData, match="FEINT_DATA/cifar10/train") as caught:
        data.load("cifar10")
    assert "online" in str(caught.value)
    monkeypatch.setattr(data.readers, "DEBIAN_FASHION", root / "nowhere")
    with pytest.raises(MissingData, match="apt-get install dataset-fashion-mnist"):
        data.load("fashion_mnist")


def test_an_unknown_set_names_the_nearest_known_one(root):
    with pytest.raises(UnknownName, match="did you mean 'cifar10'"):
        data.load("cifar_10")
    parquet(root / "mine")
    with pytest.raises(UnknownName, match="did you mean 'mine'"):
        data.load("mime")


@pytest.mark.parametrize("content", ["nothing", "half", "damaged", "other columns"])
def test_a_directory_that_is_no_data_set_is_refused(root, content):
    datasets = pytest.importorskip("datasets")
    (root / "mine").mkdir()
    if content == "half":
        (root / "mine" / "train-0.parquet").write_bytes(b"PAR1 not really")
    if content == "damaged":
        for part in ("train", "test"):
            (root / "mine" / f"{part}-0.parquet").write_bytes(b"PAR1 not really PAR1")
    if content == "other columns":
        for part in ("train", "test"):
            datasets.Dataset.from_dict({"text": ["a"], "weight": [0.5]}).to_parquet(
                str(root / "mine" / f"{part}.parquet")
            )
    with pytest.raises((MissingData, BadInput, DamagedFile), match="expected"):
        data.load("mine")


def test_a_damaged_cache_says_what_to_delete(root, tmp_path):
    parquet(root / "mine")
    data.load("mine")
    data.load.cache_clear()
    (images,) = (tmp_path / "cache").rglob("train-images.npy")
    images.write_bytes(b"")
    with pytest.raises(DamagedFile, match="delete that directory"):
        data.load("mine")


REAL = {
    "cifar10": ((3, 32, 32), 50_000, 10_000, 10),
    "cifar100": ((3, 32, 32), 50_000, 10_000, 100),
    "gtsrb": ((3, 32, 32), 39_209, 12_630, 43),
    "caltech101": ((3, 64, 64), 4_820, 2_893, 101),
    "fashion_mnist": ((1, 28, 28), 50_000, 10_000, 10),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_sets(name, real_data, monkeypatch):
    if not (real_data / name).is_dir():
        pytest.skip(f"FEINT_DATA holds no {name}")
    images = data.load(name)
    assert (images.shape, len(images.train), len(images.test), len(images.classes)) == REAL[name]
    assert len(images.pool) >= 900
    data.load.cache_clear()
    monkeypatch.delattr("feint.data.decoded_cache._save")
    assert data.load(name).train.fingerprint == images.train.fingerprint  # mapped, and not decoded once more


def test_a_share_of_a_part_is_a_handle_too(digits):
    halves = [digits.test.share(i, 2) for i in range(2)]
    assert sum(map(len, halves)) == len(digits.test)
    assert np.array_equal(halves[1].values, digits.test.values[1::2])
    again = data.Split(halves[1].name, halves[1].part, halves[1].fingerprint)
    assert np.array_equal(again.values, halves[1].values)
    with pytest.raises(BadInput, match="share 2 of 2"):
        digits.test.share(2, 2)


def test_a_size_is_a_part_of_the_name(root):
    parquet(root / "mine", size=7)
    small = data.load("mine@4")
    assert small.shape[1:] == (4, 4)
    assert small.train == data.load("mine", size=4).train != data.load("mine").train
    assert np.array_equal(pickle.loads(pickle.dumps(small.train)).values, small.train.values)


def test_images_of_another_size_are_scaled_by_the_mean_of_their_areas():
    images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 1, 4, 4)
    split = Split.of(images, np.array([3, 5]), name="signs", part="train")
    small = split.scaled((1, 2, 2))
    assert small.values[0, 0].tolist() == [[2, 4], [10, 12]]  # halves are rounded to even
    assert small.name == "signs_2x2"
    assert small.part == "train"
    assert small.labels.tolist() == [3, 5]
    assert split.scaled((1, 4, 4)) is split
    with pytest.raises(BadInput, match="signs of shape"):
        split.scaled((3, 2, 2))


def test_colours_become_the_greys_of_their_luma():
    images = np.zeros((3, 3, 1, 1), np.uint8)
    images[[0, 1, 2], [0, 1, 2]] = 255  # red, green, blue
    grey = Split.of(images, np.zeros(3, np.int64)).scaled((1, 1, 1))
    assert grey.values.flatten().tolist() == [76, 150, 29]
