"""Findings about a remote: how it is reached, and what may be sent there. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from localtrack_sync.checkup.answer_checks import answer_findings, failure_finding
from localtrack_sync.checkup.finding import Finder, Finding
from localtrack_sync.checkup.remote_kinds import REMOTE
from localtrack_sync.checkup.remote_look import Contact, RemoteLook
from localtrack_sync.protocol.effects import Failure
from localtrack_sync.protocol.limits import DIALECTS, UNCUT


def remote_findings(look: RemoteLook) -> list[Finding]:
    """What there is to say about one remote."""
    find = Finder(REMOTE, look.url)
    if look.contact is Contact.UNUSABLE:
        assert look.reason is not None, "an address is unusable for a reason"
        return [find("remote-unusable", look.reason.message, hint=look.reason.hint)]
    if look.contact is Contact.UNTRUSTED:
        return [find("remote-untrusted", url=look.url)]
    if look.contact is Contact.UNNAMED:
        return [find("remote-unnamed", url=look.url)]
    return [*_way(find, look), *_login(find, look), *_there(find, look), *_habits(find, look)]


def nothing_named() -> Finding:
    """Nobody has named a remote."""
    return Finder(REMOTE)("no-remote")


def _way(find: Finder, look: RemoteLook) -> list[Finding]:
    """TLS and proxy."""
    if look.settings is not None:
        return [find("connection-settings", look.settings.message, hint=look.settings.hint)]
    found = []
    if look.proxy:
        found.append(find("proxy", f"It is {look.proxy}."))
    if look.unchecked:
        found.append(find("tls-unchecked"))
    elif look.authorities:
        found.append(find("tls", f"certificate checked against {look.authorities}"))
    return found


def _login(find: Finder, look: RemoteLook) -> list[Finding]:
    """Credentials, as far as this machine knows."""
    if look.login is not None:
        return [find("credentials-unusable", look.login.message, hint=look.login.hint)]
    if look.no_token:
        return [find("token-unavailable", look.no_token)]
    if look.source and look.url.startswith("http:") and not is_loopback(look.url):
        return [find("plain-http", f"They come from {look.source}.")]
    return []


def _there(find: Finder, look: RemoteLook) -> list[Finding]:
    """What it answers."""
    if look.contact is Contact.OFFLINE:
        told = f"credentials from {look.source}" if look.source else "no credentials"
        usable = look.settings is None and look.login is None
        return [*([find("credentials", told)] if usable else []), find("not-contacted")]
    if look.settings is not None or look.login is not None or look.no_token:
        return []  # told above; nothing was sent
    if look.no_name:
        return [find("name-unknown", look.no_name)]
    if look.first is None:
        return [find("remote-away", f"No answer within {look.seconds:g} s.")]
    if isinstance(look.first.outcome, Failure):
        return [failure_finding(find, look.first.outcome)]
    return answer_findings(find, look)


def _habits(find: Finder, look: RemoteLook) -> list[Finding]:
    """What it accepts, by its dialect."""
    limits = DIALECTS[look.dialect]
    found = []
    if look.workspace:
        found.append(find("workspace", f"workspace {look.workspace}"))
    value = "any length" if limits.param_value >= UNCUT else f"{limits.param_value:,} characters"
    told = (
        f"in one request {limits.metrics:,} points, {limits.params:,} params, {limits.tags:,} tags, "
        f"{limits.body_bytes / 1e6:g} MB; param values up to {value}"
    )
    return [*found, find("limits", told)]


def is_loopback(url: str) -> bool:
    """Whether an address is one of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
