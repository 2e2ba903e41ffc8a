"""What may go to an address that the remote named, and what of a login must not come back. Pure.

Addresses that a remote signs are its word: it could send our files, with headers of its choice, anywhere that this
machine reaches.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote, urlsplit

#: Set by whoever sends, never by whoever names the address: they say how long a message is, and whose.
_OURS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"),
        *("expect", "cookie", "proxy-authorization", "proxy-connection"),
    }
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8000}")
#: Characters that a password must have to be looked for in what comes back: a short one is part of ordinary words.
_LEAST_SECRET = 8
_HIDDEN = b"***"


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own (127.0.0.1, ::1, localhost)."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def refused_address(url: str, remote_url: str) -> str:
    """Why nothing is sent to an address that the remote at `remote_url` named, in words; "" when it may be sent."""
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "the remote names an address that is none"
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable():
        return f"the remote names an address that is no http(s) address ({parts.scheme[:20]!r})"
    if parts.scheme == "http" and urlsplit(remote_url).scheme == "https":
        return f"the remote is reached by https, and names an address without encryption for a file (http://{host})"
    if not is_loopback(remote_url) and _is_inside(host, url):
        return f"the remote names an address of this machine for a file ({host})"
    return ""


def _is_inside(host: str, url: str) -> bool:
    """This machine itself, and what only answers to it (link-local: the metadata services of clouds)."""
    if is_loopback(url):
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        return bool(mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified)
    # 0x7f.1, 2130706433: other spellings of addresses, which the system's resolver takes.
    return re.fullmatch(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+)){0,3}", host.lower()) is not None


def refused_headers(headers: Mapping[str, str]) -> str:
    """Why headers that the remote named cannot be sent, in words; "" when they can."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return f"the remote names a header that is none ({name[:40]!r})"
    return ""


def their_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that the remote named, without those that only the sender knows."""
    return {name: value for name, value in headers.items() if name.lower() not in _OURS}


def secrets_of(header: str | None, more: Mapping[str, str]) -> tuple[bytes, ...]:
    """What must not come back of a login: the value of its header, and user name and password within it.

    Args:
        header: Authorization, or None.
        more: further headers of the login; values of those that only name a workspace are no secrets.
    """
    found: list[bytes] = []
    for value in (header or "", *(value for name, value in more.items() if "id" not in name.lower().split("-"))):
        scheme, _, text = value.rpartition(" ")
        token = text.encode("utf-8", "replace")
        found.append(token)
        if scheme.lower() == "basic":
            with suppress(binascii.Error, ValueError):
                found.append(base64.b64decode(token).partition(b":")[2])
    spelled = (form for secret in found for form in (secret, quote(secret, safe="").encode("ascii")))
    return tuple(dict.fromkeys(one for one in spelled if len(one) >= _LEAST_SECRET))


def scrubbed(text: bytes, secrets: tuple[bytes, ...]) -> bytes:
    """The same without the secrets: some proxies show what they were sent in their error pages."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return text


def unpacked(body: bytes, encoding: str, most: int) -> bytes | None:
    """A reply's body without its Content-Encoding; None when it is longer than `most` bytes.

    None is asked for. Gzip and deflate are understood, because some proxies pack whatever comes by.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return f"a reply packed as {encoding[:40]!r}, which was not asked for".encode()
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = unpacking.decompress(body, most + 1)
    except zlib.error:
        return b"a packed reply that cannot be unpacked"
    return plain if len(plain) <= most else None
