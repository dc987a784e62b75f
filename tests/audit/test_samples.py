"""Samples of an audit: repeats, small sets, and pools that are made up."""

import numpy as np
import pytest

from feint.audit.samples import load_samples
from feint.errors import BadInput


def phrases(samples):
    return [note.phrase for note in samples.notes]


def test_repeated_samples_count_once_and_no_half_shares_one_with_another(tmp_path, digits):
    images, labels = (np.repeat(array[:200], 3, axis=0) for array in digits.test.arrays)
    np.savez(tmp_path / "thrice.npz", images=images, labels=labels)
    samples = load_samples(str(tmp_path / "thrice.npz"), None, None)
    assert "duplicates" in phrases(samples)
    parts = [split.values.reshape(len(split), -1) for split in (samples.fit, samples.judge, samples.pool)]
    assert sum(map(len, parts)) == 200
    assert len(np.unique(np.concatenate(parts), axis=0)) == 200


def test_inputs_of_the_pool_that_are_samples_are_left_out(tmp_path, digits):
    mixed = np.concatenate([digits.test.values[:100], digits.pool.values[:300]])
    np.savez(tmp_path / "pool.npz", images=mixed)
    samples = load_samples("digits", str(tmp_path / "pool.npz"), None)
    assert len(samples.pool) == 300
    assert "shared" in phrases(samples)
    np.savez(tmp_path / "pool.npz", images=digits.test.values)
    with pytest.raises(BadInput, match="are all samples"):
        load_samples("digits", str(tmp_path / "pool.npz"), None)


def test_a_small_set_keeps_its_samples_and_the_attacker_makes_inputs_up(tmp_path):
    rows = [f"{20 + i % 60},{['own', 'rent'][i % 2]},{i * 7 % 13},{'good' if i % 3 else 'bad'}" for i in range(120)]
    file = tmp_path / "credit.csv"
    file.write_text("\n".join(["age,housing,months,label", *rows]))
    samples = load_samples(str(file), None, None)
    assert "pool marginals for few" in phrases(samples)
    assert len(samples.fit) + len(samples.judge) == len(set(rows))
    assert len(samples.pool) > 500
    ages = samples.pool.values[:, 0]
    assert 20 <= ages.min() <= ages.max() <= 79
    uniform = load_samples(str(file), "uniform", None)
    assert "pool uniform" in phrases(uniform)
    file.write_text("\n".join(["age,housing,months,label", *rows[:60], *rows[:60]]))
    with pytest.raises(BadInput, match="60 different samples of 120"):
        load_samples(str(file), None, None)


@pytest.mark.parametrize(
    ("pool", "says"),
    [("digits", "digits (digits/held_out)"), ("digits/train", "digits/train"), (None, "/pool.npz")],
)
def test_a_data_set_that_is_named_as_the_pool_says_whose_inputs_are_asked(pool, says, tmp_path, digits):
    np.savez(tmp_path / "pool.npz", images=digits.pool.values)
    samples = load_samples("digits", pool or str(tmp_path / "pool.npz"), None)
    (note,) = [note for note in samples.notes if note.phrase == "pool given"]
    assert note.values["pool"].endswith(says)
