"""Time stamps of an authority (RFC 3161), which date a commitment without its owner's word."""

from dataclasses import dataclass, replace
from pathlib import Path

from feint._optional import require
from feint.errors import BadInput, DamagedFile, MissingData, Unreachable
from feint.ownership.commitment import Commitment

TYPES = {"content-type": "application/timestamp-query", "accept": "application/timestamp-reply"}


@dataclass(frozen=True)
class TimeStamp:
    """Time stamp of an authority.

    Attributes:
        token: Its response of RFC 3161, as bytes.
        time: The time that it states, in seconds since the epoch.
    """

    token: bytes
    time: float


def request(url: str, digest: str, *, timeout: float = 30.0) -> TimeStamp:
    """Let an authority sign a digest and the time. Only the digest is sent.

    Args:
        url: Address of the authority.
        digest: The digest, in hexadecimal digits.
        timeout: Seconds that the request may take.

    Returns:
        The time stamp.

    Raises:
        Unreachable: No answer comes.
        BadInput: The answer is no time stamp of this digest.
    """
    client, http = require("rfc3161_client", "tsa"), require("httpx2", "remote")
    query = client.TimestampRequestBuilder().data(digest.encode()).hash_algorithm(client.HashAlgorithm.SHA256).build()
    try:
        reply = http.post(url, content=query.as_bytes(), headers=TYPES, timeout=timeout)
    except (http.HTTPError, http.InvalidURL) as error:
        raise Unreachable(f"{url} ({type(error).__name__})", "a time-stamping authority", "try again later") from error
    got = f"an answer of {url} with status {reply.status_code}"
    stamp = _read(reply.content, url) if reply.status_code == 200 else None
    signed = stamp and (stamp.tst_info.nonce, stamp.tst_info.message_imprint.message)
    if stamp is None or signed != (query.nonce, query.message_imprint.message):
        raise BadInput(got, "a time stamp of this digest", "name another authority")
    return TimeStamp(reply.content, stamp.tst_info.gen_time.timestamp())


def verify(commitment: Commitment, roots: Path) -> Commitment:
    """Check that an authority signed a commitment's digest and time.

    Args:
        commitment: The commitment.
        roots: File of the authority's root certificate, PEM.

    Returns:
        The commitment, verified.

    Raises:
        MissingData: The commitment has no time stamp, or the file does not exist.
        DamagedFile: The file has no certificate.
        BadInput: The signature, the digest or the time is another one.
    """
    client, x509 = require("rfc3161_client", "tsa"), require("cryptography.x509", "tsa")
    if not commitment.token or not roots.is_file():
        got = f"{roots}, which does not exist" if commitment.token else "a commitment without a time stamp"
        raise MissingData(got, "a time stamp and its authority's root certificate", "feint commit --tsa URL")
    stamp = _read(commitment.token, commitment.authority)
    builder = client.VerifierBuilder()
    try:
        certificates = x509.load_pem_x509_certificates(roots.read_bytes())
    except ValueError as error:
        raise DamagedFile(
            f"{roots} without a certificate", "the authority's root certificate, PEM", "check --tsa-root"
        ) from error
    for certificate in certificates:
        builder = builder.add_root_certificate(certificate)
    try:
        builder.build().verify_message(stamp, commitment.digest.encode())
    except client.VerificationError as error:
        raise BadInput(
            f"a time stamp that does not hold ({error})", "one of this authority", "check --tsa-root"
        ) from error
    if stamp.tst_info.gen_time.timestamp() != commitment.time:
        raise BadInput("a commitment of another time than its time stamp", "the same time", "restore the ledger")
    return replace(commitment, is_verified=True)


def _read(content: bytes, url: str):
    client = require("rfc3161_client", "tsa")
    try:
        stamp = client.decode_timestamp_response(content)
        _ = stamp.tst_info  # a refusal has none
    except ValueError as error:
        raise DamagedFile(
            f"an answer of {url} that is no time stamp ({error})", "a response of RFC 3161", "name another authority"
        ) from error
    return stamp
