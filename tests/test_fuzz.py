"""A short run of `make fuzz`: what reads bytes of others raises nothing unforeseen, and keeps what it takes."""

import pytest
from tests.fuzz.seeds import BYTES
from tests.fuzz.structured import run
from tests.fuzz.targets import ALL


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_few_hundred_cases(name):
    assert run(name, 150)[2] == ""


@pytest.mark.parametrize("name", ALL)
def test_seeds_of_the_fuzzer_are_valid(name):
    """Or the cases made of it would all be refused at the door."""
    assert all(ALL[name](data) for data in BYTES[name])


@pytest.mark.slow
def test_fuzzer_finds_a_planted_fault(monkeypatch):
    monkeypatch.setitem(ALL, "tensor_in_bytes", lambda data: 1 // (len(data) - 3) > 9)
    assert "ZeroDivisionError" in run("tensor_in_bytes", 400)[2]
