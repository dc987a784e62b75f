"""An authority's time stamp dates a commitment, and is checked against its root certificate."""

import shutil
from dataclasses import replace

import pytest
from tests.support.time_stamps import authority

from feint.errors import BadInput, DamagedFile, MissingData, Unreachable
from feint.ownership import commit
from feint.ownership.time_stamp import request, verify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which signs time stamps"),
]


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    with authority(tmp_path_factory.mktemp("tsa")) as server:
        yield server


@pytest.fixture
def stamped(tsa, tmp_path):
    stamp = request(tsa[0], "digest")
    return commit(tmp_path / "own.db", "digest", authority=tsa[0], token=stamp.token, at=stamp.time)


def test_a_time_stamp_is_verified(tsa, stamped):
    assert not stamped.is_verified
    assert verify(stamped, tsa[1]) == replace(stamped, is_verified=True)


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----"]
)
def test_a_file_without_a_certificate_is_refused(stamped, tmp_path, content):
    (tmp_path / "root.pem").write_bytes(content)
    with pytest.raises(DamagedFile, match="without a certificate"):
        verify(stamped, tmp_path / "root.pem")


@pytest.mark.parametrize("change", [{"digest": "another"}, {"time": 1.0}])
def test_another_digest_or_time_is_refused(tsa, stamped, change):
    with pytest.raises(BadInput):
        verify(replace(stamped, **change), tsa[1])


def test_another_authority_is_refused(stamped, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with authority(other) as (_, root), pytest.raises(BadInput, match="does not hold"):
        verify(stamped, root)


def test_a_commitment_without_a_time_stamp_is_not_verified(tsa, tmp_path):
    with pytest.raises(MissingData, match="without a time stamp"):
        verify(commit(tmp_path / "own.db", "digest"), tsa[1])


def test_an_answer_that_is_no_time_stamp_is_refused(tsa):
    with pytest.raises(DamagedFile, match="no time stamp"):
        request(f"{tsa[0]}/broken", "digest")


def test_an_authority_that_refuses_is_an_error(tmp_path):
    with authority(tmp_path, digests="sha512") as (url, _), pytest.raises(DamagedFile, match="no time stamp"):
        request(url, "digest")


def test_an_authority_that_does_not_answer_is_an_error():
    with pytest.raises(Unreachable):
        request("http://127.0.0.1:1", "digest", timeout=2.0)
