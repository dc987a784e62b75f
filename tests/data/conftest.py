"""Data directories of their own for the tests of this room."""

import pytest

from feint import data


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty FEINT_DATA and an empty cache."""
    monkeypatch.setenv("FEINT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "data").mkdir()
    data.load.cache_clear()
    yield tmp_path / "data"
    data.load.cache_clear()
