"""Remarks on data are whole in every language, and each phrase is used."""

import re
from pathlib import Path

from feint.data import Remark
from feint.i18n import LANGUAGES, texts

SOURCE = "".join(file.read_text() for file in Path(__file__).parents[2].glob("src/feint/data/*.py"))


def test_every_phrase_is_there_in_all_languages_and_used():
    for name, translations in texts("feint.data").items():
        assert set(translations) == set(LANGUAGES), name
        assert len({tuple(sorted(set(re.findall(r"{\w+}", text)))) for text in translations.values()}) == 1, name
        assert f'"{name}"' in SOURCE, name


def test_a_remark_is_a_sentence():
    remark = Remark("texts cut", {"count": "2", "n": "10", "length": "64"})
    assert remark.text() == "2 of 10 texts are longer than 64 bytes and were cut."
    assert "64" in remark.text("zh")
