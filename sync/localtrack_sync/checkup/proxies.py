"""Which proxy the environment names for an address, as httpx understands it. Contacts nobody."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

_NAMES = ("http_proxy", "https_proxy", "all_proxy")


def proxy_for(url: str, environ: Mapping[str, str]) -> str:
    """The proxy for `url`, without user and password; "" for none."""
    parts = urlsplit(url)
    given = _value(environ, f"{parts.scheme}_proxy") or _value(environ, "all_proxy")
    return "" if not given or _bypassed(parts.hostname or "", parts.port, environ) else shown(given)


def _bypassed(host: str, port: int | None, environ: Mapping[str, str]) -> bool:
    """Whether NO_PROXY names a host: itself, a domain above it, or all (`*`)."""
    for entry in _value(environ, "no_proxy").lower().split(","):
        name, _, wanted = entry.strip().rpartition("://")[2].partition(":")
        if wanted.isdigit() and int(wanted) != port:
            continue
        if name == "*" or (name and (host == name or host.endswith("." + name.lstrip(".")))):
            return True
    return False


def shown(proxy: str) -> str:
    """The address of a proxy without user and password."""
    text = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{host}"


def passwords(environ: Mapping[str, str]) -> list[str]:
    """Passwords that stand in the addresses of proxies."""
    found = []
    for name in _NAMES:
        userinfo, at, _ = _value(environ, name).rpartition("@")
        password = userinfo.rpartition("/")[2].partition(":")[2]
        if at and password:
            found.append(password)
    return found


def _value(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()
