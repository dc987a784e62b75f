"""Credentials towards an upstream, from the environment or a file, and its TLS."""

import base64
import os
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

import grpc

from feint.errors import MissingData
from feint.gateway.settings import UpstreamSettings


def authorization(at: UpstreamSettings) -> str:
    """Return the value of the header Authorization for an upstream, "" for none; raise `MissingData`."""
    if token := _secret(at.bearer_env, at.bearer_file):
        return f"Bearer {token}"
    parts = urlsplit(at.upstream)
    login = _secret(at.basic_env, at.basic_file) or ":".join(
        unquote(part) for part in (parts.username, parts.password) if part is not None
    )
    return f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""


def tls_context(at: UpstreamSettings) -> ssl.SSLContext | None:
    """Return the context of TLS for an upstream at https://, None for another scheme; raise `MissingData`."""
    if urlsplit(at.upstream).scheme != "https":
        return None
    try:
        context = ssl.create_default_context(cafile=at.ca)
        if at.client_cert is not None:
            context.load_cert_chain(at.client_cert, at.client_key)
    except (OSError, ssl.SSLError) as error:
        raise _unreadable("certificate or key of an upstream", error) from error
    return context


def channel_credentials(at: UpstreamSettings) -> grpc.ChannelCredentials:
    """Return the credentials of a channel to an upstream at grpcs://; raise `MissingData`."""
    try:
        ca, key, cert = (None if path is None else path.read_bytes() for path in (at.ca, at.client_key, at.client_cert))
    except OSError as error:
        raise _unreadable("certificate or key of an upstream", error) from error
    return grpc.ssl_channel_credentials(ca, key, cert)


def _secret(variable: str, file: Path | None) -> str:
    """Return what the environment or a file holds, "" where neither is named."""
    if variable and variable not in os.environ:
        raise MissingData(f"no variable {variable}", "the upstream's credentials in it", "set it")
    try:
        return os.environ[variable].strip() if variable else "" if file is None else file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable("file of an upstream's credentials", error) from error


def _unreadable(what: str, error: Exception) -> MissingData:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return MissingData(f"a {what} that cannot be read ({reason})", "a file", "check its path")
