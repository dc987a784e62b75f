"""Certificate of the server: read once, for HTTP and gRPC, and asked for its end."""

import contextlib
import math
import ssl
from dataclasses import dataclass

from feint.errors import MissingData
from feint.gateway.secrets import NO_PASSPHRASE
from feint.gateway.settings import ServerSettings

NO_CHECK_TIME = 0x200000  # of OpenSSL, for which `ssl` has no name: one that has expired tells its end, too
STEPS = 4  # of a handshake


@dataclass(frozen=True)
class Certificate:
    """Certificate of the server with its key.

    Attributes:
        http: TLS of HTTP.
        rpc: TLS of gRPC, whose clients want to be told that HTTP/2 is spoken.
        expires: When it expires, in seconds since the epoch; NaN where no client takes it, whatever its date.
    """

    http: ssl.SSLContext
    rpc: ssl.SSLContext
    expires: float


def read_certificate(server: ServerSettings) -> Certificate | None:
    """Read the server's certificate, if it has one; raise `MissingData`."""
    if server.tls_cert is None or server.tls_key is None:
        return None
    http, rpc = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    rpc.set_alpn_protocols(["h2"])
    try:
        for context in (http, rpc):
            context.load_cert_chain(server.tls_cert, server.tls_key, password=NO_PASSPHRASE)
        chain = server.tls_cert.read_bytes()
    except (OSError, ssl.SSLError) as error:
        raise MissingData(
            f"{server.tls_cert.name} and {server.tls_key.name} ({error.strerror or type(error).__name__})",
            "a certificate and its key, in PEM and without passphrase",
            "check both",
        ) from error
    return Certificate(http, rpc, _expiry(http, chain.decode("latin-1")))


def _expiry(context: ssl.SSLContext, chain: str) -> float:
    """Return when a certificate expires, which is what a client is shown in a handshake: `ssl` reads no file's dates.

    Args:
        context: The server's context.
        chain: The certificate, in PEM.

    Returns:
        The time, as in `Certificate`.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=chain)
    client.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = shown, _ = client.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)
    try:
        for _ in range(STEPS):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
    except ssl.SSLError:
        return math.nan
    certificate = shown.getpeercert()
    return ssl.cert_time_to_seconds(str(certificate["notAfter"])) if certificate else math.nan
