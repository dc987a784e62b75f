"""Certificate of the server: it is read, and asked for its end."""

import contextlib
import math
import ssl

from feint.errors import MissingData
from feint.gateway.secrets import NO_PASSPHRASE
from feint.gateway.settings import ServerSettings

NO_CHECK_TIME = 0x200000  # of OpenSSL, for which `ssl` has no name: one that has expired tells its end, too
STEPS = 4  # of a handshake


def tls(server: ServerSettings) -> ssl.SSLContext | None:
    """Return the server's certificate, if it has one; raise `MissingData`."""
    if server.tls_cert is None or server.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key, password=NO_PASSPHRASE)
    except (OSError, ssl.SSLError) as error:
        raise MissingData(
            f"{server.tls_cert.name} and {server.tls_key.name} ({error.strerror or type(error).__name__})",
            "a certificate and its key, in PEM and without passphrase",
            "check both",
        ) from error
    return context


def expiry(server: ServerSettings) -> float | None:
    """Return when the server's certificate expires, in seconds since the epoch; None without one.

    It is what a client is shown, in a handshake in memory: `ssl` reads no file's dates. Where no client takes the
    certificate, whatever its date, the time is NaN. Errors are those of `tls`.
    """
    context = tls(server)
    if context is None:
        return None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(server.tls_cert)
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
