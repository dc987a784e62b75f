"""Texts without secrets: what may leave the process names no user, password, key or folder."""

import re
from pathlib import PurePath

HIDDEN = "…"
KEY_ID = r"feint_([0-9a-f]{12})_"  # how an API key begins: what identifies it, and is no secret
URL = re.compile(r"\b([a-z][a-z0-9+.-]*):(?://[^\s'\"]*[^\s'\",.;:)]|[^\s'\"/]*@[^\s'\"]*[^\s'\",.;:)])", re.IGNORECASE)
QUERY = re.compile(r"\?[\w.%-]+=[^\s'\")]*")
PATH = re.compile(r"(?<![\w:/.])(?:\.{1,2})?/(?!v2/)(?:[^\s/'\"(),;:<>]+/)+(?=[^\s/'\"(),;:<>])")
KEY = re.compile(rf"{KEY_ID}[\w-]+" r"|\b(Bearer|Basic)\s+[\w.~+/=-]{8,}")


def address(url: str) -> str:
    """Return a URL without user, password, query and folders, whatever its form.

    Where it is unclear what belongs to the password, as in `redis://a?b@c`, only the scheme is left.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or not rest:
        return PurePath(url).name if "/" in url else url
    if not rest.startswith("//"):
        return f"{scheme}:{PurePath(rest.rpartition('@')[2].partition('?')[0]).name}"
    before, _, behind = rest[2:].rpartition("@")
    host, *path = re.split("[?#]", behind)[0].split("/")
    if re.search("[?#/]", before) or not re.fullmatch(r"[\w.:\[\]-]*", host):
        return f"{scheme}://{HIDDEN}"
    database = path and path[-1].isdigit()  # of Redis
    return f"{scheme}://{host}{f'/{path[-1]}' if database else ''}"


def redacted(text: str) -> str:
    """Return a text whose URLs, keys, queries and absolute paths tell no secret: of a path its last part is left."""
    text = URL.sub(lambda match: address(match[0]), text)
    return PATH.sub("", QUERY.sub("", without_keys(text)))


def without_keys(text: str) -> str:
    """Return a text whose API keys tell their ids alone."""
    return KEY.sub(lambda match: f"feint_{match[1]}_{HIDDEN}" if match[1] else f"{match[2]} {HIDDEN}", text)
