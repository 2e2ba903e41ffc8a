"""Secrets cut out of texts: a second line of defence, nobody hands them in on purpose. Pure."""

from __future__ import annotations

import re

HIDDEN = "***"
_WORDS = r"(?:token|passwd|password|passphrase|secret|authorization|signature|credential|api[-_]?key|access[-_]?key)"
#: What a text loses, in this order.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#@]*(?:@[^\s/?#@]*)*@"), rf"\1{HIDDEN}@"),  # user:password@host
    (re.compile(rf"(?i)([?&][\w.-]*(?:{_WORDS}|\bsig)[\w.-]*=)[^&\s\"'#]+"), rf"\1{HIDDEN}"),  # signed URLs
    (re.compile(r"\b((?:[Bb]earer|BEARER|[Bb]asic|BASIC)\s+)(?=\S*[A-Z0-9=])[\w.~+/=-]{6,}"), rf"\1{HIDDEN}"),
    (
        re.compile(rf"(?i)([\w-]*{_WORDS}[\w-]*[\"']?\s*[:=]\s*)(?!\*|bearer |basic )([\"']?)[^\s\"',;&]+"),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"), HIDDEN),  # JSON web tokens
    (re.compile(r"\b(?:dapi[0-9a-f]{16,}[\w-]*|dose[0-9a-f]{16,}|gh[pousr]_\w{16,}|glpat-[\w-]{16,})"), HIDDEN),
    (re.compile(r"\b(?:hf_\w{16,}|sk-[\w-]{16,}|AKIA[0-9A-Z]{12,}|ASIA[0-9A-Z]{12,})"), HIDDEN),
)
_NAME = re.compile(rf"(?i){_WORDS}$")


def redacted(text: str) -> str:
    """The text without user names and passwords in URLs, and without values that look like secrets."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text


def secret_name(name: str) -> bool:
    """Whether a value of this name is a secret whatever it looks like: `password`, `MLFLOW_TRACKING_TOKEN`."""
    return _NAME.search(name) is not None
