"""Credentials towards an upstream, from the environment or a file, and its TLS."""

import base64
import re
import ssl
from urllib.parse import unquote, urlsplit

import grpc

from feint.errors import MissingData
from feint.gateway.secrets import NO_PASSPHRASE, read_secret, unreadable
from feint.gateway.settings import UpstreamSettings

CREDENTIALS = "upstream's credentials"
TOKEN = re.compile(r"[!-~]+")  # with a line break in it there would be another header behind it


def authorization(at: UpstreamSettings) -> str:
    """Return the value of the header Authorization for an upstream, "" for none; raise `MissingData`."""
    if token := read_secret(at.bearer_env, at.bearer_file, CREDENTIALS):
        if not TOKEN.fullmatch(token):
            raise MissingData("a token that no header can hold", "one word of ASCII", "look into its file or variable")
        return f"Bearer {token}"
    parts = urlsplit(at.upstream)
    login = read_secret(at.basic_env, at.basic_file, CREDENTIALS) or ":".join(
        unquote(part) for part in (parts.username, parts.password) if part is not None
    )
    return f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""


def tls_context(at: UpstreamSettings) -> ssl.SSLContext | None:
    """Return the context of TLS for an upstream at https://, None for another scheme; raise `MissingData`."""
    return _context(at) if urlsplit(at.upstream).scheme == "https" else None


def _context(at: UpstreamSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=at.ca)
        if at.client_cert is not None:
            context.load_cert_chain(at.client_cert, at.client_key, password=NO_PASSPHRASE)
    except (OSError, ssl.SSLError) as error:
        raise MissingData(*unreadable("certificate or key of an upstream", error)) from error
    return context


def channel_credentials(at: UpstreamSettings) -> grpc.ChannelCredentials:
    """Return the credentials of a channel to an upstream at grpcs://; raise `MissingData`."""
    _context(at)  # reports what gRPC would pass over, until every call fails
    try:
        ca, key, cert = (None if path is None else path.read_bytes() for path in (at.ca, at.client_key, at.client_cert))
    except OSError as error:
        raise MissingData(*unreadable("certificate or key of an upstream", error)) from error
    return grpc.ssl_channel_credentials(ca, key, cert)
